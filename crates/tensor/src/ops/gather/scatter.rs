//! Operators that put elements where indices say.

use super::{Parts, element_offsets};
use crate::array::{Array, Element, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, axis, one};
use crate::ops::view::extent;
use crate::run::Context;
use half::{bf16, f16};

/// What becomes of an element that something is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    Replace,
    Add,
    Mul,
    Min,
    Max,
}

impl Reduction {
    fn of(spec: &NodeSpec<'_>) -> Result<Self, OpError> {
        match spec.text("reduction")?.unwrap_or("none") {
            "none" => Ok(Self::Replace),
            "add" => Ok(Self::Add),
            "mul" => Ok(Self::Mul),
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            other => Err(NodeSpec::wrong("reduction", "none, add, mul, min or max", other)),
        }
    }
}

/// Elements that can be combined in place.
trait Combine: Element {
    /// What `self` becomes; `None`: elements of this type cannot be combined so.
    fn combined(&self, other: &Self, how: Reduction) -> Option<Self>;
}

macro_rules! combine {
    ($add:expr, $mul:expr => $($element:ty),+) => {
        $(impl Combine for $element {
            fn combined(&self, other: &Self, how: Reduction) -> Option<Self> {
                let (a, b) = (*self, *other);
                // What is not a number stays so, on either side: nothing is less than it, nor it than anything.
                Some(match how {
                    Reduction::Replace => b,
                    Reduction::Add => $add(a, b),
                    Reduction::Mul => $mul(a, b),
                    Reduction::Min => if a < b || is_nan(&a) { a } else { b },
                    Reduction::Max => if b < a || is_nan(&a) { a } else { b },
                })
            }
        })+
    };
}

combine!(|a, b| a + b, |a, b| a * b => f32, f64, f16, bf16);
combine!(|a: Self, b| a.wrapping_add(b), |a: Self, b| a.wrapping_mul(b) => i64, i32, i16, i8, u64, u32, u16, u8);
combine!(|a, b| a || b, |a, b| a && b => bool);

#[expect(clippy::eq_op, reason = "what is not a number is what does not equal itself")]
fn is_nan<T: PartialEq>(value: &T) -> bool {
    value != value
}

impl Combine for String {
    fn combined(&self, other: &Self, how: Reduction) -> Option<Self> {
        (how == Reduction::Replace).then(|| other.clone())
    }
}

/// Puts runs of `updates` at `offsets` of `array`.
fn put(
    mut array: Array,
    updates: &Array,
    (offsets, run_len): (&[usize], usize),
    how: Reduction,
) -> Result<Array, OpError> {
    if array.dtype() != updates.dtype() {
        return Err(OpError::input(2, array.dtype().as_str(), updates.dtype().as_str()));
    }
    for_data!(updates.data(), updates => put_into(&mut array, updates, (offsets, run_len), how))?;
    Ok(array)
}

fn put_into<T: Combine>(
    array: &mut Array,
    updates: &[T],
    (offsets, run_len): (&[usize], usize),
    how: Reduction,
) -> Result<(), OpError> {
    let Some(values) = array.values_mut::<T>() else { return Ok(()) };
    if run_len == 0 {
        return Ok(());
    }
    for (&offset, run) in offsets.iter().zip(updates.chunks(run_len)) {
        let target = &mut values[offset..offset + run_len];
        if how == Reduction::Replace {
            target.clone_from_slice(run);
            continue;
        }
        for (value, update) in target.iter_mut().zip(run) {
            let combined = value.combined(update, how);
            *value = combined.ok_or_else(|| OpError::input(2, "numbers to be combined", T::DTYPE.as_str()))?;
        }
    }
    Ok(())
}

pub(super) fn scatter_elements(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ScatterElements { axis: spec.int("axis")?.unwrap_or(0), how: Reduction::of(spec)? }))
}

/// Each update put at its own place, but along an axis where an index says. (ONNX `ScatterElements`, `Scatter`)
#[derive(Debug)]
struct ScatterElements {
    axis: i64,
    how: Reduction,
}

impl Operator for ScatterElements {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.take(0)?;
        let (indices, updates) = (inputs.get(1)?, inputs.get(2)?);
        if indices.shape() != updates.shape() {
            return Err(OpError::shape(format!("as many updates as indices, {:?}", indices.shape()), updates.shape()));
        }
        let offsets = element_offsets((array.shape(), self.axis), indices, 1)?;
        one(put(array, updates, (&offsets, 1), self.how)?)
    }
}

pub(super) fn scatter_nd(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ScatterNd { how: Reduction::of(spec)? }))
}

/// Updates put on the parts of an array that tuples of indices name. (ONNX `ScatterND`)
#[derive(Debug)]
struct ScatterNd {
    how: Reduction,
}

impl Operator for ScatterNd {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.take(0)?;
        let (indices, updates) = (inputs.get(1)?, inputs.get(2)?);
        let parts = Parts::new(array.shape(), 0, indices)?;
        let before_tuple = &indices.shape()[..indices.rank() - 1];
        let shape: Shape = [before_tuple, &array.shape()[parts.n_named..]].concat().into();
        if updates.shape() != &shape[..] {
            return Err(OpError::shape(format!("updates of the shape {shape:?}"), updates.shape()));
        }
        one(put(array, updates, (&parts.offsets, parts.len), self.how)?)
    }
}

/// Where a cache goes on when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CacheMode {
    /// Nowhere: that is an error.
    Linear,
    /// At its begin.
    Circular,
}

pub(super) fn tensor_scatter(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let mode = match spec.text("mode")?.unwrap_or("linear") {
        "linear" => CacheMode::Linear,
        "circular" => CacheMode::Circular,
        other => return Err(NodeSpec::wrong("mode", "linear or circular", other)),
    };
    Ok(Box::new(TensorScatter { axis: spec.int("axis")?.unwrap_or(-2), mode }))
}

/// A cache with an update put into each sequence from a place on. (ONNX `TensorScatter`)
#[derive(Debug)]
struct TensorScatter {
    axis: i64,
    mode: CacheMode,
}

impl Operator for TensorScatter {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let starts = inputs.find_ints(2)?;
        let cache = inputs.take(0)?;
        let updates = inputs.get(1)?;
        let at = axis(self.axis, cache.rank())?;
        let (capacity, n_new) = (cache.shape()[at], updates.shape().get(at).copied().unwrap_or(0));
        let mut like = Shape::from_slice(cache.shape());
        like[at] = n_new;
        if at == 0 || updates.shape() != &like[..] || n_new > capacity {
            return Err(OpError::shape(
                format!("an update that fits into {:?} along dimension {at}", cache.shape()),
                updates.shape(),
            ));
        }
        let n_sequences = cache.shape()[0];
        let starts = match starts {
            None => vec![0; n_sequences],
            Some(starts) => starts.into_iter().map(|start| extent(start, 2)).collect::<Result<Vec<_>, _>>()?,
        };
        let is_fit =
            |start: &usize| *start <= capacity && (self.mode == CacheMode::Circular || *start <= capacity - n_new);
        if starts.len() != n_sequences || !starts.iter().all(is_fit) {
            return Err(OpError::input(2, format!("{n_sequences} places in {capacity}"), format!("{starts:?}")));
        }
        let row_len: usize = cache.shape()[at + 1..].iter().product();
        let rows_per_sequence: usize = cache.shape()[1..at].iter().product();
        let rows = 0..n_sequences * rows_per_sequence;
        let offsets = rows.flat_map(|row| {
            let start = starts[row / rows_per_sequence];
            (start..start + n_new).map(move |idx| (row * capacity + idx % capacity) * row_len)
        });
        let offsets: Vec<usize> = offsets.collect();
        one(put(cache, updates, (&offsets, row_len), Reduction::Replace)?)
    }
}
