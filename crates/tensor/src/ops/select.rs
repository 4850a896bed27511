//! Operators that choose elements by what they are.

use crate::array::{Array, Element, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, one, wrong_type};
use crate::ops::gather::take;
use crate::ops::view::extent;
use crate::run::Context;
use ballast_backend::DType;
use half::{bf16, f16};
use std::cmp::Ordering;

pub(super) const OPS: &[(&str, Build)] = &[("NonZero", non_zero), ("TopK", top_k), ("Unique", unique)];

/// Elements in an order in which all have a place.
trait Ordered: Element {
    fn order(&self, other: &Self) -> Ordering;
}

macro_rules! ordered {
    ($($element:ty),+ => $order:expr) => {
        $(impl Ordered for $element {
            fn order(&self, other: &Self) -> Ordering {
                $order(self, other)
            }
        })+
    };
}

// What is not a number comes behind all numbers.
ordered!(f32, f64, f16, bf16 => |a: &Self, b: &Self| a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())));
ordered!(i64, i32, i16, i8, u64, u32, u16, u8, bool, String => Ord::cmp);

/// A place as a whole number.
fn signed(at: usize) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

fn top_k(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let k = spec.int("k")?;
    if spec.version < 10 && k.is_none() {
        return Err(NodeSpec::wrong("k", "an integer", "nothing"));
    }
    // Results in order are right, too, where none is asked for.
    spec.flag("sorted", true)?;
    Ok(Box::new(TopK { axis: spec.int("axis")?.unwrap_or(-1), is_largest: spec.flag("largest", true)?, k }))
}

/// The largest or smallest elements along an axis, and where they are; of equals the first. (ONNX `TopK`)
#[derive(Debug)]
struct TopK {
    axis: i64,
    is_largest: bool,
    k: Option<i64>,
}

impl Operator for TopK {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let given = if self.k.is_none() { inputs.ints(1)? } else { Vec::new() };
        let k = match (self.k, &given[..]) {
            (Some(k), _) | (None, &[k]) => extent(k, 1)?,
            (None, _) => return Err(OpError::input(1, "one number", given.len().to_string())),
        };
        if array.dtype() == DType::Str {
            return Err(wrong_type(0, "numbers", DType::Str));
        }
        let at = axis(self.axis, array.rank())?;
        if k > array.shape()[at] {
            return Err(OpError::input(1, format!("at most {}", array.shape()[at]), k.to_string()));
        }
        let mut shape = Shape::from_slice(array.shape());
        shape[at] = k;
        let places = Along { at, k, is_largest: self.is_largest };
        for_data!(array.data(), values => places.choose(values, array.shape(), &shape, context))
    }
}

/// What is chosen along a dimension.
struct Along {
    at: usize,
    k: usize,
    is_largest: bool,
}

impl Along {
    fn choose<T: Ordered>(
        &self,
        values: &[T],
        shape: &[usize],
        out_shape: &[usize],
        context: &Context<'_>,
    ) -> Result<Outputs, OpError> {
        let (mut chosen, mut places) = (context.zeros::<T>(out_shape)?, context.zeros::<i64>(out_shape)?);
        let (n, inner) = (shape[self.at], shape[self.at + 1..].iter().product::<usize>());
        let n_columns = values.len().checked_div(n).unwrap_or(0);
        let mut order: Vec<usize> = Vec::with_capacity(n);
        for column in 0..if self.k == 0 { 0 } else { n_columns } {
            let (outer, within) = (column / inner, column % inner);
            let value = |idx: usize| &values[(outer * n + idx) * inner + within];
            let compare = |a: &usize, b: &usize| {
                let order = value(*a).order(value(*b));
                if self.is_largest { order.reverse() } else { order }.then(a.cmp(b))
            };
            order.clear();
            order.extend(0..n);
            if self.k < n {
                order.select_nth_unstable_by(self.k - 1, compare);
                order.truncate(self.k);
            }
            order.sort_unstable_by(compare);
            for (rank, &idx) in order.iter().enumerate() {
                let to = (outer * self.k + rank) * inner + within;
                chosen[to].clone_from(value(idx));
                places[to] = signed(idx);
            }
        }
        let outputs = [Array::new(out_shape, chosen), Array::new(out_shape, places)];
        Ok(outputs.into_iter().map(Into::into).collect())
    }
}

fn non_zero(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(NonZero))
}

/// Where the elements are that are not zero: a row for each dimension. (ONNX `NonZero`)
#[derive(Debug)]
struct NonZero;

impl Operator for NonZero {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let found = for_data!(array.data(), values => non_zeros(values));
        let shape = [array.rank(), found.len()];
        let mut rows: Vec<i64> = context.zeros(&shape)?;
        let mut step = array.len();
        for (at, &extent) in array.shape().iter().enumerate().filter(|_| !found.is_empty()) {
            step /= extent;
            let row = &mut rows[at * found.len()..][..found.len()];
            row.iter_mut().zip(&found).for_each(|(row, idx)| *row = signed(idx / step % extent));
        }
        one(Array::new(&shape, rows))
    }
}

fn non_zeros<T: Element>(values: &[T]) -> Vec<usize> {
    let zero = T::default();
    (0..values.len()).filter(|&idx| values[idx] != zero).collect()
}

fn unique(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Unique { axis: spec.int("axis")?, is_sorted: spec.flag("sorted", true)? }))
}

/// Each element, or each part along an axis, once; with where it is first, which each one is, and how often it is there.
/// (ONNX `Unique`)
#[derive(Debug)]
struct Unique {
    axis: Option<i64>,
    is_sorted: bool,
}

impl Operator for Unique {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.take(0)?;
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
        let mut groups = for_data!(array.data(), values => groups(values, array.shape(), at));
        if !self.is_sorted {
            groups.sort_unstable_by_key(|group| group[0]);
        }
        let firsts: Vec<usize> = groups.iter().map(|group| group[0]).collect();
        let mut which = vec![0_i64; array.shape()[at]];
        for (idx, group) in groups.iter().enumerate() {
            group.iter().for_each(|&member| which[member] = signed(idx));
        }
        let counts: Vec<i64> = groups.iter().map(|group| signed(group.len())).collect();
        let places: Vec<i64> = firsts.iter().map(|&first| signed(first)).collect();
        let row = |values: Vec<i64>| Array::new(&[values.len()], values);
        let outputs = [take(&array, at, &firsts, context)?, row(places), row(which), row(counts)];
        Ok(outputs.into_iter().map(Into::into).collect())
    }
}

/// The places along dimension `at` with equal parts, each in their order, the groups in that of their parts.
fn groups<T: Ordered>(values: &[T], shape: &[usize], at: usize) -> Vec<Vec<usize>> {
    let (n, inner) = (shape[at], shape[at + 1..].iter().product::<usize>());
    let n_outer: usize = shape[..at].iter().product();
    let part = |idx: usize| (0..n_outer).flat_map(move |outer| &values[(outer * n + idx) * inner..][..inner]);
    let compare = |a: usize, b: usize| {
        let pairs = part(a).zip(part(b));
        pairs.map(|(a, b)| a.order(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| compare(a, b));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for idx in order {
        match groups.last_mut() {
            Some(group) if compare(group[0], idx).is_eq() => group.push(idx),
            _ => groups.push(vec![idx]),
        }
    }
    groups
}

#[cfg(test)]
mod tests;
