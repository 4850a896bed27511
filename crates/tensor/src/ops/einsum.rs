//! Sums of products over indices, and determinants.

mod contract;

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, one, strides, wrong_type};
use crate::ops::generate::{cast, floats};
use crate::ops::view::{Stride, View};
use crate::run::Context;
use ballast_backend::{DType, RANK_MAX};
use contract::{Number, Operand};
use std::collections::BTreeMap;

pub(super) const OPS: &[(&str, Build)] = &[("Det", det), ("Einsum", einsum)];

/// An index of a sum of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// One that `...` stands for, counted from the last.
    Hidden(usize),
    Letter(u8),
}

/// The indices of an operand or of the result, `...` in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    before: Vec<u8>,
    /// `None`: there is no `...`.
    behind: Option<Vec<u8>>,
}

impl Term {
    fn parse(text: &str) -> Result<Self, OpError> {
        let wrong = || NodeSpec::wrong("equation", "letters and at most one ... in each term", text);
        let (before, behind) = match text.split_once("...") {
            Some((before, behind)) => (before, Some(behind)),
            None => (text, None),
        };
        if !before.bytes().chain(behind.unwrap_or_default().bytes()).all(|letter| letter.is_ascii_alphabetic()) {
            return Err(wrong());
        }
        Ok(Self { before: before.into(), behind: behind.map(Into::into) })
    }

    fn letters(&self) -> impl Iterator<Item = u8> {
        self.before.iter().chain(self.behind.iter().flatten()).copied()
    }

    /// The indices, where `...` stands for `n_hidden`.
    fn labels(&self, n_hidden: usize) -> Vec<Label> {
        let hidden = (0..if self.behind.is_some() { n_hidden } else { 0 }).rev().map(Label::Hidden);
        let before = self.before.iter().copied().map(Label::Letter);
        before.chain(hidden).chain(self.behind.iter().flatten().copied().map(Label::Letter)).collect()
    }

    /// How many indices `...` stands for in an operand of so many dimensions.
    fn n_hidden(&self, rank: usize) -> Option<usize> {
        let n_hidden = rank.checked_sub(self.letters().count())?;
        (self.behind.is_some() || n_hidden == 0).then_some(n_hidden)
    }
}

fn einsum(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let equation = NodeSpec::needed(spec.text("equation")?, "equation", "a text")?.replace(' ', "");
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&equation[..], None),
    };
    let terms = left.split(',').map(Term::parse).collect::<Result<Vec<_>, _>>()?;
    if terms.len() != spec.node.inputs.len() {
        return Err(NodeSpec::wrong("equation", format!("{} terms", spec.node.inputs.len()), &equation));
    }
    let counts = terms.iter().flat_map(Term::letters).fold(BTreeMap::<u8, usize>::new(), |mut counts, letter| {
        *counts.entry(letter).or_default() += 1;
        counts
    });
    let has_hidden = terms.iter().any(|term| term.behind.is_some());
    let result = match right {
        Some(right) => Term::parse(right)?,
        None => {
            // Indices that are there once, in the order of the alphabet.
            let once = counts.iter().filter(|(_, n)| **n == 1).map(|(letter, _)| *letter).collect();
            if has_hidden {
                Term { before: Vec::new(), behind: Some(once) }
            } else {
                Term { before: once, behind: None }
            }
        }
    };
    let mut seen: Vec<u8> = result.letters().collect();
    seen.sort_unstable();
    let is_known = seen.iter().all(|letter| counts.contains_key(letter)) && (has_hidden || result.behind.is_none());
    if !is_known || seen.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(NodeSpec::wrong("equation", "a result of indices that are there, each once", &equation));
    }
    Ok(Box::new(Einsum { terms, result }))
}

/// The sum over all indices that the result has not of the products of all operands. (ONNX `Einsum`)
#[derive(Debug)]
struct Einsum {
    terms: Vec<Term>,
    result: Term,
}

impl Operator for Einsum {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let mut arrays = (0..inputs.len()).map(|idx| inputs.get(idx).cloned()).collect::<Result<Vec<_>, _>>()?;
        let dtype = arrays.first().map_or(DType::F32, Array::dtype);
        if let Some(idx) = arrays.iter().position(|array| array.dtype() != dtype) {
            return Err(wrong_type(idx, dtype.as_str(), arrays[idx].dtype()));
        }
        match dtype {
            DType::F32 => one(self.sum::<f32>(&arrays, context)?),
            DType::F64 => one(self.sum::<f64>(&arrays, context)?),
            DType::I64 => one(self.sum::<i64>(&arrays, context)?),
            DType::I32 => one(self.sum::<i32>(&arrays, context)?),
            DType::I16 => one(self.sum::<i16>(&arrays, context)?),
            DType::I8 => one(self.sum::<i8>(&arrays, context)?),
            DType::U64 => one(self.sum::<u64>(&arrays, context)?),
            DType::U32 => one(self.sum::<u32>(&arrays, context)?),
            DType::U16 => one(self.sum::<u16>(&arrays, context)?),
            DType::U8 => one(self.sum::<u8>(&arrays, context)?),
            DType::F16 | DType::Bf16 => {
                for array in &mut arrays {
                    *array = cast(floats(array).unwrap_or_default(), array.shape(), DType::F32);
                }
                let sum = self.sum::<f32>(&arrays, context)?;
                one(cast(floats(&sum).unwrap_or_default(), sum.shape(), dtype))
            }
            DType::Bool | DType::Str => Err(wrong_type(0, "numbers", dtype)),
        }
    }
}

impl Einsum {
    fn sum<T: Number>(&self, arrays: &[Array], context: &mut Context<'_>) -> Result<Array, OpError> {
        let mut labels = Vec::new();
        let (mut extents, mut n_hidden_max) = (BTreeMap::<Label, usize>::new(), 0);
        for (term, array) in self.terms.iter().zip(arrays) {
            let wrong = || OpError::shape(format!("the indices {term:?}"), array.shape());
            let n_hidden = term.n_hidden(array.rank()).ok_or_else(wrong)?;
            n_hidden_max = n_hidden_max.max(n_hidden);
            let of_term = term.labels(n_hidden);
            for (&label, &extent) in of_term.iter().zip(array.shape()) {
                let common = extents.entry(label).or_insert(1);
                match (*common, extent) {
                    (1, extent) => *common = extent,
                    (_, 1) => {}
                    (common, extent) if common == extent => {}
                    _ => return Err(wrong()),
                }
            }
            labels.push(of_term);
        }
        let result = self.result.labels(n_hidden_max);
        let mut operands = Vec::new();
        for (array, labels) in arrays.iter().zip(&labels) {
            operands.push(operand::<T>(array, labels, context)?);
        }
        let shape: Shape = result.iter().map(|label| extents.get(label).copied().unwrap_or(1)).collect();
        if shape.len() > RANK_MAX {
            return Err(OpError::shape(format!("at most {RANK_MAX} dimensions"), &shape));
        }
        let summed = contract::all(operands, &result, context)?;
        Array::new(&[summed.len()], summed).reshaped(&shape)
    }
}

/// An operand with each index once, and none of one place.
fn operand<T: Number>(array: &Array, labels: &[Label], context: &mut Context<'_>) -> Result<Operand<T>, OpError> {
    let mut view = View { offset: 0, dims: Default::default() };
    let mut own: Vec<Label> = Vec::new();
    for ((&label, &extent), step) in labels.iter().zip(array.shape()).zip(strides(array.shape())) {
        match own.iter().position(|other| *other == label) {
            Some(at) if view.dims[at].extent == extent => view.dims[at].step += step.cast_signed(),
            Some(_) => return Err(OpError::shape("the same extent for the same index", array.shape())),
            None => {
                own.push(label);
                view.dims.push(Stride::new(extent, step));
            }
        }
    }
    let is_kept: Vec<bool> = view.dims.iter().map(|dim| dim.extent != 1).collect();
    let mut kept = is_kept.iter();
    own.retain(|_| kept.next().copied().unwrap_or(true));
    let mut kept = is_kept.iter();
    view.dims.retain(|_| kept.next().copied().unwrap_or(true));
    let shape: Shape = view.dims.iter().map(|dim| dim.extent).collect();
    let mut values: Vec<T> = context.zeros(&shape)?;
    view.copy(array.values::<T>().unwrap_or_default(), &mut values, context.pool);
    Ok(Operand { labels: own, shape, values })
}

fn det(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Det))
}

/// Determinants of square matrices. (ONNX `Det`)
#[derive(Debug)]
struct Det;

impl Operator for Det {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let (&[ref batch @ .., rows, columns], dtype) = (array.shape(), array.dtype()) else {
            return Err(OpError::shape("square matrices", array.shape()));
        };
        if rows != columns {
            return Err(OpError::shape("square matrices", array.shape()));
        }
        if !matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::Bf16) {
            return Err(wrong_type(0, "floats", dtype));
        }
        let n: usize = batch.iter().product();
        let mut values = floats(array).unwrap_or_default();
        let determinants = if rows == 0 {
            vec![1.0; n]
        } else {
            values.chunks_mut(rows * rows).map(|matrix| determinant(matrix, rows)).collect()
        };
        one(cast(determinants, batch, dtype))
    }
}

/// By elimination, with the largest element of each column as its pivot; what is left of the matrix has no meaning.
fn determinant(matrix: &mut [f64], n: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..n {
        let size = |row: &usize| matrix[row * n + column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        if pivot != column {
            (0..n).for_each(|at| matrix.swap(pivot * n + at, column * n + at));
            product = -product;
        }
        let diagonal = matrix[column * n + column];
        product *= diagonal;
        if diagonal == 0.0 {
            return 0.0;
        }
        let (upper, lower) = matrix.split_at_mut((column + 1) * n);
        for row in lower.chunks_mut(n) {
            let factor = row[column] / diagonal;
            row.iter_mut().zip(&upper[column * n..]).for_each(|(value, above)| *value -= factor * above);
        }
    }
    product
}

#[cfg(test)]
mod tests;
