//! Token vectors to what a call gives: one vector for each text, or scores of the classifier.

use super::EncoderConfig;
use super::batch::Batch;
use super::weights::{Affine, Classifier};
use crate::compute::Compute;
use crate::inputs::{Formats, Inputs};
use ballast_backend::Pooling;
use ballast_kernels::TILE_ROWS;

/// The vectors of a batch's texts over the token vectors `h`, `[n_rows, embed_dim]`: rows of `out`.
pub(super) fn pool(config: &EncoderConfig, batch: &Batch, pooling: Pooling, h: &[f32], out: &mut [f32]) {
    let dim = config.embed_dim;
    let row = |row: usize| &h[row * dim..][..dim];
    if pooling == Pooling::None {
        return out.copy_from_slice(&h[..batch.tokens.len() * dim]);
    }
    for (rows, out) in batch.texts.iter().zip(out.chunks_exact_mut(dim)) {
        match pooling {
            Pooling::Mean => mean(&h[rows.start * dim..rows.end * dim], out),
            Pooling::Last => out.copy_from_slice(row(rows.end - 1)),
            Pooling::Cls | Pooling::Rank | Pooling::None => out.copy_from_slice(row(rows.start)),
        }
    }
}

fn mean(rows: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for row in rows.chunks_exact(out.len()) {
        out.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let inverse = out.len() as f32 / rows.len() as f32;
    out.iter_mut().for_each(|sum| *sum *= inverse);
}

/// The classifier's scores, `[n_texts, n_labels]`, of the first tokens' vectors `x`, `[n_texts, embed_dim]`.
pub(super) fn classify(
    compute: &mut Compute,
    (classifier, packed): (&Classifier, &[u8]),
    inputs: &mut Inputs,
    mut x: Vec<f32>,
    out: &mut [f32],
) {
    if let Some(dense) = &classifier.dense {
        let mut hidden = vec![0.0; x.len()];
        affine(compute, (dense, packed), inputs, &x, &mut hidden);
        hidden.iter_mut().for_each(|x| *x = x.tanh());
        x = hidden;
    }
    affine(compute, (&classifier.output, packed), inputs, &x, out);
}

/// `out = x w^T + bias`, row by row.
fn affine(compute: &mut Compute, (affine, packed): (&Affine, &[u8]), inputs: &mut Inputs, x: &[f32], out: &mut [f32]) {
    let (n_rows, width) = affine.weight.shape();
    let formats = Formats::of(&[&affine.weight]);
    let mut tiles = inputs.reset(formats, x.len() / width, width);
    for (idx, tile) in x.chunks(TILE_ROWS * width).enumerate() {
        tiles.fill_tile(compute.kernels, idx, tile);
    }
    compute.products(inputs, [(affine.weight.matrix(packed), &mut *out)]);
    for out in out.chunks_exact_mut(n_rows) {
        compute.kernels.add(out, &affine.bias);
    }
}
