//! What an operator is, and what it is given.

use crate::array::{Array, Element, Shape, Value};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::run::Context;
use ballast_backend::{DType, RANK_MAX, element_count};
use smallvec::SmallVec;
use std::fmt;

/// What an operator computes, in the order of its outputs.
pub(crate) type Outputs = SmallVec<[Value; 2]>;

/// Makes an operator from its node.
pub(crate) type Build = fn(&NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError>;

/// An operator with its attributes read, at its place in a plan.
pub(crate) trait Operator: Send + Sync + fmt::Debug {
    /// Computes. Inputs that nobody else needs come with their elements unshared, to be written over.
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError>;

    /// Whether the same inputs give the same outputs every time.
    fn is_pure(&self) -> bool {
        true
    }

    /// Whether it computes without this input, because it made its own form of it: weights that are laid out anew.
    fn keeps(&self, _input: usize) -> bool {
        false
    }
}

/// One output.
pub(crate) fn one(output: impl Into<Value>) -> Result<Outputs, OpError> {
    let mut outputs = Outputs::new();
    outputs.push(output.into());
    Ok(outputs)
}

/// The inputs of one run.
#[derive(Debug)]
pub(crate) struct Inputs(pub(crate) SmallVec<[Option<Value>; 4]>);

impl Inputs {
    /// How many there are, those that are left out included.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes of the longest text of each input, added up: no element that is made of them is longer.
    pub(crate) fn text_bytes(&self) -> usize {
        let texts = self.0.iter().flatten().map(|value| match value {
            Value::Array(array) => array.values::<String>().into_iter().flatten().map(String::len).max().unwrap_or(0),
            Value::Sequence(_) | Value::Optional(_) => 0,
        });
        texts.sum()
    }

    pub(crate) fn value(&self, idx: usize) -> Option<&Value> {
        self.0.get(idx).and_then(Option::as_ref)
    }

    /// An array, if it is given.
    pub(crate) fn find(&self, idx: usize) -> Result<Option<&Array>, OpError> {
        match self.value(idx) {
            None => Ok(None),
            Some(Value::Array(array)) => Ok(Some(array)),
            Some(other @ (Value::Sequence(_) | Value::Optional(_))) => {
                Err(OpError::input(idx, "a tensor", other.kind()))
            }
        }
    }

    /// An array.
    pub(crate) fn get(&self, idx: usize) -> Result<&Array, OpError> {
        self.find(idx)?.ok_or_else(|| OpError::input(idx, "a tensor", "nothing"))
    }

    /// An array, taken away.
    pub(crate) fn take(&mut self, idx: usize) -> Result<Array, OpError> {
        match self.take_value(idx)? {
            Value::Array(array) => Ok(array),
            other @ (Value::Sequence(_) | Value::Optional(_)) => Err(OpError::input(idx, "a tensor", other.kind())),
        }
    }

    /// Whatever it is, taken away.
    pub(crate) fn take_value(&mut self, idx: usize) -> Result<Value, OpError> {
        self.0.get_mut(idx).and_then(Option::take).ok_or_else(|| OpError::input(idx, "a value", "nothing"))
    }

    /// The elements of an array of this type.
    pub(crate) fn values<T: Element>(&self, idx: usize) -> Result<&[T], OpError> {
        let array = self.get(idx)?;
        array.values().ok_or_else(|| OpError::input(idx, T::DTYPE.as_str(), array.dtype().as_str()))
    }

    /// Integers of either width, as shapes, axes and indices come.
    pub(crate) fn ints(&self, idx: usize) -> Result<Vec<i64>, OpError> {
        ints(idx, self.get(idx)?)
    }

    /// As [`Inputs::ints`], if it is given.
    pub(crate) fn find_ints(&self, idx: usize) -> Result<Option<Vec<i64>>, OpError> {
        self.find(idx)?.map(|array| ints(idx, array)).transpose()
    }
}

/// Integers of either width.
pub(crate) fn ints(idx: usize, array: &Array) -> Result<Vec<i64>, OpError> {
    if let Some(values) = array.values::<i64>() {
        return Ok(values.to_vec());
    }
    let narrow = array.values::<i32>().map(|values| values.iter().map(|&value| i64::from(value)).collect());
    narrow.ok_or_else(|| OpError::input(idx, "i64 or i32", array.dtype().as_str()))
}

/// An input of a type that the operator does not take.
pub(crate) fn wrong_type(idx: usize, expected: &str, got: DType) -> OpError {
    OpError::input(idx, expected, got.as_str())
}

/// The dimension that an axis names; negative ones count from the last.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let from_front = if axis < 0 { axis.saturating_add(signed) } else { axis };
    usize::try_from(from_front).ok().filter(|&at| at < rank).ok_or_else(|| OpError::Attribute {
        name: "axis".to_owned(),
        expected: format!("-{rank} to {}", signed - 1),
        got: axis.to_string(),
    })
}

/// Dimensions that axes name, in order and each once.
pub(crate) fn axes(axes: &[i64], rank: usize) -> Result<SmallVec<[usize; 6]>, OpError> {
    let mut found = axes.iter().map(|&at| axis(at, rank)).collect::<Result<SmallVec<[usize; 6]>, _>>()?;
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(OpError::Attribute {
            name: "axes".to_owned(),
            expected: "each once".to_owned(),
            got: format!("{axes:?}"),
        });
    }
    Ok(found)
}

/// The shape of what is computed from arrays of these shapes element by element. (ONNX, "Broadcasting")
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Shape, OpError> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let shape = (0..rank).map(|at| match (extent(a, at), extent(b, at)) {
        (1, n) | (n, 1) => Ok(n),
        (n, m) if n == m => Ok(n),
        _ => Err(OpError::shape(format!("a shape that broadcasts with {a:?}"), b)),
    });
    shape.collect()
}

/// Steps between neighbours along each dimension of a dense array.
pub(crate) fn strides(shape: &[usize]) -> Shape {
    let mut strides = Shape::from_elem(1, shape.len());
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at] * shape[at];
    }
    strides
}

/// Checks that a shape can be, and how many elements it has.
pub(crate) fn checked_len(shape: &[usize], bytes_max: usize, element_bytes: usize) -> Result<usize, OpError> {
    let len = element_count(shape).filter(|_| shape.len() <= RANK_MAX);
    len.filter(|len| len.checked_mul(element_bytes).is_some_and(|bytes| bytes <= bytes_max))
        .ok_or_else(|| OpError::TooLarge { bytes_max, shape: shape.to_vec() })
}
