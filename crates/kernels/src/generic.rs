//! Plain scalar code: runs everywhere and is what the other sets are tested against. It never gets clever.
//!
//! It does what `Kernels` says, operation by operation in the same order and with fused multiply-add, so the others are
//! held to its very bits.

mod attend;
mod gemm;
mod matmul;

use crate::{
    Activations, Block, Columns, Kernels, KvView, PackedMatrix, PanelMut, Partial, Pointwise, Queries, RowTiles, check,
    lanes, pointwise,
};

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

    fn quantize(&self, x: &[f32], n_rows: usize, out: &mut [Block]) {
        check::quantize(x, n_rows, out);
        lanes::quantize(x, n_rows, out);
    }

    fn matmul(&self, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
        check::matmul(w, x, y);
        matmul::matmul(w, x, y);
    }

    fn gemm(&self, rows: &RowTiles<'_>, x: &Columns<'_>, out: &mut PanelMut<'_>) {
        check::gemm(rows, x, out);
        gemm::gemm(rows, x, out);
    }

    fn pointwise(&self, f: Pointwise, x: &mut [f32]) {
        pointwise::apply(f, x);
    }

    fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        check::rms_norm(x, weight, out);
        lanes::rms_norm(x, weight, eps, out);
    }

    fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        check::layer_norm(x, weight, bias, out);
        lanes::layer_norm(x, weight, bias, eps, out);
    }

    fn gelu(&self, x: &mut [f32]) {
        lanes::gelu(x);
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        check::same_len(x, y);
        lanes::add(x, y);
    }

    fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        check::same_len(gate, up);
        lanes::silu_mul(gate, up);
    }

    fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
        check::rope(x, head_dim, cos, sin);
        lanes::rope(x, head_dim, cos, sin);
    }

    fn attend(&self, queries: &Queries<'_>, kv: &KvView<'_>, span: usize, scores: &mut [f32], out: &mut Partial<'_>) {
        check::attend(queries, kv, span, scores, out);
        attend::attend(queries, kv, span, scores, out);
    }

    fn join(&self, whole: &mut Partial<'_>, span: &Partial<'_>) {
        check::join(whole, span);
        lanes::join(whole, span);
    }
}
