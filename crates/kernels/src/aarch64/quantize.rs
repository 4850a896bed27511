//! Activations to int8 over lanes in plain code, which the compiler keeps in vector registers.

use crate::lanes::fold;

/// As `Kernels::quantize_q8_32`, lengths checked.
#[inline(always)]
pub(super) fn q8_32(x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
    let blocks = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
    for ((x, q), (d, sum)) in blocks.zip(d.iter_mut().zip(sum)) {
        let scale = magnitude(x) / 127.0;
        let inverse = finite_or_zero(1.0 / scale);
        *sum = 0;
        for (q, x) in q.iter_mut().zip(x) {
            let rounded = to_integer(round(x * inverse));
            *q = low_byte(rounded);
            *sum += rounded;
        }
        *d = scale;
    }
}

/// As `Kernels::quantize_q8_256`, lengths checked.
#[inline(always)]
pub(super) fn q8_256(x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
    let blocks = x.as_chunks::<256>().0.iter().zip(q.as_chunks_mut::<256>().0);
    for ((x, q), (d, sums)) in blocks.zip(d.iter_mut().zip(sum.as_chunks_mut::<16>().0)) {
        let magnitude = magnitude(x);
        let extreme = x.iter().copied().find(|x| x.abs() == magnitude).unwrap_or(0.0);
        let inverse = finite_or_zero(-127.0 / extreme);
        for ((q, x), sum) in q.as_chunks_mut::<16>().0.iter_mut().zip(x.as_chunks::<16>().0).zip(sums) {
            *sum = 0;
            for (q, x) in q.iter_mut().zip(x) {
                let rounded = to_integer((x * inverse).round_ties_even());
                *q = low_byte(rounded);
                *sum += rounded;
            }
        }
        *d = finite_or_zero(1.0 / inverse);
    }
}

/// The greatest magnitude in a block.
#[inline(always)]
fn magnitude<const LEN: usize>(x: &[f32; LEN]) -> f32 {
    let mut lanes = [0.0; 16];
    for chunk in x.as_chunks::<16>().0 {
        for lane in 0..16 {
            let x = chunk[lane].abs();
            lanes[lane] = if x > lanes[lane] { x } else { lanes[lane] };
        }
    }
    fold(lanes, |a, b| if a > b { a } else { b })
}

/// Half away from zero, for magnitudes up to 2^22: adds the greatest f32 below a half and cuts off.
#[inline(always)]
fn round(x: f32) -> f32 {
    (x + 0.499_999_97_f32.copysign(x)).trunc()
}

/// An integer in -127..=127, or 0 for NaN.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "callers pass rounded values in -127..=127; NaN becomes 0")]
fn to_integer(x: f32) -> i32 {
    x as i32
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the value is in -127..=127")]
fn low_byte(x: i32) -> i8 {
    x as i8
}

#[inline(always)]
fn finite_or_zero(x: f32) -> f32 {
    if x.is_finite() { x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn round_is_that_of_the_standard_library() {
        for halves in -254_i16..=254 {
            let half = f32::from(halves) / 2.0;
            for x in [half, half.next_up(), half.next_down()] {
                assert_eq!(round(x), x.round(), "{x}");
            }
        }
    }
}
