//! An encoder's weights: found by name, checked against the configuration, and given places to be packed to.

use super::EncoderConfig;
use crate::LlmError;
use crate::weights::{Finder, Weight};
use ballast_gguf::Gguf;

/// A matrix and what is added to each of its results.
#[derive(Debug)]
pub(super) struct Affine {
    pub(super) weight: Weight,
    /// Zeros where the file has none.
    pub(super) bias: Vec<f32>,
}

/// A layer norm's scale and shift.
#[derive(Debug)]
pub(super) struct LayerNorm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// One transformer layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) q: Affine,
    pub(super) k: Affine,
    pub(super) v: Affine,
    pub(super) o: Affine,
    pub(super) attn_norm: LayerNorm,
    pub(super) up: Affine,
    pub(super) down: Affine,
    pub(super) out_norm: LayerNorm,
}

/// What turns the first token's vector into scores.
#[derive(Debug)]
pub(super) struct Classifier {
    /// Before the tangent; models without it go straight to the labels.
    pub(super) dense: Option<Affine>,
    pub(super) output: Affine,
}

/// All weights of an encoder.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) token_embd: Weight,
    /// `[context_len, embed_dim]`
    pub(super) position_embd: Vec<f32>,
    /// `[n_token_types, embed_dim]`
    pub(super) token_types: Vec<f32>,
    pub(super) embd_norm: LayerNorm,
    pub(super) layers: Vec<Layer>,
    pub(super) classifier: Option<Classifier>,
    /// Bytes of all matrices, packed.
    pub(super) n_bytes: usize,
}

impl Weights {
    /// Finds every tensor that `config` asks for.
    ///
    /// # Errors
    /// If one is missing, has another shape or a type without kernels, or the file has one that nothing would use.
    pub(super) fn find(gguf: &Gguf, config: &EncoderConfig) -> Result<Self, LlmError> {
        let c = config;
        let mut finder = Finder::new(gguf);
        let mut weights = Self {
            n_bytes: 0,
            token_embd: finder.matrix("token_embd.weight", c.vocab_size, c.embed_dim)?,
            position_embd: finder.table("position_embd.weight", c.context_len, c.embed_dim)?,
            token_types: match c.n_token_types {
                0 => Vec::new(),
                n => finder.table("token_types.weight", n, c.embed_dim)?,
            },
            embd_norm: norm(&mut finder, "token_embd_norm", c)?,
            layers: (0..c.n_layers).map(|idx| layer(&mut finder, idx, c)).collect::<Result<_, _>>()?,
            classifier: match c.n_labels {
                0 => None,
                n => Some(classifier(&mut finder, n, c)?),
            },
        };
        finder.refuse_unused()?;
        weights.n_bytes = finder.n_bytes();
        Ok(weights)
    }

    /// Every matrix, in the order of their places.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Weight> {
        let of_layers = self.layers.iter().flat_map(|l| [&l.q, &l.k, &l.v, &l.o, &l.up, &l.down]);
        let of_classifier = self.classifier.iter().flat_map(|c| c.dense.iter().chain([&c.output]));
        std::iter::once(&self.token_embd).chain(of_layers.chain(of_classifier).map(|affine| &affine.weight))
    }
}

fn layer(finder: &mut Finder<'_>, idx: usize, c: &EncoderConfig) -> Result<Layer, LlmError> {
    let mut of_layer = |name: &str, n_rows, n_cols| affine(finder, &format!("blk.{idx}.{name}"), n_rows, n_cols);
    let [q, k, v, o] =
        ["attn_q", "attn_k", "attn_v", "attn_output"].map(|name| of_layer(name, c.embed_dim, c.embed_dim));
    let (q, k, v, o) = (q?, k?, v?, o?);
    let up = of_layer("ffn_up", c.ffn_dim, c.embed_dim)?;
    let down = of_layer("ffn_down", c.embed_dim, c.ffn_dim)?;
    let attn_norm = norm(finder, &format!("blk.{idx}.attn_output_norm"), c)?;
    let out_norm = norm(finder, &format!("blk.{idx}.layer_output_norm"), c)?;
    Ok(Layer { q, k, v, o, attn_norm, up, down, out_norm })
}

fn classifier(finder: &mut Finder<'_>, n_labels: usize, c: &EncoderConfig) -> Result<Classifier, LlmError> {
    let dense = match finder.has("cls.weight") {
        true => Some(affine(finder, "cls", c.embed_dim, c.embed_dim)?),
        false => None,
    };
    Ok(Classifier { dense, output: affine(finder, "cls.output", n_labels, c.embed_dim)? })
}

fn affine(finder: &mut Finder<'_>, name: &str, n_rows: usize, n_cols: usize) -> Result<Affine, LlmError> {
    let weight = finder.matrix(&format!("{name}.weight"), n_rows, n_cols)?;
    let bias = format!("{name}.bias");
    let bias = if finder.has(&bias) { finder.vector(&bias, n_rows)? } else { vec![0.0; n_rows] };
    Ok(Affine { weight, bias })
}

fn norm(finder: &mut Finder<'_>, name: &str, c: &EncoderConfig) -> Result<LayerNorm, LlmError> {
    let weight = finder.vector(&format!("{name}.weight"), c.embed_dim)?;
    let bias = finder.vector(&format!("{name}.bias"), c.embed_dim)?;
    Ok(LayerNorm { weight, bias })
}
