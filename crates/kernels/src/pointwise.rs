//! Functions of one number, over rows.

use crate::lanes::{erf, exp};

/// A function of one number. NaN stays NaN in each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointwise {
    /// The number times the first factor, plus the second.
    Affine(f32, f32),
    /// The number, or 0 below 0.
    Relu,
    /// The number, or that times the slope below 0.
    LeakyRelu(f32),
    /// The number within bounds, least first. Where they contradict each other, the greatest it may be.
    Clip(f32, f32),
    /// `alpha x + beta` within 0 and 1.
    HardSigmoid(f32, f32),
    /// `x` times its `HardSigmoid(1 / 6, 1 / 2)`. (arXiv:1905.02244)
    HardSwish,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Within 1e-7.
    Tanh,
    /// `x` times its `Sigmoid`. (arXiv:1702.03118)
    Silu,
    /// `x (1 + erf(x / sqrt(2))) / 2`, within 1e-6 of the greater of 1 and `|x|`. (arXiv:1606.08415)
    Gelu,
    /// `e^x`, within 2 ulp; 0 where that is subnormal.
    Exp,
}

/// `x = f(x)`.
#[inline(always)]
pub(crate) fn apply(f: Pointwise, x: &mut [f32]) {
    match f {
        Pointwise::Affine(factor, term) => each(x, |x| x * factor + term),
        Pointwise::Relu => each(x, |x| if x < 0.0 { 0.0 } else { x }),
        Pointwise::LeakyRelu(slope) => each(x, |x| if x < 0.0 { slope * x } else { x }),
        Pointwise::Clip(min, max) => each(x, |x| clip(x, min, max)),
        Pointwise::HardSigmoid(alpha, beta) => each(x, |x| clip(alpha * x + beta, 0.0, 1.0)),
        Pointwise::HardSwish => each(x, |x| x * clip(x / 6.0 + 0.5, 0.0, 1.0)),
        Pointwise::Sigmoid => each(x, sigmoid),
        Pointwise::Tanh => each(x, tanh),
        Pointwise::Silu => each(x, |x| x * sigmoid(x)),
        Pointwise::Gelu => each(x, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
        Pointwise::Exp => each(x, exp),
    }
}

#[inline(always)]
fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in x {
        *x = f(*x);
    }
}

#[inline(always)]
fn clip(x: f32, min: f32, max: f32) -> f32 {
    let x = if x < min { min } else { x };
    if x > max { max } else { x }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Near 0 by its series, so that small numbers keep their digits; `1 - 2 / (e^2x + 1)` beyond.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let square = x * x;
    let series = square
        .mul_add(62.0 / 2835.0, -17.0 / 315.0)
        .mul_add(square, 2.0 / 15.0)
        .mul_add(square, -1.0 / 3.0)
        .mul_add(square * x, x);
    let magnitude = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.25 { series } else { magnitude.copysign(x) }
}
