//! Operators that join arrays and take parts of them, by runs of memory.

use crate::array::{Array, Element, Shape, Value, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, axis, one, strides};
use crate::ops::view::{Stride, View, extent, fill_rows};
use crate::run::Context;

pub(super) fn concat(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let axis = match spec.int("axis")? {
        Some(axis) => axis,
        None if spec.version < 4 => 1,
        None => return Err(NodeSpec::wrong("axis", "an integer", "nothing")),
    };
    Ok(Box::new(Concat { axis }))
}

/// Arrays one behind the other along an axis. (ONNX `Concat`)
#[derive(Debug)]
struct Concat {
    axis: i64,
}

impl Operator for Concat {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let arrays = (0..inputs.len()).map(|idx| inputs.get(idx)).collect::<Result<Vec<_>, _>>()?;
        let first = *arrays.first().ok_or_else(|| OpError::input(0, "a tensor", "nothing"))?;
        one(join(&arrays, axis(self.axis, first.rank())?, context)?)
    }
}

/// Arrays one behind the other along dimension `at`, which the first has.
pub(in crate::ops) fn join(arrays: &[&Array], at: usize, context: &mut Context<'_>) -> Result<Array, OpError> {
    let first = *arrays.first().ok_or_else(|| OpError::input(0, "a tensor", "nothing"))?;
    let mut shape = Shape::from_slice(first.shape());
    shape[at] = 0;
    for array in arrays {
        let mut like = Shape::from_slice(array.shape());
        if like.len() != shape.len()
            || std::mem::replace(&mut like[at], shape[at]) > usize::MAX - shape[at]
            || like != shape
        {
            let expected = format!("the extents of {:?}, but along dimension {at}", first.shape());
            return Err(OpError::shape(expected, array.shape()));
        }
        shape[at] += array.shape()[at];
    }
    if let [only] = arrays {
        return Ok((*only).clone());
    }
    for_data!(first.data(), values => join_of(values, arrays, (at, &shape), context))
}

/// The arrays joined, if they have elements of the type of `_like`.
fn join_of<T: Element>(
    _like: &[T],
    arrays: &[&Array],
    (at, shape): (usize, &[usize]),
    context: &mut Context<'_>,
) -> Result<Array, OpError> {
    let inner: usize = shape[at + 1..].iter().product();
    let wrong = |idx: usize, array: &Array| OpError::input(idx, T::DTYPE.as_str(), array.dtype().as_str());
    let parts = arrays
        .iter()
        .enumerate()
        .map(|(idx, array)| Ok((array.values::<T>().ok_or_else(|| wrong(idx, array))?, array.shape()[at] * inner)));
    let parts = parts.collect::<Result<Vec<(&[T], usize)>, OpError>>()?;
    let mut out = context.zeros(shape)?;
    fill_rows(&mut out, shape[at] * inner, context.pool, |row, mut out| {
        for (values, len) in &parts {
            let (head, tail) = out.split_at_mut(*len);
            head.clone_from_slice(&values[row * len..][..*len]);
            out = tail;
        }
    });
    Ok(Array::new(shape, out))
}

pub(super) fn split(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let n_outputs = spec.node.outputs.len();
    let is_even = match spec.int("num_outputs")? {
        None => spec.version < 18,
        Some(number) if usize::try_from(number) == Ok(n_outputs) => false,
        Some(number) => return Err(NodeSpec::wrong("num_outputs", n_outputs.to_string(), number)),
    };
    let lens = spec.ints("split")?.map(<[i64]>::to_vec);
    Ok(Box::new(Split { axis: spec.int("axis")?.unwrap_or(0), lens, n_outputs, is_even }))
}

/// An array cut along an axis. (ONNX `Split`)
#[derive(Debug)]
struct Split {
    axis: i64,
    lens: Option<Vec<i64>>,
    n_outputs: usize,
    /// Whether parts that are not told must come out even; otherwise the last one is shorter.
    is_even: bool,
}

impl Operator for Split {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let given = match &self.lens {
            Some(lens) => Some(lens.clone()),
            None => inputs.find_ints(1)?,
        };
        let array = inputs.take(0)?;
        let at = axis(self.axis, array.rank())?;
        let total = array.shape()[at];
        let lens = match given {
            Some(lens) => lens.into_iter().map(|len| extent(len, 1)).collect::<Result<Vec<_>, _>>()?,
            None if self.is_even && !total.is_multiple_of(self.n_outputs) => {
                return Err(OpError::shape(
                    format!("a multiple of {} along dimension {at}", self.n_outputs),
                    array.shape(),
                ));
            }
            None => {
                let len = total.div_ceil(self.n_outputs);
                (0..self.n_outputs).map(|idx| len.min(total.saturating_sub(idx * len))).collect()
            }
        };
        if lens.len() != self.n_outputs {
            return Err(OpError::input(1, format!("{} lengths", self.n_outputs), lens.len().to_string()));
        }
        Ok(split_at(&array, at, &lens, context)?.into_iter().map(Value::from).collect())
    }
}

/// Parts of these lengths along dimension `at`.
pub(in crate::ops) fn split_at(
    array: &Array,
    at: usize,
    lens: &[usize],
    context: &mut Context<'_>,
) -> Result<Vec<Array>, OpError> {
    let total = lens.iter().try_fold(0_usize, |sum, &len| sum.checked_add(len));
    if total != Some(array.shape()[at]) {
        return Err(OpError::shape(format!("lengths {lens:?} along dimension {at}"), array.shape()));
    }
    let (dense, mut start) = (View::dense(array.shape()), 0);
    let step = strides(array.shape())[at];
    let part = |&len: &usize| {
        let mut view = dense.clone();
        view.offset = start * step;
        view.dims[at].extent = len;
        start += len;
        let mut shape = Shape::from_slice(array.shape());
        shape[at] = len;
        view.copied(array, &shape, context)
    };
    lens.iter().map(part).collect()
}

pub(super) fn slice(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let ints = |name| Ok::<_, OpError>(spec.ints(name)?.map(<[i64]>::to_vec));
    let (starts, ends, axes) = (ints("starts")?, ints("ends")?, ints("axes")?);
    let given = match (starts, ends) {
        (Some(starts), Some(ends)) => Some(Bounds { starts, ends, axes, steps: None }),
        (None, None) if spec.version >= 10 => None,
        _ => return Err(NodeSpec::wrong("starts", "integers, and as many ends", "nothing")),
    };
    Ok(Box::new(Slice { given }))
}

/// From where to where along which axes, as it is told.
#[derive(Clone, Debug)]
struct Bounds {
    starts: Vec<i64>,
    ends: Vec<i64>,
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
}

/// Every so many elements from one place to another along axes. (ONNX `Slice`)
#[derive(Debug)]
struct Slice {
    given: Option<Bounds>,
}

impl Operator for Slice {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let bounds = match &self.given {
            Some(bounds) => bounds.clone(),
            None => Bounds {
                starts: inputs.ints(1)?,
                ends: inputs.ints(2)?,
                axes: inputs.find_ints(3)?,
                steps: inputs.find_ints(4)?,
            },
        };
        let array = inputs.take(0)?;
        let view = bounds.view(array.shape())?;
        let shape: Shape = view.dims.iter().map(|dim| dim.extent).collect();
        if shape[..] == *array.shape() && view.dims.iter().all(|dim| dim.step >= 0) {
            return one(array);
        }
        one(view.copied(&array, &shape, context)?)
    }
}

impl Bounds {
    fn view(&self, shape: &[usize]) -> Result<View, OpError> {
        let n_axes = self.starts.len();
        let axes = self.axes.clone().unwrap_or_else(|| (0_i64..).take(n_axes).collect());
        let steps = self.steps.clone().unwrap_or_else(|| vec![1; n_axes]);
        if [self.ends.len(), axes.len(), steps.len()] != [n_axes; 3] {
            return Err(OpError::input(2, format!("{n_axes} ends, axes and steps"), "other numbers of them"));
        }
        let mut view = View::dense(shape);
        for (idx, &along) in axes.iter().enumerate() {
            let at = axis(along, shape.len())?;
            if axes[..idx].iter().any(|&other| axis(other, shape.len()).is_ok_and(|other| other == at)) {
                return Err(OpError::input(3, "each axis once", format!("{axes:?}")));
            }
            let (start, dim) = cut(shape[at], (self.starts[idx], self.ends[idx], steps[idx]))?;
            view.offset += start * view.dims[at].step.unsigned_abs();
            view.dims[at] = Stride { extent: dim.extent, step: view.dims[at].step.wrapping_mul(dim.step) };
        }
        Ok(view)
    }
}

/// Where a slice begins along a dimension, how many places it has and how far they are apart: ends that lie outside mean
/// the last place there is. (ONNX `Slice`, "clamped")
fn cut(extent: usize, (start, end, step): (i64, i64, i64)) -> Result<(usize, Stride), OpError> {
    let zero = || OpError::input(4, "steps that are not 0", "0");
    let n = i64::try_from(extent).map_err(|_| OpError::shape("fewer places", &[extent]))?;
    let from_front = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
    let (low, high) = if step < 0 { (-1, n - 1) } else { (0, n) };
    let (start, end) = (from_front(start).clamp(low.max(0).min(high), high), from_front(end).clamp(low, high));
    let span = if step < 0 { start - end } else { end - start };
    let step_len = step.unsigned_abs();
    if step_len == 0 {
        return Err(zero());
    }
    let n_places = if extent == 0 { 0 } else { u64::try_from(span).unwrap_or(0).div_ceil(step_len) };
    // One place needs no step, and a step may be longer than any array.
    let step = if n_places < 2 { 1 } else { isize::try_from(step).map_err(|_| zero())? };
    let n_places = usize::try_from(n_places).map_err(|_| zero())?;
    let start = if n_places == 0 { 0 } else { usize::try_from(start).map_err(|_| zero())? };
    Ok((start, Stride { extent: n_places, step }))
}

pub(super) fn compress(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Compress { axis: spec.int("axis")? }))
}

/// The places along an axis, or of all elements, for which a condition is true. (ONNX `Compress`)
#[derive(Debug)]
struct Compress {
    axis: Option<i64>,
}

impl Operator for Compress {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.take(0)?;
        let conditions = inputs.values::<bool>(1)?;
        let (array, at) = match self.axis {
            Some(along) => {
                let at = axis(along, array.rank())?;
                (array, at)
            }
            None => {
                let len = array.len();
                (array.reshaped(&[len])?, 0)
            }
        };
        let kept: Vec<usize> = (0..conditions.len()).filter(|&idx| conditions[idx]).collect();
        if kept.last().is_some_and(|&last| last >= array.shape()[at]) {
            return Err(OpError::input(
                1,
                format!("at most {} conditions", array.shape()[at]),
                conditions.len().to_string(),
            ));
        }
        one(super::super::gather::take(&array, at, &kept, context)?)
    }
}
