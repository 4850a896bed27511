//! The set for AArch64 with Advanced SIMD and its dot product instructions: 128 bits.

#![expect(unsafe_code, reason = "calls to functions with target features, which the value of the set proves")]

mod attend;
mod dot;
mod float;
mod memory;
mod quantize;
mod unpack;

use crate::{Activations, Kernels, KvView, PanelMut, WeightMatrix, check};
use half::f16;
use std::arch::is_aarch64_feature_detected;

/// The set. Only [`Neon::detect`] makes one, so that having it proves that the CPU has Advanced SIMD and dot products.
#[derive(Debug)]
pub(crate) struct Neon {
    _proof: (),
}

impl Neon {
    /// The set, if this CPU has it.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: Neon = Neon { _proof: () };
        let present = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod");
        present.then_some(&SET as &dyn Kernels)
    }
}

impl Kernels for Neon {
    fn name(&self) -> &'static str {
        "aarch64-neon-dotprod"
    }

    fn quantize_q8_32(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
        check::quantize(x, q, d, sum, (32, 32));
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { float::quantize_q8_32(x, q, d, sum) }
    }

    fn quantize_q8_256(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
        check::quantize(x, q, d, sum, (256, 16));
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { float::quantize_q8_256(x, q, d, sum) }
    }

    fn matmul(&self, w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
        check::matmul(w, x, y);
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { dot::matmul(w, x, y) }
    }

    fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        check::rms_norm(x, weight, out);
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { float::rms_norm(x, weight, eps, out) }
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        check::same_len(x, y);
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { float::add(x, y) }
    }

    fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        check::same_len(gate, up);
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { float::silu_mul(gate, up) }
    }

    fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
        check::rope(x, head_dim, cos, sin);
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { float::rope(x, head_dim, cos, sin) }
    }

    fn store_f16(&self, x: &[f32], out: &mut [f16]) {
        check::same_len(x, out);
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { float::store_f16(x, out) }
    }

    fn softmax(&self, x: &mut [f32]) {
        // SAFETY: `self` proves Advanced SIMD and dot products.
        unsafe { float::softmax(x) }
    }

    fn attend(&self, q: &[f32], kv: &KvView<'_>, n_positions: usize, scale: f32, scores: &mut [f32], out: &mut [f32]) {
        check::attend(q, kv, n_positions, scores, out);
        for (q, out) in q.chunks_exact(kv.head_dim).zip(out.chunks_exact_mut(kv.head_dim)) {
            // SAFETY: `self` proves Advanced SIMD and dot products.
            unsafe { attend::head(q, kv, scale, &mut scores[..n_positions], out) }
        }
    }
}
