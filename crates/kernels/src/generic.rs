//! Plain scalar code: runs everywhere and is what the other sets are tested against. It never gets clever.

mod dot;
mod float;
mod quantize;

use crate::{Activations, Kernels, KvView, PanelMut, WeightMatrix, check};
use half::f16;

/// The scalar set.
#[derive(Debug)]
pub(crate) struct Generic;

impl Generic {
    /// The set; every CPU has it.
    pub(crate) fn set() -> &'static dyn Kernels {
        &Self
    }
}

impl Kernels for Generic {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn quantize_q8_32(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
        check::quantize(x, q, d, sum, (32, 32));
        quantize::q8_32(x, q, d, sum);
    }

    fn quantize_q8_256(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
        check::quantize(x, q, d, sum, (256, 16));
        quantize::q8_256(x, q, d, sum);
    }

    fn matmul(&self, w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
        check::matmul(w, x, y);
        for i in 0..x.n_rows() {
            for (j, y) in y.row_mut(i).iter_mut().enumerate() {
                *y = dot::dot(w, j, x, i);
            }
        }
    }

    fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        check::rms_norm(x, weight, out);
        float::rms_norm(x, weight, eps, out);
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        check::same_len(x, y);
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }

    fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        check::same_len(gate, up);
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + (-*gate).exp()) * up;
        }
    }

    fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
        check::rope(x, head_dim, cos, sin);
        float::rope(x, head_dim, cos, sin);
    }

    fn store_f16(&self, x: &[f32], out: &mut [f16]) {
        check::same_len(x, out);
        for (out, x) in out.iter_mut().zip(x) {
            *out = f16::from_f32(*x);
        }
    }

    fn softmax(&self, x: &mut [f32]) {
        float::softmax(x);
    }

    fn attend(&self, q: &[f32], kv: &KvView<'_>, n_positions: usize, scale: f32, scores: &mut [f32], out: &mut [f32]) {
        check::attend(q, kv, n_positions, scores, out);
        let heads = q.chunks_exact(kv.head_dim).zip(out.chunks_exact_mut(kv.head_dim));
        for (q, out) in heads {
            float::attend_head(q, kv, scale, &mut scores[..n_positions], out);
        }
    }
}
