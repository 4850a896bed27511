//! Operators that take elements from where indices say. Those that put them there are in `gather/scatter.rs`.

mod scatter;

use crate::array::{Array, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, ints, one, strides};
use crate::ops::view::{advance, fill_rows, place};
use crate::run::Context;

pub(super) const OPS: &[(&str, Build)] = &[
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("Scatter", scatter::scatter_elements),
    ("ScatterElements", scatter::scatter_elements),
    ("ScatterND", scatter::scatter_nd),
    ("TensorScatter", scatter::tensor_scatter),
];

/// The places `kept` along dimension `at`, which are all below its extent.
pub(super) fn take(array: &Array, at: usize, kept: &[usize], context: &mut Context<'_>) -> Result<Array, OpError> {
    let mut shape = Shape::from_slice(array.shape());
    shape[at] = kept.len();
    take_as(array, (at, kept), &shape, context)
}

/// As [`take`], in a shape of as many elements.
fn take_as(
    array: &Array,
    (at, kept): (usize, &[usize]),
    shape: &[usize],
    context: &mut Context<'_>,
) -> Result<Array, OpError> {
    let (extent, row_len) = (array.shape()[at], array.shape()[at + 1..].iter().product::<usize>());
    let from = |row: usize| (row / kept.len() * extent + kept[row % kept.len()]) * row_len;
    rows(array, (&from, row_len), shape, context)
}

/// An array of `shape` whose rows begin where `from` says in another.
fn rows(
    array: &Array,
    (from, row_len): (&(dyn Fn(usize) -> usize + Sync), usize),
    shape: &[usize],
    context: &mut Context<'_>,
) -> Result<Array, OpError> {
    for_data!(array.data(), values => {
        let mut out = context.zeros(shape)?;
        fill_rows(&mut out, row_len, context.pool, |row, out| out.clone_from_slice(&values[from(row)..][..row_len]));
        Ok(Array::new(shape, out))
    })
}

fn gather(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Gather { axis: spec.int("axis")?.unwrap_or(0) }))
}

/// The parts of an array that indices name along an axis. (ONNX `Gather`)
#[derive(Debug)]
struct Gather {
    axis: i64,
}

impl Operator for Gather {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, indices) = (inputs.get(0)?, inputs.get(1)?);
        let at = axis(self.axis, array.rank())?;
        let extent = array.shape()[at];
        let kept = ints(1, indices)?.into_iter().map(|idx| place(idx, extent)).collect::<Result<Vec<_>, _>>()?;
        let shape: Shape = [&array.shape()[..at], indices.shape(), &array.shape()[at + 1..]].concat().into();
        one(take_as(array, (at, &kept), &shape, context)?)
    }
}

fn gather_elements(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(GatherElements { axis: spec.int("axis")?.unwrap_or(0) }))
}

/// For each element of the indices the one at its own place, but along an axis where it says. (ONNX `GatherElements`)
#[derive(Debug)]
struct GatherElements {
    axis: i64,
}

impl Operator for GatherElements {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, indices) = (inputs.get(0)?, inputs.get(1)?);
        let offsets = element_offsets((array.shape(), self.axis), indices, 1)?;
        one(rows(array, (&|idx| offsets[idx], 1), indices.shape(), context)?)
    }
}

/// Where in an array of `shape` each index points: to its own place, but along an axis where it says.
fn element_offsets((shape, along): (&[usize], i64), indices: &Array, input: usize) -> Result<Vec<usize>, OpError> {
    let at = axis(along, shape.len())?;
    let is_within = |(dim, (index, extent)): (usize, (&usize, &usize))| dim == at || index <= extent;
    if indices.rank() != shape.len() || !indices.shape().iter().zip(shape).enumerate().all(is_within) {
        return Err(OpError::shape(format!("extents within those of {shape:?}"), indices.shape()));
    }
    let steps = strides(shape);
    let mut here = Shape::from_elem(0, shape.len());
    let offset = |idx: i64| {
        let own: usize = here.iter().zip(&steps).map(|(at, step)| at * step).sum();
        let offset = own - here[at] * steps[at] + place(idx, shape[at])? * steps[at];
        advance(&mut here, indices.shape());
        Ok(offset)
    };
    ints(input, indices)?.into_iter().map(offset).collect()
}

fn gather_nd(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let n_batch = spec.int("batch_dims")?.unwrap_or(0);
    let n_batch = usize::try_from(n_batch).map_err(|_| NodeSpec::wrong("batch_dims", "0 or more", n_batch))?;
    Ok(Box::new(GatherNd { n_batch }))
}

/// The parts of an array that tuples of indices name. (ONNX `GatherND`)
#[derive(Debug)]
struct GatherNd {
    n_batch: usize,
}

impl Operator for GatherNd {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, indices) = (inputs.get(0)?, inputs.get(1)?);
        let n_batch = self.n_batch;
        let parts = Parts::new(array.shape(), n_batch, indices)?;
        let before_tuple = &indices.shape()[..indices.rank() - 1];
        let shape: Shape = [before_tuple, &array.shape()[n_batch + parts.n_named..]].concat().into();
        one(rows(array, (&|row| parts.offsets[row], parts.len), &shape, context)?)
    }
}

/// Parts of an array that tuples of indices name.
struct Parts {
    /// How many dimensions a tuple names.
    n_named: usize,
    /// Elements of a part.
    len: usize,
    /// Where each begins.
    offsets: Vec<usize>,
}

impl Parts {
    /// Parts of an array of `shape` that the last dimension of `indices` names; `n_batch` dimensions both have.
    fn new(shape: &[usize], n_batch: usize, indices: &Array) -> Result<Self, OpError> {
        let (own, rank) = (indices.shape(), shape.len());
        let n_named = *own.last().ok_or_else(|| OpError::shape("one dimension or more", own))?;
        let is_fit = n_batch < own.len() && n_named <= rank.saturating_sub(n_batch) && n_batch <= rank;
        if !is_fit || own[..n_batch] != shape[..n_batch] {
            return Err(OpError::shape(
                format!("tuples of indices into {shape:?} with {n_batch} dimensions of a batch"),
                own,
            ));
        }
        let (steps, named) = (strides(shape), &shape[n_batch..n_batch + n_named]);
        let len = shape[n_batch + n_named..].iter().product();
        let batch_len: usize = named.iter().product::<usize>() * len;
        let n_tuples: usize = own[..own.len() - 1].iter().product();
        let n_batches: usize = own[..n_batch].iter().product();
        let per_batch = n_tuples.checked_div(n_batches).unwrap_or(0);
        let values = ints(1, indices)?;
        let offset = |tuple: usize| {
            let idx = &values[tuple * n_named..][..n_named];
            let within = idx.iter().zip(named).zip(&steps[n_batch..]);
            let within =
                within.map(|((&idx, &extent), step)| Ok(place(idx, extent)? * step)).sum::<Result<usize, OpError>>()?;
            Ok(tuple / per_batch * batch_len + within)
        };
        let offsets = (0..n_tuples).map(offset).collect::<Result<_, OpError>>()?;
        Ok(Self { n_named, len, offsets })
    }
}

#[cfg(test)]
mod tests;
