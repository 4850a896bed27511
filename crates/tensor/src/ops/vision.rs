//! Operators on regions of pictures.

mod regions;

use crate::array::{Array, Element, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, one, wrong_type};
use crate::ops::generate::floats;
use crate::ops::view::{advance, extent};
use crate::run::Context;
use ballast_backend::DType;
use half::{bf16, f16};

pub(super) const OPS: &[(&str, Build)] = &[
    ("Col2Im", col_to_im),
    ("MaxRoiPool", regions::max_roi_pool),
    ("NonMaxSuppression", non_max_suppression),
    ("RoiAlign", regions::roi_align),
];

fn non_max_suppression(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(NonMaxSuppression { is_centered: spec.flag("center_point_box", false)? }))
}

/// The boxes with the best scores that do not cover each other. (ONNX `NonMaxSuppression`)
#[derive(Debug)]
struct NonMaxSuppression {
    is_centered: bool,
}

/// A box by its corners.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Corners {
    top: f64,
    left: f64,
    bottom: f64,
    right: f64,
}

impl Corners {
    fn new([a, b, c, d]: [f64; 4], is_centered: bool) -> Self {
        if is_centered {
            let (x, y, half_width, half_height) = (a, b, c / 2.0, d / 2.0);
            return Self { top: y - half_height, left: x - half_width, bottom: y + half_height, right: x + half_width };
        }
        // Any two corners that lie across from each other.
        Self { top: a.min(c), left: b.min(d), bottom: a.max(c), right: b.max(d) }
    }

    fn area(&self) -> f64 {
        (self.bottom - self.top) * (self.right - self.left)
    }

    /// The share of both that is common to both.
    fn overlap(&self, other: &Self) -> f64 {
        let height = (self.bottom.min(other.bottom) - self.top.max(other.top)).max(0.0);
        let width = (self.right.min(other.right) - self.left.max(other.left)).max(0.0);
        let (common, both) = (height * width, self.area() + other.area());
        if common > 0.0 { common / (both - common) } else { 0.0 }
    }
}

/// What is kept.
struct Choice {
    n_max: usize,
    overlap_max: f64,
    score_min: Option<f64>,
}

impl Operator for NonMaxSuppression {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (boxes, scores) = (inputs.get(0)?, inputs.get(1)?);
        let (&[n, n_boxes, 4], &[n_again, n_classes, n_scores]) = (boxes.shape(), scores.shape()) else {
            return Err(OpError::shape("boxes of 4 numbers, and scores by class", boxes.shape()));
        };
        if (n, n_boxes) != (n_again, n_scores) {
            return Err(OpError::shape(format!("scores of {n} x {n_boxes} boxes"), scores.shape()));
        }
        let single = |idx: usize| inputs.find(idx)?.map(|_| super::generate::number(&inputs, idx)).transpose();
        let n_max = match inputs.find_ints(2)?.as_deref() {
            None => 0,
            Some(&[n]) => extent(n.max(0), 2)?,
            Some(other) => return Err(OpError::input(2, "one number", other.len().to_string())),
        };
        let choice = Choice { n_max, overlap_max: single(3)?.unwrap_or(0.0), score_min: single(4)? };
        let numbers =
            |idx: usize, array: &Array| floats(array).ok_or_else(|| wrong_type(idx, "numbers", array.dtype()));
        let (boxes, scores) = (numbers(0, boxes)?, numbers(1, scores)?);
        let corners = boxes.as_chunks().0.iter().map(|&numbers| Corners::new(numbers, self.is_centered));
        let corners: Vec<Corners> = corners.collect();
        let mut kept: Vec<i64> = Vec::new();
        for row in 0..if n_boxes == 0 { 0 } else { n * n_classes } {
            context.pulse.beat()?;
            let (batch, class) = (row / n_classes, row % n_classes);
            let of_batch = &corners[batch * n_boxes..][..n_boxes];
            for idx in choice.of(of_batch, &scores[row * n_boxes..][..n_boxes]) {
                kept.extend([batch, class, idx].map(|at| i64::try_from(at).unwrap_or(i64::MAX)));
            }
        }
        one(Array::new(&[kept.len() / 3, 3], kept))
    }
}

impl Choice {
    /// The boxes that are kept, best first; of equals the first.
    fn of(&self, boxes: &[Corners], scores: &[f64]) -> Vec<usize> {
        let is_good = |idx: &usize| self.score_min.is_none_or(|min| scores[*idx] > min);
        let mut order: Vec<usize> = (0..boxes.len()).filter(is_good).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut kept: Vec<usize> = Vec::new();
        for idx in order {
            if kept.len() >= self.n_max {
                break;
            }
            if kept.iter().all(|&other| boxes[idx].overlap(&boxes[other]) <= self.overlap_max) {
                kept.push(idx);
            }
        }
        kept
    }
}

/// As many numbers as there are dimensions of a picture.
fn per_axis(spec: &NodeSpec<'_>, name: &'static str) -> Result<Option<Shape>, OpError> {
    let number = |&value: &i64| usize::try_from(value).map_err(|_| NodeSpec::wrong(name, "0 or more", value));
    spec.ints(name)?.map(|values| values.iter().map(number).collect()).transpose()
}

fn col_to_im(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (steps, spreads) = (per_axis(spec, "strides")?, per_axis(spec, "dilations")?);
    if steps.iter().chain(&spreads).flatten().any(|&step| step == 0) {
        return Err(NodeSpec::wrong("strides", "1 or more, dilations as well", 0));
    }
    Ok(Box::new(ColToIm { steps, spreads, pads: per_axis(spec, "pads")? }))
}

/// A picture as the sum of overlapping blocks. (ONNX `Col2Im`)
#[derive(Debug)]
struct ColToIm {
    steps: Option<Shape>,
    spreads: Option<Shape>,
    pads: Option<Shape>,
}

/// Where the places of blocks lie in a picture.
struct Blocks {
    picture: Shape,
    block: Shape,
    /// How many blocks there are along each dimension.
    counts: Shape,
    steps: Shape,
    spreads: Shape,
    pads: Shape,
}

impl Blocks {
    /// The place in the picture of a place in a block; `None`: beside it.
    fn place(&self, within: &[usize], block: &[usize]) -> Option<usize> {
        let mut place = 0;
        for (at, &extent) in self.picture.iter().enumerate() {
            let along = (block[at] * self.steps[at] + within[at] * self.spreads[at]).checked_sub(self.pads[at])?;
            place = place * extent + Some(along).filter(|&along| along < extent)?;
        }
        Some(place)
    }
}

impl ColToIm {
    fn blocks(&self, picture: Shape, block: Shape) -> Result<Blocks, OpError> {
        let rank = picture.len();
        let given = |values: &Option<Shape>, n: usize, default: usize| {
            let values = values.clone().unwrap_or_else(|| Shape::from_elem(default, n));
            if values.len() == n { Ok(values) } else { Err(OpError::shape(format!("{n} numbers"), &values)) }
        };
        let (steps, spreads) = (given(&self.steps, rank, 1)?, given(&self.spreads, rank, 1)?);
        let pads = given(&self.pads, 2 * rank, 0)?;
        let count = |at: usize| {
            let padded = picture[at].checked_add(pads[at])?.checked_add(pads[rank + at])?;
            let reach = block[at].checked_sub(1)?.checked_mul(spreads[at])?.checked_add(1)?;
            Some(padded.checked_sub(reach)? / steps[at] + 1)
        };
        let counts = if block.len() == rank { (0..rank).map(count).collect::<Option<Shape>>() } else { None };
        let counts = counts.ok_or_else(|| OpError::shape(format!("blocks that fit into {picture:?}"), &block))?;
        Ok(Blocks { picture, block, counts, steps, spreads, pads })
    }
}

impl Operator for ColToIm {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let extents =
            |idx: usize| inputs.ints(idx)?.into_iter().map(|value| extent(value, idx)).collect::<Result<Shape, _>>();
        let blocks = self.blocks(extents(1)?, extents(2)?)?;
        let product = |shape: &[usize]| shape.iter().try_fold(1_usize, |len, &extent| len.checked_mul(extent));
        let (Some(block_len), Some(n_blocks)) = (product(&blocks.block), product(&blocks.counts)) else {
            return Err(OpError::shape("fewer places", &blocks.block));
        };
        let &[n, rows, columns] = array.shape() else {
            return Err(OpError::shape("a batch of matrices", array.shape()));
        };
        if block_len == 0 || !rows.is_multiple_of(block_len) || columns != n_blocks {
            return Err(OpError::shape(format!("{block_len} rows per channel and {n_blocks} columns"), array.shape()));
        }
        let shape: Shape = [&[n, rows / block_len], &blocks.picture[..]].concat().into();
        if matches!(array.dtype(), DType::Str | DType::Bool) {
            return Err(wrong_type(0, "numbers", array.dtype()));
        }
        for_data!(array.data(), values => one(sum_blocks(values, (&blocks, block_len, n_blocks), &shape, context)?))
    }
}

fn sum_blocks<T: Sum>(
    values: &[T],
    (blocks, block_len, n_blocks): (&Blocks, usize, usize),
    shape: &[usize],
    context: &mut Context<'_>,
) -> Result<Array, OpError> {
    let mut out: Vec<T> = context.zeros(shape)?;
    let picture_len: usize = blocks.picture.iter().product();
    if picture_len == 0 || values.is_empty() {
        return Ok(Array::new(shape, out));
    }
    for (picture, values) in out.chunks_mut(picture_len).zip(values.chunks(block_len * n_blocks)) {
        let mut within = Shape::from_elem(0, blocks.block.len());
        for row in values.chunks(n_blocks) {
            let mut block = Shape::from_elem(0, blocks.counts.len());
            for value in row {
                if let Some(place) = blocks.place(&within, &block) {
                    picture[place].add(value);
                }
                advance(&mut block, &blocks.counts);
            }
            advance(&mut within, &blocks.block);
        }
    }
    Ok(Array::new(shape, out))
}

/// Elements that are summed up.
trait Sum: Element {
    fn add(&mut self, other: &Self);
}

macro_rules! sum {
    ($add:expr => $($element:ty),+) => {
        $(impl Sum for $element {
            fn add(&mut self, other: &Self) {
                *self = $add(self, other);
            }
        })+
    };
}

sum!(|a: &Self, b: &Self| *a + *b => f32, f64, f16, bf16);
sum!(|a: &Self, b: &Self| a.wrapping_add(*b) => i64, i32, i16, i8, u64, u32, u16, u8);
sum!(|a: &Self, b: &Self| *a || *b => bool);
sum!(|a: &Self, b: &Self| format!("{a}{b}") => String);

#[cfg(test)]
mod tests;
