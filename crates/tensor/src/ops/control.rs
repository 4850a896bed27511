//! Operators with graphs in them: `If`, `Loop`, `Scan`, `SequenceMap`.

mod scan;

use crate::array::{Array, Data, Shape, Value};
use crate::error::OpError;
use crate::graph::{Graph, NodeSpec, Port};
use crate::operator::{Inputs, Operator, Outputs};
use crate::ops::sequence::{stack, take_sequence};
use crate::plan::{Opsets, Plan};
use crate::run::Context;
use ballast_backend::Dim;
use std::sync::Arc;

/// Makes one of these operators; `None` if it is none.
pub(crate) fn build(
    spec: &NodeSpec<'_>,
    opsets: &Opsets,
    context: &mut Context<'_>,
) -> Result<Option<Box<dyn Operator>>, OpError> {
    if !matches!(spec.node.domain.as_str(), "" | "ai.onnx") {
        return Ok(None);
    }
    let operator: Box<dyn Operator> = match spec.node.op.as_str() {
        "If" => Box::new(If::new(spec, opsets, context)?),
        "Loop" => Box::new(Loop::new(spec, opsets, context)?),
        "Scan" => scan::build(spec, opsets, context)?,
        "SequenceMap" => Box::new(SequenceMap::new(spec, opsets, context)?),
        _ => return Ok(None),
    };
    match spec.unasked() {
        None => Ok(Some(operator)),
        Some(name) => Err(OpError::unsupported(format!("the attribute {name:?}"))),
    }
}

/// Plans a graph of a node, whose inputs are followed by the node's captures.
fn plan(spec: &NodeSpec<'_>, name: &'static str, opsets: &Opsets, context: &mut Context<'_>) -> Result<Plan, OpError> {
    Ok(body(spec, name, opsets, context)?.1)
}

fn body<'a>(
    spec: &NodeSpec<'a>,
    name: &'static str,
    opsets: &Opsets,
    context: &mut Context<'_>,
) -> Result<(&'a Graph, Plan), OpError> {
    let graph = NodeSpec::needed(spec.graph(name)?, name, "a graph")?;
    let plan = Plan::new(graph, &spec.captures, opsets, context).map_err(|error| OpError::Within(Box::new(error)))?;
    Ok((graph, plan))
}

/// A graph with another number of inputs or outputs than its node needs.
fn wrong_body(expected: &str, graph: &Graph) -> OpError {
    let got = format!("{} inputs and {} outputs", graph.inputs.len(), graph.outputs.len());
    NodeSpec::wrong("body", expected, got)
}

/// One graph or the other. (ONNX `If`)
#[derive(Debug)]
struct If {
    then: Plan,
    otherwise: Plan,
}

impl If {
    fn new(spec: &NodeSpec<'_>, opsets: &Opsets, context: &mut Context<'_>) -> Result<Self, OpError> {
        let then = plan(spec, "then_branch", opsets, context)?;
        Ok(Self { then, otherwise: plan(spec, "else_branch", opsets, context)? })
    }
}

impl Operator for If {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let condition = truth(0, inputs.get(0)?)?;
        let captured: Vec<Option<Value>> = inputs.0.drain(1..).collect();
        let plan = if condition { &self.then } else { &self.otherwise };
        Ok(Outputs::from_vec(context.run_within(plan, captured)?))
    }

    fn is_pure(&self) -> bool {
        is_pure(&self.then) && is_pure(&self.otherwise)
    }
}

/// Whether the same inputs give the same outputs every time, and soon.
fn is_pure(plan: &Plan) -> bool {
    plan.steps.iter().all(|step| step.operator.is_pure())
}

/// One truth value.
fn truth(idx: usize, array: &Array) -> Result<bool, OpError> {
    match array.values::<bool>() {
        Some(&[value]) => Ok(value),
        _ => Err(OpError::input(idx, "one truth value", format!("{array:?}"))),
    }
}

/// What the runs of a graph give one after the other, to be stacked.
#[derive(Debug)]
struct Collected {
    arrays: Vec<Array>,
    n_bytes: usize,
}

impl Collected {
    fn new() -> Self {
        Self { arrays: Vec::new(), n_bytes: 0 }
    }

    fn push(&mut self, value: Value, context: &Context<'_>) -> Result<(), OpError> {
        let Value::Array(array) = value else {
            return Err(OpError::unsupported("what is not a tensor as an output of each run"));
        };
        // One byte each at least, so that runs which give nothing come to an end, too.
        self.n_bytes = self.n_bytes.saturating_add(array.size_bytes().max(1));
        let bytes_max = context.limits.tensor_bytes_max;
        if self.n_bytes > bytes_max {
            return Err(OpError::TooLarge { bytes_max, shape: vec![self.arrays.len() + 1] });
        }
        self.arrays.push(array);
        Ok(())
    }

    /// Along a new dimension `at`; of no runs as the graph says.
    fn stacked(self, at: usize, port: &Port, context: &mut Context<'_>) -> Result<Array, OpError> {
        if !self.arrays.is_empty() {
            return stack(self.arrays, at, context);
        }
        let Some(spec) = &port.spec else {
            return Err(OpError::unsupported(format!(
                "no run of a graph whose output {:?} has no told shape",
                port.name
            )));
        };
        let extents = spec.shape.iter().map(|dim| match dim {
            Dim::Fixed(extent) => *extent,
            Dim::Any => 0,
        });
        let mut shape: Shape = extents.collect();
        shape.insert(at.min(shape.len()), 0);
        Ok(Array::of_data(&shape, Data::zeros(spec.dtype, 0)))
    }
}

/// A graph again and again, each time on what the last one gave. (ONNX `Loop`)
#[derive(Debug)]
struct Loop {
    body: Plan,
    /// Values that go from one run to the next.
    n_states: usize,
    /// What each run gives besides.
    collected: Vec<Port>,
}

impl Loop {
    fn new(spec: &NodeSpec<'_>, opsets: &Opsets, context: &mut Context<'_>) -> Result<Self, OpError> {
        let (graph, body) = body(spec, "body", opsets, context)?;
        let n_states = spec.node.inputs.len().saturating_sub(2);
        if graph.inputs.len() != 2 + n_states || graph.outputs.len() < 1 + n_states {
            return Err(wrong_body(&format!("2 inputs and 1 output, and {n_states} more of both"), graph));
        }
        let collected = graph.outputs[1 + n_states..].to_vec();
        if spec.node.outputs.len() > n_states + collected.len() {
            return Err(wrong_body(&format!("{} outputs", spec.node.outputs.len() + 1), graph));
        }
        Ok(Self { body, n_states, collected })
    }
}

impl Operator for Loop {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let n_runs_max = match inputs.find_ints(0)?.as_deref() {
            None => i64::MAX,
            Some(&[n]) => n,
            Some(other) => return Err(OpError::input(0, "one number", other.len().to_string())),
        };
        let mut is_wanted = inputs.find(1)?.map_or(Ok(true), |array| truth(1, array))?;
        let n_own = (2 + self.n_states).min(inputs.len());
        let captured: Vec<Option<Value>> = inputs.0.drain(n_own..).collect();
        let mut states: Vec<Option<Value>> = inputs.0.drain(n_own.min(2)..).collect();
        let mut collected: Vec<Collected> = self.collected.iter().map(|_| Collected::new()).collect();
        let mut n_runs = 0;
        while is_wanted && n_runs < n_runs_max {
            // A graph without operators does not look.
            context.pulse.beat()?;
            let own = [Some(Array::scalar(n_runs).into()), Some(Array::scalar(true).into())];
            let given = own.into_iter().chain(states.drain(..)).chain(captured.iter().cloned());
            let mut outputs = context.run_within(&self.body, given.collect())?.into_iter();
            is_wanted = match outputs.next() {
                Some(Value::Array(array)) => truth(0, &array)?,
                _ => return Err(OpError::input(0, "a truth value from the graph", "something else")),
            };
            states.extend(outputs.by_ref().take(self.n_states).map(Some));
            for (collected, value) in collected.iter_mut().zip(outputs) {
                collected.push(value, context)?;
            }
            n_runs += 1;
        }
        let missing = || OpError::input(2, "a value", "nothing");
        let mut outputs = states.into_iter().map(|state| state.ok_or_else(missing)).collect::<Result<Outputs, _>>()?;
        for (collected, port) in collected.into_iter().zip(&self.collected) {
            outputs.push(collected.stacked(0, port, context)?.into());
        }
        Ok(outputs)
    }

    /// A loop may run for long: it is never run ahead, while a model is planned.
    fn is_pure(&self) -> bool {
        false
    }
}

/// A graph on each value of a sequence. (ONNX `SequenceMap`)
#[derive(Debug)]
struct SequenceMap {
    body: Plan,
    n_inputs: usize,
    n_outputs: usize,
}

impl SequenceMap {
    fn new(spec: &NodeSpec<'_>, opsets: &Opsets, context: &mut Context<'_>) -> Result<Self, OpError> {
        let (graph, body) = body(spec, "body", opsets, context)?;
        let (n_inputs, n_outputs) = (spec.node.inputs.len(), spec.node.outputs.len());
        if graph.inputs.len() != n_inputs || graph.outputs.len() != n_outputs || n_inputs == 0 {
            return Err(wrong_body(&format!("{n_inputs} inputs and {n_outputs} outputs"), graph));
        }
        Ok(Self { body, n_inputs, n_outputs })
    }
}

impl Operator for SequenceMap {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let captured: Vec<Option<Value>> = inputs.0.drain(self.n_inputs..).collect();
        let first = take_sequence(&mut inputs, 0)?;
        let mut mapped: Vec<Vec<Value>> = vec![Vec::new(); self.n_outputs];
        for (idx, value) in first.iter().enumerate() {
            let mut given = vec![Some(value.clone())];
            for (at, other) in inputs.0.iter().enumerate().skip(1) {
                given.push(match other {
                    Some(Value::Sequence(values)) => {
                        let value = values.get(idx).filter(|_| values.len() == first.len()).cloned();
                        Some(value.ok_or_else(|| {
                            OpError::input(at, format!("{} values", first.len()), values.len().to_string())
                        })?)
                    }
                    Some(Value::Array(_) | Value::Optional(_)) | None => other.clone(),
                });
            }
            given.extend(captured.iter().cloned());
            let outputs = context.run_within(&self.body, given)?;
            mapped.iter_mut().zip(outputs).for_each(|(mapped, output)| mapped.push(output));
        }
        Ok(mapped.into_iter().map(|values| Value::Sequence(Arc::new(values))).collect())
    }

    fn is_pure(&self) -> bool {
        is_pure(&self.body)
    }
}

#[cfg(test)]
mod tests;
