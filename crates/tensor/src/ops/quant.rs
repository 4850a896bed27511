//! Numbers in few bits: to them, from them, and products of them.

mod conv;
mod product;

use super::broadcast::{elements, map, zip, zip_three};
use super::cast::{convert, type_of};
use super::elementwise::Arithmetic;
use super::number::{Number, by_type};
use super::widen::widened;
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, one, wrong_type};
use crate::run::Context;
use ballast_backend::DType;

pub(super) const OPS: &[(&str, Build)] = &[
    ("QuantizeLinear", quantize),
    ("DequantizeLinear", dequantize),
    ("DynamicQuantizeLinear", |_| Ok(Box::new(DynamicQuantize))),
    ("MatMulInteger", |_| Ok(Box::new(product::MatMulInteger))),
    ("QLinearMatMul", |_| Ok(Box::new(product::QLinearMatMul))),
    ("ConvInteger", conv::integer),
    ("QLinearConv", conv::quantized),
];

/// Which elements have a scale together: all, those at one place of an axis, or blocks along it.
#[derive(Debug)]
struct Granularity {
    axis: i64,
    /// 0: no blocks.
    block_size: usize,
}

impl Granularity {
    fn new(spec: &NodeSpec<'_>) -> Result<Self, OpError> {
        let block_size = if spec.version >= 21 { spec.int("block_size")?.unwrap_or(0) } else { 0 };
        let block_size = usize::try_from(block_size);
        let axis = if spec.version >= 13 { spec.int("axis")?.unwrap_or(1) } else { 1 };
        Ok(Self { axis, block_size: block_size.map_err(|_| NodeSpec::wrong("block_size", "0 or more", "less"))? })
    }

    /// Scales or zero points in a shape that broadcasts to `shape`.
    fn spread(&self, settings: Array, shape: &[usize], context: &mut Context<'_>) -> Result<Array, OpError> {
        if settings.len() == 1 && settings.rank() <= 1 {
            return settings.reshaped(&[]);
        }
        let at = axis(self.axis, shape.len())?;
        if self.block_size == 0 {
            if settings.shape() != [shape[at]] {
                return Err(OpError::shape(format!("one element, or {}", shape[at]), settings.shape()));
            }
            let mut along = Shape::from_elem(1, shape.len());
            along[at] = shape[at];
            return settings.reshaped(&along);
        }
        let mut expected = Shape::from_slice(shape);
        expected[at] = shape[at].div_ceil(self.block_size);
        if settings.shape() != &expected[..] {
            return Err(OpError::shape(format!("the shape {expected:?}"), settings.shape()));
        }
        self.repeat(&settings, shape, at, context)
    }

    /// Each setting once for every element of its block.
    fn repeat(
        &self,
        settings: &Array,
        shape: &[usize],
        at: usize,
        context: &mut Context<'_>,
    ) -> Result<Array, OpError> {
        let inner: usize = shape[at + 1..].iter().product();
        let n_blocks = settings.shape()[at];
        by_type!(settings.dtype(), T in numbers => {
            let (values, mut out) = (elements::<T>(settings, 1)?, context.room::<T>(shape)?);
            for outer in values.chunks_exact((n_blocks * inner).max(1)) {
                for idx in 0..shape[at] {
                    out.extend_from_slice(&outer[idx / self.block_size * inner..][..inner]);
                }
            }
            Ok(Array::new(shape, out))
        }, else => Err(wrong_type(1, "numbers", settings.dtype())))
    }
}

/// `round(x / scale) + zero_point`, kept to the type's range. (ONNX `QuantizeLinear`)
#[derive(Debug)]
struct Quantize {
    granularity: Granularity,
    to: Option<DType>,
    /// The type of the division; `None`: that of the scale.
    precision: Option<DType>,
}

fn quantize(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    spec.int("saturate")?;
    let precision = match spec.int("precision")?.unwrap_or(0) {
        0 => None,
        code => Some(type_of(code)?),
    };
    Ok(Box::new(Quantize { granularity: Granularity::new(spec)?, to: output_type(spec)?, precision }))
}

fn output_type(spec: &NodeSpec<'_>) -> Result<Option<DType>, OpError> {
    match spec.int("output_dtype")?.unwrap_or(0) {
        0 => Ok(None),
        code => type_of(code).map(Some),
    }
}

impl Operator for Quantize {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (x, scale) = (inputs.take(0)?, inputs.take(1)?);
        let zero_point = inputs.find(2)?.cloned();
        let to = zero_point.as_ref().map(Array::dtype).or(self.to).unwrap_or(DType::U8);
        if self.to.is_some_and(|wanted| wanted != to) {
            return Err(NodeSpec::wrong("output_dtype", to.as_str(), self.to.map_or("", DType::as_str)));
        }
        let precision = self.precision.unwrap_or(scale.dtype());
        let shape = Shape::from_slice(x.shape());
        let scale = self.granularity.spread(convert(scale, precision, context)?, &shape, context)?;
        let zero_point = convert(zero_point.unwrap_or_else(|| Array::scalar(0u8)), DType::F32, context)?;
        let zero_point = self.granularity.spread(zero_point, &shape, context)?;
        let quotients = Arithmetic::Div.apply(convert(x, precision, context)?, scale, context)?;
        let quotients = convert(quotients, DType::F32, context)?;
        one(by_type!(to, U in [U8 I8 U16 I16] => quantized::<U>(&quotients, &zero_point, context),
            [F32 F64 F16 Bf16 I64 I32 U64 U32 Bool Str] => Err(wrong_type(2, "integers of 8 or 16 bits", to)))?)
    }
}

fn quantized<U: Number>(quotients: &Array, zero_point: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    zip::<f32, f32, U>(quotients, zero_point, context, |quotient, zero_point| {
        U::of_f64(f64::from(quotient.round_ties_even() + zero_point))
    })
}

/// `(x - zero_point) * scale`. (ONNX `DequantizeLinear`)
#[derive(Debug)]
struct Dequantize {
    granularity: Granularity,
    to: Option<DType>,
}

fn dequantize(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Dequantize { granularity: Granularity::new(spec)?, to: output_type(spec)? }))
}

impl Operator for Dequantize {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (x, scale) = (inputs.take(0)?, inputs.take(1)?);
        let zero_point = match inputs.find(2)? {
            Some(zero_point) if zero_point.dtype() != x.dtype() => {
                return Err(wrong_type(2, x.dtype().as_str(), zero_point.dtype()));
            }
            Some(zero_point) => convert(zero_point.clone(), DType::F64, context)?,
            None => Array::scalar(0f64),
        };
        let of_scale = scale.dtype();
        let scale = self.granularity.spread(widened(scale, context)?, x.shape(), context)?;
        let zero_point = self.granularity.spread(zero_point, x.shape(), context)?;
        let arrays = [&x, &scale, &zero_point];
        let real = by_type!(x.dtype(), T in [U8 I8 U16 I16 I32] => dequantized::<T>(arrays, context),
            [F32 F64 F16 Bf16 I64 U64 U32 Bool Str] =>
                Err(wrong_type(0, "integers of at most 32 bits", x.dtype())));
        let real = convert(real?, of_scale, context)?;
        one(convert(real, self.to.unwrap_or(of_scale), context)?)
    }
}

/// Scales are f32 here.
fn dequantized<T: Number>(arrays: [&Array; 3], context: &mut Context<'_>) -> Result<Array, OpError> {
    zip_three::<T, f32, f64, f32>(arrays[0].shape(), arrays, context, |x, scale, zero_point| {
        f32::of_f64(x.to_f64() - zero_point) * scale
    })
}

/// To bytes, with the scale and zero point that just hold all numbers and 0. (ONNX `DynamicQuantizeLinear`)
#[derive(Debug)]
struct DynamicQuantize;

impl Operator for DynamicQuantize {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.get(0)?;
        let (least, greatest) =
            inputs.values::<f32>(0)?.iter().fold((0f32, 0f32), |(min, max), x| (min.min(*x), max.max(*x)));
        let scale = if greatest == least { 1.0 } else { greatest - least } / 255.0;
        let zero_point = (-least / scale).clamp(0.0, 255.0).round_ties_even();
        let bytes = map::<f32, u8>(x, context, |x| u8::of_f64(f64::from((x / scale).round_ties_even() + zero_point)))?;
        let zero_point = u8::of_f64(f64::from(zero_point));
        Ok(Outputs::from_vec(vec![bytes.into(), Array::scalar(scale).into(), Array::scalar(zero_point).into()]))
    }
}

/// An input that is one number.
fn only<T: crate::array::Element + Copy>(inputs: &Inputs, idx: usize) -> Result<T, OpError> {
    match inputs.values::<T>(idx)? {
        [only] => Ok(*only),
        other => Err(OpError::input(idx, "one number", other.len().to_string())),
    }
}

/// Bytes, signed or not, less a zero point, which broadcasts to them: whole numbers up to 255 in magnitude.
fn less_zero_point(bytes: &Array, zero_point: Option<Array>, context: &mut Context<'_>) -> Result<Array, OpError> {
    let mut wide = |array: &Array| {
        if matches!(array.dtype(), DType::U8 | DType::I8) {
            convert(array.clone(), DType::F32, context)
        } else {
            Err(wrong_type(0, "u8 or i8", array.dtype()))
        }
    };
    let numbers = wide(bytes)?;
    let Some(zero_point) = zero_point else { return Ok(numbers) };
    let zero_point = wide(&zero_point)?;
    let shape = Shape::from_slice(numbers.shape());
    let out = Arithmetic::Sub.apply(numbers, zero_point, context)?;
    if out.shape() == &shape[..] {
        Ok(out)
    } else {
        Err(OpError::shape(format!("zero points for {shape:?}"), out.shape()))
    }
}

/// The type of a quantised result, and its zero point.
fn zero_of(inputs: &Inputs, idx: usize) -> Result<(DType, f64), OpError> {
    if inputs.get(idx)?.dtype() == DType::I8 {
        return Ok((DType::I8, f64::from(only::<i8>(inputs, idx)?)));
    }
    Ok((DType::U8, f64::from(only::<u8>(inputs, idx)?)))
}

/// `round(sum * scale) + zero_point` in the type of the zero point; scales broadcast to the sums.
fn requantized(
    sums: &Array,
    scale: &Array,
    (to, zero_point): (DType, f64),
    context: &mut Context<'_>,
) -> Result<Array, OpError> {
    let quant = |sum: &i32, scale: &f32| {
        #[expect(clippy::cast_precision_loss, reason = "the standard multiplies in f32")]
        let real = *sum as f32 * scale;
        f64::from(real.round_ties_even()) + zero_point
    };
    if to == DType::I8 {
        return zip::<i32, f32, i8>(sums, scale, context, |sum, scale| i8::of_f64(quant(sum, scale)));
    }
    zip::<i32, f32, u8>(sums, scale, context, |sum, scale| u8::of_f64(quant(sum, scale)))
}

#[cfg(test)]
mod tests;
