//! A model as a graph of operators, in ONNX's vocabulary: what readers of files give and what plans are made from.

use crate::array::Array;
use crate::error::OpError;
use ballast_backend::{DType, TensorSpec};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A model that was read and checked for form, not yet for what it computes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The graph.
    pub(crate) graph: Graph,
    /// Version of the operators of each domain; the empty name is ONNX's own.
    pub(crate) opsets: BTreeMap<String, i64>,
    /// Who made it, in the file's words.
    pub(crate) producer: String,
    /// What the file says about itself.
    pub(crate) metadata: BTreeMap<String, String>,
    /// What it keeps from run to run.
    pub(crate) states: Vec<StatePort>,
    /// Values of inputs that may be left out, by name.
    pub(crate) defaults: BTreeMap<String, Array>,
}

/// A tensor that a model keeps from run to run, zeros at first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatePort {
    /// For messages.
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    /// The value that a run begins with.
    pub(crate) input: String,
    /// The value that it leaves for the next.
    pub(crate) output: String,
}

/// Nodes in an order in which each comes after those it needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Graph {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) constants: BTreeMap<String, Array>,
    pub(crate) nodes: Vec<Node>,
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Port {
    pub(crate) name: String,
    /// `None`: not a tensor, or of a type that is not told.
    pub(crate) spec: Option<TensorSpec>,
    pub(crate) kind: ValueKind,
}

/// What a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ValueKind {
    #[default]
    Tensor,
    Sequence,
    Optional,
}

/// One operator at its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    /// For messages; may be empty.
    pub(crate) name: String,
    /// Such as `Conv`.
    pub(crate) op: String,
    /// Empty for ONNX's own.
    pub(crate) domain: String,
    /// Names of values; an empty one is an input that is left out.
    pub(crate) inputs: Vec<String>,
    /// Names of values; an empty one is an output that nobody wants.
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
}

impl Node {
    /// What messages call it.
    pub(crate) fn label(&self) -> &str {
        let first = || self.outputs.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
        if self.name.is_empty() { first() } else { &self.name }
    }
}

/// What a node is told besides its inputs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
    Array(Array),
    Graph(Box<Graph>),
    /// The type of a value, which nobody has needed yet.
    Type,
}

impl Attribute {
    fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a text",
            Self::Ints(_) => "integers",
            Self::Floats(_) => "floats",
            Self::Texts(_) => "texts",
            Self::Array(_) => "a tensor",
            Self::Graph(_) => "a graph",
            Self::Type => "a type",
        }
    }
}

/// A node as its operator is made from it. It notes which attributes were asked for, so that none is read over.
#[derive(Debug)]
pub(crate) struct NodeSpec<'a> {
    pub(crate) node: &'a Node,
    /// Version of the node's operators.
    pub(crate) version: i64,
    /// Inputs that are known already, `None` where they are not. Weights can be laid out for what computes with them.
    pub(crate) constants: Vec<Option<Array>>,
    pub(crate) captures: Captures,
    asked: RefCell<Vec<&'a str>>,
}

/// Values from around a node that its graphs use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captures {
    /// Names of those that come as inputs behind the node's own.
    pub(crate) inputs: Vec<String>,
    /// Those that are known already, by name.
    pub(crate) constants: Vec<(String, Array)>,
}

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($found:ident) -> $type:ty = $value:expr, $expected:literal;)+) => {
        $(
            $(#[$doc])*
            pub(crate) fn $name(&self, name: &'static str) -> Result<Option<$type>, OpError> {
                match self.attribute(name) {
                    None => Ok(None),
                    Some(Attribute::$variant($found)) => Ok(Some($value)),
                    Some(other) => Err(OpError::Attribute {
                        name: name.to_owned(),
                        expected: $expected.to_owned(),
                        got: other.kind().to_owned(),
                    }),
                }
            }
        )+
    };
}

impl<'a> NodeSpec<'a> {
    pub(crate) fn new(node: &'a Node, version: i64, constants: Vec<Option<Array>>, captures: Captures) -> Self {
        Self { node, version, constants, captures, asked: RefCell::default() }
    }

    fn attribute(&self, name: &'static str) -> Option<&'a Attribute> {
        self.asked.borrow_mut().push(name);
        self.node.attributes.get(name)
    }

    attributes! {
        /// An integer.
        int: Int(value) -> i64 = *value, "an integer";
        /// A float.
        float: Float(value) -> f32 = *value, "a float";
        /// A text.
        text: Text(value) -> &'a str = value, "a text";
        /// Integers.
        ints: Ints(values) -> &'a [i64] = values, "integers";
        /// Floats.
        floats: Floats(values) -> &'a [f32] = values, "floats";
        /// Texts.
        texts: Texts(values) -> &'a [String] = values, "texts";
        /// A tensor.
        array: Array(value) -> &'a Array = value, "a tensor";
        /// A graph.
        graph: Graph(value) -> &'a Graph = value, "a graph";
    }

    /// A number that is not 0.
    pub(crate) fn flag(&self, name: &'static str, default: bool) -> Result<bool, OpError> {
        Ok(self.int(name)?.map_or(default, |value| value != 0))
    }

    /// Whether a type is given.
    pub(crate) fn has_type(&self, name: &'static str) -> bool {
        matches!(self.attribute(name), Some(Attribute::Type))
    }

    /// An attribute that must be there.
    pub(crate) fn needed<T>(found: Option<T>, name: &'static str, expected: &'static str) -> Result<T, OpError> {
        found.ok_or_else(|| OpError::Attribute {
            name: name.to_owned(),
            expected: expected.to_owned(),
            got: "nothing".to_owned(),
        })
    }

    /// An attribute whose value is not one of those expected.
    pub(crate) fn wrong(name: &'static str, expected: impl Into<String>, got: impl ToString) -> OpError {
        OpError::Attribute { name: name.to_owned(), expected: expected.into(), got: got.to_string() }
    }

    /// Whether an input is given.
    pub(crate) fn has_input(&self, idx: usize) -> bool {
        self.node.inputs.get(idx).is_some_and(|name| !name.is_empty())
    }

    /// Whether an output is wanted.
    pub(crate) fn has_output(&self, idx: usize) -> bool {
        self.node.outputs.get(idx).is_some_and(|name| !name.is_empty())
    }

    /// An input that is known already.
    pub(crate) fn constant(&self, idx: usize) -> Option<&Array> {
        self.constants.get(idx).and_then(Option::as_ref)
    }

    /// An attribute that no part of the operator asked for: it would be read over.
    pub(crate) fn unasked(&self) -> Option<&'a str> {
        let asked = self.asked.borrow();
        self.node.attributes.keys().map(String::as_str).find(|name| !asked.contains(name))
    }
}
