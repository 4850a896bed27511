//! How to open a tensor model.

use super::Manifest;
use crate::BudgetMode;
use crate::machine::Machine;
use crate::{Isolation, MemoryBudget};
use ballast_backend::{ComputeUnits, PrepareOptions};
use ballast_runtime::breaker::BreakerOptions;
use ballast_runtime::buffer_pool::BufferPoolOptions;
use ballast_runtime::instance_pool::PoolOptions;
use ballast_runtime::parity::Precision;
use ballast_runtime::supervised::{LiveParity, PredictOptions, Promotion, StartMode, SupervisedOptions};
use ballast_runtime::telemetry::Telemetry;
use ballast_tensor::Rounding;
use std::path::PathBuf;
use std::time::Duration;

/// Which engine answers for an ONNX model on the CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TensorEngine {
    /// Ours.
    #[default]
    Cpu,
    /// ONNX Runtime, in builds with the feature `ort`; ours stays behind it. It chooses its own kernels.
    OnnxRuntime {
        /// Its library; `None`: one beside the executable, or where the system's loader looks. A process loads one only.
        library: Option<PathBuf>,
    },
}

/// What answers where the engine for the units asked for cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The CPU, on the same file; every answer that it gives in another's place says so.
    #[default]
    Cpu,
    /// Nothing: where units can be had that are not the CPU's alone, or are asked for by name, no other engine is opened.
    Never,
}

/// What an engine for accelerators must show before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canary {
    /// That it answers zeros where it runs, and inputs from a seed as the CPU does on the same file.
    #[default]
    MustAnswer,
    /// Nothing.
    Skip,
}

/// How to open a tensor model.
#[derive(Clone, Debug)]
pub struct TensorLoadOptions {
    /// The manifest; `None`: the one beside the model, if there is one.
    pub manifest: Option<PathBuf>,
    /// Which engine answers on the CPU.
    pub engine: TensorEngine,
    /// Units of the machine that may be used; `None`: as the manifest says, else whatever is best.
    pub compute_units: Option<ComputeUnits>,
    /// What answers where the engine for those units cannot.
    pub fallback: Fallback,
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
    /// Longest time until an instance is open, its canary included. Core ML may take minutes to prepare a model for the
    /// neural engine.
    pub open_max: Duration,
    /// Whether the CPU answers at once while an engine for accelerators is prepared, or everything is waited for.
    pub start: StartMode,
    /// What an engine for accelerators must show before it answers.
    pub canary: Canary,
    /// Where models that an engine compiled are kept, in a folder of their own; `None`: until the model is closed. The
    /// CPU engine compiles nothing.
    pub compile_cache_dir: Option<PathBuf>,
    /// What the model may take. There is nothing to shrink: only a strict budget refuses.
    pub memory: MemoryBudget,
    /// Where the CPU engine runs: each instance in a process of its own, if asked for.
    pub isolation: Isolation,
    /// The same of the engine for accelerators; `None`: in a process of its own where the executable's main function began
    /// with [`crate::worker_main`], since a model that was badly compiled for the neural engine can end its process.
    pub accelerator_isolation: Option<Isolation>,
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
            engine: TensorEngine::default(),
            compute_units: None,
            fallback: Fallback::default(),
            shapes: Vec::new(),
            n_threads: None,
            kernels: None,
            rounding: Rounding::default(),
            deadline: PredictOptions::default().deadline,
            open_max: Duration::from_secs(600),
            start: StartMode::Warm,
            canary: Canary::default(),
            compile_cache_dir: None,
            memory: MemoryBudget::default(),
            isolation: Isolation::default(),
            accelerator_isolation: None,
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
            cache_dir: self.compile_cache_dir.clone(),
            ..PrepareOptions::default()
        }
    }

    /// Bounds of the chain of engines. One that proves itself does so within the tolerances of the manifest's precision,
    /// else of 16-bit floats, with which accelerators compute.
    pub(super) fn supervised(&self, manifest: &Manifest) -> SupervisedOptions {
        let precision = manifest.precision.map_or(Precision::F16, Into::into);
        SupervisedOptions {
            start: self.start,
            pool: self.pool,
            buffers: self.buffers,
            breaker: self.breaker.clone(),
            open_max: self.open_max,
            parity: self.parity,
            promotion: (self.canary == Canary::MustAnswer).then(|| Promotion::new(precision.tolerances())),
            ..SupervisedOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor_model::manifest::{DeclaredPrecision, DeclaredUnits};
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

    #[test]
    fn the_chain_is_bounded_as_the_options_and_the_manifest_say() {
        let options = TensorLoadOptions {
            start: StartMode::Wait,
            open_max: Duration::from_secs(7),
            compile_cache_dir: Some("somewhere".into()),
            ..TensorLoadOptions::default()
        };
        assert_eq!(options.prepare().cache_dir, Some("somewhere".into()));
        let supervised = options.supervised(&Manifest::default());
        assert_eq!((supervised.start, supervised.open_max), (StartMode::Wait, Duration::from_secs(7)));
        let tolerances = |manifest: &Manifest, canary| {
            let options = TensorLoadOptions { canary, ..TensorLoadOptions::default() };
            options.supervised(manifest).promotion.map(|promotion| promotion.tolerances)
        };
        let declared = Manifest { precision: Some(DeclaredPrecision::Int8), ..Manifest::default() };
        let (f16, int8) = (Precision::F16.tolerances(), Precision::Int8.tolerances());
        assert_eq!(tolerances(&Manifest::default(), Canary::MustAnswer), Some(f16));
        assert_eq!(tolerances(&declared, Canary::MustAnswer), Some(int8));
        assert_eq!(tolerances(&declared, Canary::Skip), None);
    }
}
