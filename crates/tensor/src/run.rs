//! Runs plans: one operator after the other, each with what the ones before came to.

use crate::array::{Array, Element, Value};
use crate::error::{GraphError, OpError};
use crate::operator::{Inputs, checked_len};
use crate::plan::{Plan, Source, Step};
use ballast_backend::{Clock, DType, Pulse};
use ballast_kernels::Kernels;
use ballast_threads::ComputePool;
use half::f16;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Most bytes of one tensor.
    pub tensor_bytes_max: usize,
    /// Most bytes of all tensors of a run that are there at a time. One that several values share counts for each.
    pub run_bytes_max: usize,
    /// Deepest nesting of graphs within operators.
    pub depth_max: usize,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self { tensor_bytes_max: 2 << 30, run_bytes_max: 32 << 30, depth_max: 8 }
    }
}

/// To what floats are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// To their type.
    #[default]
    AsTyped,
    /// The results of every operator to the values that f16 has: about what an accelerator that computes in it gives.
    ToF16,
}

/// What one operator took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// The node's name, or that of its first output.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// How long it ran.
    pub took: Duration,
    /// Bytes of what it gave.
    pub output_bytes: usize,
}

/// Notes what every operator takes.
pub struct Tracing {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What was noted, in the order of the run; graphs within operators count as part of them.
    pub entries: Vec<TraceEntry>,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// What operators compute with.
pub(crate) struct Context<'a> {
    pub(crate) kernels: &'static dyn Kernels,
    pub(crate) pool: &'a mut ComputePool,
    pub(crate) pulse: &'a Pulse,
    pub(crate) limits: RunLimits,
    pub(crate) rounding: Rounding,
    pub(crate) tracing: Option<&'a mut Tracing>,
    /// How deep in graphs within operators.
    pub(crate) depth: usize,
    /// Bytes of the values that the run holds, those of the graphs around included.
    pub(crate) held_bytes: usize,
    /// Bytes of what was computed while the model was planned.
    pub(crate) folded_bytes: usize,
    /// Bytes that an element may have besides itself, where it is a text made from the inputs of the operator.
    pub(crate) text_bytes: usize,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("kernels", &self.kernels.name())
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl Context<'_> {
    /// How many elements a shape has, if an array of it may be allocated.
    pub(crate) fn len_of(&self, shape: &[usize], dtype: DType) -> Result<usize, OpError> {
        let text_bytes = if dtype == DType::Str { self.text_bytes } else { 0 };
        checked_len(shape, self.limits.tensor_bytes_max, dtype.size_bytes().saturating_add(text_bytes))
    }

    /// Notes that a value is held in place of another.
    fn hold(&mut self, before: usize, bytes: usize) -> Result<(), OpError> {
        self.held_bytes = self.held_bytes.saturating_sub(before).saturating_add(bytes);
        let (bytes_max, bytes) = (self.limits.run_bytes_max, self.held_bytes);
        if bytes > bytes_max { Err(OpError::TooMuch { bytes_max, bytes }) } else { Ok(()) }
    }

    /// Zeros for the elements of an array of this shape.
    pub(crate) fn zeros<T: Element>(&self, shape: &[usize]) -> Result<Vec<T>, OpError> {
        Ok(vec![T::default(); self.len_of(shape, T::DTYPE)?])
    }

    /// Room for the elements of an array of this shape.
    pub(crate) fn room<T: Element>(&self, shape: &[usize]) -> Result<Vec<T>, OpError> {
        Ok(Vec::with_capacity(self.len_of(shape, T::DTYPE)?))
    }

    /// Runs a graph within an operator.
    pub(crate) fn run_within(&mut self, plan: &Plan, inputs: Vec<Option<Value>>) -> Result<Vec<Value>, OpError> {
        if self.depth == self.limits.depth_max {
            return Err(OpError::unsupported(format!("a nesting of more than {} graphs", self.limits.depth_max)));
        }
        let held_bytes = self.held_bytes;
        self.depth += 1;
        let outputs = plan.run(inputs, self);
        self.depth -= 1;
        self.held_bytes = held_bytes;
        outputs.map_err(|error| OpError::Within(Box::new(error)))
    }
}

impl Plan {
    /// Runs the plan on its inputs, in their order, and returns its outputs.
    pub(crate) fn run(&self, inputs: Vec<Option<Value>>, context: &mut Context<'_>) -> Result<Vec<Value>, GraphError> {
        let mut slots: Vec<Option<Value>> = vec![None; self.n_slots];
        for (slot, input) in self.inputs.iter().zip(inputs) {
            slots[*slot] = input;
        }
        // What was there before the run is not the run's.
        let mut held = vec![0; self.n_slots];
        for step in &self.steps {
            context.pulse.beat().map_err(|interrupted| step.failed(&interrupted.into()))?;
            let mut freed_bytes = 0;
            let gathered = step.inputs.iter().map(|input| match *input {
                Source::Nothing => None,
                Source::Constant(idx) => Some(self.constants[idx].clone()),
                Source::Computed { slot, is_last: true } => {
                    freed_bytes += std::mem::take(&mut held[slot]);
                    slots[slot].take()
                }
                Source::Computed { slot, is_last: false } => slots[slot].clone(),
            });
            let inputs = Inputs(gathered.collect());
            context.text_bytes = inputs.text_bytes();
            let outputs = step.run(inputs, context)?;
            let mut bytes = 0;
            for (slot, output) in step.outputs.iter().zip(&outputs) {
                let Some(slot) = slot else { continue };
                held[*slot] = output.size_bytes();
                bytes += held[*slot];
            }
            context.hold(freed_bytes, bytes).map_err(|error| step.failed(&error))?;
            for (slot, mut output) in step.outputs.iter().zip(outputs) {
                if context.rounding == Rounding::ToF16 {
                    round_to_f16(&mut output);
                }
                if let Some(slot) = slot {
                    slots[*slot] = Some(output);
                }
            }
        }
        let missing = |name: &String| GraphError::malformed(format!("output {name:?}"), "a value", "nothing");
        let outputs = self.outputs.iter().zip(&self.output_names);
        let output = |(source, name): (&Source, &String)| {
            let value = match *source {
                Source::Nothing => None,
                Source::Constant(idx) => Some(self.constants[idx].clone()),
                Source::Computed { slot, is_last: true } => slots[slot].take(),
                Source::Computed { slot, is_last: false } => slots[slot].clone(),
            };
            value.ok_or_else(|| missing(name))
        };
        outputs.map(output).collect()
    }
}

impl Step {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<crate::operator::Outputs, GraphError> {
        let is_traced = context.depth == 0;
        let start = context.tracing.as_ref().filter(|_| is_traced).map(|tracing| tracing.clock.now());
        let outputs = self.operator.run(inputs, context).map_err(|error| self.failed(&error))?;
        if let (Some(tracing), Some(start)) = (&mut context.tracing, start) {
            let output_bytes = outputs.iter().map(Value::size_bytes).sum();
            let took = tracing.clock.now().saturating_sub(start);
            tracing.entries.push(TraceEntry { node: self.label.clone(), op: self.op.clone(), took, output_bytes });
        }
        Ok(outputs)
    }

    fn failed(&self, error: &OpError) -> GraphError {
        let interrupted = if let OpError::Interrupted(interrupted) = error {
            Some(*interrupted)
        } else if let OpError::Within(within) = error
            && let GraphError::Node { interrupted, .. } = &**within
        {
            *interrupted
        } else {
            None
        };
        GraphError::Node { node: self.label.clone(), op: self.op.clone(), fault: error.to_string(), interrupted }
    }
}

fn round_to_f16(value: &mut Value) {
    if let Value::Array(array) = value
        && array.dtype() == DType::F32
    {
        for value in array.values_mut::<f32>().into_iter().flatten() {
            *value = f16::from_f32(*value).to_f32();
        }
    }
}

/// The arrays among the outputs of a run.
pub(crate) fn arrays(values: Vec<Value>, names: &[String]) -> Result<Vec<Array>, GraphError> {
    let array = |(value, name): (Value, &String)| match value {
        Value::Array(array) => Ok(array),
        other @ (Value::Sequence(_) | Value::Optional(_)) => {
            Err(GraphError::malformed(format!("output {name:?}"), "a tensor", other.kind()))
        }
    };
    values.into_iter().zip(names).map(array).collect()
}
