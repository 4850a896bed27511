//! SIMD compute over slices: block formats, quantisation, matrix products, norms, rope, softmax, attention.
//!
//! One trait, [`Kernels`], and one zero-sized type per instruction set. A value of a set proves that the CPU has it;
//! [`detect()`] picks the best, [`by_name`] forces one. `generic` is written plainly and is the oracle for the others.
//!
//! No threads, no I/O, no allocation in hot calls: callers split rows, kernels compute a slice.
//!
//! ```
//! use ballast_kernels::{Activations, PanelMut, WeightMatrix, WeightType, detect};
//!
//! let kernels = detect();
//! let weights: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
//! let matrix = WeightMatrix::new(WeightType::F32, 2, 2, &weights)?;
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
mod blocks;
mod check;
mod detect;
mod format;
mod generic;
mod kv;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod lanes;
pub mod limits;
mod panel;
mod set;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activations::{ActivationFormat, Activations};
pub use blocks::dequantize;
pub use detect::{available, by_name, detect};
pub use format::{ShapeError, WeightMatrix, WeightType};
pub use kv::KvView;
pub use panel::PanelMut;
pub use set::Kernels;
