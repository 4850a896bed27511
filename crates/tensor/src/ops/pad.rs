//! Operators that add places around an array, or take them away.

use crate::array::{Array, Element, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, one};
use crate::ops::view::{IndexMap, extent, remap};
use crate::run::Context;
use half::{bf16, f16};

pub(super) const OPS: &[(&str, Build)] = &[("Pad", pad)];

/// What new places hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One value.
    Constant,
    /// What is mirrored at the outermost element.
    Reflect,
    /// The outermost element.
    Edge,
    /// The array once more.
    Wrap,
}

fn pad(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let mode = match spec.text("mode")?.unwrap_or("constant") {
        "constant" => Mode::Constant,
        "reflect" => Mode::Reflect,
        "edge" => Mode::Edge,
        "wrap" => Mode::Wrap,
        other => return Err(NodeSpec::wrong("mode", "constant, reflect, edge or wrap", other)),
    };
    let name = if spec.version < 2 { "paddings" } else { "pads" };
    let pads = spec.ints(name)?.map(<[i64]>::to_vec);
    if spec.version < 11 && pads.is_none() {
        return Err(NodeSpec::wrong(name, "integers", "nothing"));
    }
    Ok(Box::new(Pad { mode, pads, value: spec.float("value")? }))
}

/// An array with places added before and behind along its axes; fewer than none are taken away. (ONNX `Pad`)
#[derive(Debug)]
struct Pad {
    mode: Mode,
    pads: Option<Vec<i64>>,
    value: Option<f32>,
}

impl Operator for Pad {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let pads = match &self.pads {
            Some(pads) => pads.clone(),
            None => inputs.ints(1)?,
        };
        let value = if self.pads.is_none() { inputs.find(2)? } else { None };
        let axes = if self.pads.is_none() { inputs.find_ints(3)? } else { None };
        let axes = axes.unwrap_or_else(|| (0_i64..).take(array.rank()).collect());
        if pads.len() != 2 * axes.len() {
            return Err(OpError::input(1, format!("{} numbers", 2 * axes.len()), pads.len().to_string()));
        }
        let mut around = Shape::from_elem(0, array.rank()).iter().map(|_| (0, 0)).collect::<Vec<(i64, i64)>>();
        for (idx, &along) in axes.iter().enumerate() {
            around[axis(along, array.rank())?] = (pads[idx], pads[axes.len() + idx]);
        }
        let extents = array.shape().iter().zip(&around);
        // What is too large is refused before its index maps are made.
        let shape = extents.clone().map(|(&extent, &pads)| padded(extent, pads)).collect::<Result<Shape, _>>()?;
        context.len_of(&shape, array.dtype())?;
        let maps = extents.zip(&shape).map(|((&extent, &pads), &len)| self.mode.map(extent, pads, len));
        let maps = maps.collect::<Result<Vec<_>, _>>()?;
        for_data!(array.data(), values => {
            let outside = outside(values, self.value, value)?;
            one(remap(values, array.shape(), &maps, &outside, context)?)
        })
    }
}

fn padded(extent: usize, (before, behind): (i64, i64)) -> Result<usize, OpError> {
    let fault =
        || OpError::input(1, "pads that leave places to be counted", format!("{before} and {behind} around {extent}"));
    let own = i64::try_from(extent).map_err(|_| fault())?;
    let padded = own.checked_add(before).and_then(|sum| sum.checked_add(behind)).ok_or_else(fault)?;
    usize::try_from(padded).map_err(|_| fault())
}

/// Elements that a float of an attribute stands for.
trait OfFloat: Element {
    fn of_float(value: f32) -> Self;
}

macro_rules! of_float {
    ($($element:ty: $convert:expr),+ $(,)?) => {
        $(impl OfFloat for $element {
            fn of_float(value: f32) -> Self {
                $convert(value)
            }
        })+
    };
}

of_float! {
    f32: |value| value, f64: f64::from, f16: f16::from_f32, bf16: bf16::from_f32,
    bool: |value| value != 0.0, String: |_| Self::new(),
}

/// Whole numbers: the fraction is cut off as in a cast.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cut to an integer as in a cast"
)]
mod whole {
    use super::OfFloat;

    of_float! {
        i64: |value: f32| value as Self, i32: |value: f32| value as Self, i16: |value: f32| value as Self,
        i8: |value: f32| value as Self, u64: |value: f32| value as Self, u32: |value: f32| value as Self,
        u16: |value: f32| value as Self, u8: |value: f32| value as Self,
    }
}

/// The value of new places: that of an input, else that of the attribute, else zero.
fn outside<T: OfFloat>(_like: &[T], attribute: Option<f32>, input: Option<&Array>) -> Result<T, OpError> {
    let Some(input) = input else { return Ok(attribute.map_or_else(T::default, T::of_float)) };
    match input.values::<T>() {
        Some([value]) => Ok(value.clone()),
        _ => Err(OpError::input(2, format!("one {}", T::DTYPE), format!("{input:?}"))),
    }
}

impl Mode {
    /// Where each place of a padded dimension comes from. Places are taken away first.
    fn map(self, extent: usize, (before, behind): (i64, i64), len: usize) -> Result<IndexMap, OpError> {
        let n = i64::try_from(extent).unwrap_or(i64::MAX);
        let (first, end) = ((-before).clamp(0, n), (n + behind.min(0)).clamp(0, n));
        let inner = (end - first).max(0);
        if self != Self::Constant && inner == 0 && len > 0 {
            return Err(OpError::shape("elements to pad with", &[extent]));
        }
        let start = before.max(0);
        let from = |at: i64| {
            let at = at - start;
            match self {
                _ if (0..inner).contains(&at) => Some(at),
                Self::Constant => None,
                Self::Edge => Some(at.clamp(0, inner - 1)),
                Self::Wrap => Some(at.rem_euclid(inner)),
                Self::Reflect if inner == 1 => Some(0),
                Self::Reflect => {
                    let period = 2 * (inner - 1);
                    let at = at.rem_euclid(period);
                    Some(at.min(period - at))
                }
            }
        };
        Ok((0_i64..).take(len).map(|at| usize::try_from(from(at)? + first).ok()).collect())
    }
}

pub(super) fn center_crop_pad(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(CenterCropPad { axes: spec.ints("axes")?.map(<[i64]>::to_vec) }))
}

/// The middle of an array, or the array in the middle of zeros. (ONNX `CenterCropPad`)
#[derive(Debug)]
struct CenterCropPad {
    axes: Option<Vec<i64>>,
}

impl Operator for CenterCropPad {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, wanted) = (inputs.get(0)?, inputs.ints(1)?);
        let axes = self.axes.clone().unwrap_or_else(|| (0_i64..).take(array.rank()).collect());
        if axes.len() != wanted.len() {
            return Err(OpError::input(1, format!("{} extents", axes.len()), wanted.len().to_string()));
        }
        let mut shape = Shape::from_slice(array.shape());
        for (&along, &wanted) in axes.iter().zip(&wanted) {
            shape[axis(along, array.rank())?] = extent(wanted, 1)?;
        }
        context.len_of(&shape, array.dtype())?;
        let maps = array.shape().iter().zip(&shape).map(|(&extent, &wanted)| centered(extent, wanted));
        let maps: Vec<IndexMap> = maps.collect();
        for_data!(array.data(), values => one(remap(values, array.shape(), &maps, &Default::default(), context)?))
    }
}

/// Of an odd number of places one more is taken or added behind.
fn centered(extent: usize, wanted: usize) -> IndexMap {
    if wanted <= extent {
        let first = (extent - wanted) / 2;
        return (first..first + wanted).map(Some).collect();
    }
    let before = (wanted - extent) / 2;
    (0..wanted).map(|at| at.checked_sub(before).filter(|&at| at < extent)).collect()
}

#[cfg(test)]
mod tests;
