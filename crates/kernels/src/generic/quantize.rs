//! Activations to int8, as ggml's reference quantisers do it.

#![expect(clippy::cast_possible_truncation, reason = "every quotient is rounded and within -127..=127 before its cast")]

use half::f16;

/// Blocks of 32; lengths were checked.
pub(super) fn q8_32(x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
    let blocks = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
    for ((x, q), (d, sum)) in blocks.zip(d.iter_mut().zip(sum)) {
        let scale = x.iter().fold(0.0, |max: f32, x| max.max(x.abs())) / 127.0;
        // A scale so small that its inverse overflows is 0 as f16, so the block is 0 whatever its quants are.
        let inverse = finite_or_zero(1.0 / scale);
        for (q, x) in q.iter_mut().zip(x) {
            *q = (x * inverse).round() as i8;
        }
        *d = f16::from_f32(scale).to_f32();
        *sum = q.iter().map(|q| i32::from(*q)).sum();
    }
}

/// Blocks of 256; lengths were checked.
pub(super) fn q8_256(x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
    let blocks = x.as_chunks::<256>().0.iter().zip(q.as_chunks_mut::<256>().0);
    for ((x, q), (d, sums)) in blocks.zip(d.iter_mut().zip(sum.as_chunks_mut::<16>().0)) {
        let extreme = x.iter().fold(0.0, |max: f32, x| if x.abs() > max.abs() { *x } else { max });
        let inverse = finite_or_zero(-127.0 / extreme);
        for (q, x) in q.iter_mut().zip(x) {
            *q = (x * inverse).round_ties_even() as i8;
        }
        *d = finite_or_zero(1.0 / inverse);
        for (sum, q) in sums.iter_mut().zip(q.as_chunks::<16>().0) {
            *sum = q.iter().map(|q| i32::from(*q)).sum();
        }
    }
}

fn finite_or_zero(x: f32) -> f32 {
    if x.is_finite() { x } else { 0.0 }
}
