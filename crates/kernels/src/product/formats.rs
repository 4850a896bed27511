//! How a slice of 32 columns of each quantised format becomes vectors.

use crate::isa::Isa;

/// 32 columns of a strip in registers; see `packed::Slice`.
#[derive(Clone, Copy)]
pub(super) struct Vectors<S: Isa> {
    pub(super) quants: [S::B; 8],
    pub(super) factors: Factors<S>,
}

/// What the products of a slice are multiplied by, and what is added to them; see `packed::Slice`.
#[derive(Clone, Copy)]
pub(super) struct Factors<S: Isa> {
    pub(super) scales: [S::F; 2],
    pub(super) mins: S::F,
}

/// A quantised format.
pub(super) trait Format {
    /// What quants are too great by.
    const ZERO: i32;
    /// Whether entries have a minimum added.
    const MINS: bool = false;
    /// Whether columns 16 to 31 have a scale of their own.
    const HALVES: bool = false;
    /// Bytes of a group.
    const GROUP: usize;
    /// Slices in a group.
    const SLICES: usize = 1;

    /// Slice `idx` of `group`, which is `GROUP` bytes.
    fn load<S: Isa>(isa: S, group: &[u8], idx: usize) -> Vectors<S>;
}

#[inline(always)]
fn at<const N: usize>(group: &[u8], offset: usize) -> &[u8; N] {
    group[offset..].first_chunk().expect("formats place their fields inside the group")
}

#[inline(always)]
fn nibbles<S: Isa>(isa: S, group: &[u8], offset: usize) -> [S::B; 8] {
    let first = isa.load_bytes(at(group, offset));
    let mut quants = [first; 8];
    for unit in 0..4 {
        let packed = isa.load_bytes(at(group, offset + 64 * unit));
        quants[unit] = isa.byte_bits(packed, 0, 15);
        quants[unit + 4] = isa.byte_bits(packed, 4, 15);
    }
    quants
}

#[inline(always)]
fn five_bits<S: Isa>(isa: S, group: &[u8], offset: usize) -> [S::B; 8] {
    let bits = isa.load_bytes(at(group, offset));
    let mut quants = nibbles(isa, group, offset + 64);
    quants[0] = isa.or_bytes(quants[0], isa.byte_bits_left(bits, 4, 16));
    quants[1] = isa.or_bytes(quants[1], isa.byte_bits_left(bits, 3, 16));
    quants[2] = isa.or_bytes(quants[2], isa.byte_bits_left(bits, 2, 16));
    quants[3] = isa.or_bytes(quants[3], isa.byte_bits_left(bits, 1, 16));
    quants[4] = isa.or_bytes(quants[4], isa.byte_bits(bits, 0, 16));
    quants[5] = isa.or_bytes(quants[5], isa.byte_bits(bits, 1, 16));
    quants[6] = isa.or_bytes(quants[6], isa.byte_bits(bits, 2, 16));
    quants[7] = isa.or_bytes(quants[7], isa.byte_bits(bits, 3, 16));
    quants
}

#[inline(always)]
fn six_bits<S: Isa>(isa: S, group: &[u8], offset: usize) -> [S::B; 8] {
    let mut quants = nibbles(isa, group, offset + 128);
    for half in 0..2 {
        let bits = isa.load_bytes(at(group, offset + 64 * half));
        let four = 4 * half;
        quants[four] = isa.or_bytes(quants[four], isa.byte_bits_left(bits, 4, 48));
        quants[four + 1] = isa.or_bytes(quants[four + 1], isa.byte_bits_left(bits, 2, 48));
        quants[four + 2] = isa.or_bytes(quants[four + 2], isa.byte_bits(bits, 0, 48));
        quants[four + 3] = isa.or_bytes(quants[four + 3], isa.byte_bits(bits, 2, 48));
    }
    quants
}

/// Bytes that are quants as they are.
#[inline(always)]
fn bytes<S: Isa>(isa: S, units: &[[u8; 64]; 8]) -> [S::B; 8] {
    let mut quants = [isa.load_bytes(&units[0]); 8];
    for unit in 1..8 {
        quants[unit] = isa.load_bytes(&units[unit]);
    }
    quants
}

/// The scale, and behind it the minimum where there is one, of formats with both in f16.
#[inline(always)]
fn with_factors<S: Isa>(isa: S, group: &[u8], quants: [S::B; 8], mins: bool) -> Vectors<S> {
    let scale = isa.load_f16(at(group, 0));
    let mins = if mins { isa.load_f16(at(group, 32)) } else { isa.splat(0.0) };
    Vectors { quants, factors: Factors { scales: [scale; 2], mins } }
}

/// Scale and minimum of slice `idx` out of the words of `Q4_K` and `Q5_K`; see `blocks::scales_and_mins`.
#[inline(always)]
fn with_words<S: Isa>(isa: S, group: &[u8], quants: [S::B; 8], idx: usize) -> Vectors<S> {
    let words = [isa.load_i32(at(group, 64)), isa.load_i32(at(group, 128)), isa.load_i32(at(group, 192))];
    #[expect(clippy::cast_possible_truncation, reason = "there are eight slices")]
    let shift = 8 * (idx % 4) as u32;
    let (scales, mins) = if idx < 4 {
        (isa.bits(words[0], shift, 63), isa.bits(words[1], shift, 63))
    } else {
        let high = |word| isa.bits(word, shift + 6, 3);
        let (low_scales, low_mins) = (isa.bits(words[2], shift, 15), isa.bits(words[2], shift + 4, 15));
        (isa.or_shifted(low_scales, high(words[0]), 4), isa.or_shifted(low_mins, high(words[1]), 4))
    };
    let scale = isa.mul(isa.load_f16(at(group, 0)), isa.to_f32(scales));
    let min = isa.mul(isa.load_f16(at(group, 32)), isa.to_f32(mins));
    Vectors { quants, factors: Factors { scales: [scale; 2], mins: isa.mul(min, isa.splat(-1.0)) } }
}

macro_rules! formats {
    ($($name:ident: $zero:literal, $mins:literal, $halves:literal, $group:literal, $slices:literal,
       |$isa:ident, $bytes:ident, $idx:ident| $load:expr;)*) => {$(
        #[allow(non_camel_case_types, reason = "the names are the formats' own, of which only some break the rule")]
        pub(super) enum $name {}

        impl Format for $name {
            const ZERO: i32 = $zero;
            const MINS: bool = $mins;
            const HALVES: bool = $halves;
            const GROUP: usize = $group;
            const SLICES: usize = $slices;

            #[inline(always)]
            fn load<S: Isa>($isa: S, $bytes: &[u8], $idx: usize) -> Vectors<S> {
                $load
            }
        }
    )*};
}

formats! {
    Q4_0: 8, false, false, 288, 1, |isa, group, _idx| with_factors(isa, group, nibbles(isa, group, 32), false);
    Q4_1: 0, true, false, 320, 1, |isa, group, _idx| with_factors(isa, group, nibbles(isa, group, 64), true);
    Q5_0: 16, false, false, 352, 1, |isa, group, _idx| with_factors(isa, group, five_bits(isa, group, 32), false);
    Q5_1: 0, true, false, 384, 1, |isa, group, _idx| with_factors(isa, group, five_bits(isa, group, 64), true);
    Q8_0: 128, false, false, 544, 1, |isa, group, _idx| {
        let (units, _) = group[32..].as_chunks::<64>();
        with_factors(isa, group, bytes(isa, units.first_chunk().expect("eight units")), false)
    };
    Q4_K: 0, true, false, 2304, 8, |isa, group, idx| {
        with_words(isa, group, nibbles(isa, group, 256 + 256 * idx), idx)
    };
    Q5_K: 0, true, false, 2816, 8, |isa, group, idx| {
        with_words(isa, group, five_bits(isa, group, 256 + 320 * idx), idx)
    };
    Q6_K: 32, false, true, 3360, 8, |isa, group, idx| {
        let scale = isa.load_f16(at(group, 0));
        let first = isa.mul(scale, isa.to_f32(isa.load_i8(at(group, 32 + 32 * idx))));
        let second = isa.mul(scale, isa.to_f32(isa.load_i8(at(group, 48 + 32 * idx))));
        let factors = Factors { scales: [first, second], mins: isa.splat(0.0) };
        Vectors { quants: six_bits(isa, group, 288 + 384 * idx), factors }
    };
}
