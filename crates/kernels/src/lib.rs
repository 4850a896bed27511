//! SIMD compute over slices: block formats, quantisation, matrix products, norms, rope, softmax, attention.
//!
//! One trait, [`Kernels`], and one zero-sized type per instruction set. A value of a set proves that the CPU has it;
//! [`detect`] picks the best, `by_name` forces one. `generic` is written plainly and is the oracle for the others.
//!
//! No threads, no I/O, no allocation in hot calls: callers split rows, kernels compute a slice.

mod activations;
mod format;
mod kv;
mod panel;
mod set;

pub use activations::{ActivationFormat, Activations};
pub use format::{ShapeError, WeightMatrix, WeightType};
pub use kv::KvView;
pub use panel::PanelMut;
pub use set::Kernels;
