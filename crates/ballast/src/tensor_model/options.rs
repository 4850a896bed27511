//! How to open a tensor model.

use super::Manifest;
use crate::BudgetMode;
use crate::machine::Machine;
use crate::{Isolation, MemoryBudget};
use ballast_backend::{ComputeUnits, PrepareOptions};
use ballast_runtime::breaker::BreakerOptions;
use ballast_runtime::buffer_pool::BufferPoolOptions;
use ballast_runtime::instance_pool::PoolOptions;
use ballast_runtime::supervised::{LiveParity, PredictOptions};
use ballast_runtime::telemetry::Telemetry;
use ballast_tensor::Rounding;
use std::path::PathBuf;
use std::time::Duration;

/// How to open a tensor model.
#[derive(Clone, Debug)]
pub struct TensorLoadOptions {
    /// The manifest; `None`: the one beside the model, if there is one.
    pub manifest: Option<PathBuf>,
    /// Units of the machine that may be used; `None`: as the manifest says, else whatever is best.
    pub compute_units: Option<ComputeUnits>,
    /// Shapes to fix, by input, where the model leaves dimensions open; the manifest's come behind them.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Compute threads of an instance; `None`: the CPUs this process may use.
    pub n_threads: Option<usize>,
    /// Kernel set by name; `None`: the best this CPU has.
    pub kernels: Option<String>,
    /// To what floats are rounded between operators.
    pub rounding: Rounding,
    /// Longest time until an answer, with every retry and fallback.
    pub deadline: Duration,
    /// What the model may take. There is nothing to shrink: only a strict budget refuses.
    pub memory: MemoryBudget,
    /// Where the engine runs: each instance in a process of its own, if asked for.
    pub isolation: Isolation,
    /// Instances, and who waits for them. One by default: an instance uses all threads.
    pub pool: PoolOptions,
    /// Output tensors that are kept for the next answer.
    pub buffers: BufferPoolOptions,
    /// When an engine is not asked.
    pub breaker: BreakerOptions,
    /// Which answers are compared with the next engine of the chain; `None`: none.
    pub parity: Option<LiveParity>,
    /// Where events go.
    pub telemetry: Telemetry,
}

impl Default for TensorLoadOptions {
    fn default() -> Self {
        Self {
            manifest: None,
            compute_units: None,
            shapes: Vec::new(),
            n_threads: None,
            kernels: None,
            rounding: Rounding::default(),
            deadline: PredictOptions::default().deadline,
            memory: MemoryBudget::default(),
            isolation: Isolation::default(),
            pool: PoolOptions { n_instances: 1, ..PoolOptions::default() },
            buffers: BufferPoolOptions::default(),
            breaker: BreakerOptions::default(),
            parity: None,
            telemetry: Telemetry::default(),
        }
    }
}

impl TensorLoadOptions {
    /// These options, and what the manifest says where they say nothing.
    pub(super) fn with_manifest(&self, manifest: &Manifest) -> Self {
        let mut options = self.clone();
        options.compute_units = options.compute_units.or(manifest.compute_units.map(Into::into));
        for (name, shape) in manifest.shapes.iter().flatten() {
            if options.shapes.iter().all(|(known, _)| known != name) {
                options.shapes.push((name.clone(), shape.clone()));
            }
        }
        options
    }

    /// What engines prepare the model with.
    pub(crate) fn prepare(&self) -> PrepareOptions {
        let limit = || self.memory.bytes.or_else(|| Machine::read().memory_bytes());
        PrepareOptions {
            compute_units: self.compute_units.unwrap_or_default(),
            shapes: self.shapes.clone(),
            memory_budget_bytes: (self.memory.mode == BudgetMode::Strict).then(limit).flatten(),
            ..PrepareOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor_model::manifest::DeclaredUnits;
    use std::collections::BTreeMap;

    #[test]
    fn what_the_options_say_comes_before_what_the_manifest_says() {
        let shapes = BTreeMap::from([("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])]);
        let manifest =
            Manifest { compute_units: Some(DeclaredUnits::CpuAndNe), shapes: Some(shapes), ..Manifest::default() };
        let found = TensorLoadOptions::default().with_manifest(&manifest).prepare();
        assert_eq!(found.compute_units, ComputeUnits::CpuAndNe);
        assert_eq!(found.shapes, [("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])]);
        let own = TensorLoadOptions {
            compute_units: Some(ComputeUnits::CpuOnly),
            shapes: vec![("b".to_owned(), vec![7])],
            ..TensorLoadOptions::default()
        };
        let found = own.with_manifest(&manifest).prepare();
        assert_eq!(found.compute_units, ComputeUnits::CpuOnly);
        assert_eq!(found.shapes, [("b".to_owned(), vec![7]), ("a".to_owned(), vec![1])]);
    }

    #[test]
    fn only_a_strict_budget_reaches_the_engine() {
        let budget = |mode| {
            let memory = MemoryBudget { mode, bytes: Some(77) };
            TensorLoadOptions { memory, ..TensorLoadOptions::default() }.prepare().memory_budget_bytes
        };
        assert_eq!(budget(BudgetMode::Strict), Some(77));
        assert_eq!(budget(BudgetMode::BestEffort), None);
        assert_eq!(budget(BudgetMode::None), None);
    }
}
