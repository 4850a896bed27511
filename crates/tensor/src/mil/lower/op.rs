//! An operation while it is lowered: what it is given, and the nodes that are made for it.

use super::super::decode::widened;
use super::super::expand::Constants;
use super::super::{Binding, Operation, TensorType};
use super::{Held, Known, Lowering};
use crate::array::Array;
use crate::error::{GraphError, OpError};
use crate::graph::{Attribute, Node};
use crate::operator;
use ballast_backend::DType;

/// What nodes are told besides inputs.
pub(super) type Attributes<'n> = &'n [(&'n str, Attribute)];

/// An operation at its place. It notes which inputs were asked for, so that none is read over.
pub(crate) struct Op<'l, 'a> {
    pub(super) lowering: &'l mut Lowering<'a>,
    pub(super) operation: &'a Operation,
    asked: Vec<&'static str>,
}

fn within(error: GraphError) -> OpError {
    OpError::Within(Box::new(error))
}

/// What stands in a message's place when its cause was told already.
fn told() -> OpError {
    OpError::unsupported("")
}

pub(super) fn wrong(name: &str, expected: impl Into<String>, got: impl ToString) -> OpError {
    OpError::Attribute { name: name.to_owned(), expected: expected.into(), got: got.to_string() }
}

impl<'l, 'a> Op<'l, 'a> {
    pub(super) fn new(lowering: &'l mut Lowering<'a>, operation: &'a Operation) -> Self {
        Self { lowering, operation, asked: Vec::new() }
    }

    /// An input that nothing asked for.
    pub(super) fn unasked(&self) -> Option<&'a str> {
        self.operation.inputs.keys().map(String::as_str).find(|name| !self.asked.contains(name))
    }

    pub(super) fn bindings(&mut self, name: &'static str) -> &'a [Binding] {
        self.asked.push(name);
        self.operation.inputs.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    fn known(&mut self, name: &'static str) -> Result<Option<(&'a str, Known<'a>)>, OpError> {
        match self.bindings(name) {
            // Operations of iOS 16 have compressed weights among their attributes.
            [] => Ok(self
                .operation
                .attributes
                .get(name)
                .map(|literal| ("", Known { of: literal.of.clone(), held: Held::Literal(literal) }))),
            [one] => self.lowering.bound(one).map(Some).map_err(within),
            more => Err(wrong(name, "one value", more.len())),
        }
    }

    /// Whether an input is given.
    pub(super) fn has(&mut self, name: &'static str) -> bool {
        !self.bindings(name).is_empty()
    }

    fn graph_name(&mut self, name: &str, known: &Known<'a>) -> Result<String, OpError> {
        self.lowering.graph_name(name, known).map_err(within)?.ok_or_else(told)
    }

    /// The name in the graph of an input that may be there.
    pub(super) fn find(&mut self, name: &'static str) -> Result<Option<String>, OpError> {
        let Some((of, known)) = self.known(name)? else { return Ok(None) };
        self.graph_name(of, &known).map(Some)
    }

    /// The name in the graph of an input.
    pub(super) fn input(&mut self, name: &'static str) -> Result<String, OpError> {
        self.find(name)?.ok_or_else(|| wrong(name, "a value", "nothing"))
    }

    /// The names in the graph of all values of an input.
    pub(super) fn all(&mut self, name: &'static str) -> Result<Vec<String>, OpError> {
        let mut names = Vec::new();
        for binding in self.bindings(name) {
            let (of, known) = self.lowering.bound(binding).map_err(within)?;
            names.push(self.graph_name(of, &known)?);
        }
        if names.is_empty() { Err(wrong(name, "values", "none")) } else { Ok(names) }
    }

    /// The types of all values of an input.
    pub(super) fn types(&mut self, name: &'static str) -> Result<Vec<TensorType>, OpError> {
        let bindings = self.bindings(name);
        let types = bindings.iter().map(|binding| {
            let (_, known) = self.lowering.bound(binding).map_err(within)?;
            known.of.tensor().cloned().ok_or_else(|| wrong(name, "a tensor", known.of.kind()))
        });
        types.collect()
    }

    /// The type of an input.
    pub(super) fn of(&mut self, name: &'static str) -> Result<TensorType, OpError> {
        let (_, known) = self.known(name)?.ok_or_else(|| wrong(name, "a value", "nothing"))?;
        known.of.tensor().cloned().ok_or_else(|| wrong(name, "a tensor", known.of.kind()))
    }

    pub(super) fn rank(&mut self, name: &'static str) -> Result<usize, OpError> {
        Ok(self.of(name)?.rank())
    }

    pub(super) fn is_float(&mut self, name: &'static str) -> Result<bool, OpError> {
        Ok(self.of(name)?.element.is_float())
    }

    /// The type of an output.
    pub(super) fn output(&self, idx: usize) -> Result<&'a TensorType, OpError> {
        let output = self.operation.outputs.get(idx);
        output
            .and_then(|output| output.of.tensor())
            .ok_or_else(|| OpError::unsupported("an output that is not a tensor"))
    }

    /// The place of a state among the states.
    pub(super) fn state(&mut self, name: &'static str) -> Result<usize, OpError> {
        match self.known(name)? {
            Some((_, Known { held: Held::State(idx), .. })) => Ok(idx),
            Some((_, Known { of, .. })) => Err(wrong(name, "a state", of.kind())),
            None => Err(wrong(name, "a state", "nothing")),
        }
    }

    /// A constant as it is in the file, if it is given.
    fn raw(&mut self, name: &'static str) -> Result<Option<Array>, OpError> {
        match self.known(name)? {
            None => Ok(None),
            Some((_, Known { held: Held::Array(array), .. })) => Ok(Some(array)),
            Some((_, Known { held: Held::Literal(literal), .. })) => {
                self.lowering.decoder.array(literal).map(Some).map_err(within)
            }
            Some((_, Known { held: Held::Missing, .. })) => Err(told()),
            Some((_, Known { held: Held::Graph(_) | Held::State(_), .. })) => {
                Err(wrong(name, "a constant", "what is computed when the model runs"))
            }
        }
    }

    /// Whether an input is a constant.
    pub(super) fn is_constant(&mut self, name: &'static str) -> Result<bool, OpError> {
        let known = self.known(name)?;
        Ok(matches!(known, Some((_, Known { held: Held::Array(_) | Held::Literal(_), .. }))))
    }

    /// A constant in the types of the graph, if it is given.
    pub(super) fn find_array(&mut self, name: &'static str) -> Result<Option<Array>, OpError> {
        self.raw(name)?.map(widened).transpose().map_err(within)
    }

    /// A constant in the types of the graph.
    pub(super) fn array(&mut self, name: &'static str) -> Result<Array, OpError> {
        self.find_array(name)?.ok_or_else(|| wrong(name, "a constant", "nothing"))
    }

    /// Constant integers, if they are given.
    pub(super) fn find_ints(&mut self, name: &'static str) -> Result<Option<Vec<i64>>, OpError> {
        let Some(array) = self.find_array(name)? else { return Ok(None) };
        let values = array.values::<i32>().ok_or_else(|| wrong(name, "integers", array.dtype()))?;
        Ok(Some(values.iter().map(|&value| i64::from(value)).collect()))
    }

    /// Constant integers.
    pub(super) fn ints(&mut self, name: &'static str) -> Result<Vec<i64>, OpError> {
        self.find_ints(name)?.ok_or_else(|| wrong(name, "integers", "nothing"))
    }

    /// Constant integers, `n` of them, `default` each if they are not given.
    pub(super) fn n_ints(&mut self, name: &'static str, n: usize, default: i64) -> Result<Vec<i64>, OpError> {
        match self.find_ints(name)? {
            None => Ok(vec![default; n]),
            Some(values) if values.len() == n => Ok(values),
            Some(values) => Err(wrong(name, format!("{n} integers"), values.len())),
        }
    }

    /// A constant integer, if it is given.
    pub(super) fn find_int(&mut self, name: &'static str) -> Result<Option<i64>, OpError> {
        match self.find_ints(name)?.as_deref() {
            None => Ok(None),
            Some([one]) => Ok(Some(*one)),
            Some(more) => Err(wrong(name, "one integer", more.len())),
        }
    }

    /// A constant integer.
    pub(super) fn int(&mut self, name: &'static str) -> Result<i64, OpError> {
        self.find_int(name)?.ok_or_else(|| wrong(name, "an integer", "nothing"))
    }

    /// A constant number, if it is given.
    pub(super) fn find_float(&mut self, name: &'static str) -> Result<Option<f32>, OpError> {
        let Some(array) = self.find_array(name)? else { return Ok(None) };
        match super::super::decode::floats(&array).as_deref() {
            Some([one]) => Ok(Some(*one)),
            _ => Err(wrong(name, "one number", format!("{array:?}"))),
        }
    }

    /// A constant number.
    pub(super) fn float(&mut self, name: &'static str) -> Result<f32, OpError> {
        self.find_float(name)?.ok_or_else(|| wrong(name, "a number", "nothing"))
    }

    /// Constant truth values, if they are given.
    pub(super) fn find_flags(&mut self, name: &'static str) -> Result<Option<Vec<bool>>, OpError> {
        let Some(array) = self.find_array(name)? else { return Ok(None) };
        array.values::<bool>().map(<[bool]>::to_vec).map(Some).ok_or_else(|| wrong(name, "truth values", array.dtype()))
    }

    /// A constant truth value, or `default`.
    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, OpError> {
        match self.find_flags(name)?.as_deref() {
            None => Ok(default),
            Some([one]) => Ok(*one),
            Some(more) => Err(wrong(name, "one truth value", more.len())),
        }
    }

    /// A constant text, or `default`.
    pub(super) fn text(&mut self, name: &'static str, default: &str) -> Result<String, OpError> {
        let Some(array) = self.find_array(name)? else { return Ok(default.to_owned()) };
        match array.values::<String>() {
            Some([one]) => Ok(one.clone()),
            _ => Err(wrong(name, "a text", format!("{array:?}"))),
        }
    }

    /// The dimension that a constant names, or `default`.
    pub(super) fn axis(&mut self, name: &'static str, default: i64, rank: usize) -> Result<usize, OpError> {
        let at = self.find_int(name)?.unwrap_or(default);
        operator::axis(at, rank)
    }

    fn push(&mut self, node: Node) -> Result<(), OpError> {
        self.lowering.graph().nodes.push(node);
        Ok(())
    }

    /// Makes a node with one output and returns its value.
    pub(super) fn emit(&mut self, op: &str, inputs: &[&str], attributes: Attributes<'_>) -> Result<String, OpError> {
        let mut outputs = self.emit_many(("", op), inputs, attributes, 1)?;
        Ok(outputs.remove(0))
    }

    /// Makes a node of `(domain, operator)` with `n_outputs` outputs and returns their values.
    pub(super) fn emit_many(
        &mut self,
        (domain, op): (&str, &str),
        inputs: &[&str],
        attributes: Attributes<'_>,
        n_outputs: usize,
    ) -> Result<Vec<String>, OpError> {
        let label = self.operation.label();
        let outputs: Vec<String> = (0..n_outputs).map(|_| self.lowering.name(label)).collect();
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.push(Node {
            name: label.to_owned(),
            op: op.to_owned(),
            domain: domain.to_owned(),
            inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
            outputs: outputs.clone(),
            attributes: attributes.collect(),
        })?;
        Ok(outputs)
    }

    /// The name in the graph of a constant that the lowering makes.
    pub(super) fn constant(&mut self, array: Array) -> String {
        let label = self.operation.label();
        self.lowering.constant(label, array)
    }

    /// One float.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        self.constant(Array::scalar(value))
    }

    /// Integers as shapes and axes need them.
    pub(super) fn int_list(&mut self, values: &[i64]) -> String {
        self.constant(Array::new(&[values.len()], values.to_vec()))
    }

    /// A value in another type.
    pub(super) fn cast(&mut self, value: &str, to: DType) -> Result<String, OpError> {
        self.emit("Cast", &[value], &[("to", Attribute::Int(super::type_code(to)))])
    }

    /// An input as 64-bit integers, which shapes and indices are in some operators.
    pub(super) fn wide(&mut self, name: &'static str) -> Result<String, OpError> {
        if self.is_constant(name)? {
            let array = self.array(name)?;
            let values = array.values::<i32>().ok_or_else(|| wrong(name, "integers", array.dtype()))?;
            let values = values.iter().map(|&value| i64::from(value)).collect();
            return Ok(self.constant(Array::new(array.shape(), values)));
        }
        let value = self.input(name)?;
        self.cast(&value, DType::I64)
    }

    /// A float that is one number for every element.
    pub(super) fn with_scalar(&mut self, op: &str, value: &str, number: f32) -> Result<String, OpError> {
        let number = self.scalar(number);
        self.emit(op, &[value, &number], &[])
    }
}

impl Constants for Op<'_, '_> {
    fn needed(&mut self, name: &'static str) -> Result<Array, OpError> {
        self.raw(name)?.ok_or_else(|| wrong(name, "a constant", "nothing"))
    }

    fn find(&mut self, name: &'static str) -> Result<Option<Array>, OpError> {
        self.raw(name)
    }

    fn spend(&mut self, shape: &[usize], dtype: DType) -> Result<usize, OpError> {
        self.lowering.decoder.spend(shape, dtype).map_err(within)
    }
}
