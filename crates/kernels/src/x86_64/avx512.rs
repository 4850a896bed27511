//! AVX-512 F, BW, VL and VNNI: a vector is one register.

#![expect(unsafe_code, reason = "intrinsics, whose features the value of the set proves, and loads and stores")]

use crate::isa::Isa;
use crate::product::tiles::{self, Shape, TileIsa, Tiles};
use crate::{Activations, Kernels, PackedMatrix, PanelMut};
use std::arch::x86_64::*;

/// The set. Only [`Avx512::detect`] makes one, so that having it proves that the CPU has AVX-512 F, BW, VL
/// and VNNI, with what they imply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512 {
    _proof: (),
}

impl Avx512 {
    /// The set, if this CPU has it.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: Avx512 = Avx512 { _proof: () };
        Self::proof().map(|_| &SET as &dyn Kernels)
    }

    /// A value of the set, if this CPU has it.
    pub(crate) fn proof() -> Option<Self> {
        let foundation = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let present = foundation && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni");
        // What avx512f implies for the compiler.
        let implied = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        (present && implied && is_x86_feature_detected!("f16c")).then_some(Self { _proof: () })
    }
}

impl Avx512 {
    /// Products of quantised weights by tiles, and by this set's vectors what is done with them; shapes were checked.
    pub(crate) fn matmul_by_tiles<T: Tiles>(
        self,
        configure: impl FnOnce(Shape) -> T,
        w: &PackedMatrix<'_>,
        x: &Activations,
        y: &mut PanelMut<'_>,
    ) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        fn run<T: Tiles>(
            set: Avx512,
            configure: impl FnOnce(Shape) -> T,
            w: &PackedMatrix<'_>,
            x: &Activations,
            y: &mut PanelMut<'_>,
        ) {
            tiles::matmul(set, configure, w, x, y);
        }
        // SAFETY: `self` proves the features.
        unsafe { run(self, configure, w, x, y) }
    }
}

crate::entry::kernel_set!(Avx512, "x86_64-avx512-vnni", "avx512f,avx512bw,avx512vl,avx512vnni");

// SAFETY of every block: `self` proves the features that the intrinsics need, and arrays are as long as what is loaded
// from them or stored to them, neither of which needs alignment.
impl Isa for Avx512 {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;

    const ROWS: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn load_pair(self, low: &[f32; 8], high: &[f32; 8]) -> __m512 {
        // SAFETY: see the impl.
        unsafe {
            let low = _mm512_castps256_ps512(_mm256_loadu_ps(low.as_ptr()));
            let high = _mm256_castps_pd(_mm256_loadu_ps(high.as_ptr()));
            _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castps_pd(low), high))
        }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 64]) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, values: __m512, out: &mut [f32; 16]) {
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 32]) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 32]) -> __m512 {
        // SAFETY: see the impl.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bytes.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max_magnitude(self, a: __m512, b: __m512) -> __m512 {
        // Of a NaN and a number, max gives its second operand.
        // SAFETY: see the impl.
        unsafe { _mm512_max_ps(_mm512_abs_ps(b), a) }
    }

    #[inline(always)]
    fn round(self, values: __m512) -> __m512i {
        // SAFETY: see the impl.
        unsafe {
            let (sign, almost_half) = (_mm512_set1_epi32(i32::MIN), _mm512_set1_ps(0.499_999_97));
            let sign = _mm512_and_si512(_mm512_castps_si512(values), sign);
            let almost_half = _mm512_or_si512(_mm512_castps_si512(almost_half), sign);
            let sum = _mm512_add_ps(values, _mm512_castsi512_ps(almost_half));
            _mm512_maskz_cvttps_epi32(_mm512_cmp_ps_mask::<_CMP_ORD_Q>(values, values), sum)
        }
    }

    #[inline(always)]
    fn store_i8(self, values: __m512i, out: &mut [u8; 16]) {
        // SAFETY: see the impl.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(values)) }
    }

    #[inline(always)]
    fn sum(self, values: __m512i) -> i32 {
        // SAFETY: see the impl.
        unsafe { _mm512_reduce_add_epi32(values) }
    }

    #[inline(always)]
    fn load_i32(self, bytes: &[u8; 64]) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; 16]) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn bits(self, values: __m512i, shift: u32, mask: i32) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_and_si512(_mm512_srl_epi32(values, count(shift)), _mm512_set1_epi32(mask)) }
    }

    #[inline(always)]
    fn or_shifted(self, a: __m512i, b: __m512i, shift: u32) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_or_si512(a, _mm512_sll_epi32(b, count(shift))) }
    }

    #[inline(always)]
    fn to_f32(self, values: __m512i) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_cvtepi32_ps(values) }
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 64]) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn byte_bits(self, values: __m512i, shift: u32, mask: u8) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_and_si512(_mm512_srl_epi16(values, count(shift)), _mm512_set1_epi8(mask.cast_signed())) }
    }

    #[inline(always)]
    fn byte_bits_left(self, values: __m512i, shift: u32, mask: u8) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_and_si512(_mm512_sll_epi16(values, count(shift)), _mm512_set1_epi8(mask.cast_signed())) }
    }

    #[inline(always)]
    fn or_bytes(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn dot<const ZERO: i32, const N: usize>(self, w: &[__m512i; N], x: &[i32; N], neg_sum: i32) -> __m512i {
        // SAFETY: see the impl.
        unsafe {
            let mut sum = _mm512_setzero_si512();
            if ZERO > 0 {
                sum = _mm512_sll_epi32(_mm512_set1_epi32(neg_sum), count(ZERO.trailing_zeros()));
            }
            for n in 0..N {
                sum = _mm512_dpbusd_epi32(sum, w[n], _mm512_set1_epi32(x[n]));
            }
            sum
        }
    }
}

impl TileIsa for Avx512 {
    #[inline(always)]
    fn store_signed(self, quants: __m512i, zero: u8, out: &mut [u8; 64]) {
        // SAFETY: `self` proves the features, and the array is as long as what is stored to it.
        unsafe {
            let signed = _mm512_sub_epi8(quants, _mm512_set1_epi8(zero.cast_signed()));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), signed);
        }
    }
}

/// A shift's count as the instructions want it; a constant becomes part of the instruction.
#[inline(always)]
fn count(shift: u32) -> __m128i {
    // SAFETY: every x86-64 CPU has SSE2.
    unsafe { _mm_cvtsi32_si128(shift.cast_signed()) }
}
