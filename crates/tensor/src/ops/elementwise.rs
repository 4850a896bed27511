//! Arithmetic of two arrays and more, element by element.

use super::broadcast::{map_over, zip, zip_over, zip_three};
use super::cast::convert;
use super::number::{Float, Number, Real, by_type};
use super::widen::widened;
use crate::array::{Array, Element};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, broadcast, one, wrong_type};
use crate::run::Context;
use ballast_backend::DType;

pub(super) const OPS: &[(&str, Build)] = &[
    ("Add", |spec| Binary::build(spec, Arithmetic::Add)),
    ("Sub", |spec| Binary::build(spec, Arithmetic::Sub)),
    ("Mul", |spec| Binary::build(spec, Arithmetic::Mul)),
    ("Div", |spec| Binary::build(spec, Arithmetic::Div)),
    ("Mod", modulo),
    ("BitShift", bit_shift),
    ("Pow", |spec| Ok(Box::new(Pow { alignment: Alignment::new(spec)? }))),
    ("PRelu", prelu),
    ("Max", |spec| Variadic::build(spec, Arithmetic::Max, false)),
    ("Min", |spec| Variadic::build(spec, Arithmetic::Min, false)),
    ("Sum", |spec| Variadic::build(spec, Arithmetic::Add, false)),
    ("Mean", |spec| Variadic::build(spec, Arithmetic::Add, true)),
    ("Where", |_| Ok(Box::new(Where))),
];

/// How the second array lies on the first. Until version 7 it did not broadcast, unless asked to, and then from an axis
/// of the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alignment {
    /// Last dimension on last dimension, both ways.
    Broadcast,
    /// Shapes are the same.
    Same,
    /// The second's first dimension is at this one of the first; `None`: last on last.
    From(Option<i64>),
}

impl Alignment {
    pub(super) fn new(spec: &NodeSpec<'_>) -> Result<Self, OpError> {
        if spec.version >= 7 {
            return Ok(Self::Broadcast);
        }
        // Only said which buffers may be written over.
        spec.ints("consumed_inputs")?;
        let at = spec.int("axis")?;
        Ok(if spec.flag("broadcast", false)? { Self::From(at) } else { Self::Same })
    }

    /// The second array in a shape that broadcasts with `a` as every array does since.
    pub(super) fn align(self, a: &[usize], b: Array) -> Result<Array, OpError> {
        match self {
            Self::Broadcast | Self::From(None) => Ok(b),
            Self::Same if b.shape() == a => Ok(b),
            Self::Same => Err(OpError::shape(format!("the shape {a:?}"), b.shape())),
            Self::From(Some(at)) => {
                let behind = a.len().checked_sub(axis(at, a.len())? + b.rank());
                let behind = behind.ok_or_else(|| OpError::shape(format!("a part of the shape {a:?}"), b.shape()))?;
                let shape: Vec<usize> = b.shape().iter().copied().chain(std::iter::repeat_n(1, behind)).collect();
                b.reshaped(&shape)
            }
        }
    }

    /// The first two inputs, aligned.
    pub(super) fn pair(self, inputs: &mut Inputs) -> Result<(Array, Array), OpError> {
        let (a, b) = (inputs.take(0)?, inputs.take(1)?);
        let b = self.align(a.shape(), b)?;
        Ok((a, b))
    }
}

/// As [`Alignment::pair`], of one type.
pub(super) fn alike(alignment: Alignment, inputs: &mut Inputs) -> Result<(Array, Array), OpError> {
    let (a, b) = alignment.pair(inputs)?;
    if a.dtype() == b.dtype() { Ok((a, b)) } else { Err(wrong_type(1, a.dtype().as_str(), b.dtype())) }
}

/// What two numbers become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    /// With the sign of the divisor.
    Modulo,
    /// With the sign of the dividend.
    Fmod,
    Max,
    Min,
}

impl Arithmetic {
    pub(super) fn apply(self, a: Array, b: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        let dtype = a.dtype();
        by_type!(dtype,
            T in reals => self.of_floats::<T>(a, b, context),
            T in integers => self.of_integers::<T>(&a, &b, context),
            else => self.of_halves(a, b, context))
    }

    /// Rounding what f32 gives is what a half's own arithmetic would be.
    fn of_halves(self, a: Array, b: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        let dtype = a.dtype();
        if !matches!(dtype, DType::F16 | DType::Bf16) {
            return Err(wrong_type(0, "numbers", dtype));
        }
        let (a, b) = (widened(a, context)?, widened(b, context)?);
        convert(self.of_floats::<f32>(a, b, context)?, dtype, context)
    }

    fn of_floats<T: Float>(self, a: Array, b: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        match self {
            Self::Add => zip_over::<T>(a, b, context, |a, b| a.plus(*b)),
            Self::Sub => zip_over::<T>(a, b, context, |a, b| a.minus(*b)),
            Self::Mul => zip_over::<T>(a, b, context, |a, b| a.times(*b)),
            Self::Div => zip_over::<T>(a, b, context, |a, b| a.over(*b)),
            Self::Modulo => zip::<T, T, T>(&a, &b, context, |a, b| a.modulo(*b)),
            Self::Fmod => zip::<T, T, T>(&a, &b, context, |a, b| a.fmod(*b)),
            Self::Max => zip_over::<T>(a, b, context, |a, b| a.greater(*b)),
            Self::Min => zip_over::<T>(a, b, context, |a, b| a.lesser(*b)),
        }
    }

    fn of_integers<T: Number>(self, a: &Array, b: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        let is_division = matches!(self, Self::Div | Self::Modulo | Self::Fmod);
        if is_division && b.values::<T>().is_some_and(|divisors| divisors.contains(&T::ZERO)) {
            return Err(OpError::input(1, "divisors other than 0", "0"));
        }
        match self {
            Self::Add => zip::<T, T, T>(a, b, context, |a, b| a.plus(*b)),
            Self::Sub => zip::<T, T, T>(a, b, context, |a, b| a.minus(*b)),
            Self::Mul => zip::<T, T, T>(a, b, context, |a, b| a.times(*b)),
            // Division takes longer than a call.
            Self::Div => zip::<T, T, T>(a, b, context, by(T::over)),
            Self::Modulo => zip::<T, T, T>(a, b, context, by(T::modulo)),
            Self::Fmod => zip::<T, T, T>(a, b, context, by(T::fmod)),
            Self::Max => zip::<T, T, T>(a, b, context, by(T::greater)),
            Self::Min => zip::<T, T, T>(a, b, context, by(T::lesser)),
        }
    }
}

/// Functions that share one loop.
fn by<T: Number>(f: fn(T, T) -> T) -> impl Fn(&T, &T) -> T + Sync {
    move |a, b| f(*a, *b)
}

/// Arithmetic of two arrays. (ONNX `Add`, `Sub`, `Mul`, `Div`, `Mod`)
#[derive(Debug)]
struct Binary {
    arithmetic: Arithmetic,
    alignment: Alignment,
}

impl Binary {
    fn build(spec: &NodeSpec<'_>, arithmetic: Arithmetic) -> Result<Box<dyn Operator>, OpError> {
        Ok(Box::new(Self { arithmetic, alignment: Alignment::new(spec)? }))
    }
}

impl Operator for Binary {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (a, b) = alike(self.alignment, &mut inputs)?;
        one(self.arithmetic.apply(a, b, context)?)
    }
}

fn modulo(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let arithmetic = if spec.flag("fmod", false)? { Arithmetic::Fmod } else { Arithmetic::Modulo };
    Binary::build(spec, arithmetic)
}

/// Bits of the first array moved by as many places as the second says. (ONNX `BitShift`)
#[derive(Debug)]
struct BitShift {
    is_left: bool,
}

fn bit_shift(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    match NodeSpec::needed(spec.text("direction")?, "direction", "LEFT or RIGHT")? {
        "LEFT" => Ok(Box::new(BitShift { is_left: true })),
        "RIGHT" => Ok(Box::new(BitShift { is_left: false })),
        other => Err(NodeSpec::wrong("direction", "LEFT or RIGHT", other)),
    }
}

impl Operator for BitShift {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (a, b) = alike(Alignment::Broadcast, &mut inputs)?;
        let dtype = a.dtype();
        let shifted = by_type!(dtype, T in integers => {
            // As many places as there are, or fewer than none, leave what the sign goes on as.
            let places = |places: &T| u32::try_from(i128::from(*places)).unwrap_or(u32::MAX);
            let sign = |a: &T| if T::MIN == T::ZERO { T::ZERO } else { a >> (T::BITS - 1) };
            let left = |a: &T, b: &T| a.checked_shl(places(b)).unwrap_or(T::ZERO);
            let right = |a: &T, b: &T| a.checked_shr(places(b)).unwrap_or_else(|| sign(a));
            if self.is_left { zip::<T, T, T>(&a, &b, context, left) } else { zip::<T, T, T>(&a, &b, context, right) }
        }, else => Err(wrong_type(0, "integers", dtype)));
        one(shifted?)
    }
}

/// Powers, of the first array's type. (ONNX `Pow`)
#[derive(Debug)]
struct Pow {
    alignment: Alignment,
}

impl Operator for Pow {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (base, exponent) = self.alignment.pair(&mut inputs)?;
        let dtype = base.dtype();
        one(by_type!(dtype,
            T in reals => float_power::<T>(base, exponent, context)?,
            T in integers => integer_power::<T>(&base, exponent, T::wrapping_pow, context)?,
            else => half_power(base, exponent, context)?))
    }
}

fn half_power(base: Array, exponent: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    let dtype = base.dtype();
    if !matches!(dtype, DType::F16 | DType::Bf16) {
        return Err(wrong_type(0, "numbers", dtype));
    }
    convert(float_power::<f32>(widened(base, context)?, exponent, context)?, dtype, context)
}

/// Exponents as f64, whatever they are.
fn exponents(exponent: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    if matches!(exponent.dtype(), DType::Bool | DType::Str) {
        return Err(wrong_type(1, "numbers", exponent.dtype()));
    }
    convert(exponent, DType::F64, context)
}

fn float_power<T: Real>(base: Array, exponent: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    let exponent = exponents(exponent, context)?;
    let only = match exponent.values::<f64>() {
        Some([only]) if exponent.rank() <= base.rank() => Some(*only),
        _ => None,
    };
    if only == Some(2.0) {
        return map_over::<T>(base, context, |x| *x * *x);
    }
    if only == Some(0.5) {
        // As the power has it: the root of -0 is 0, that of minus infinity is infinity.
        return map_over::<T>(base, context, |x| if *x == T::LOWEST { T::HIGHEST } else { (*x + T::ZERO).sqrt() });
    }
    zip::<T, f64, T>(&base, &exponent, context, |x, y| x.powf(T::of_f64(*y)))
}

/// Powers of integers: exact, but for those that wrap, where the exponent is an integer too and is not negative.
fn integer_power<T: Number>(
    base: &Array,
    exponent: Array,
    power: fn(T, u32) -> T,
    context: &mut Context<'_>,
) -> Result<Array, OpError> {
    let exponent = exponents(exponent, context)?;
    let is_exact = |exponent: f64| exponent >= 0.0 && exponent.trunc() == exponent;
    zip::<T, f64, T>(base, &exponent, context, |x, y| {
        if is_exact(*y) { power(*x, u32::of_f64(*y)) } else { T::of_f64(x.to_f64().powf(*y)) }
    })
}

/// Where the first array is negative, its product with a slope. (ONNX `PRelu`)
#[derive(Debug)]
struct PRelu {
    /// Until version 7, a slope with as many elements as there are channels was theirs.
    is_by_channel: bool,
}

fn prelu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    spec.ints("consumed_inputs")?;
    Ok(Box::new(PRelu { is_by_channel: spec.version < 7 }))
}

impl Operator for PRelu {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (x, mut slope) = alike(Alignment::Broadcast, &mut inputs)?;
        if self.is_by_channel && slope.len() > 1 && x.rank() > 1 {
            let n_channels = slope.len();
            slope = Alignment::From(Some(1)).align(x.shape(), slope.reshaped(&[n_channels])?)?;
        }
        if broadcast(x.shape(), slope.shape())?[..] != *x.shape() {
            return Err(OpError::shape(format!("slopes that broadcast to {:?}", x.shape()), slope.shape()));
        }
        let dtype = x.dtype();
        one(by_type!(dtype,
            T in numbers => zip_over::<T>(x, slope, context, sloped),
            else => Err(wrong_type(0, "numbers", dtype)))?)
    }
}

fn sloped<T: Number>(x: &T, slope: &T) -> T {
    if *x < T::ZERO { x.times(*slope) } else { *x }
}

/// Arithmetic of any number of arrays. (ONNX `Max`, `Min`, `Sum`, `Mean`)
#[derive(Debug)]
struct Variadic {
    arithmetic: Arithmetic,
    is_mean: bool,
    /// Until version 8.
    is_alike: bool,
}

impl Variadic {
    fn build(spec: &NodeSpec<'_>, arithmetic: Arithmetic, is_mean: bool) -> Result<Box<dyn Operator>, OpError> {
        spec.ints("consumed_inputs")?;
        Ok(Box::new(Self { arithmetic, is_mean, is_alike: spec.version < 8 }))
    }
}

impl Operator for Variadic {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (mut whole, n) = (inputs.take(0)?, inputs.len());
        for idx in 1..n {
            let next = inputs.take(idx)?;
            if next.dtype() != whole.dtype() {
                return Err(wrong_type(idx, whole.dtype().as_str(), next.dtype()));
            }
            if self.is_alike && next.shape() != whole.shape() {
                return Err(OpError::shape(format!("the shape {:?}", whole.shape()), next.shape()));
            }
            whole = self.arithmetic.apply(whole, next, context)?;
        }
        let dtype = whole.dtype();
        if self.is_mean {
            let divisor = n as f64;
            whole = by_type!(dtype, T in floats => {
                let divisor = T::of_f64(divisor);
                map_over::<T>(whole, context, |x| x.over(divisor))
            }, else => Err(wrong_type(0, "floats", dtype)))?;
        }
        one(whole)
    }
}

/// Elements of the one array or the other. (ONNX `Where`)
#[derive(Debug)]
struct Where;

impl Operator for Where {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let [condition, a, b] = [inputs.get(0)?, inputs.get(1)?, inputs.get(2)?];
        if a.dtype() != b.dtype() {
            return Err(wrong_type(2, a.dtype().as_str(), b.dtype()));
        }
        fn pick<T: Element>(arrays: [&Array; 3], context: &mut Context<'_>) -> Result<Array, OpError> {
            let [condition, a, b] = arrays;
            let shape = broadcast(condition.shape(), &broadcast(a.shape(), b.shape())?)?;
            zip_three::<bool, T, T, T>(&shape, arrays, context, |is_a, a, b| if *is_a { a.clone() } else { b.clone() })
        }
        one(by_type!(a.dtype(), T in all => pick::<T>([condition, a, b], context))?)
    }
}

#[cfg(test)]
mod tests;
