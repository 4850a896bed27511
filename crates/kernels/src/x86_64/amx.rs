//! AVX-512 with AMX tiles of int8.
//!
//! Everything is the AVX-512 set's but products of quantised weights with many rows of activations, which go through
//! tiles. **It was never measured**: where it was written there was no CPU with tiles. So it is not what `detect()`
//! chooses, and it proves itself before it exists: the CPU and the system must name tiles, the system must let this
//! process use them, and the products of every quantised format must come out as the AVX-512 set's, bit for bit.
//!
//! Tiles are a thread's state. They are configured at the start of a product and released at its end, also when it
//! panics, so that switching threads saves no tiles elsewhere. Linux gives a thread room for its tiles, 8 KiB, when it
//! first uses them; from then on the thread's signal frames are larger by that, also on an alternate signal stack. It
//! refuses permission while a thread of the process has such a stack that is too small, and refuses such stacks later;
//! those that Rust sets up are large enough. (Linux, Documentation/arch/x86/xstate.rst)

#![expect(unsafe_code, reason = "the promise that a thread's tiles have one configuration at a time")]

mod instructions;
#[cfg(test)]
mod machine;
mod permission;
#[cfg(test)]
mod tests;
mod trial;

use super::avx512::Avx512;
use crate::product::tiles;
use crate::{
    Activations, Block, Columns, Kernels, KvView, PackedMatrix, PanelMut, Partial, Pointwise, Queries, RowTiles, check,
};
use permission::Permission;
use std::sync::OnceLock;

/// The set. Only [`Amx::detect`] makes one, so that having it proves what [`Avx512`] and [`Permission`] do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx {
    vectors: Avx512,
    permission: Permission,
}

impl Amx {
    /// The set, if this CPU has it, the system lets it be used and its products are right. Found out once.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: OnceLock<Option<Amx>> = OnceLock::new();
        let prove = || {
            let set = Amx { vectors: Avx512::proof()?, permission: Permission::ask()? };
            trial::agrees(&|w, x, y| set.matmul(w, x, y), &set.vectors).then_some(set)
        };
        SET.get_or_init(prove).as_ref().map(|set| set as &dyn Kernels)
    }
}

impl Kernels for Amx {
    fn name(&self) -> &'static str {
        "x86_64-amx-int8"
    }

    fn quantize(&self, x: &[f32], n_rows: usize, out: &mut [Block]) {
        self.vectors.quantize(x, n_rows, out);
    }

    fn matmul(&self, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
        if !tiles::has(w, x) {
            return self.vectors.matmul(w, x, y);
        }
        check::matmul(w, x, y);
        // SAFETY: this is the one place that configures tiles; a product does so once, and comes to its end, where they
        // are released, without beginning another.
        self.vectors.matmul_by_tiles(|shape| unsafe { self.permission.configure(shape) }, w, x, y);
    }

    fn gemm(&self, rows: &RowTiles<'_>, x: &Columns<'_>, out: &mut PanelMut<'_>) {
        self.vectors.gemm(rows, x, out);
    }

    fn pointwise(&self, f: Pointwise, x: &mut [f32]) {
        self.vectors.pointwise(f, x);
    }

    fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        self.vectors.layer_norm(x, weight, bias, eps, out);
    }

    fn gelu(&self, x: &mut [f32]) {
        self.vectors.gelu(x);
    }

    fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        self.vectors.rms_norm(x, weight, eps, out);
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        self.vectors.add(x, y);
    }

    fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        self.vectors.silu_mul(gate, up);
    }

    fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
        self.vectors.rope(x, head_dim, cos, sin);
    }

    fn attend(&self, queries: &Queries<'_>, kv: &KvView<'_>, span: usize, scores: &mut [f32], out: &mut Partial<'_>) {
        self.vectors.attend(queries, kv, span, scores, out);
    }

    fn join(&self, whole: &mut Partial<'_>, span: &Partial<'_>) {
        self.vectors.join(whole, span);
    }
}
