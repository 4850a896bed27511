//! The types of a KV cache's entries, as attention loads them and as positions are written.

use super::SCALE_LEN;
use crate::isa::Isa;
use crate::lanes;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A type of entries. Where several share a scale, scales stand behind the entries of a block.
pub(crate) trait Element: Copy {
    /// What sixteen entries are multiplied by.
    type Scale<S: Isa>: Copy;

    /// Sixteen scales, from number `first` on.
    fn scales<S: Isa>(isa: S, scales: &[u8], first: usize) -> Self::Scale<S>;
    /// Scale number `idx`, in every lane.
    fn scale<S: Isa>(isa: S, scales: &[u8], idx: usize) -> Self::Scale<S>;
    /// Sixteen entries, scaled.
    fn load<S: Isa>(isa: S, entries: &[u8], scale: Self::Scale<S>) -> S::F;

    /// The entries nearest to `x`, and their scale if they have one.
    fn encode(x: &[f32; SCALE_LEN]) -> ([Self; SCALE_LEN], Option<bf16>);
    /// Writes the entry's bytes, little-endian.
    fn write(self, to: &mut [u8]);
}

/// Makes a type of half floats, loaded by that operation, one of entries without scales.
macro_rules! without_scales {
    ($half:ident, $load:ident) => {
        impl Element for $half {
            type Scale<S: Isa> = ();

            #[inline(always)]
            fn scales<S: Isa>(_: S, _: &[u8], _: usize) {}

            #[inline(always)]
            fn scale<S: Isa>(_: S, _: &[u8], _: usize) {}

            #[inline(always)]
            fn load<S: Isa>(isa: S, entries: &[u8], (): ()) -> S::F {
                isa.$load(entries.first_chunk().expect("whole vectors"))
            }

            fn encode(x: &[f32; SCALE_LEN]) -> ([Self; SCALE_LEN], Option<bf16>) {
                let mut entries = [$half::ZERO; SCALE_LEN];
                entries.convert_from_f32_slice(x);
                (entries, None)
            }

            fn write(self, to: &mut [u8]) {
                to.copy_from_slice(&self.to_le_bytes());
            }
        }
    };
}

without_scales!(f16, load_f16);
without_scales!(bf16, load_bf16);

/// Entries of [`super::CacheType::Q8_0`].
impl Element for i8 {
    type Scale<S: Isa> = S::F;

    #[inline(always)]
    fn scales<S: Isa>(isa: S, scales: &[u8], first: usize) -> S::F {
        isa.load_bf16(scales[2 * first..].first_chunk().expect("whole vectors"))
    }

    #[inline(always)]
    fn scale<S: Isa>(isa: S, scales: &[u8], idx: usize) -> S::F {
        let bytes = scales[2 * idx..].first_chunk().expect("two bytes");
        isa.splat(f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16))
    }

    #[inline(always)]
    fn load<S: Isa>(isa: S, entries: &[u8], scale: S::F) -> S::F {
        isa.mul(isa.to_f32(isa.load_i8(entries.first_chunk().expect("whole vectors"))), scale)
    }

    #[expect(clippy::cast_possible_truncation, reason = "clamped before it is cast")]
    fn encode(x: &[f32; SCALE_LEN]) -> ([Self; SCALE_LEN], Option<bf16>) {
        let scale = bf16::from_f32(lanes::scale_of(lanes::magnitudes(x)).0);
        let inverse = 1.0 / scale.to_f32();
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        // A scale below the normal numbers is rounded by so much that quotients may not fit.
        (x.map(|x| lanes::round(x * inverse).clamp(-127, 127) as i8), Some(scale))
    }

    fn write(self, to: &mut [u8]) {
        to.copy_from_slice(&self.to_le_bytes());
    }
}
