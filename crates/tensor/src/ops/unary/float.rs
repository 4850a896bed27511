//! Functions of floats.

use super::constant;
use crate::array::Array;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::Operator;
use crate::ops::broadcast::map_over;
use crate::ops::number::Real;
use crate::run::Context;
use ballast_kernels::Pointwise;

/// A function of floats. (the ONNX operators of these names)
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    Sqrt,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Floor,
    Ceil,
    /// A half goes to the even neighbour.
    Round,
    Reciprocal,
    Erf,
    Sigmoid,
    Softplus,
    Softsign,
    HardSwish,
    Mish,
    /// By the error function.
    Gelu,
    /// By the hyperbolic tangent.
    GeluTanh,
    LeakyRelu {
        alpha: f32,
    },
    Elu {
        alpha: f32,
    },
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Celu {
        alpha: f32,
    },
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    Swish {
        alpha: f32,
    },
    ThresholdedRelu {
        alpha: f32,
    },
}

impl Function {
    /// The function of an array of these floats.
    pub(super) fn of<T: Real>(self, x: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        match self {
            Self::Sqrt => each::<T>(x, context, |x| x.sqrt()),
            Self::Exp => each::<T>(x, context, |x| x.exp()),
            Self::Log => each::<T>(x, context, |x| x.ln()),
            Self::Sin => each::<T>(x, context, |x| x.sin()),
            Self::Cos => each::<T>(x, context, |x| x.cos()),
            Self::Tan => each::<T>(x, context, |x| x.tan()),
            Self::Asin => each::<T>(x, context, |x| x.asin()),
            Self::Acos => each::<T>(x, context, |x| x.acos()),
            Self::Atan => each::<T>(x, context, |x| x.atan()),
            Self::Sinh => each::<T>(x, context, |x| x.sinh()),
            Self::Cosh => each::<T>(x, context, |x| x.cosh()),
            Self::Tanh => each::<T>(x, context, |x| x.tanh()),
            Self::Asinh => each::<T>(x, context, |x| x.asinh()),
            Self::Acosh => each::<T>(x, context, |x| x.acosh()),
            Self::Atanh => each::<T>(x, context, |x| x.atanh()),
            Self::Floor => each::<T>(x, context, |x| x.floor()),
            Self::Ceil => each::<T>(x, context, |x| x.ceil()),
            Self::Round => each::<T>(x, context, |x| x.round_ties_even()),
            Self::Reciprocal => each::<T>(x, context, |x| T::ONE / x),
            Self::Erf => each::<T>(x, context, |x| x.erf()),
            Self::Sigmoid => each::<T>(x, context, |x| x.sigmoid()),
            Self::Softplus => each::<T>(x, context, softplus),
            Self::Softsign => each::<T>(x, context, |x| x / (T::ONE + x.abs())),
            Self::HardSwish => each::<T>(x, context, |x| x * hard_sigmoid_of(x, constant(1.0 / 6.0), constant(0.5))),
            Self::Mish => each::<T>(x, context, |x| x * softplus(x).tanh()),
            Self::Gelu => each::<T>(x, context, gelu_of),
            Self::GeluTanh => each::<T>(x, context, gelu_tanh_of),
            Self::LeakyRelu { .. }
            | Self::Elu { .. }
            | Self::Selu { .. }
            | Self::Celu { .. }
            | Self::HardSigmoid { .. }
            | Self::Swish { .. }
            | Self::ThresholdedRelu { .. } => self.of_settings::<T>(x, context),
        }
    }

    /// As [`Function::of`], for those with settings.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are those without settings")]
    fn of_settings<T: Real>(self, x: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        let zero = T::ZERO;
        let real = |value: f32| constant::<T>(f64::from(value));
        match self {
            Self::LeakyRelu { alpha } => {
                let alpha = real(alpha);
                each::<T>(x, context, |x| if x < zero { alpha * x } else { x })
            }
            Self::Elu { alpha } => {
                let alpha = real(alpha);
                each::<T>(x, context, |x| if x < zero { alpha * x.exp_m1() } else { x })
            }
            Self::Selu { alpha, gamma } => {
                let (alpha, gamma) = (real(alpha), real(gamma));
                each::<T>(x, context, |x| gamma * if x > zero { x } else { alpha * x.exp_m1() })
            }
            Self::Celu { alpha } => {
                let alpha = real(alpha);
                each::<T>(x, context, |x| if x < zero { alpha * (x / alpha).exp_m1() } else { x })
            }
            Self::HardSigmoid { alpha, beta } => {
                let (alpha, beta) = (real(alpha), real(beta));
                each::<T>(x, context, |x| hard_sigmoid_of(x, alpha, beta))
            }
            Self::Swish { alpha } => {
                let alpha = real(alpha);
                each::<T>(x, context, |x| x * (alpha * x).sigmoid())
            }
            Self::ThresholdedRelu { alpha } => {
                let alpha = real(alpha);
                each::<T>(x, context, |x| if x > alpha || x.is_nan() { x } else { zero })
            }
            _ => self.of::<T>(x, context),
        }
    }
}

impl Function {
    /// What the kernels call it, if they have it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what the kernels do not have is computed here")]
    pub(super) fn pointwise(self) -> Option<Pointwise> {
        Some(match self {
            Self::Exp => Pointwise::Exp,
            Self::Tanh => Pointwise::Tanh,
            Self::Sigmoid => Pointwise::Sigmoid,
            Self::Swish { alpha: 1.0 } => Pointwise::Silu,
            Self::Gelu => Pointwise::Gelu,
            Self::HardSwish => Pointwise::HardSwish,
            Self::HardSigmoid { alpha, beta } => Pointwise::HardSigmoid(alpha, beta),
            Self::LeakyRelu { alpha } => Pointwise::LeakyRelu(alpha),
            _ => return None,
        })
    }
}

/// Each element through `f`.
fn each<T: Real>(x: Array, context: &mut Context<'_>, f: impl Fn(T) -> T + Sync) -> Result<Array, OpError> {
    map_over::<T>(x, context, |x| f(*x))
}

/// `ln(1 + exp(x))`, which does not overflow.
#[inline(always)]
fn softplus<R: Real>(x: R) -> R {
    let above = if x < R::ZERO { R::ZERO } else { x };
    above + (-x.abs()).exp().ln_1p()
}

/// `max(0, min(1, alpha * x + beta))`.
#[inline(always)]
fn hard_sigmoid_of<R: Real>(x: R, alpha: R, beta: R) -> R {
    let line = alpha * x + beta;
    let line = if line < R::ZERO { R::ZERO } else { line };
    if line > R::ONE { R::ONE } else { line }
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`. (arXiv:1606.08415)
#[inline(always)]
fn gelu_of<R: Real>(x: R) -> R {
    constant::<R>(0.5) * x * (R::ONE + (x * constant::<R>(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`. (arXiv:1606.08415)
#[inline(always)]
fn gelu_tanh_of<R: Real>(x: R) -> R {
    let scale = constant::<R>(std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
    let inner = scale * (x + constant::<R>(0.044_715) * x * x * x);
    constant::<R>(0.5) * x * (R::ONE + inner.tanh())
}

fn boxed(function: Function) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(function))
}

pub(super) fn gelu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    match spec.text("approximate")?.unwrap_or("none") {
        "none" => boxed(Function::Gelu),
        "tanh" => boxed(Function::GeluTanh),
        other => Err(NodeSpec::wrong("approximate", "none or tanh", other)),
    }
}

/// The attribute `alpha`.
fn alpha(spec: &NodeSpec<'_>, default: f32) -> Result<f32, OpError> {
    spec.ints("consumed_inputs")?;
    Ok(spec.float("alpha")?.unwrap_or(default))
}

pub(super) fn leaky_relu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    boxed(Function::LeakyRelu { alpha: alpha(spec, 0.01)? })
}

pub(super) fn elu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    boxed(Function::Elu { alpha: alpha(spec, 1.0)? })
}

pub(super) fn selu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (alpha_default, gamma_default) = if spec.version < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
    let alpha = alpha(spec, alpha_default)?;
    boxed(Function::Selu { alpha, gamma: spec.float("gamma")?.unwrap_or(gamma_default) })
}

pub(super) fn celu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    boxed(Function::Celu { alpha: alpha(spec, 1.0)? })
}

pub(super) fn hard_sigmoid(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    boxed(Function::HardSigmoid { alpha: alpha(spec, 0.2)?, beta: spec.float("beta")?.unwrap_or(0.5) })
}

pub(super) fn swish(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    boxed(Function::Swish { alpha: alpha(spec, 1.0)? })
}

pub(super) fn thresholded_relu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    boxed(Function::ThresholdedRelu { alpha: alpha(spec, 1.0)? })
}
