//! The sets for x86-64, and what they share: loads and stores over arrays, and block formats unpacked to 256 bits.

pub(crate) mod avx2;
pub(crate) mod avx512;
mod memory;
mod quantize;
mod unpack;
