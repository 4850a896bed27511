//! AVX2 with FMA and F16C, and AVX-VNNI where there is: a vector is two registers of 256 bits.

#![expect(unsafe_code, reason = "intrinsics, whose features the value of the set proves, and loads and stores")]

use crate::Kernels;
use crate::isa::Isa;
use std::arch::x86_64::*;

/// A set. Only its `detect` makes one, so that having it proves that the CPU has AVX2, FMA and F16C, and AVX-VNNI where
/// `VNNI`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ymm<const VNNI: bool> {
    _proof: (),
}

/// AVX2, FMA and F16C.
pub(crate) type Avx2 = Ymm<false>;
/// These and AVX-VNNI.
pub(crate) type AvxVnni = Ymm<true>;

fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

impl Avx2 {
    /// The set, if this CPU has it.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: Avx2 = Ymm { _proof: () };
        Self::proof().map(|_| &SET as &dyn Kernels)
    }

    /// A value of the set, if this CPU has it.
    pub(crate) fn proof() -> Option<Self> {
        has_avx2().then_some(Self { _proof: () })
    }
}

impl AvxVnni {
    /// The set, if this CPU has it.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: AvxVnni = Ymm { _proof: () };
        (has_avx2() && is_x86_feature_detected!("avxvnni")).then_some(&SET as &dyn Kernels)
    }
}

crate::entry::kernel_set!(Avx2, "x86_64-avx2", "avx2,fma,f16c");
crate::entry::kernel_set!(AvxVnni, "x86_64-avx-vnni", "avx2,fma,f16c,avxvnni");

// SAFETY of every block: `self` proves the features that the intrinsics need, and arrays are as long as what is loaded
// from them or stored to them, neither of which needs alignment.
impl<const VNNI: bool> Isa for Ymm<VNNI> {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    type B = [__m256i; 2];

    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        // SAFETY: see the impl.
        [unsafe { _mm256_set1_ps(value) }; 2]
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> [__m256; 2] {
        // SAFETY: see the impl.
        unsafe { [_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values[8..].as_ptr())] }
    }

    #[inline(always)]
    fn load_pair(self, low: &[f32; 8], high: &[f32; 8]) -> [__m256; 2] {
        // SAFETY: see the impl.
        unsafe { [_mm256_loadu_ps(low.as_ptr()), _mm256_loadu_ps(high.as_ptr())] }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 64]) -> [__m256; 2] {
        // SAFETY: see the impl.
        unsafe { [_mm256_loadu_ps(bytes.as_ptr().cast()), _mm256_loadu_ps(bytes[32..].as_ptr().cast())] }
    }

    #[inline(always)]
    fn store(self, values: [__m256; 2], out: &mut [f32; 16]) {
        // SAFETY: see the impl.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), values[0]);
            _mm256_storeu_ps(out[8..].as_mut_ptr(), values[1]);
        }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 32]) -> [__m256; 2] {
        // SAFETY: see the impl.
        unsafe { halves(bytes).map(|half| _mm256_cvtph_ps(half)) }
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 32]) -> [__m256; 2] {
        // SAFETY: see the impl.
        unsafe { halves(bytes).map(|half| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)))) }
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: see the impl.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn fma(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: see the impl.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn max_magnitude(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // Of a NaN and a number, max gives its second operand.
        // SAFETY: see the impl.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_max_ps(_mm256_andnot_ps(sign, b[0]), a[0]), _mm256_max_ps(_mm256_andnot_ps(sign, b[1]), a[1])]
        }
    }

    #[inline(always)]
    fn round(self, values: [__m256; 2]) -> [__m256i; 2] {
        // SAFETY: see the impl.
        unsafe { [round_half(values[0]), round_half(values[1])] }
    }

    #[inline(always)]
    fn store_i8(self, values: [__m256i; 2], out: &mut [u8; 16]) {
        // SAFETY: see the impl.
        unsafe {
            // Packing works inside 128 bits: fours of the low and of the high register in turn.
            let words = _mm256_packs_epi32(values[0], values[1]);
            let bytes = _mm256_packs_epi16(words, words);
            let fours = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            _mm_storeu_si128(out.as_mut_ptr().cast(), fours);
        }
    }

    #[inline(always)]
    fn sum(self, values: [__m256i; 2]) -> i32 {
        // SAFETY: see the impl.
        unsafe {
            let eight = _mm256_add_epi32(values[0], values[1]);
            let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
        }
    }

    #[inline(always)]
    fn load_i32(self, bytes: &[u8; 64]) -> [__m256i; 2] {
        self.load_bytes(bytes)
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; 16]) -> [__m256i; 2] {
        // SAFETY: see the impl.
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            [_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))]
        }
    }

    #[inline(always)]
    fn bits(self, values: [__m256i; 2], shift: u32, mask: i32) -> [__m256i; 2] {
        // SAFETY: see the impl.
        unsafe {
            let (count, mask) = (count(shift), _mm256_set1_epi32(mask));
            let [low, high] = values;
            [
                _mm256_and_si256(_mm256_srl_epi32(low, count), mask),
                _mm256_and_si256(_mm256_srl_epi32(high, count), mask),
            ]
        }
    }

    #[inline(always)]
    fn or_shifted(self, a: [__m256i; 2], b: [__m256i; 2], shift: u32) -> [__m256i; 2] {
        // SAFETY: see the impl.
        unsafe {
            let count = count(shift);
            [_mm256_or_si256(a[0], _mm256_sll_epi32(b[0], count)), _mm256_or_si256(a[1], _mm256_sll_epi32(b[1], count))]
        }
    }

    #[inline(always)]
    fn to_f32(self, values: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: see the impl.
        unsafe { [_mm256_cvtepi32_ps(values[0]), _mm256_cvtepi32_ps(values[1])] }
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 64]) -> [__m256i; 2] {
        // SAFETY: see the impl.
        unsafe { [_mm256_loadu_si256(bytes.as_ptr().cast()), _mm256_loadu_si256(bytes[32..].as_ptr().cast())] }
    }

    #[inline(always)]
    fn byte_bits(self, values: [__m256i; 2], shift: u32, mask: u8) -> [__m256i; 2] {
        // SAFETY: see the impl.
        unsafe {
            let (count, mask) = (count(shift), _mm256_set1_epi8(mask.cast_signed()));
            let [low, high] = values;
            [
                _mm256_and_si256(_mm256_srl_epi16(low, count), mask),
                _mm256_and_si256(_mm256_srl_epi16(high, count), mask),
            ]
        }
    }

    #[inline(always)]
    fn byte_bits_left(self, values: [__m256i; 2], shift: u32, mask: u8) -> [__m256i; 2] {
        // SAFETY: see the impl.
        unsafe {
            let (count, mask) = (count(shift), _mm256_set1_epi8(mask.cast_signed()));
            let [low, high] = values;
            [
                _mm256_and_si256(_mm256_sll_epi16(low, count), mask),
                _mm256_and_si256(_mm256_sll_epi16(high, count), mask),
            ]
        }
    }

    #[inline(always)]
    fn or_bytes(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: see the impl.
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }

    #[inline(always)]
    fn dot<const ZERO: i32, const N: usize>(self, w: &[[__m256i; 2]; N], x: &[i32; N], neg_sum: i32) -> [__m256i; 2] {
        let mut sums = [self.half_dot::<ZERO, N, 0>(w, x, neg_sum); 2];
        sums[1] = self.half_dot::<ZERO, N, 1>(w, x, neg_sum);
        sums
    }
}

impl<const VNNI: bool> Ymm<VNNI> {
    /// Eight lanes of [`Isa::dot`].
    #[inline(always)]
    fn half_dot<const ZERO: i32, const N: usize, const HALF: usize>(
        self,
        w: &[[__m256i; 2]; N],
        x: &[i32; N],
        neg_sum: i32,
    ) -> __m256i {
        // SAFETY: `self` proves the features.
        unsafe {
            let zero = if ZERO > 0 {
                _mm256_sll_epi32(_mm256_set1_epi32(neg_sum), count(ZERO.trailing_zeros()))
            } else {
                _mm256_setzero_si256()
            };
            if VNNI {
                let mut sum = zero;
                for n in 0..N {
                    sum = _mm256_dpbusd_avx_epi32(sum, w[n][HALF], _mm256_set1_epi32(x[n]));
                }
                return sum;
            }
            let ones = _mm256_set1_epi16(1);
            if ZERO == 128 {
                // A product of a full byte may not fit in the pairs' int16, one of a signed byte's magnitude does.
                let mut sum = _mm256_setzero_si256();
                for n in 0..N {
                    let weights = _mm256_xor_si256(w[n][HALF], _mm256_set1_epi8(-128));
                    let x = _mm256_sign_epi8(_mm256_set1_epi32(x[n]), weights);
                    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), x);
                    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
                }
                return sum;
            }
            // As many pairs of products as fit in int16: 2 * 127 times 63 twice, or times 31 four times.
            let group = if ZERO == 32 { 2 } else { 4 };
            let mut sum = zero;
            for first in (0..N).step_by(group) {
                let mut pairs = _mm256_maddubs_epi16(w[first][HALF], _mm256_set1_epi32(x[first]));
                for n in first + 1..first + group {
                    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w[n][HALF], _mm256_set1_epi32(x[n])));
                }
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
            }
            sum
        }
    }
}

/// Eight lanes of [`Isa::round`].
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn round_half(values: __m256) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let almost_half = _mm256_or_ps(_mm256_set1_ps(0.499_999_97), _mm256_and_ps(values, _mm256_set1_ps(-0.0)));
        let number = _mm256_cmp_ps::<_CMP_ORD_Q>(values, values);
        _mm256_cvttps_epi32(_mm256_and_ps(_mm256_add_ps(values, almost_half), number))
    }
}

/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn halves(bytes: &[u8; 32]) -> [__m128i; 2] {
    // SAFETY: the array is the 32 bytes loaded.
    unsafe { [_mm_loadu_si128(bytes.as_ptr().cast()), _mm_loadu_si128(bytes[16..].as_ptr().cast())] }
}

/// A shift's count as the instructions want it; a constant becomes part of the instruction.
#[inline(always)]
fn count(shift: u32) -> __m128i {
    // SAFETY: every x86-64 CPU has SSE2.
    unsafe { _mm_cvtsi32_si128(shift.cast_signed()) }
}
