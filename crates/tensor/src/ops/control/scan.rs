//! `Scan`: a graph on each slice of arrays, with values that go from one run to the next.

use super::{Collected, body, wrong_body};
use crate::array::{Array, Shape, Value};
use crate::error::OpError;
use crate::graph::{NodeSpec, Port};
use crate::operator::{Inputs, Operator, Outputs, axis};
use crate::ops::gather::take;
use crate::ops::sequence::stack;
use crate::plan::{Opsets, Plan};
use crate::run::Context;

/// From where to where slices go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Reverse,
}

fn directions(spec: &NodeSpec<'_>, name: &'static str, n: usize) -> Result<Vec<Direction>, OpError> {
    let Some(given) = spec.ints(name)? else { return Ok(vec![Direction::Forward; n]) };
    let direction = |value: &i64| match value {
        0 => Ok(Direction::Forward),
        1 => Ok(Direction::Reverse),
        other => Err(NodeSpec::wrong(name, "0 or 1", other)),
    };
    let directions = given.iter().map(direction).collect::<Result<Vec<_>, _>>()?;
    if directions.len() == n {
        Ok(directions)
    } else {
        Err(NodeSpec::wrong(name, format!("{n} of them"), directions.len()))
    }
}

fn axes(spec: &NodeSpec<'_>, name: &'static str, n: usize) -> Result<Vec<i64>, OpError> {
    let axes = spec.ints(name)?.map_or_else(|| vec![0; n], <[i64]>::to_vec);
    if axes.len() == n { Ok(axes) } else { Err(NodeSpec::wrong(name, format!("{n} of them"), axes.len())) }
}

pub(super) fn build(
    spec: &NodeSpec<'_>,
    opsets: &Opsets,
    context: &mut Context<'_>,
) -> Result<Box<dyn Operator>, OpError> {
    let (graph, plan) = body(spec, "body", opsets, context)?;
    let is_batched = spec.version < 9;
    let n_own = spec.node.inputs.len().saturating_sub(usize::from(is_batched));
    let n_scanned = NodeSpec::needed(spec.int("num_scan_inputs")?, "num_scan_inputs", "an integer")?;
    let n_scanned = usize::try_from(n_scanned).ok().filter(|n| (1..=n_own).contains(n));
    let n_scanned =
        n_scanned.ok_or_else(|| NodeSpec::wrong("num_scan_inputs", format!("1 to {n_own}"), "another number"))?;
    let n_states = n_own - n_scanned;
    if graph.inputs.len() != n_own || graph.outputs.len() < n_states || spec.node.outputs.len() > graph.outputs.len() {
        return Err(wrong_body(&format!("{n_own} inputs and {} outputs or more", spec.node.outputs.len()), graph));
    }
    let collected = graph.outputs[n_states..].to_vec();
    let n_collected = collected.len();
    let scan = if is_batched {
        let n_axes = (vec![0; n_scanned], vec![0; n_collected]);
        Scan {
            plan,
            n_states,
            input_directions: directions(spec, "directions", n_scanned)?,
            output_directions: vec![Direction::Forward; n_collected],
            input_axes: n_axes.0,
            output_axes: n_axes.1,
            collected,
        }
    } else {
        Scan {
            plan,
            n_states,
            input_directions: directions(spec, "scan_input_directions", n_scanned)?,
            output_directions: directions(spec, "scan_output_directions", n_collected)?,
            input_axes: axes(spec, "scan_input_axes", n_scanned)?,
            output_axes: axes(spec, "scan_output_axes", n_collected)?,
            collected,
        }
    };
    Ok(if is_batched { Box::new(BatchedScan(scan)) } else { Box::new(scan) })
}

/// A graph on each slice of arrays. (ONNX `Scan`)
#[derive(Debug)]
struct Scan {
    plan: Plan,
    n_states: usize,
    input_directions: Vec<Direction>,
    output_directions: Vec<Direction>,
    input_axes: Vec<i64>,
    output_axes: Vec<i64>,
    collected: Vec<Port>,
}

/// What one dimension less leaves of place `idx` of dimension `at`.
fn slice(array: &Array, at: usize, idx: usize, context: &mut Context<'_>) -> Result<Array, OpError> {
    let mut shape = Shape::from_slice(array.shape());
    shape.remove(at);
    take(array, at, &[idx], context)?.reshaped(&shape)
}

impl Scan {
    /// Runs the graph on every slice of the inputs behind the states.
    fn scan(
        &self,
        own: Vec<Option<Value>>,
        captured: &[Option<Value>],
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, OpError> {
        let mut states = own;
        let scanned = states.split_off(self.n_states.min(states.len()));
        let mut arrays = Vec::with_capacity(scanned.len());
        for (idx, (value, &along)) in scanned.into_iter().zip(&self.input_axes).enumerate() {
            let idx = self.n_states + idx;
            let Some(Value::Array(array)) = value else {
                return Err(OpError::input(idx, "a tensor", "something else"));
            };
            let at = axis(along, array.rank())?;
            arrays.push((array, at));
        }
        let n_runs = arrays.first().map_or(0, |(array, at)| array.shape()[*at]);
        if let Some((array, at)) = arrays.iter().find(|(array, at)| array.shape()[*at] != n_runs) {
            return Err(OpError::shape(format!("{n_runs} places along dimension {at}"), array.shape()));
        }
        let mut collected: Vec<Collected> = self.collected.iter().map(|_| Collected::new()).collect();
        for run in 0..n_runs {
            context.pulse.beat()?;
            let mut given: Vec<Option<Value>> = std::mem::take(&mut states);
            for ((array, at), direction) in arrays.iter().zip(&self.input_directions) {
                let idx = if *direction == Direction::Forward { run } else { n_runs - 1 - run };
                given.push(Some(slice(array, *at, idx, context)?.into()));
            }
            given.extend(captured.iter().cloned());
            let mut outputs = context.run_within(&self.plan, given)?.into_iter();
            states.extend(outputs.by_ref().take(self.n_states).map(Some));
            for (collected, value) in collected.iter_mut().zip(outputs) {
                collected.push(value, context)?;
            }
        }
        let missing = || OpError::input(0, "a value", "nothing");
        let mut outputs = states.into_iter().map(|state| state.ok_or_else(missing)).collect::<Result<Vec<_>, _>>()?;
        for (idx, mut collected) in collected.into_iter().enumerate() {
            if self.output_directions[idx] == Direction::Reverse {
                collected.arrays.reverse();
            }
            let rank = collected.arrays.first().map(Array::rank);
            let rank = rank.or_else(|| self.collected[idx].spec.as_ref().map(|spec| spec.shape.len()));
            let at = axis(self.output_axes[idx], rank.unwrap_or(0) + 1)?;
            outputs.push(collected.stacked(at, &self.collected[idx], context)?.into());
        }
        Ok(outputs)
    }

    fn n_own(&self) -> usize {
        self.n_states + self.input_axes.len()
    }
}

impl Operator for Scan {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let captured: Vec<Option<Value>> = inputs.0.drain(self.n_own()..).collect();
        Ok(Outputs::from_vec(self.scan(inputs.0.into_vec(), &captured, context)?))
    }

    fn is_pure(&self) -> bool {
        false
    }
}

/// A graph on each slice of each array of a batch, as the first version had it.
#[derive(Debug)]
struct BatchedScan(Scan);

impl Operator for BatchedScan {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let captured: Vec<Option<Value>> = inputs.0.drain(1 + self.0.n_own()..).collect();
        let lens = inputs.find_ints(0)?;
        let arrays = (1..inputs.len()).map(|idx| inputs.take(idx)).collect::<Result<Vec<_>, _>>()?;
        let extent = |array: &Array, at: usize| array.shape().get(at).copied();
        let last = arrays.last().ok_or_else(|| OpError::input(1, "a tensor", "nothing"))?;
        let (Some(n), Some(n_steps)) = (extent(last, 0), extent(last, 1)) else {
            return Err(OpError::shape("a batch of sequences", last.shape()));
        };
        let is_whole = |len: &i64| usize::try_from(*len) == Ok(n_steps);
        if lens.is_some_and(|lens| !lens.iter().all(is_whole)) {
            return Err(OpError::unsupported("sequences of other lengths in a batch"));
        }
        if let Some(array) = arrays.iter().find(|array| extent(array, 0) != Some(n)) {
            return Err(OpError::shape(format!("a batch of {n}"), array.shape()));
        }
        let mut by_output: Vec<Collected> = Vec::new();
        for idx in 0..n {
            let own = arrays.iter().map(|array| Ok(Some(Value::from(slice(array, 0, idx, context)?))));
            let outputs = self.0.scan(own.collect::<Result<_, OpError>>()?, &captured, context)?;
            by_output.resize_with(outputs.len(), Collected::new);
            for (collected, value) in by_output.iter_mut().zip(outputs) {
                collected.push(value, context)?;
            }
        }
        if by_output.is_empty() {
            return Err(OpError::unsupported("a batch of nothing"));
        }
        by_output.into_iter().map(|collected| Ok(stack(collected.arrays, 0, context)?.into())).collect()
    }

    fn is_pure(&self) -> bool {
        false
    }
}
