//! The sets of AArch64.

mod dot;
pub(crate) mod neon;
