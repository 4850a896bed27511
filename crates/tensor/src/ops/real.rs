//! Functions of floats that are computed with additions, multiplications and bits alone, without branches, so that a
//! loop over them runs in vector registers.

use std::f32::consts::FRAC_2_SQRT_PI;

/// `log2(e)`.
const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// `ln(2)` in two parts, the first of few enough bits that its products with whole numbers are exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// Added and taken away, it rounds to a whole number, which is then in the lowest bits of the sum.
const WHOLE: f32 = 12_582_912.0;

/// `2^n` for an `n` from -126 to 127.
#[inline(always)]
fn two_to_the(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned())
}

/// `n` and `r` of `x = n ln(2) + r`, where `|r|` is at most `ln(2) / 2`.
#[inline(always)]
fn reduce(x: f32) -> (i32, f32) {
    let sum = x * LOG2_E + WHOLE;
    let n = sum - WHOLE;
    let whole = sum.to_bits().wrapping_sub(WHOLE.to_bits()).cast_signed();
    (whole, (x - n * LN2_HIGH) - n * LN2_LOW)
}

/// `exp(r) - 1` by its series, which is exact to 5e-9 of 1 where `|r|` is at most `ln(2) / 2`.
#[inline(always)]
fn series(r: f32) -> f32 {
    let tail = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let tail = 1.0 / 24.0 + r * (1.0 / 120.0 + r * tail);
    r + r * r * (0.5 + r * (1.0 / 6.0 + r * tail))
}

/// `exp(x)` with an error of at most 2 ulp, through the numbers below the normal ones to 0.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Comparisons leave NaN as it is.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.5 { -104.5 } else { x };
    let (n, r) = reduce(x);
    let half = n >> 1;
    (1.0 + series(r)) * two_to_the(half) * two_to_the(n.wrapping_sub(half))
}

/// `tanh(x)` with an error of at most 3 ulp: `t / (t + 2)` with `t = exp(2 |x|) - 1`.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // The nearest to tanh(9.1) is 1.
    let twice = 2.0 * x.abs();
    let twice = if twice > 18.2 { 18.2 } else { twice };
    let (n, r) = reduce(twice);
    let power = two_to_the(n);
    let t = power * series(r) + (power - 1.0);
    (t / (t + 2.0)).copysign(x)
}

/// `1 / (1 + exp(-x))` with an error of at most 3 ulp.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let power = exp(-x.abs());
    (if x < 0.0 { power } else { 1.0 }) / (1.0 + power)
}

/// Least-error polynomial of `erf(sqrt(t)) / sqrt(t)` for `t` from 0 to 0.81; off by at most 3e-10.
const ERF_NEAR: [f32; 7] =
    [FRAC_2_SQRT_PI, -0.376_126_35, 0.112_837_2, -0.026_860_753, 0.005_204_436, -8.181_928e-4, 8.538_842e-5];

/// Least-error polynomial of `-ln(1 - erf(a))` for `a` from 0.88 to 3.95, so that `erf` is off by at most 7e-11.
const ERF_FAR: [f32; 8] = [
    -1.650_064e-4,
    1.129_468_1,
    0.633_442_07,
    0.108_174_89,
    -0.025_051_148,
    0.004_145_057_5,
    -4.290_836_8e-4,
    2.062_910_5e-5,
];

#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    let mut value = 0.0;
    for coefficient in coefficients.iter().rev() {
        value = value * x + coefficient;
    }
    value
}

/// The error function, with an error of at most 3 ulp.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let near = x * polynomial(ERF_NEAR, x * x);
    // The nearest to erf(3.95) is 1.
    let bounded = if a > 3.95 { 3.95 } else { a };
    let far = (1.0 - exp(-polynomial(ERF_FAR, bounded))).copysign(x);
    if a < 0.9 { near } else { far }
}

/// The error function, by its series of positive terms `2 / sqrt(pi) * exp(-x^2) * sum(2^n x^(2n+1) / (2n+1)!!)`.
pub(crate) fn erf_f64(x: f64) -> f64 {
    // The nearest to erf(6) is 1.
    if x.is_nan() || x.abs() >= 6.0 {
        return if x.is_nan() { x } else { 1f64.copysign(x) };
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-18 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `1 / (1 + exp(-x))`.
pub(crate) fn sigmoid_f64(x: f64) -> f64 {
    let power = (-x.abs()).exp();
    (if x < 0.0 { power } else { 1.0 }) / (1.0 + power)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the f32 nearest to `expected`.
    fn ulps(got: f32, expected: f64) -> f64 {
        let exponent = expected.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
        (f64::from(got) - expected).abs() / 2f64.powf(exponent - 23.0)
    }

    /// The greatest error over a grid, and where it is.
    fn worst(from: f32, to: f32, got: impl Fn(f32) -> f32, expected: impl Fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for step in 0..=1_000_000 {
            let x = from + (to - from) * (step as f32 / 1e6);
            let error = ulps(got(x), expected(f64::from(x)));
            if error.is_nan() || error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    #[test]
    fn functions_of_f32_err_by_a_few_ulp() {
        type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f32, f64);
        let cases: [Case; 7] = [
            ("exp", exp, f64::exp, 88.7, 2.0),
            ("tanh", tanh, f64::tanh, 12.0, 3.0),
            ("tanh", tanh, f64::tanh, 0.01, 3.0),
            ("sigmoid", sigmoid, sigmoid_f64, 88.0, 3.0),
            ("erf", erf, erf_f64, 5.0, 3.0),
            ("erf", erf, erf_f64, 0.01, 3.0),
            ("exp", exp, f64::exp, 1e-3, 2.0),
        ];
        for (name, got, expected, to, most) in cases {
            let (error, at) = worst(-to, to, got, expected);
            assert!(error <= most, "{name}({at}) is off by {error} ulp");
        }
    }

    #[test]
    fn functions_of_f32_keep_to_their_bounds() {
        let infinity = f32::INFINITY;
        assert_eq!([-infinity, -120.0, 0.0, 89.5, infinity].map(exp), [0.0, 0.0, 1.0, infinity, infinity]);
        assert_eq!([-infinity, -20.0, 0.0, 20.0, infinity].map(tanh), [-1.0, -1.0, 0.0, 1.0, 1.0]);
        assert_eq!([-infinity, -120.0, 0.0, 20.0, infinity].map(sigmoid), [0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!([-infinity, -9.0, 0.0, 9.0, infinity].map(erf), [-1.0, -1.0, 0.0, 1.0, 1.0]);
        for function in [exp, tanh, sigmoid, erf] {
            assert!(function(f32::NAN).is_nan());
        }
        assert!(tanh(-0.0).is_sign_negative() && erf(-0.0).is_sign_negative());
        assert!(exp(-100.0) > 0.0, "numbers below the normal ones are not 0");
    }

    #[test]
    fn erf_of_f64_is_that_of_tables() {
        let cases = [(0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (3.0, 0.999_977_909_503_001_4)];
        for (x, expected) in cases {
            assert!((erf_f64(x) - expected).abs() < 1e-15 && erf_f64(-x) == -erf_f64(x), "{x}");
        }
        assert_eq!([0.0, 7.0, f64::NEG_INFINITY].map(erf_f64), [0.0, 1.0, -1.0]);
        assert!(erf_f64(f64::NAN).is_nan());
    }
}
