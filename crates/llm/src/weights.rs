//! A llama model's weights: found by name, checked against the configuration, and given places to be packed to.

use crate::dequantize::{tensor_to_f32, weight_type_of};
use crate::{LlamaConfig, LlmError};
use ballast_gguf::{Gguf, TensorInfo};
use ballast_kernels::{ActivationFormat, PackedMatrix, WeightMatrix, WeightType};
use std::collections::HashSet;
use std::ops::Range;

/// Packed matrices begin at multiples of this: a cache line.
pub(crate) const ALIGNMENT: usize = 64;

/// A matrix: where it is in the file, and where among the packed matrices.
#[derive(Debug)]
pub(crate) struct Weight {
    tensor: TensorInfo,
    weight_type: WeightType,
    n_rows: usize,
    n_cols: usize,
    packed: Range<usize>,
}

impl Weight {
    /// The matrix over the file's bytes, row by row.
    pub(crate) fn source<'a>(&self, gguf: &'a Gguf) -> WeightMatrix<'a> {
        WeightMatrix::new(self.weight_type, self.n_rows, self.n_cols, gguf.tensor_bytes(&self.tensor))
            .expect("shape and bytes were checked when the weight was found")
    }

    /// The matrix over the packed bytes of all.
    pub(crate) fn matrix<'a>(&self, packed: &'a [u8]) -> PackedMatrix<'a> {
        PackedMatrix::new(self.weight_type, self.n_rows, self.n_cols, &packed[self.packed.clone()])
            .expect("the range was made for this shape")
    }

    /// Name of its tensor.
    pub(crate) fn name(&self) -> &str {
        &self.tensor.name
    }

    /// Its tensor in the file.
    pub(crate) fn tensor(&self) -> &TensorInfo {
        &self.tensor
    }

    pub(crate) fn weight_type(&self) -> WeightType {
        self.weight_type
    }

    /// Rows and columns.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.n_rows, self.n_cols)
    }

    /// Bytes among the packed matrices.
    pub(crate) fn packed(&self) -> Range<usize> {
        self.packed.clone()
    }

    /// The form of activations it is multiplied with.
    pub(crate) fn activation_format(&self) -> ActivationFormat {
        self.weight_type.activation_format()
    }
}

/// One transformer layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) wq: Weight,
    pub(crate) wk: Weight,
    pub(crate) wv: Weight,
    pub(crate) wo: Weight,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) gate: Weight,
    pub(crate) up: Weight,
    pub(crate) down: Weight,
}

/// All weights of a model.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) token_embd: Weight,
    pub(crate) layers: Vec<Layer>,
    pub(crate) output_norm: Vec<f32>,
    /// `None`: the embedding serves as output, too.
    pub(crate) output: Option<Weight>,
    pub(crate) rope_factors: Option<Vec<f32>>,
    /// Bytes of all matrices, packed.
    pub(crate) n_bytes: usize,
}

impl Weights {
    /// Finds every tensor that `config` asks for.
    ///
    /// # Errors
    /// If one is missing, has another shape or a type without kernels, or the file has one that nothing would use.
    pub(crate) fn find(gguf: &Gguf, config: &LlamaConfig) -> Result<Self, LlmError> {
        let mut finder = Finder::new(gguf);
        let c = config;
        let mut weights = Self {
            n_bytes: 0,
            token_embd: finder.matrix("token_embd.weight", c.vocab_size, c.embed_dim)?,
            layers: (0..c.n_layers).map(|idx| finder.layer(idx, c)).collect::<Result<_, _>>()?,
            output_norm: finder.vector("output_norm.weight", c.embed_dim)?,
            output: match gguf.tensor("output.weight") {
                Some(_) => Some(finder.matrix("output.weight", c.vocab_size, c.embed_dim)?),
                None => None,
            },
            rope_factors: match gguf.tensor("rope_freqs.weight") {
                Some(_) => Some(finder.vector("rope_freqs.weight", c.rope_dim / 2)?),
                None => None,
            },
        };
        finder.refuse_unused()?;
        weights.n_bytes = finder.n_bytes;
        Ok(weights)
    }

    /// The matrix that turns the last hidden state into logits.
    pub(crate) fn output(&self) -> &Weight {
        self.output.as_ref().unwrap_or(&self.token_embd)
    }

    /// Every matrix, in the order of their places.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &Weight> {
        let layers = self.layers.iter();
        let of_layers = layers.flat_map(|l| [&l.wq, &l.wo, &l.wk, &l.wv, &l.gate, &l.up, &l.down]);
        std::iter::once(&self.token_embd).chain(of_layers).chain(&self.output)
    }
}

/// Finds tensors by name, and gives matrices their places.
pub(crate) struct Finder<'a> {
    gguf: &'a Gguf,
    used: HashSet<String>,
    /// Bytes of the matrices so far, packed.
    n_bytes: usize,
}

impl<'a> Finder<'a> {
    pub(crate) fn new(gguf: &'a Gguf) -> Self {
        Self { gguf, used: HashSet::new(), n_bytes: 0 }
    }

    /// Bytes of the matrices so far, packed.
    pub(crate) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Whether the file has a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// A matrix whose rows are looked up, as f32.
    pub(crate) fn table(&mut self, name: &str, n_rows: usize, n_cols: usize) -> Result<Vec<f32>, LlmError> {
        let tensor = self.tensor(name, &[n_cols as u64, n_rows as u64])?.clone();
        tensor_to_f32(self.gguf, &tensor)
    }

    fn layer(&mut self, idx: usize, c: &LlamaConfig) -> Result<Layer, LlmError> {
        let mut matrix = |name, n_rows, n_cols| self.matrix(&format!("blk.{idx}.{name}.weight"), n_rows, n_cols);
        let (wq, wo) = (matrix("attn_q", c.q_dim(), c.embed_dim)?, matrix("attn_output", c.embed_dim, c.q_dim())?);
        let (wk, wv) = (matrix("attn_k", c.kv_dim(), c.embed_dim)?, matrix("attn_v", c.kv_dim(), c.embed_dim)?);
        let (gate, up) = (matrix("ffn_gate", c.ffn_dim, c.embed_dim)?, matrix("ffn_up", c.ffn_dim, c.embed_dim)?);
        let down = matrix("ffn_down", c.embed_dim, c.ffn_dim)?;
        let attn_norm = self.vector(&format!("blk.{idx}.attn_norm.weight"), c.embed_dim)?;
        let ffn_norm = self.vector(&format!("blk.{idx}.ffn_norm.weight"), c.embed_dim)?;
        Ok(Layer { attn_norm, wq, wk, wv, wo, ffn_norm, gate, up, down })
    }

    fn tensor(&mut self, name: &str, expected: &[u64]) -> Result<&TensorInfo, LlmError> {
        let tensor = self.gguf.tensor(name).ok_or_else(|| LlmError::TensorMissing { name: name.to_owned() })?;
        // A matrix of one row may be stored as a vector.
        let is_vector = matches!(expected, [_, 1]) && tensor.shape.as_slice() == &expected[..1];
        if tensor.shape.as_slice() != expected && !is_vector {
            let got = tensor.shape.to_vec();
            return Err(LlmError::TensorShape { name: name.to_owned(), expected: expected.to_vec(), got });
        }
        self.used.insert(name.to_owned());
        Ok(tensor)
    }

    pub(crate) fn matrix(&mut self, name: &str, n_rows: usize, n_cols: usize) -> Result<Weight, LlmError> {
        let gguf = self.gguf;
        let tensor = self.tensor(name, &[n_cols as u64, n_rows as u64])?.clone();
        let weight_type = weight_type_of(&tensor)?;
        WeightMatrix::new(weight_type, n_rows, n_cols, gguf.tensor_bytes(&tensor))
            .map_err(|source| LlmError::TensorBytes { name: name.to_owned(), source })?;
        let start = self.n_bytes.next_multiple_of(ALIGNMENT);
        let n_bytes = PackedMatrix::bytes_of(weight_type, n_rows, n_cols).expect("the matrix has whole blocks");
        self.n_bytes = start.checked_add(n_bytes).ok_or(LlmError::WeightsMemory { bytes: u64::MAX })?;
        Ok(Weight { tensor, weight_type, n_rows, n_cols, packed: start..self.n_bytes })
    }

    pub(crate) fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LlmError> {
        let tensor = self.tensor(name, &[len as u64])?.clone();
        tensor_to_f32(self.gguf, &tensor)
    }

    /// Old files carry rope's inverse frequencies per layer, which are computed here; anything else unused is a model
    /// that differs from this architecture.
    pub(crate) fn refuse_unused(&self) -> Result<(), LlmError> {
        let unused =
            |t: &&TensorInfo| !self.used.contains(t.name.as_str()) && !t.name.ends_with(".attn_rot_embd.weight");
        match self.gguf.tensors().iter().find(unused) {
            Some(tensor) => Err(LlmError::TensorUnexpected { name: tensor.name.to_string() }),
            None => Ok(()),
        }
    }
}
