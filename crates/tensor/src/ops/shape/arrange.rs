//! Operators that put elements in another order or repeat them.

use crate::array::{Array, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, axis, broadcast, one};
use crate::ops::view::{Stride, View, extent, fill_rows};
use crate::run::Context;
use ballast_backend::element_count;
use smallvec::SmallVec;

pub(super) fn transpose(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Transpose { order: spec.ints("perm")?.map(<[i64]>::to_vec) }))
}

/// The same elements with the dimensions in another order; without one, reversed. (ONNX `Transpose`)
#[derive(Debug)]
struct Transpose {
    order: Option<Vec<i64>>,
}

impl Operator for Transpose {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.take(0)?;
        let rank = array.rank();
        let order: SmallVec<[usize; 8]> = match &self.order {
            Some(order) => order.iter().map(|&at| axis(at, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).rev().collect(),
        };
        if order.len() != rank || (0..rank).any(|at| !order.contains(&at)) {
            return Err(NodeSpec::wrong(
                "perm",
                format!("each of {rank} dimensions once"),
                format!("{:?}", self.order),
            ));
        }
        let shape: Shape = order.iter().map(|&at| array.shape()[at]).collect();
        // Dimensions of one place can go anywhere without a copy.
        let moved = order.iter().filter(|&&at| array.shape()[at] != 1);
        if moved.is_sorted() {
            return one(array.reshaped(&shape)?);
        }
        one(View::dense(array.shape()).permuted(&order).copied(&array, &shape, context)?)
    }
}

/// Where the places within a block come from.
#[derive(Clone, Copy, Debug)]
enum BlockOrder {
    /// Depth, column, row.
    Dcr,
    /// Column, row, depth.
    Crd,
}

/// Edge of the blocks between depth and space.
fn block_size(spec: &NodeSpec<'_>) -> Result<usize, OpError> {
    let size = NodeSpec::needed(spec.int("blocksize")?, "blocksize", "an integer")?;
    usize::try_from(size).ok().filter(|&size| size > 0).ok_or_else(|| NodeSpec::wrong("blocksize", "1 or more", size))
}

fn picture(array: &Array) -> Result<[usize; 4], OpError> {
    array.shape().try_into().map_err(|_| OpError::shape("batch, channels, height and width", array.shape()))
}

pub(super) fn depth_to_space(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let order = match spec.text("mode")?.unwrap_or("DCR") {
        "DCR" => BlockOrder::Dcr,
        "CRD" => BlockOrder::Crd,
        other => return Err(NodeSpec::wrong("mode", "DCR or CRD", other)),
    };
    Ok(Box::new(DepthToSpace { block: block_size(spec)?, order }))
}

/// Channels laid out as blocks of a picture. (ONNX `DepthToSpace`)
#[derive(Debug)]
struct DepthToSpace {
    block: usize,
    order: BlockOrder,
}

impl Operator for DepthToSpace {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, block) = (inputs.take(0)?, self.block);
        let [n, channels, height, width] = picture(&array)?;
        let area = block.checked_mul(block).filter(|&area| channels.is_multiple_of(area));
        let Some(area) = area else {
            return Err(OpError::shape(format!("a multiple of {block} x {block} channels"), array.shape()));
        };
        let depth = channels / area;
        let shape = [n, depth, height * block, width * block];
        let view = match self.order {
            BlockOrder::Dcr => View::dense(&[n, block, block, depth, height, width]).permuted(&[0, 3, 4, 1, 5, 2]),
            BlockOrder::Crd => View::dense(&[n, depth, block, block, height, width]).permuted(&[0, 1, 4, 2, 5, 3]),
        };
        one(view.copied(&array, &shape, context)?)
    }
}

pub(super) fn space_to_depth(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let is_depth_first = match spec.text("mode")?.unwrap_or("DCR") {
        "DCR" => true,
        "CRD" => false,
        other => return Err(NodeSpec::wrong("mode", "DCR or CRD", other)),
    };
    let order = if is_depth_first { BlockOrder::Dcr } else { BlockOrder::Crd };
    Ok(Box::new(SpaceToDepth { block: block_size(spec)?, order }))
}

/// Blocks of a picture laid out as channels. (ONNX `SpaceToDepth`)
#[derive(Debug)]
struct SpaceToDepth {
    block: usize,
    order: BlockOrder,
}

impl Operator for SpaceToDepth {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, block) = (inputs.take(0)?, self.block);
        let [n, depth, height, width] = picture(&array)?;
        if !height.is_multiple_of(block) || !width.is_multiple_of(block) {
            return Err(OpError::shape(format!("a multiple of {block} rows and columns"), array.shape()));
        }
        let (rows, columns) = (height / block, width / block);
        let channels = depth.checked_mul(block).and_then(|channels| channels.checked_mul(block));
        let channels = channels.ok_or_else(|| OpError::shape("fewer channels", array.shape()))?;
        let order = match self.order {
            BlockOrder::Dcr => [0, 3, 5, 1, 2, 4],
            BlockOrder::Crd => [0, 1, 3, 5, 2, 4],
        };
        let view = View::dense(&[n, depth, rows, block, columns, block]).permuted(&order);
        one(view.copied(&array, &[n, channels, rows, columns], context)?)
    }
}

pub(super) fn expand(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Expand))
}

/// The array broadcast with a shape. (ONNX `Expand`)
#[derive(Debug)]
struct Expand;

impl Operator for Expand {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let wanted = inputs.ints(1)?.into_iter().map(|value| extent(value, 1)).collect::<Result<Shape, _>>()?;
        let array = inputs.take(0)?;
        let shape = broadcast(array.shape(), &wanted)?;
        if element_count(&shape) == Some(array.len()) {
            return one(array.reshaped(&shape)?);
        }
        let mut view = View::dense(array.shape());
        let n_missing = shape.len() - array.rank();
        view.dims.insert_many(0, std::iter::repeat_n(Stride::new(1, 0), n_missing));
        for (dim, &extent) in view.dims.iter_mut().zip(&shape) {
            if dim.extent != extent {
                *dim = Stride::new(extent, 0);
            }
        }
        one(view.copied(&array, &shape, context)?)
    }
}

pub(super) fn tile(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Tile { is_by_axis: spec.version < 6 }))
}

/// The array again and again along its dimensions. (ONNX `Tile`)
#[derive(Debug)]
struct Tile {
    /// The first version took one number of times and one axis.
    is_by_axis: bool,
}

impl Operator for Tile {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let given = inputs.ints(1)?.into_iter().map(|value| extent(value, 1)).collect::<Result<Shape, _>>()?;
        let along = if self.is_by_axis { Some(inputs.ints(2)?) } else { None };
        let array = inputs.take(0)?;
        let times = match along.as_deref() {
            None => given,
            Some(&[along]) if given.len() == 1 => {
                let mut times = Shape::from_elem(1, array.rank());
                times[axis(along, array.rank())?] = given[0];
                times
            }
            Some(_) => return Err(OpError::input(2, "one axis", "several or none")),
        };
        if times.len() != array.rank() {
            return Err(OpError::input(1, format!("{} numbers", array.rank()), times.len().to_string()));
        }
        let repeated = array.shape().iter().zip(&times).map(|(extent, times)| extent.checked_mul(*times));
        let too_large = || OpError::shape(format!("fewer elements than {times:?} times"), array.shape());
        let shape = repeated.collect::<Option<Shape>>().ok_or_else(too_large)?;
        let dense = View::dense(array.shape());
        let dims = dense.dims.iter().zip(&times).flat_map(|(dim, &times)| [Stride::new(times, 0), *dim]);
        one(View { offset: 0, dims: dims.collect() }.copied(&array, &shape, context)?)
    }
}

pub(super) fn reverse_sequence(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (batch, time) = (spec.int("batch_axis")?.unwrap_or(1), spec.int("time_axis")?.unwrap_or(0));
    let is_time_first = match (batch, time) {
        (1, 0) => true,
        (0, 1) => false,
        _ => return Err(NodeSpec::wrong("batch_axis", "0 or 1, and time_axis the other", batch)),
    };
    Ok(Box::new(ReverseSequence { is_time_first }))
}

/// Sequences of a batch backwards, each as far as it goes. (ONNX `ReverseSequence`)
#[derive(Debug)]
struct ReverseSequence {
    is_time_first: bool,
}

impl Operator for ReverseSequence {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let lens = inputs.ints(1)?.into_iter().map(|value| extent(value, 1)).collect::<Result<Vec<_>, _>>()?;
        let array = inputs.take(0)?;
        let &[first, second, ref rest @ ..] = array.shape() else {
            return Err(OpError::shape("two dimensions or more", array.shape()));
        };
        let (n_steps, n_sequences) = if self.is_time_first { (first, second) } else { (second, first) };
        if lens.len() != n_sequences || lens.iter().any(|&len| len > n_steps) {
            return Err(OpError::input(1, format!("{n_sequences} lengths of at most {n_steps}"), format!("{lens:?}")));
        }
        let row_len = rest.iter().product();
        let from = |row: usize| {
            let (time, batch) =
                if self.is_time_first { (row / second, row % second) } else { (row % second, row / second) };
            let time = if time < lens[batch] { lens[batch] - 1 - time } else { time };
            if self.is_time_first { time * second + batch } else { batch * second + time }
        };
        for_data!(array.data(), values => {
            let mut out = context.zeros(array.shape())?;
            fill_rows(&mut out, row_len, context.pool, |row, out| out.clone_from_slice(&values[from(row) * row_len..][..row_len]));
            one(Array::new(array.shape(), out))
        })
    }
}
