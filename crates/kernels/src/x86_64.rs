//! The sets of x86-64.

pub(crate) mod amx;
pub(crate) mod avx512;
pub(crate) mod ymm;
