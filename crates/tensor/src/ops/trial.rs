//! Runs single operators for tests, as a plan would.

use crate::array::{Array, Element, Value};
use crate::error::OpError;
use crate::graph::{Attribute, Captures, Node, NodeSpec};
use crate::operator::Inputs;
use crate::testing::with_context;

/// An operator of a version, with attributes.
pub(crate) struct Trial {
    node: Node,
    version: i64,
    n_threads: usize,
}

impl Trial {
    pub(crate) fn new(op: &str, version: i64) -> Self {
        let node = Node { op: op.to_owned(), outputs: vec!["y".to_owned()], ..Node::default() };
        Self { node, version, n_threads: 2 }
    }

    pub(crate) fn with(mut self, name: &str, attribute: Attribute) -> Self {
        self.node.attributes.insert(name.to_owned(), attribute);
        self
    }

    pub(crate) fn int(self, name: &str, value: i64) -> Self {
        self.with(name, Attribute::Int(value))
    }

    pub(crate) fn float(self, name: &str, value: f32) -> Self {
        self.with(name, Attribute::Float(value))
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.with(name, Attribute::Text(value.to_owned()))
    }

    pub(crate) fn ints(self, name: &str, values: &[i64]) -> Self {
        self.with(name, Attribute::Ints(values.to_vec()))
    }

    /// Wants so many outputs.
    pub(crate) fn outputs(mut self, n: usize) -> Self {
        self.node.outputs = (0..n).map(|idx| format!("y{idx}")).collect();
        self
    }

    pub(crate) fn threads(mut self, n_threads: usize) -> Self {
        self.n_threads = n_threads;
        self
    }

    /// All outputs.
    pub(crate) fn all(mut self, inputs: &[Array]) -> Result<Vec<Array>, OpError> {
        self.node.inputs = (0..inputs.len()).map(|idx| format!("x{idx}")).collect();
        let build = super::find("", &self.node.op).ok_or_else(|| OpError::unsupported("this operator"))?;
        let spec = NodeSpec::new(&self.node, self.version, vec![None; inputs.len()], Captures::default());
        let operator = build(&spec)?;
        assert_eq!(spec.unasked(), None, "an attribute is read over");
        let inputs = Inputs(inputs.iter().map(|array| Some(array.clone().into())).collect());
        let outputs = with_context(self.n_threads, |context| operator.run(inputs, context))?;
        let array = |value| if let Value::Array(array) = value { array } else { panic!("not a tensor") };
        Ok(outputs.into_iter().map(array).collect())
    }

    /// The first output.
    pub(crate) fn run(self, inputs: &[Array]) -> Result<Array, OpError> {
        self.all(inputs).map(|mut outputs| outputs.swap_remove(0))
    }

    /// The elements of the first output.
    #[track_caller]
    pub(crate) fn values<T: Element>(self, inputs: &[Array]) -> Vec<T> {
        let output = self.run(inputs).expect("the operator computes");
        output.values::<T>().expect("the output has the type").to_vec()
    }
}

/// A row of elements.
pub(crate) fn row<T: Element>(values: &[T]) -> Array {
    Array::new(&[values.len()], values.to_vec())
}

/// Fails unless these are the same within `tolerance`.
#[track_caller]
pub(crate) fn assert_near(got: &[f32], expected: &[f32], tolerance: f32) {
    let is_near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= tolerance || (a.is_nan() && b.is_nan());
    assert!(got.len() == expected.len() && got.iter().zip(expected).all(is_near), "{got:?} is not {expected:?}");
}
