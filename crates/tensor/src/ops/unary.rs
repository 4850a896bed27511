//! Functions of one array, element by element: those of all numbers, and what is given back as it is.

mod float;

use super::broadcast::{elements_mut, map, map_over, split};
use super::cast::convert;
use super::number::{Number, Real, by_type};
use super::widen::widened;
use crate::array::Array;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, one, wrong_type};
use crate::run::Context;
use ballast_backend::DType;
use ballast_kernels::Pointwise;
pub(super) use float::Function;

pub(super) const OPS: &[(&str, Build)] = &[
    ("Abs", |spec| Whole::build(spec, Whole::Abs)),
    ("Neg", |spec| Whole::build(spec, Whole::Neg)),
    ("Sign", |spec| Whole::build(spec, Whole::Sign)),
    ("Relu", |spec| Whole::build(spec, Whole::Relu)),
    ("Not", |_| Ok(Box::new(Not))),
    ("Clip", clip),
    ("Shrink", shrink),
    ("IsNaN", |_| Ok(Box::new(Test { negative: false, positive: false, nan: true }))),
    ("IsInf", is_inf),
    ("Identity", |_| Ok(Box::new(Identity))),
    ("Dropout", dropout),
    ("Sqrt", |spec| plain(spec, Function::Sqrt)),
    ("Exp", |spec| plain(spec, Function::Exp)),
    ("Log", |spec| plain(spec, Function::Log)),
    ("Sin", |spec| plain(spec, Function::Sin)),
    ("Cos", |spec| plain(spec, Function::Cos)),
    ("Tan", |spec| plain(spec, Function::Tan)),
    ("Asin", |spec| plain(spec, Function::Asin)),
    ("Acos", |spec| plain(spec, Function::Acos)),
    ("Atan", |spec| plain(spec, Function::Atan)),
    ("Sinh", |spec| plain(spec, Function::Sinh)),
    ("Cosh", |spec| plain(spec, Function::Cosh)),
    ("Tanh", |spec| plain(spec, Function::Tanh)),
    ("Asinh", |spec| plain(spec, Function::Asinh)),
    ("Acosh", |spec| plain(spec, Function::Acosh)),
    ("Atanh", |spec| plain(spec, Function::Atanh)),
    ("Floor", |spec| plain(spec, Function::Floor)),
    ("Ceil", |spec| plain(spec, Function::Ceil)),
    ("Round", |spec| plain(spec, Function::Round)),
    ("Reciprocal", |spec| plain(spec, Function::Reciprocal)),
    ("Erf", |spec| plain(spec, Function::Erf)),
    ("Sigmoid", |spec| plain(spec, Function::Sigmoid)),
    ("Softplus", |spec| plain(spec, Function::Softplus)),
    ("Softsign", |spec| plain(spec, Function::Softsign)),
    ("HardSwish", |spec| plain(spec, Function::HardSwish)),
    ("Mish", |spec| plain(spec, Function::Mish)),
    ("Gelu", float::gelu),
    ("LeakyRelu", float::leaky_relu),
    ("Elu", float::elu),
    ("Selu", float::selu),
    ("Celu", float::celu),
    ("HardSigmoid", float::hard_sigmoid),
    ("Swish", float::swish),
    ("ThresholdedRelu", float::thresholded_relu),
];

/// A function without settings.
fn plain(spec: &NodeSpec<'_>, function: Function) -> Result<Box<dyn Operator>, OpError> {
    spec.ints("consumed_inputs")?;
    Ok(Box::new(function))
}

/// Functions of all numbers. (ONNX `Abs`, `Neg`, `Sign`, `Relu`)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Abs,
    Neg,
    Sign,
    Relu,
}

impl Whole {
    fn build(spec: &NodeSpec<'_>, function: Self) -> Result<Box<dyn Operator>, OpError> {
        spec.ints("consumed_inputs")?;
        Ok(Box::new(function))
    }

    fn of<T: Number>(self, x: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        match self {
            Self::Abs => map_over::<T>(x, context, |x| x.magnitude()),
            Self::Neg => map_over::<T>(x, context, |x| x.negated()),
            Self::Sign => map_over::<T>(x, context, |x| x.sign()),
            // A comparison that NaN passes by.
            Self::Relu => map_over::<T>(x, context, |x| if *x < T::ZERO { T::ZERO } else { *x }),
        }
    }
}

impl Operator for Whole {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let dtype = x.dtype();
        if (*self, dtype) == (Self::Relu, DType::F32) {
            return one(pointwise(x, Pointwise::Relu, context)?);
        }
        one(by_type!(dtype, T in numbers => self.of::<T>(x, context), else => Err(wrong_type(0, "numbers", dtype)))?)
    }
}

/// The other truth value. (ONNX `Not`)
#[derive(Debug)]
struct Not;

impl Operator for Not {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        one(map_over::<bool>(inputs.take(0)?, context, |x| !x)?)
    }
}

/// Numbers kept between bounds. (ONNX `Clip`)
#[derive(Debug)]
struct Clip {
    /// Those of the attributes, until version 11; since then they are inputs.
    bounds: Option<(f32, f32)>,
}

fn clip(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    if spec.version >= 11 {
        return Ok(Box::new(Clip { bounds: None }));
    }
    spec.ints("consumed_inputs")?;
    let (min, max) = (spec.float("min")?.unwrap_or(f32::MIN), spec.float("max")?.unwrap_or(f32::MAX));
    Ok(Box::new(Clip { bounds: Some((min, max)) }))
}

impl Clip {
    fn of<T: Number>(&self, x: Array, inputs: &Inputs, context: &mut Context<'_>) -> Result<Array, OpError> {
        let bound = |idx: usize| match inputs.value(idx) {
            None => Ok(None),
            Some(_) => match inputs.values::<T>(idx)? {
                [bound] => Ok(Some(*bound)),
                others => Err(OpError::input(idx, "one number", others.len().to_string())),
            },
        };
        let (min, max) = match self.bounds {
            Some((min, max)) => (T::of_f64(f64::from(min)), T::of_f64(f64::from(max))),
            None => (bound(1)?.unwrap_or(T::LOWEST), bound(2)?.unwrap_or(T::HIGHEST)),
        };
        if T::DTYPE == DType::F32 {
            let [min, max] = [min, max].map(|bound| f32::of_f64(bound.to_f64()));
            return pointwise(x, Pointwise::Clip(min, max), context);
        }
        // Where the bounds contradict each other the upper is given, as `min(max(x, low), high)` has it.
        map_over::<T>(x, context, |x| {
            let above = if *x < min { min } else { *x };
            if above > max { max } else { above }
        })
    }
}

impl Operator for Clip {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let dtype = x.dtype();
        one(by_type!(dtype, T in numbers => self.of::<T>(x, &inputs, context),
            else => Err(wrong_type(0, "numbers", dtype)))?)
    }
}

/// Numbers near 0 to 0, and all others towards it. (ONNX `Shrink`)
#[derive(Debug)]
struct Shrink {
    bias: f64,
    threshold: f64,
}

fn shrink(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let bias = f64::from(spec.float("bias")?.unwrap_or(0.0));
    Ok(Box::new(Shrink { bias, threshold: f64::from(spec.float("lambd")?.unwrap_or(0.5)) }))
}

impl Operator for Shrink {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let Self { bias, threshold } = *self;
        let shrink = |x: f64| match x {
            x if x < -threshold => x + bias,
            x if x > threshold => x - bias,
            x if x.is_nan() => x,
            _ => 0.0,
        };
        let dtype = x.dtype();
        one(by_type!(dtype, T in numbers => map_over::<T>(x, context, |x| T::of_f64(shrink(x.to_f64()))),
            else => Err(wrong_type(0, "numbers", dtype)))?)
    }
}

/// Which numbers are of a kind. (ONNX `IsNaN`, `IsInf`)
#[derive(Debug)]
struct Test {
    negative: bool,
    positive: bool,
    nan: bool,
}

fn is_inf(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (negative, positive) = (spec.flag("detect_negative", true)?, spec.flag("detect_positive", true)?);
    Ok(Box::new(Test { negative, positive, nan: false }))
}

impl Operator for Test {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.get(0)?;
        let is = |x: f64| {
            (self.nan && x.is_nan())
                || (self.negative && x == f64::NEG_INFINITY)
                || (self.positive && x == f64::INFINITY)
        };
        one(by_type!(x.dtype(), T in floats => map::<T, bool>(x, context, |x| is(x.to_f64())),
            else => Err(wrong_type(0, "floats", x.dtype())))?)
    }
}

/// What comes in. (ONNX `Identity`)
#[derive(Debug)]
struct Identity;

impl Operator for Identity {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        one(inputs.take_value(0)?)
    }
}

/// What comes in, and that all of it was kept: models are not trained here. (ONNX `Dropout`)
#[derive(Debug)]
struct Dropout {
    /// Until version 10 the mask was of the type of the data.
    has_bool_mask: bool,
}

fn dropout(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let training = || OpError::unsupported("dropout in training, which is random,");
    if spec.version < 12 {
        spec.ints("consumed_inputs")?;
        spec.float("ratio")?;
        if spec.version < 7 && !spec.flag("is_test", false)? {
            return Err(training());
        }
        return Ok(Box::new(Dropout { has_bool_mask: spec.version >= 10 }));
    }
    spec.int("seed")?;
    let is_inference = || spec.constant(2).and_then(Array::values::<bool>) == Some(&[false]);
    if spec.has_input(2) && !is_inference() {
        return Err(training());
    }
    Ok(Box::new(Dropout { has_bool_mask: true }))
}

impl Operator for Dropout {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let dtype = x.dtype();
        let kept = if self.has_bool_mask || dtype == DType::Bool {
            Array::new(x.shape(), vec![true; context.len_of(x.shape(), DType::Bool)?])
        } else {
            by_type!(dtype, T in numbers => Array::new(x.shape(), vec![T::ONE; x.len()]),
                else => return Err(wrong_type(0, "numbers", dtype)))
        };
        Ok(Outputs::from_vec(vec![x.into(), kept.into()]))
    }
}

impl Operator for Function {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        one(self.apply(inputs.take(0)?, context)?)
    }
}

impl Function {
    /// The function of an array of floats.
    pub(super) fn apply(self, x: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        let dtype = x.dtype();
        let x = widened(x, context)?;
        if let (DType::F32, Some(f)) = (x.dtype(), self.pointwise()) {
            return convert(pointwise(x, f, context)?, dtype, context);
        }
        let y =
            by_type!(x.dtype(), T in reals => self.of::<T>(x, context), else => Err(wrong_type(0, "floats", dtype)));
        convert(y?, dtype, context)
    }
}

/// Each f32 through a function that the kernels have.
fn pointwise(mut x: Array, f: Pointwise, context: &mut Context<'_>) -> Result<Array, OpError> {
    let kernels = context.kernels;
    split(context.pool, elements_mut::<f32>(&mut x, 0)?, |_, values| kernels.pointwise(f, values));
    Ok(x)
}

/// A constant of the type that is computed in.
fn constant<R: Real>(value: f64) -> R {
    R::of_f64(value)
}

#[cfg(test)]
mod tests;
