//! Operations on f32 in plain code, which every set inlines into functions with its own target features. Sums run in
//! sixteen lanes and fold at the end, so a result depends on the values alone, and not on the set either.

use crate::activations::Block;
use crate::kv::Partial;

/// Lanes of a vector, in every set.
const LANES: usize = 16;

/// `e^x` within 2 ulp over the normal results; 0 below e^-87.33 (where results turn subnormal), infinite above
/// e^88.37. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    // The coefficients are those of Cephes' expf.
    let p = 1.987_569_1e-4_f32
        .mul_add(r, 1.398_199_9e-3)
        .mul_add(r, 8.333_452e-3)
        .mul_add(r, 4.166_579_6e-2)
        .mul_add(r, 0.166_666_65)
        .mul_add(r, 0.5);
    let p = p.mul_add(r * r, r + 1.0);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x > 88.376_26 {
        f32::INFINITY
    } else if x < -87.336_54 {
        0.0
    } else {
        p * power
    }
}

/// The sum of `f` over the entries of `x`.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += f(chunk[lane]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += f(*x);
    }
    fold(lanes, |a, b| a + b)
}

#[inline(always)]
fn max(x: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = greater(chunk[lane], lanes[lane]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = greater(*x, *lane);
    }
    fold(lanes, greater)
}

/// Halves the lanes until one is left.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for lane in 0..n {
            lanes[lane] = f(lanes[lane], lanes[lane + n]);
        }
    }
    lanes[0]
}

#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let inverse = 1.0 / (sum(x, |x| x * x) / x.len() as f32 + eps).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * inverse * weight;
    }
}

#[inline(always)]
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let mean = sum(x, |x| x) / x.len() as f32;
    let inverse = 1.0 / (sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32 + eps).sqrt();
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = (x - mean) * inverse * weight + bias;
    }
}

#[inline(always)]
pub(crate) fn gelu(x: &mut [f32]) {
    for x in x {
        *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// The error function, within 1e-6. (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.28)
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    // Beyond 4 it is 1 in f32, and there the power stays finite.
    let a = if x.abs() < 4.0 { x.abs() } else { 4.0 };
    let p = 0.000_043_063_8_f32
        .mul_add(a, 0.000_276_567_2)
        .mul_add(a, 0.000_152_014_3)
        .mul_add(a, 0.009_270_527)
        .mul_add(a, 0.042_282_01)
        .mul_add(a, 0.070_523_076)
        .mul_add(a, 1.0);
    let p2 = p * p;
    let p4 = p2 * p2;
    let p8 = p4 * p4;
    (1.0 - 1.0 / (p8 * p8)).copysign(x)
}

#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[inline(always)]
pub(crate) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[inline(always)]
pub(crate) fn rope(x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    for head in x.chunks_exact_mut(head_dim) {
        for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
            let [even, odd] = *pair;
            *pair = [even * cos - odd * sin, even * sin + odd * cos];
        }
    }
}

/// Turns scores into weights relative to the greatest; returns that and the sum of the weights.
#[inline(always)]
pub(crate) fn weigh(scores: &mut [f32]) -> (f32, f32) {
    let max = max(scores);
    for x in &mut *scores {
        *x = exp(*x - max);
    }
    (max, sum(scores, |x| x))
}

/// Joins what a later span came to onto what the positions before it did.
#[inline(always)]
pub(crate) fn join(whole: &mut Partial<'_>, span: &Partial<'_>) {
    let value_len = whole.values.len() / whole.max.len();
    let values = whole.values.chunks_exact_mut(value_len).zip(span.values.chunks_exact(value_len));
    for (idx, (values, later)) in values.enumerate() {
        if span.max[idx] == f32::NEG_INFINITY {
            continue;
        }
        let max = if span.max[idx] > whole.max[idx] { span.max[idx] } else { whole.max[idx] };
        let (before, after) = (exp(whole.max[idx] - max), exp(span.max[idx] - max));
        whole.max[idx] = max;
        whole.sum[idx] = whole.sum[idx].mul_add(before, span.sum[idx] * after);
        for (value, later) in values.iter_mut().zip(later) {
            *value = value.mul_add(before, later * after);
        }
    }
}

/// What a quant counts if the greatest of these magnitudes is 127, and by what entries are multiplied: the inverse, or 0
/// where that overflows and the block is as good as 0.
#[inline(always)]
pub(crate) fn scale_of(magnitudes: [f32; LANES]) -> (f32, f32) {
    let scale = fold(magnitudes, |a, b| if b > a { b } else { a }) / 127.0;
    let inverse = 1.0 / scale;
    (scale, if inverse.is_finite() { inverse } else { 0.0 })
}

/// A block of these quants, whose halves have these sums.
#[inline(always)]
pub(crate) fn block(quants: &[u8; 32], scale: f32, sums: [i32; 2]) -> Block {
    let mut words = [0; 8];
    for (word, four) in words.iter_mut().zip(quants.as_chunks::<4>().0) {
        *word = i32::from_le_bytes(*four);
    }
    let sum = sums[0] + sums[1];
    Block { quants: words, scale, offset: scale * sum as f32, neg_sums: sums.map(|sum| -sum), neg_sum: -sum }
}

/// The greater magnitudes of `x` and `x + 16`; NaN is none.
#[inline(always)]
pub(crate) fn magnitudes(x: &[f32; 32]) -> [f32; LANES] {
    let greater = |a: f32, b: f32| if b.abs() > a { b.abs() } else { a };
    std::array::from_fn(|lane| greater(greater(0.0, x[lane]), x[lane + LANES]))
}

/// To an integer, half away from zero: the greatest f32 below a half is added with the value's sign, and what is behind
/// the point cut off. NaN is 0.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "this is for numbers that fit")]
pub(crate) fn round(x: f32) -> i32 {
    (x + 0.499_999_97_f32.copysign(x)) as i32
}

/// 32 activations to int8 as ggml's reference Q8_0 does, but for the scale, which stays f32.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "quotients are within -127..=127, NaN is 0"
)]
fn quantize_block(x: &[f32; 32]) -> Block {
    let (scale, inverse) = scale_of(magnitudes(x));
    let quants = x.map(|x| round(x * inverse));
    let sums = [&quants[..16], &quants[16..]].map(|half| half.iter().sum());
    block(&quants.map(|quant| quant as u8), scale, sums)
}

/// Rows `[n_rows, n_cols]` to blocks `[n_cols / 32, n_rows]`.
pub(crate) fn quantize(x: &[f32], n_rows: usize, out: &mut [Block]) {
    for (row, x) in x.chunks_exact(x.len() / n_rows).enumerate() {
        for (idx, x) in x.as_chunks::<32>().0.iter().enumerate() {
            out[idx * n_rows + row] = quantize_block(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_errs_by_at_most_two_ulp() {
        for step in 0..2_000_000 {
            let x = -87.3 + step as f32 * 8.78e-5;
            let expected = f64::from(x).exp();
            let ulp = 2f64.powf(expected.log2().floor() - 23.0);
            assert!((f64::from(exp(x)) - expected).abs() <= 2.0 * ulp, "{x}");
        }
    }

    #[test]
    fn exp_saturates() {
        let cases = [(0.0, 1.0), (-0.0, 1.0), (-88.0, 0.0), (-1e30, 0.0), (89.0, f32::INFINITY), (1e30, f32::INFINITY)];
        for (x, expected) in cases {
            assert_eq!(exp(x), expected, "{x}");
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(f32::INFINITY)), (0.0, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
    }
}
