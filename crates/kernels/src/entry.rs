//! How a set's methods reach code that is compiled for the set: each goes through a function with the set's target
//! features, into which the algorithms are inlined.

/// Implements [`crate::Kernels`] for a set that is an [`crate::isa::Isa`]. Features are those that having the set
/// proves; sets differ in these two words.
macro_rules! kernel_set {
    ($set:ty, $name:literal, $features:literal) => {
        impl $crate::Kernels for $set {
            fn name(&self) -> &'static str {
                $name
            }

            fn quantize(&self, x: &[f32], n_rows: usize, out: &mut [$crate::Block]) {
                #[target_feature(enable = $features)]
                fn run(set: $set, x: &[f32], n_rows: usize, out: &mut [$crate::Block]) {
                    $crate::quantize::quantize(set, x, n_rows, out);
                }
                $crate::check::quantize(x, n_rows, out);
                // SAFETY: `self` proves the features.
                unsafe { run(*self, x, n_rows, out) }
            }

            fn matmul(&self, w: &$crate::PackedMatrix<'_>, x: &$crate::Activations, y: &mut $crate::PanelMut<'_>) {
                #[target_feature(enable = $features)]
                fn run(set: $set, w: &$crate::PackedMatrix<'_>, x: &$crate::Activations, y: &mut $crate::PanelMut<'_>) {
                    $crate::product::matmul(set, w, x, y);
                }
                $crate::check::matmul(w, x, y);
                // SAFETY: `self` proves the features.
                unsafe { run(*self, w, x, y) }
            }

            fn gemm(&self, rows: &$crate::RowTiles<'_>, x: &$crate::Columns<'_>, out: &mut $crate::PanelMut<'_>) {
                #[target_feature(enable = $features)]
                fn run(
                    set: $set,
                    rows: &$crate::RowTiles<'_>,
                    x: &$crate::Columns<'_>,
                    out: &mut $crate::PanelMut<'_>,
                ) {
                    $crate::gemm::gemm(set, rows, x, out);
                }
                $crate::check::gemm(rows, x, out);
                // SAFETY: `self` proves the features.
                unsafe { run(*self, rows, x, out) }
            }

            fn pointwise(&self, f: $crate::Pointwise, x: &mut [f32]) {
                #[target_feature(enable = $features)]
                fn run(f: $crate::Pointwise, x: &mut [f32]) {
                    $crate::pointwise::apply(f, x);
                }
                // SAFETY: `self` proves the features.
                unsafe { run(f, x) }
            }

            fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
                #[target_feature(enable = $features)]
                fn run(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
                    $crate::lanes::rms_norm(x, weight, eps, out);
                }
                $crate::check::rms_norm(x, weight, out);
                // SAFETY: `self` proves the features.
                unsafe { run(x, weight, eps, out) }
            }

            fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
                #[target_feature(enable = $features)]
                fn run(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
                    $crate::lanes::layer_norm(x, weight, bias, eps, out);
                }
                $crate::check::layer_norm(x, weight, bias, out);
                // SAFETY: `self` proves the features.
                unsafe { run(x, weight, bias, eps, out) }
            }

            fn gelu(&self, x: &mut [f32]) {
                #[target_feature(enable = $features)]
                fn run(x: &mut [f32]) {
                    $crate::lanes::gelu(x);
                }
                // SAFETY: `self` proves the features.
                unsafe { run(x) }
            }

            fn add(&self, x: &mut [f32], y: &[f32]) {
                #[target_feature(enable = $features)]
                fn run(x: &mut [f32], y: &[f32]) {
                    $crate::lanes::add(x, y);
                }
                $crate::check::same_len(x, y);
                // SAFETY: `self` proves the features.
                unsafe { run(x, y) }
            }

            fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
                #[target_feature(enable = $features)]
                fn run(gate: &mut [f32], up: &[f32]) {
                    $crate::lanes::silu_mul(gate, up);
                }
                $crate::check::same_len(gate, up);
                // SAFETY: `self` proves the features.
                unsafe { run(gate, up) }
            }

            fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
                #[target_feature(enable = $features)]
                fn run(x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
                    $crate::lanes::rope(x, head_dim, cos, sin);
                }
                $crate::check::rope(x, head_dim, cos, sin);
                // SAFETY: `self` proves the features.
                unsafe { run(x, head_dim, cos, sin) }
            }

            fn attend(
                &self,
                queries: &$crate::Queries<'_>,
                kv: &$crate::KvView<'_>,
                span: usize,
                scores: &mut [f32],
                out: &mut $crate::Partial<'_>,
            ) {
                #[target_feature(enable = $features)]
                fn run(
                    set: $set,
                    queries: &$crate::Queries<'_>,
                    kv: &$crate::KvView<'_>,
                    span: usize,
                    scores: &mut [f32],
                    out: &mut $crate::Partial<'_>,
                ) {
                    $crate::attend::attend(set, queries, kv, span, scores, out);
                }
                $crate::check::attend(queries, kv, span, scores, out);
                // SAFETY: `self` proves the features.
                unsafe { run(*self, queries, kv, span, scores, out) }
            }

            fn join(&self, whole: &mut $crate::Partial<'_>, span: &$crate::Partial<'_>) {
                #[target_feature(enable = $features)]
                fn run(whole: &mut $crate::Partial<'_>, span: &$crate::Partial<'_>) {
                    $crate::lanes::join(whole, span);
                }
                $crate::check::join(whole, span);
                // SAFETY: `self` proves the features.
                unsafe { run(whole, span) }
            }
        }
    };
}

pub(crate) use kernel_set;
