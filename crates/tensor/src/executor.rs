//! A model that runs: named tensors in, named tensors out.

use crate::array::{Array, Data, Value};
use crate::error::GraphError;
use crate::graph::{Captures, Model, Port, StatePort, ValueKind};
use crate::passes;
use crate::plan::Plan;
use crate::run::{Context, Rounding, RunLimits, Tracing, arrays};
use ballast_backend::{IoSchema, Pulse, Tensor, TensorMap};
use ballast_kernels::Kernels;
use ballast_threads::ComputePool;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// How a model is run.
#[derive(Clone, Copy)]
pub struct ExecutorOptions {
    /// Compute threads, the caller's among them.
    pub n_threads: NonZeroUsize,
    /// The instruction set.
    pub kernels: &'static dyn Kernels,
    /// To what floats are rounded.
    pub rounding: Rounding,
    /// Bounds of a run.
    pub limits: RunLimits,
}

impl Default for ExecutorOptions {
    /// One thread, and the best kernels that the CPU has.
    fn default() -> Self {
        Self {
            n_threads: NonZeroUsize::MIN,
            kernels: ballast_kernels::detect(),
            rounding: Rounding::default(),
            limits: RunLimits::default(),
        }
    }
}

impl fmt::Debug for ExecutorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorOptions").field("n_threads", &self.n_threads).finish_non_exhaustive()
    }
}

/// A planned model: its operators with their weights laid out. Executors of one model share it.
#[derive(Debug)]
pub struct Planned {
    plan: Plan,
    inputs: Vec<Port>,
    schema: Option<IoSchema>,
    /// Behind the inputs and the outputs of the plan, in this order.
    states: Vec<StatePort>,
    /// Values of inputs that may be left out, by name.
    defaults: BTreeMap<String, Array>,
}

impl Planned {
    /// Plans `model`: makes its operators, computes what does not depend on inputs.
    ///
    /// # Errors
    /// All that the model needs and this engine does not have, or a graph that contradicts itself.
    pub fn new(model: &Model, options: &ExecutorOptions) -> Result<Self, GraphError> {
        // Where every operator's results are rounded, it matters which operators there are.
        match options.rounding {
            Rounding::AsTyped => Self::of(model, &passes::rewritten(&with_states(model)), options),
            Rounding::ToF16 => Self::as_is(model, options),
        }
    }

    /// As [`Planned::new`], with the operators that the model has and no others.
    pub(crate) fn as_is(model: &Model, options: &ExecutorOptions) -> Result<Self, GraphError> {
        Self::of(model, &with_states(model), options)
    }

    fn of(model: &Model, whole: &Model, options: &ExecutorOptions) -> Result<Self, GraphError> {
        let (mut pool, pulse) = (ComputePool::new(options.n_threads), Pulse::new());
        // What is folded is what the model says; it is rounded where it is used.
        let options = ExecutorOptions { rounding: Rounding::AsTyped, ..*options };
        let plan =
            Plan::new(&whole.graph, &Captures::default(), &whole.opsets, &mut context(&options, &mut pool, &pulse))?;
        let specs = |ports: &[Port]| ports.iter().map(|port| port.spec.clone()).collect::<Option<Vec<_>>>();
        let schema = specs(&model.graph.inputs).zip(specs(&model.graph.outputs));
        let schema = schema.map(|(inputs, outputs)| IoSchema { inputs, outputs });
        let (inputs, states) = (model.graph.inputs.clone(), model.states.clone());
        Ok(Self { plan, inputs, schema, states, defaults: model.defaults.clone() })
    }

    /// What the model takes and gives; `None` if some of it is not a tensor, or of a shape that is not told.
    #[must_use]
    pub fn schema(&self) -> Option<&IoSchema> {
        self.schema.as_ref()
    }

    /// Bytes of its constants, those that operators laid out anew not included.
    #[must_use]
    pub fn constant_bytes(&self) -> usize {
        self.plan.constants.iter().map(Value::size_bytes).sum()
    }
}

/// The model with its states behind its inputs and outputs.
fn with_states(model: &Model) -> Cow<'_, Model> {
    let mut whole = Cow::Borrowed(model);
    for state in &model.states {
        let port = |name: &String| Port { name: name.clone(), spec: None, kind: ValueKind::Tensor };
        let graph = &mut whole.to_mut().graph;
        graph.inputs.push(port(&state.input));
        graph.outputs.push(port(&state.output));
    }
    whole
}

/// A planned model with the threads that run it, and what it keeps from run to run.
///
/// A state changes when a run ends, all at once: a run that fails or is interrupted leaves it as it was.
pub struct Executor {
    planned: Arc<Planned>,
    states: Vec<Array>,
    pool: ComputePool,
    options: ExecutorOptions,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("schema", &self.planned.schema).field("options", &self.options).finish()
    }
}

impl Executor {
    /// Plans `model` and starts the threads that run it.
    ///
    /// # Errors
    /// As [`Planned::new`].
    pub fn new(model: &Model, options: ExecutorOptions) -> Result<Self, GraphError> {
        Ok(Self::of(Arc::new(Planned::new(model, &options)?), options))
    }

    /// Starts threads that run a model that was planned with the same kernels.
    #[must_use]
    pub fn of(planned: Arc<Planned>, options: ExecutorOptions) -> Self {
        let states = initial(&planned);
        Self { planned, states, pool: ComputePool::new(options.n_threads), options }
    }

    /// Bytes of the model's states; 0: it keeps nothing from run to run.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.states.iter().map(Array::size_bytes).sum()
    }

    /// What the model keeps under `name`, as the last run left it; `None` if it keeps nothing of that name.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<Tensor> {
        let idx = self.planned.states.iter().position(|state| state.name == name)?;
        Some(self.states[idx].clone().into_tensor())
    }

    /// Begins anew: what the model keeps from run to run is 0 again.
    pub fn reset_states(&mut self) {
        self.states = initial(&self.planned);
    }

    /// What the model takes and gives; `None` if some of it is not a tensor, or of a shape that is not told.
    #[must_use]
    pub fn schema(&self) -> Option<&IoSchema> {
        self.planned.schema()
    }

    /// Runs the model. `inputs` has a tensor for each input, save those for which a package has a value of its own.
    ///
    /// # Errors
    /// Inputs that the model does not take, an operator that cannot compute with what it is given, or an interruption
    /// through `pulse`, which is looked at between operators.
    pub fn run(
        &mut self,
        mut inputs: TensorMap,
        pulse: &Pulse,
        tracing: Option<&mut Tracing>,
    ) -> Result<TensorMap, GraphError> {
        let planned = Arc::clone(&self.planned);
        for (name, array) in &planned.defaults {
            inputs.entry(name.clone()).or_insert_with(|| array.clone().into_tensor());
        }
        if let Some(schema) = &planned.schema {
            schema.check_inputs(&inputs)?;
        }
        let taken = planned.inputs.iter().map(|port| {
            let missing = || GraphError::malformed(format!("input {:?}", port.name), "a tensor", "nothing");
            Ok(Some(Value::Array(Array::from_tensor(inputs.remove(&port.name).ok_or_else(missing)?))))
        });
        let values = taken.collect::<Result<Vec<_>, GraphError>>()?;
        let outputs = self.run_values(values, pulse, tracing)?;
        let names = &planned.plan.output_names[..outputs.len()];
        let outputs = arrays(outputs, names)?;
        Ok(names.iter().cloned().zip(outputs.into_iter().map(Array::into_tensor)).collect())
    }

    /// Runs the model on values of any kind, in the order of its inputs.
    pub(crate) fn run_values(
        &mut self,
        mut inputs: Vec<Option<Value>>,
        pulse: &Pulse,
        tracing: Option<&mut Tracing>,
    ) -> Result<Vec<Value>, GraphError> {
        let mut context = context(&self.options, &mut self.pool, pulse);
        context.tracing = tracing;
        inputs.extend(self.states.iter().map(|state| Some(Value::Array(state.clone()))));
        let mut outputs = self.planned.plan.run(inputs, &mut context)?;
        let kept = outputs.split_off(outputs.len() - self.states.len());
        let kept = kept.into_iter().zip(&self.planned.states).map(|(value, state)| match value {
            Value::Array(array) if array.shape() == state.shape && array.dtype() == state.dtype => Ok(array),
            other @ (Value::Array(_) | Value::Sequence(_) | Value::Optional(_)) => {
                let expected = format!("{} {:?}", state.dtype, state.shape);
                Err(GraphError::malformed(format!("state {:?}", state.name), expected, format!("{other:?}")))
            }
        });
        self.states = kept.collect::<Result<Vec<_>, _>>()?;
        Ok(outputs)
    }
}

/// States before the first run.
fn initial(planned: &Planned) -> Vec<Array> {
    let zeros =
        |state: &StatePort| Array::of_data(&state.shape, Data::zeros(state.dtype, state.shape.iter().product()));
    planned.states.iter().map(zeros).collect()
}

pub(crate) fn context<'a>(options: &ExecutorOptions, pool: &'a mut ComputePool, pulse: &'a Pulse) -> Context<'a> {
    let ExecutorOptions { kernels, rounding, limits, .. } = *options;
    Context {
        kernels,
        pool,
        pulse,
        limits,
        rounding,
        tracing: None,
        depth: 0,
        held_bytes: 0,
        folded_bytes: 0,
        text_bytes: 0,
    }
}
