//! The encoder's forward pass: tokens in, a vector for each token out. (BERT, arXiv:1810.04805)

use super::EncoderConfig;
use super::attention::Attention;
use super::batch::Batch;
use super::weights::{Affine, LayerNorm, Weights};
use crate::compute::Compute;
use crate::inputs::{Formats, Inputs};
use ballast_backend::{Interrupted, Pulse};

/// Everything about a model that a call only reads.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) config: EncoderConfig,
    pub(super) weights: Weights,
}

/// The buffers of a call, kept between calls.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Every token's vector, `[n_tokens, embed_dim]`, and so are the next five.
    pub(super) h: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    out: Vec<f32>,
    /// The feed-forward hidden layer, `[n_tokens, ffn_dim]`.
    ffn: Vec<f32>,
    pub(super) inputs: Inputs,
    attention: Attention,
}

impl Scratch {
    fn resize(&mut self, config: &EncoderConfig, n_tokens: usize) {
        let Self { h, q, k, v, attended, out, .. } = self;
        for buffer in [h, q, k, v, attended, out] {
            buffer.resize(n_tokens * config.embed_dim, 0.0);
        }
        self.ffn.resize(n_tokens * config.ffn_dim, 0.0);
    }

    /// Bytes of all buffers for so many tokens in so many texts.
    pub(super) fn bytes(config: &EncoderConfig, (n_tokens, n_texts): (usize, usize), n_threads: usize) -> u64 {
        let widest = config.ffn_dim.max(config.embed_dim) as u64;
        let rows = (6 * config.embed_dim + config.ffn_dim) as u64 * 4;
        // Activations in both forms; a block of 32 takes 52 bytes.
        let per_token = rows + widest * 4 + widest * 52 / 32;
        n_tokens as u64 * per_token + Attention::bytes(config, n_tokens, n_texts, n_threads)
    }
}

/// Runs the texts of `batch` and leaves every token's vector in `scratch.h`. Beats `pulse` once a layer.
///
/// # Errors
/// If the watcher asked for the end.
pub(super) fn forward(
    model: &Model,
    packed: &[u8],
    (compute, scratch): (&mut Compute, &mut Scratch),
    batch: &Batch,
    pulse: &Pulse,
) -> Result<(), Interrupted> {
    let Model { config, weights } = model;
    scratch.resize(config, batch.tokens.len());
    let Scratch { h, q, k, v, attended, out, ffn, inputs, attention } = scratch;
    attention.set(config, batch, compute.pool.n_threads());
    let matrix = |affine: &Affine| affine.weight.matrix(packed);
    let rows = Rows { config };

    rows.embed(compute, (weights, packed), batch, (out, h));
    for layer in &weights.layers {
        pulse.beat()?;
        let formats = Formats::of(&[&layer.q.weight, &layer.k.weight, &layer.v.weight]);
        rows.inputs(compute, h, (inputs, formats));
        let qkv = [(matrix(&layer.q), &mut q[..]), (matrix(&layer.k), &mut k[..]), (matrix(&layer.v), &mut v[..])];
        compute.products(inputs, qkv);
        rows.add_biases(compute, [(q, &layer.q.bias), (k, &layer.k.bias), (v, &layer.v.bias)]);
        attention.write(compute, config, k, v);
        attention.attend(compute, config, q, attended);
        rows.inputs(compute, attended, (inputs, Formats::of(&[&layer.o.weight])));
        compute.products(inputs, [(matrix(&layer.o), &mut out[..])]);
        rows.add_and_norm(compute, (out, &layer.o.bias), &layer.attn_norm, h);

        rows.inputs(compute, h, (inputs, Formats::of(&[&layer.up.weight])));
        compute.products(inputs, [(matrix(&layer.up), &mut ffn[..])]);
        rows.gelu(compute, (ffn, &layer.up.bias), (inputs, Formats::of(&[&layer.down.weight])));
        compute.products(inputs, [(matrix(&layer.down), &mut out[..])]);
        rows.add_and_norm(compute, (out, &layer.down.bias), &layer.out_norm, h);
    }
    pulse.beat()
}

/// The operations between products, row by row.
struct Rows<'a> {
    config: &'a EncoderConfig,
}

impl Rows<'_> {
    /// `h = norm(token + position + type)`; `sum` is scratch.
    fn embed(
        &self,
        compute: &mut Compute,
        (weights, packed): (&Weights, &[u8]),
        batch: &Batch,
        (sum, h): (&mut [f32], &mut [f32]),
    ) {
        let (kernels, dim, eps) = (compute.kernels, self.config.embed_dim, self.config.layer_norm_eps);
        let embedding = weights.token_embd.matrix(packed);
        let norm = &weights.embd_norm;
        compute.row_wise([(sum, dim), (h, dim)], None, |part| {
            let [sum, h] = &mut part.data;
            for (row, (sum, h)) in part.rows.clone().zip(sum.chunks_exact_mut(dim).zip(h.chunks_exact_mut(dim))) {
                embedding.dequantize_row(batch.tokens[row] as usize, sum);
                kernels.add(sum, &weights.position_embd[batch.positions[row] * dim..][..dim]);
                if self.config.n_token_types > 0 {
                    kernels.add(sum, &weights.token_types[batch.types[row] * dim..][..dim]);
                }
                kernels.layer_norm(sum, &norm.weight, &norm.bias, eps, h);
            }
        });
    }

    /// Makes inputs of rows of `embed_dim`.
    fn inputs(&self, compute: &mut Compute, x: &mut [f32], inputs: (&mut Inputs, Formats)) {
        let (kernels, width) = (compute.kernels, self.config.embed_dim);
        let inputs = inputs.0.reset(inputs.1, x.len() / width, width);
        compute.row_wise([(x, width)], Some(inputs), |part| {
            let [x] = &mut part.data;
            for (idx, tile) in part.inputs.tiles().enumerate() {
                part.inputs.fill_tile(kernels, idx, &x[tile.start * width..tile.end * width]);
            }
        });
    }

    fn add_biases(&self, compute: &mut Compute, rows: [(&mut Vec<f32>, &Vec<f32>); 3]) {
        let (kernels, width) = (compute.kernels, self.config.embed_dim);
        let biases = rows.each_ref().map(|(_, bias)| *bias);
        compute.row_wise(rows.map(|(rows, _)| (&mut rows[..], width)), None, |part| {
            for (rows, bias) in part.data.iter_mut().zip(biases) {
                rows.chunks_exact_mut(width).for_each(|row| kernels.add(row, bias));
            }
        });
    }

    /// `h = norm(x + bias + h)`.
    fn add_and_norm(&self, compute: &mut Compute, (x, bias): (&mut [f32], &[f32]), norm: &LayerNorm, h: &mut [f32]) {
        let (kernels, dim, eps) = (compute.kernels, self.config.embed_dim, self.config.layer_norm_eps);
        compute.row_wise([(x, dim), (h, dim)], None, |part| {
            let [x, h] = &mut part.data;
            for (x, h) in x.chunks_exact_mut(dim).zip(h.chunks_exact_mut(dim)) {
                kernels.add(x, bias);
                kernels.add(x, h);
                kernels.layer_norm(x, &norm.weight, &norm.bias, eps, h);
            }
        });
    }

    /// `x = gelu(x + bias)`, rows of `ffn_dim`, and makes inputs of that.
    fn gelu(&self, compute: &mut Compute, (x, bias): (&mut [f32], &[f32]), inputs: (&mut Inputs, Formats)) {
        let (kernels, width) = (compute.kernels, self.config.ffn_dim);
        let inputs = inputs.0.reset(inputs.1, x.len() / width, width);
        compute.row_wise([(x, width)], Some(inputs), |part| {
            let [x] = &mut part.data;
            for (idx, tile) in part.inputs.tiles().enumerate() {
                let own = &mut x[tile.start * width..tile.end * width];
                own.chunks_exact_mut(width).for_each(|row| kernels.add(row, bias));
                kernels.gelu(own);
                part.inputs.fill_tile(kernels, idx, own);
            }
        });
    }
}
