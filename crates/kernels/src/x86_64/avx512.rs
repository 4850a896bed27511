//! AVX-512 F, BW, VL and VNNI: 512 bits.

#![expect(unsafe_code, reason = "calls to functions with target features, which the value of the set proves")]

mod attend;
mod dot;
mod float;
mod row;
mod strip;

use crate::{Activations, Kernels, KvView, PanelMut, WeightMatrix, check};
use half::f16;

/// The set. Only [`Avx512::detect`] makes one, so that having it proves that the CPU has AVX-512 F, BW, VL
/// and VNNI, with what they imply.
#[derive(Debug)]
pub(crate) struct Avx512 {
    _proof: (),
}

impl Avx512 {
    /// The set, if this CPU has it.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: Avx512 = Avx512 { _proof: () };
        let foundation = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let present = foundation && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni");
        // What avx512f implies for the compiler.
        let implied = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        (present && implied && is_x86_feature_detected!("f16c")).then_some(&SET as &dyn Kernels)
    }
}

impl Kernels for Avx512 {
    fn name(&self) -> &'static str {
        "x86_64-avx512-vnni"
    }

    fn quantize_q8_32(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
        check::quantize(x, q, d, sum, (32, 32));
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { float::quantize_q8_32(x, q, d, sum) }
    }

    fn quantize_q8_256(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
        check::quantize(x, q, d, sum, (256, 16));
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { float::quantize_q8_256(x, q, d, sum) }
    }

    fn matmul(&self, w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
        check::matmul(w, x, y);
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { dot::matmul(w, x, y) }
    }

    fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        check::rms_norm(x, weight, out);
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { float::rms_norm(x, weight, eps, out) }
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        check::same_len(x, y);
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { float::add(x, y) }
    }

    fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        check::same_len(gate, up);
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { float::silu_mul(gate, up) }
    }

    fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
        check::rope(x, head_dim, cos, sin);
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { float::rope(x, head_dim, cos, sin) }
    }

    fn store_f16(&self, x: &[f32], out: &mut [f16]) {
        check::same_len(x, out);
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { float::store_f16(x, out) }
    }

    fn softmax(&self, x: &mut [f32]) {
        // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
        unsafe { float::softmax(x) }
    }

    fn attend(&self, q: &[f32], kv: &KvView<'_>, n_positions: usize, scale: f32, scores: &mut [f32], out: &mut [f32]) {
        check::attend(q, kv, n_positions, scores, out);
        for (q, out) in q.chunks_exact(kv.head_dim).zip(out.chunks_exact_mut(kv.head_dim)) {
            // SAFETY: `self` proves AVX-512 F, BW, VL and VNNI.
            unsafe { attend::head(q, kv, scale, &mut scores[..n_positions], out) }
        }
    }
}
