//! SIMD compute over slices: block formats, quantisation, matrix products, norms, rope, softmax, attention.
//!
//! One trait, [`Kernels`], and one zero-sized type per instruction set. A value of a set proves that the CPU has it;
//! [`detect()`] picks the best, [`by_name`] forces one. `generic` is written plainly and is the oracle for the others.
//!
//! No threads, no I/O, no allocation in hot calls: callers split rows, kernels compute a slice.
//!
//! ```
//! use ballast_kernels::{Activations, PackedMatrix, PanelMut, WeightMatrix, WeightType, detect, pack};
//!
//! let kernels = detect();
//! let weights: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
//! let mut bytes = vec![0; PackedMatrix::bytes_of(WeightType::F32, 2, 2).expect("whole blocks")];
//! pack(&WeightMatrix::new(WeightType::F32, 2, 2, &weights)?, &mut bytes);
//! let matrix = PackedMatrix::new(WeightType::F32, 2, 2, &bytes)?;
//! let mut x = Activations::default();
//! x.fill(kernels, matrix.weight_type().activation_format(), &[10.0, 1.0], 2);
//! let mut y = [0.0; 2];
//! kernels.matmul(&matrix, &x, &mut PanelMut::new(&mut y, 2));
//! assert_eq!(y, [12.0, 34.0]);
//! # Ok::<(), ballast_kernels::ShapeError>(())
//! ```

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod activations;
mod attend;
mod blocks;
mod check;
mod detect;
mod entry;
mod format;
mod gemm;
mod generic;
mod isa;
mod kv;
mod lanes;
pub mod limits;
mod packed;
mod panel;
mod pointwise;
mod product;
mod quantize;
mod set;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activations::{ActivationFormat, Activations, Block, TILE_ROWS, TilesMut};
pub use blocks::dequantize;
pub use detect::{available, by_name, detect};
pub use format::{ShapeError, WeightMatrix, WeightType};
pub use gemm::{Columns, GEMM_TILE_ROWS, RowTiles};
pub use kv::{CacheType, KvBlockMut, KvView, Partial, QUERIES_MAX, Queries, SPAN, value_len};
pub use packed::{PackedMatrix, STRIP_ROWS, pack};
pub use panel::PanelMut;
pub use pointwise::Pointwise;
pub use set::Kernels;
