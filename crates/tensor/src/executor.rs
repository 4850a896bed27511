//! A model that runs: named tensors in, named tensors out.

use crate::array::{Array, Value};
use crate::error::GraphError;
use crate::graph::{Model, Port};
use crate::plan::Plan;
use crate::run::{Context, Rounding, RunLimits, Tracing, arrays};
use ballast_backend::{IoSchema, Pulse, TensorMap};
use ballast_kernels::Kernels;
use ballast_threads::ComputePool;
use std::fmt;
use std::num::NonZeroUsize;

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

/// A planned model with the threads that run it.
pub struct Executor {
    plan: Plan,
    inputs: Vec<Port>,
    schema: Option<IoSchema>,
    pool: ComputePool,
    options: ExecutorOptions,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("schema", &self.schema)
            .field("n_steps", &self.plan.steps.len())
            .finish_non_exhaustive()
    }
}

impl Executor {
    /// Plans `model`: makes its operators, computes what does not depend on inputs.
    ///
    /// # Errors
    /// All that the model needs and this engine does not have, or a graph that contradicts itself.
    pub fn new(model: &Model, options: ExecutorOptions) -> Result<Self, GraphError> {
        let mut pool = ComputePool::new(options.n_threads);
        let pulse = Pulse::new();
        let mut context = context(&options, &mut pool, &pulse);
        // What is folded is what the model says; it is rounded where it is used.
        context.rounding = Rounding::AsTyped;
        let plan = Plan::new(&model.graph, &[], &model.opsets, &mut context)?;
        let specs = |ports: &[Port]| ports.iter().map(|port| port.spec.clone()).collect::<Option<Vec<_>>>();
        let schema = specs(&model.graph.inputs).zip(specs(&model.graph.outputs));
        let schema = schema.map(|(inputs, outputs)| IoSchema { inputs, outputs });
        Ok(Self { plan, inputs: model.graph.inputs.clone(), schema, pool, options })
    }

    /// What the model takes and gives; `None` if some of it is not a tensor, or of a shape that is not told.
    #[must_use]
    pub fn schema(&self) -> Option<&IoSchema> {
        self.schema.as_ref()
    }

    /// Runs the model. `inputs` has a tensor for each input.
    ///
    /// # Errors
    /// Inputs that the model does not take, an operator that cannot compute with what it is given, or an interruption
    /// through `pulse`, which is looked at between operators.
    pub fn run(
        &mut self,
        inputs: TensorMap,
        pulse: &Pulse,
        tracing: Option<&mut Tracing>,
    ) -> Result<TensorMap, GraphError> {
        if let Some(schema) = &self.schema {
            schema.check_inputs(&inputs)?;
        }
        let mut inputs = inputs;
        let arrays_in = self.inputs.iter().map(|port| {
            let missing = || GraphError::malformed(format!("input {:?}", port.name), "a tensor", "nothing");
            Ok(Some(Value::Array(Array::from_tensor(inputs.remove(&port.name).ok_or_else(missing)?))))
        });
        let values = arrays_in.collect::<Result<Vec<_>, GraphError>>()?;
        let outputs = self.run_values(values, pulse, tracing)?;
        let names = &self.plan.output_names;
        let outputs = arrays(outputs, names)?;
        Ok(names.iter().cloned().zip(outputs.into_iter().map(Array::into_tensor)).collect())
    }

    /// Runs the model on values of any kind, in the order of its inputs.
    pub(crate) fn run_values(
        &mut self,
        inputs: Vec<Option<Value>>,
        pulse: &Pulse,
        tracing: Option<&mut Tracing>,
    ) -> Result<Vec<Value>, GraphError> {
        let mut context = context(&self.options, &mut self.pool, pulse);
        context.tracing = tracing;
        self.plan.run(inputs, &mut context)
    }
}

fn context<'a>(options: &ExecutorOptions, pool: &'a mut ComputePool, pulse: &'a Pulse) -> Context<'a> {
    let ExecutorOptions { kernels, rounding, limits, .. } = *options;
    Context { kernels, pool, pulse, limits, rounding, tracing: None, depth: 0 }
}
