//! The vector operations that the kernels are written in. Each instruction set spells out these few; the algorithms
//! over them are written once, so that every set gives the same bits.
//!
//! A vector has sixteen lanes whatever the registers are: one of 512 bits, two of 256, four of 128. An operation is
//! exactly rounded IEEE arithmetic or exact integer arithmetic in each lane by itself.

/// One instruction set. A value of it proves that the CPU has it, so its methods are safe to call; they must be inlined
/// into a function that is compiled for the set.
pub(crate) trait Isa: Copy {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;
    /// Sixteen lanes of four bytes.
    type B: Copy;

    /// Activation rows that share a load of weights in a product.
    const ROWS: usize;

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::F;
    /// Lane `i` from entry `i`.
    fn load(self, values: &[f32; 16]) -> Self::F;
    /// Lanes from 0 on from `low`, lanes from 8 on from `high`.
    fn load_pair(self, low: &[f32; 8], high: &[f32; 8]) -> Self::F;
    /// Sixteen f32, little-endian.
    fn load_f32(self, bytes: &[u8; 64]) -> Self::F;
    /// Lane `i` to entry `i`.
    fn store(self, values: Self::F, out: &mut [f32; 16]);
    /// Sixteen f16, little-endian.
    fn load_f16(self, bytes: &[u8; 32]) -> Self::F;
    /// Sixteen bf16, little-endian.
    fn load_bf16(self, bytes: &[u8; 32]) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;

    /// The greater of `a` and the magnitude of `b`; `a` where `b` is NaN.
    fn max_magnitude(self, a: Self::F, b: Self::F) -> Self::F;
    /// To integers, half away from zero: the greatest f32 below a half is added with the value's sign, and what is
    /// behind the point cut off. NaN is 0; values are below 2^31 in magnitude.
    fn round(self, values: Self::F) -> Self::I;

    /// The low byte of each lane.
    fn store_i8(self, values: Self::I, out: &mut [u8; 16]);
    /// The sum of all lanes, exact.
    fn sum(self, values: Self::I) -> i32;
    /// Sixteen i32, little-endian.
    fn load_i32(self, bytes: &[u8; 64]) -> Self::I;
    /// Sixteen int8, widened.
    fn load_i8(self, bytes: &[u8; 16]) -> Self::I;
    /// Bits `shift..shift + 32` of each lane, zeros from above, and of those only `mask`.
    fn bits(self, values: Self::I, shift: u32, mask: i32) -> Self::I;
    /// `a | b << shift`.
    fn or_shifted(self, a: Self::I, b: Self::I, shift: u32) -> Self::I;
    /// To f32; exact below 2^24.
    fn to_f32(self, values: Self::I) -> Self::F;

    /// Bytes as they are.
    fn load_bytes(self, bytes: &[u8; 64]) -> Self::B;
    /// Each byte shifted right by `shift`, below 8, and of that only `mask`, which has no bit that comes from a
    /// neighbour.
    fn byte_bits(self, values: Self::B, shift: u32, mask: u8) -> Self::B;
    /// Each byte shifted left by `shift`, below 8, and of that only `mask`, which has no bit that comes from a
    /// neighbour.
    fn byte_bits_left(self, values: Self::B, shift: u32, mask: u8) -> Self::B;
    /// Bitwise or.
    fn or_bytes(self, a: Self::B, b: Self::B) -> Self::B;

    /// In lane `i` the sum over `n` and `b` of `(w[n][4 * i + b] - ZERO) * x[n] byte b`, exact. Weights are unsigned
    /// bytes: any where `ZERO` is 128, below 64 where it is 32, below 32 else; `x` has signed bytes from -127 on, `neg_sum` is minus their sum.
    fn dot<const ZERO: i32, const N: usize>(self, w: &[Self::B; N], x: &[i32; N], neg_sum: i32) -> Self::I;
}
