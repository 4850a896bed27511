//! Elements in another type.
//!
//! Integers that the new type does not have lose their upper bits; floats that an integer type does not have become the
//! nearest that it has, which the standard leaves open; floats that a shorter float does not have become infinite.

use super::broadcast::{elements, map, split};
use super::number::{Number, by_type};
use crate::array::{Array, Element};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::onnx::{dtype_of_code as dtype, type_name};
use crate::operator::{Build, Inputs, Operator, Outputs, one};
use crate::run::Context;
use ballast_backend::DType;
use half::{bf16, f16};

pub(super) const OPS: &[(&str, Build)] = &[("Cast", cast), ("CastLike", cast_like)];

/// Elements in the type that an attribute names, or in that of a second array. (ONNX `Cast`, `CastLike`)
#[derive(Debug)]
struct Cast {
    to: Option<DType>,
}

fn cast(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    only_for_short_floats(spec)?;
    if spec.version < 6 {
        let name = NodeSpec::needed(spec.text("to")?, "to", "the name of a type")?;
        let to = dtype_of_name(name).ok_or_else(|| OpError::unsupported(format!("the type {name:?}")))?;
        return Ok(Box::new(Cast { to: Some(to) }));
    }
    let code = NodeSpec::needed(spec.int("to")?, "to", "the number of a type")?;
    Ok(Box::new(Cast { to: Some(type_of(code)?) }))
}

fn cast_like(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    only_for_short_floats(spec)?;
    Ok(Box::new(Cast { to: None }))
}

/// These attributes say how floats of 8 bits come about, which are refused.
fn only_for_short_floats(spec: &NodeSpec<'_>) -> Result<(), OpError> {
    spec.int("saturate")?;
    spec.text("round_mode")?;
    Ok(())
}

/// The type that has a number in ONNX files.
pub(super) fn type_of(code: i64) -> Result<DType, OpError> {
    dtype(code).ok_or_else(|| OpError::unsupported(type_name(code)))
}

/// Until version 6 types were named.
fn dtype_of_name(name: &str) -> Option<DType> {
    Some(match name {
        "FLOAT" => DType::F32,
        "DOUBLE" => DType::F64,
        "FLOAT16" => DType::F16,
        "INT64" => DType::I64,
        "INT32" => DType::I32,
        "INT16" => DType::I16,
        "INT8" => DType::I8,
        "UINT64" => DType::U64,
        "UINT32" => DType::U32,
        "UINT16" => DType::U16,
        "UINT8" => DType::U8,
        "BOOL" => DType::Bool,
        "STRING" => DType::Str,
        _ => return None,
    })
}

impl Operator for Cast {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let to = match self.to {
            Some(to) => to,
            None => inputs.get(1)?.dtype(),
        };
        one(convert(inputs.take(0)?, to, context)?)
    }
}

/// The elements of an array in another type.
pub(super) fn convert(x: Array, to: DType, context: &mut Context<'_>) -> Result<Array, OpError> {
    let from = x.dtype();
    if from == to {
        return Ok(x);
    }
    // Those that models have often, without a detour.
    match (from, to) {
        (DType::F16, DType::F32) => return map::<f16, f32>(&x, context, |value| value.to_f32()),
        (DType::F32, DType::F16) => return map::<f32, f16>(&x, context, |value| f16::from_f32(*value)),
        (DType::Bf16, DType::F32) => return map::<bf16, f32>(&x, context, |value| value.to_f32()),
        (DType::F32, DType::Bf16) => return map::<f32, bf16>(&x, context, |value| bf16::from_f32(*value)),
        (DType::U8, DType::F32) => return map::<u8, f32>(&x, context, |value| f32::from(*value)),
        (DType::I8, DType::F32) => return map::<i8, f32>(&x, context, |value| f32::from(*value)),
        (DType::Bool, DType::F32) => return map::<bool, f32>(&x, context, |value| f32::from(u8::from(*value))),
        _ => {}
    }
    if from == DType::Str {
        return parse(&x, to, context);
    }
    if to == DType::Str {
        return by_type!(from, T in [F32 F64 F16 Bf16 I64 I32 I16 I8 U64 U32 U16 U8 Bool] => print::<T>(&x, context),
            [Str] => Ok(x));
    }
    by_type!(from, T in [F32 F64 F16 Bf16 I64 I32 I16 I8 U64 U32 U16 U8 Bool] => {
        let values = elements::<T>(&x, 0)?;
        let read = |start: usize, plain: &mut [Plain]| {
            plain.iter_mut().zip(&values[start..]).for_each(|(plain, value)| *plain = value.plain());
        };
        by_type!(to, U in [F32 F64 F16 Bf16 I64 I32 I16 I8 U64 U32 U16 U8 Bool] =>
            write::<U>(x.shape(), context, &read), [Str] => Ok(x.clone()))
    }, [Str] => Ok(x))
}

/// Elements between their two types.
const BUFFER_LEN: usize = 256;

/// Elements from what `read` puts into a buffer, from a place on: there are too many pairs of types for a loop each.
fn write<U: Castable>(
    shape: &[usize],
    context: &mut Context<'_>,
    read: &(dyn Fn(usize, &mut [Plain]) + Sync),
) -> Result<Array, OpError> {
    let mut out = context.zeros::<U>(shape)?;
    split(context.pool, &mut out, |start, out| {
        let mut buffer = [Plain::Whole(0); BUFFER_LEN];
        for (idx, out) in out.chunks_mut(BUFFER_LEN).enumerate() {
            let buffer = &mut buffer[..out.len()];
            read(start + idx * BUFFER_LEN, buffer);
            out.iter_mut().zip(buffer).for_each(|(out, plain)| *out = U::of_plain(*plain));
        }
    });
    Ok(Array::new(shape, out))
}

/// A number of any type without loss: floats are exact in f64, integers in i128.
#[derive(Clone, Copy, Debug)]
enum Plain {
    Real(f64),
    Whole(i128),
}

/// An element that can be any other.
trait Castable: Element {
    fn plain(&self) -> Plain;
    fn of_plain(plain: Plain) -> Self;
    /// In decimal digits: the shortest that stand for it alone.
    fn print(&self) -> String;
}

macro_rules! castable_integers {
    ($($int:ty)+) => {
        $(
            impl Castable for $int {
                #[inline(always)]
                fn plain(&self) -> Plain {
                    Plain::Whole(i128::from(*self))
                }

                #[inline(always)]
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "upper bits are lost by the standard's rule, and floats become the nearest"
                )]
                fn of_plain(plain: Plain) -> Self {
                    match plain {
                        Plain::Real(value) => value as $int,
                        Plain::Whole(value) => value as $int,
                    }
                }

                fn print(&self) -> String {
                    self.to_string()
                }
            }
        )+
    };
}
castable_integers! { i64 i32 i16 i8 u64 u32 u16 u8 }

macro_rules! castable_floats {
    ($($float:ty, $widen:expr, $of_real:expr, $of_whole:expr, $printed:expr;)+) => {
        $(
            impl Castable for $float {
                #[inline(always)]
                fn plain(&self) -> Plain {
                    Plain::Real($widen(*self))
                }

                #[inline(always)]
                fn of_plain(plain: Plain) -> Self {
                    match plain {
                        Plain::Real(value) => $of_real(value),
                        Plain::Whole(value) => $of_whole(value),
                    }
                }

                fn print(&self) -> String {
                    $printed(*self)
                }
            }
        )+
    };
}

castable_floats! {
    f32, f64::from, Number::of_f64, |value: i128| value as Self,
        |value: f32| printed(f64::from(value), &value.to_string());
    f64, std::convert::identity, std::convert::identity, |value: i128| value as Self,
        |value: f64| printed(value, &value.to_string());
    // An integer of more bits than f64 has is rounded twice, but to so few bits that the first does not matter.
    f16, f16::to_f64, f16::from_f64, |value: i128| Self::from_f64(value as f64),
        |value: f16| printed(value.to_f64(), &value.to_f32().to_string());
    bf16, bf16::to_f64, bf16::from_f64, |value: i128| Self::from_f64(value as f64),
        |value: bf16| printed(value.to_f64(), &value.to_f32().to_string());
}

impl Castable for bool {
    #[inline(always)]
    fn plain(&self) -> Plain {
        Plain::Whole(i128::from(*self))
    }

    #[inline(always)]
    fn of_plain(plain: Plain) -> Self {
        match plain {
            Plain::Real(value) => value != 0.0,
            Plain::Whole(value) => value != 0,
        }
    }

    fn print(&self) -> String {
        // As the standard's own implementation has it, which writes Python's words.
        if *self { "True".to_owned() } else { "False".to_owned() }
    }
}

/// A float whose digits are `digits`.
fn printed(value: f64, digits: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF".to_owned() } else { "-INF".to_owned() };
    }
    digits.to_owned()
}

fn print<T: Castable>(x: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    map::<T, String>(x, context, Castable::print)
}

/// Numbers from texts.
fn parse(x: &Array, to: DType, context: &mut Context<'_>) -> Result<Array, OpError> {
    let texts = x.values::<String>().unwrap_or_default();
    fn all<T: Element>(
        shape: &[usize],
        texts: &[String],
        context: &Context<'_>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Array, OpError> {
        let mut values = context.room::<T>(shape)?;
        for text in texts {
            values.push(
                parse(text.trim()).ok_or_else(|| OpError::input(0, format!("a {}", T::DTYPE), format!("{text:?}")))?,
            );
        }
        Ok(Array::new(shape, values))
    }
    // Integers with a point or an exponent are cut off towards zero.
    macro_rules! whole {
        ($int:ty) => {
            all::<$int>(x.shape(), texts, context, |text| {
                text.parse().ok().or_else(|| {
                    let value: f64 = text.parse().ok()?;
                    let is_there = value.trunc() >= <$int>::MIN as f64 && value.trunc() <= <$int>::MAX as f64;
                    is_there.then(|| <$int>::of_plain(Plain::Real(value)))
                })
            })
        };
    }
    match to {
        DType::F32 => all::<f32>(x.shape(), texts, context, |text| text.parse().ok()),
        DType::F64 => all::<f64>(x.shape(), texts, context, |text| text.parse().ok()),
        DType::F16 => all::<f16>(x.shape(), texts, context, |text| Some(f16::from_f64(text.parse().ok()?))),
        DType::Bf16 => all::<bf16>(x.shape(), texts, context, |text| Some(bf16::from_f64(text.parse().ok()?))),
        DType::I64 => whole!(i64),
        DType::I32 => whole!(i32),
        DType::I16 => whole!(i16),
        DType::I8 => whole!(i8),
        DType::U64 => whole!(u64),
        DType::U32 => whole!(u32),
        DType::U16 => whole!(u16),
        DType::U8 => whole!(u8),
        DType::Bool => all::<bool>(x.shape(), texts, context, |text| match text {
            "True" | "true" | "1" => Some(true),
            "False" | "false" | "0" | "" => Some(false),
            _ => None,
        }),
        DType::Str => Ok(x.clone()),
    }
}

#[cfg(test)]
mod tests;
