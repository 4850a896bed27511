//! Operations with blocks in them, and those on states.

use super::op::{Op, wrong};
use super::{Held, Lower, Lowering, inner_type, port_type};
use crate::error::{GraphError, OpError};
use crate::graph::{Attribute, Graph, Port, ValueKind};
use crate::mil::{Block, Type};

pub(super) const OPS: &[(&str, Lower)] = &[
    ("cond", cond),
    ("coreml_update_state", update_state),
    ("read_state", read_state),
    ("while_loop", while_loop),
    ("write_state", write_state),
];

fn within(error: GraphError) -> OpError {
    OpError::Within(Box::new(error))
}

fn plain_port(name: String) -> Port {
    Port { name, spec: None, kind: ValueKind::Tensor }
}

impl<'a> Lowering<'a> {
    /// The literal that a name stands for.
    pub(super) fn literal(&self, name: &str) -> Option<&'a super::Literal> {
        match self.known.get(name).map(|known| &known.held) {
            Some(Held::Literal(literal)) => Some(literal),
            Some(Held::Array(_) | Held::Graph(_) | Held::State(_) | Held::Missing) | None => None,
        }
    }

    /// Lowers a block into a graph of its own, whose inputs stand for the block's.
    fn within(&mut self, fill: impl FnOnce(&mut Self) -> Result<Vec<String>, GraphError>) -> Result<Graph, GraphError> {
        self.graphs.push(Graph::default());
        let outputs = fill(self);
        let mut graph = self.graphs.pop().expect("it was pushed");
        graph.outputs = outputs?.into_iter().map(plain_port).collect();
        Ok(graph)
    }

    /// Lowers a block into the graph that is being made; the names in the graph of its outputs.
    fn inline(&mut self, block: &'a Block, inputs: &[String]) -> Result<Vec<String>, GraphError> {
        if inputs.len() != block.inputs.len() {
            let expected = format!("{} inputs", block.inputs.len());
            return Err(GraphError::malformed("block of an operation", expected, inputs.len().to_string()));
        }
        for (input, value) in block.inputs.iter().zip(inputs) {
            self.know(&input.name, &input.of, Held::Graph(value.clone()));
        }
        self.block(block)?;
        let mut outputs = Vec::new();
        for name in &block.outputs {
            let known = self.value(name)?.clone();
            let value = self.graph_name(name, &known)?.unwrap_or_default();
            // A graph gives only what is computed in it.
            outputs.push(self.identity(value));
        }
        Ok(outputs)
    }

    fn identity(&mut self, value: String) -> String {
        let output = self.name("value");
        let node = crate::graph::Node {
            op: "Identity".to_owned(),
            inputs: vec![value],
            outputs: vec![output.clone()],
            ..Default::default()
        };
        self.graph().nodes.push(node);
        output
    }
}

fn blocks<'a, const N: usize>(op: &Op<'_, 'a>) -> Result<[&'a Block; N], OpError> {
    let blocks: Vec<&'a Block> = op.operation.blocks.iter().collect();
    let n = blocks.len();
    blocks.try_into().map_err(|_| wrong("blocks", N.to_string(), n))
}

/// One block or the other.
fn cond(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let [then, otherwise] = blocks(op)?;
    let condition = op.input("pred")?;
    let n_outputs = op.operation.outputs.len();
    if then.outputs.len() != n_outputs || otherwise.outputs.len() != n_outputs {
        return Err(wrong("blocks", format!("{n_outputs} outputs"), "others"));
    }
    let then = op.lowering.within(|lowering| lowering.inline(then, &[])).map_err(within)?;
    let otherwise = op.lowering.within(|lowering| lowering.inline(otherwise, &[])).map_err(within)?;
    let attributes =
        [("then_branch", Attribute::Graph(Box::new(then))), ("else_branch", Attribute::Graph(Box::new(otherwise)))];
    op.emit_many(("", "If"), &[&condition], &attributes, n_outputs)
}

/// Runs a block as long as another says so. ONNX's loop asks before the first time what is computed here, and after
/// each time what its body computes.
fn while_loop(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let [condition, body] = blocks(op)?;
    let values = op.all("loop_vars")?;
    let before = op.lowering.inline(condition, &values).map_err(within)?;
    let [before] = before.as_slice() else { return Err(wrong("blocks", "one condition", before.len())) };
    let graph = op.lowering.within(|lowering| {
        let (count, unused) = (lowering.name("count"), lowering.name("condition"));
        let inputs: Vec<String> = body.inputs.iter().map(|input| lowering.name(&input.name)).collect();
        let ports = [count, unused].into_iter().chain(inputs.clone());
        lowering.graph().inputs = ports.map(plain_port).collect();
        let after = lowering.inline(body, &inputs)?;
        let mut outputs = lowering.inline(condition, &after)?;
        outputs.truncate(1);
        outputs.extend(after);
        Ok(outputs)
    });
    let graph = graph.map_err(within)?;
    let inputs: Vec<&str> = ["", before.as_str()].into_iter().chain(values.iter().map(String::as_str)).collect();
    op.emit_many(("", "Loop"), &inputs, &[("body", Attribute::Graph(Box::new(graph)))], values.len())
}

fn read_state(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let idx = op.state("input")?;
    Ok(vec![op.lowering.states[idx].output.clone()])
}

fn write(op: &mut Op<'_, '_>, state: &'static str, value: &'static str) -> Result<String, OpError> {
    let (idx, value_name) = (op.state(state)?, op.input(value)?);
    if op.lowering.graphs.len() > 1 {
        return Err(OpError::unsupported("a state that is written in a block of an operation"));
    }
    let of = op.of(value)?;
    let state = &op.lowering.states[idx];
    let dtype = port_type(&of).map(inner_type);
    if of.shape().is_some_and(|shape| shape != state.shape) || dtype != Some(state.dtype) {
        return Err(wrong(value, format!("{} {:?}", state.dtype, state.shape), format!("{:?}", of.dims)));
    }
    op.lowering.states[idx].output.clone_from(&value_name);
    Ok(value_name)
}

/// What follows reads what is written here.
fn update_state(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    Ok(vec![write(op, "state", "value")?])
}

fn write_state(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let value = write(op, "input", "data")?;
    // In some files it gives nothing, in others what it was given.
    let is_told = matches!(op.operation.outputs.first().map(|output| &output.of), Some(Type::Tensor(_)));
    Ok(if is_told { vec![value] } else { Vec::new() })
}
