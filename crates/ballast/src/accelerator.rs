//! The engine for accelerators in front of the CPU's: when a chain has it, how it is made, what is said where there is
//! none. It is Core ML, and is in builds with the feature `coreml`, where it works on Apple's systems.

use crate::tensor_model::{Canary, TensorLoadOptions};
use crate::wiring::tensor_cpu;
use crate::{Error, Isolation, worker};
use ballast_backend::{Clock, ComputeUnits, EngineError, InferenceEngine, ModelFmt};
use std::sync::Arc;

/// Whether this build can run anything on an accelerator here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here,
    Absent,
}

/// Whether a chain begins with the engine for accelerators. Units that are asked for by name keep its place even where it
/// cannot be had: the health of the chain says why, and every answer that another engine gave it.
pub(crate) fn is_in_front(units: Option<ComputeUnits>, format: ModelFmt) -> bool {
    has_place(units, format, presence())
}

fn has_place(units: Option<ComputeUnits>, format: ModelFmt, presence: Presence) -> bool {
    match units {
        Some(ComputeUnits::CpuOnly) => false,
        Some(ComputeUnits::CpuAndGpu | ComputeUnits::CpuAndNe) => true,
        Some(ComputeUnits::All) | None => presence == Presence::Here && format == ModelFmt::MlPackage,
    }
}

/// The engine, where the options want it to run. Made everywhere; what it cannot do its preparation says.
///
/// # Errors
/// If the options ask for kernels that this machine does not have.
pub(crate) fn engine(options: &TensorLoadOptions, clock: &Arc<dyn Clock>) -> Result<Arc<dyn InferenceEngine>, Error> {
    let engine = in_this_process(options, clock)?;
    let usual = || if worker::can_be_entered() { Isolation::Process } else { Isolation::InProcess };
    Ok(match options.accelerator_isolation.unwrap_or_else(usual) {
        Isolation::InProcess => engine,
        Isolation::Process => {
            Arc::new(worker::IsolatedTensors::new(engine, worker::WorkerEngine::CoreMl, options.clone()))
        }
    })
}

#[cfg(feature = "coreml")]
use with_core_ml::{absence, units};
#[cfg(feature = "coreml")]
pub(crate) use with_core_ml::{check, core_ml, in_this_process};
#[cfg(not(feature = "coreml"))]
use without_core_ml::{absence, units};
#[cfg(not(feature = "coreml"))]
pub(crate) use without_core_ml::{in_this_process, not_built};

fn presence() -> Presence {
    if absence().is_none() { Presence::Here } else { Presence::Absent }
}

/// What would run where beside the CPU, in words.
pub(crate) fn told(format: ModelFmt) -> Option<String> {
    (format == ModelFmt::MlPackage).then(|| match absence() {
        None => "coreml: what Core ML places there; `ballast verify-mac` asks it".to_owned(),
        Some(error) => format!("coreml: {error}"),
    })
}

/// The machine's units, in words; or why there are none.
pub(crate) fn inventory() -> String {
    absence().map_or_else(units, |error| format!("none: {error}"))
}

#[cfg(feature = "coreml")]
mod with_core_ml {
    use super::*;
    use ballast_backend::{CapabilityReport, ErrorKind, Instance, ModelArtifact, PrepareOptions, Prepared};
    use ballast_coreml::{
        Canary as CoreMlCanary, ComputeDevice, CoreMlEngine, CoreMlOptions, DeviceKind, check_available, devices,
    };
    use ballast_tensor::{Package, PackageLimits, TensorCpu};

    /// Whether there is Core ML.
    pub(crate) fn check() -> Result<(), EngineError> {
        check_available().map_err(|error| EngineError::new(error.kind(), error))
    }

    /// Why nothing runs on an accelerator here.
    pub(super) fn absence() -> Option<EngineError> {
        check().err()
    }

    /// The units that Core ML can use, in words.
    pub(super) fn units() -> String {
        let word = |device: &ComputeDevice| {
            let kind = match device.kind {
                DeviceKind::Cpu => "cpu",
                DeviceKind::Gpu => "gpu",
                DeviceKind::NeuralEngine => "neural engine",
                DeviceKind::Unknown => "another unit",
            };
            device.n_cores.map_or_else(|| kind.to_owned(), |n_cores| format!("{kind} of {n_cores} cores"))
        };
        let words: Vec<String> = devices().iter().map(word).collect();
        if words.is_empty() {
            "core ml does not list its units".to_owned()
        } else {
            format!("core ml: {}", words.join(", "))
        }
    }

    /// Core ML alone.
    pub(crate) fn core_ml(options: &TensorLoadOptions, clock: &Arc<dyn Clock>) -> CoreMlEngine {
        CoreMlEngine::new(core_ml_options(options), Arc::clone(clock))
    }

    pub(super) fn core_ml_options(options: &TensorLoadOptions) -> CoreMlOptions {
        let usual = CoreMlOptions::default();
        CoreMlOptions {
            predict_timeout: options.deadline,
            load_timeout: options.open_max,
            canary: match options.canary {
                Canary::MustAnswer => CoreMlCanary::Zeros,
                Canary::Skip => CoreMlCanary::Skip,
            },
            sla: options.breaker.sla.unwrap_or(usual.sla),
            ..usual
        }
    }

    /// Core ML, as a link of a chain.
    pub(crate) fn in_this_process(
        options: &TensorLoadOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn InferenceEngine>, Error> {
        Ok(Arc::new(CoreMlLink { core_ml: core_ml(options, clock), cpu: tensor_cpu(options, clock)? }))
    }

    /// Core ML with the schema of the CPU's engine, which reads shapes that Core ML does not name.
    struct CoreMlLink {
        core_ml: CoreMlEngine,
        cpu: TensorCpu,
    }

    /// What one engine keeps between predictions the next does not know.
    #[derive(Debug, thiserror::Error)]
    #[error("core ml: expected a model that keeps nothing between predictions, got one with the state {name:?}")]
    struct Stateful {
        name: String,
    }

    impl InferenceEngine for CoreMlLink {
        fn name(&self) -> &'static str {
            self.core_ml.name()
        }

        fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
            let mut prepared = self.core_ml.prepare(artifact, options)?;
            check_stateless(artifact)?;
            let names_no_shape = |schema: &ballast_backend::IoSchema| schema.outputs.iter().any(|o| o.shape.is_empty());
            if let Some(schema) = prepared.io_schema.as_mut().filter(|schema| names_no_shape(schema)) {
                let read = self.cpu.prepare(artifact, options)?.io_schema.unwrap_or_default();
                for output in schema.outputs.iter_mut().filter(|output| output.shape.is_empty()) {
                    if let Some(known) = read.outputs.iter().find(|known| known.name == output.name) {
                        output.shape.clone_from(&known.shape);
                    }
                }
            }
            Ok(prepared)
        }

        fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
            self.core_ml.open(prepared)
        }

        fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
            self.core_ml.capabilities(prepared)
        }
    }

    fn check_stateless(artifact: &ModelArtifact) -> Result<(), EngineError> {
        let ModelArtifact::Authoring { path, .. } = artifact else { return Ok(()) };
        let survey = Package::open(path, PackageLimits::default())?.survey();
        let state = survey.functions.iter().flat_map(|function| &function.states).next();
        state.map_or(Ok(()), |state| Err(EngineError::new(ErrorKind::Invalid, Stateful { name: state.name.clone() })))
    }
}

#[cfg(not(feature = "coreml"))]
mod without_core_ml {
    use super::*;
    use ballast_backend::{CapabilityReport, ErrorKind, Instance, ModelArtifact, PrepareOptions, Prepared};

    /// This build has no engine for accelerators.
    #[derive(Debug, thiserror::Error)]
    #[error("not in this build: it was made without the feature coreml")]
    struct NotBuilt;

    /// Why nothing runs on an accelerator here.
    pub(crate) fn not_built() -> EngineError {
        EngineError::new(ErrorKind::Unavailable, NotBuilt)
    }

    /// The same as an answer.
    pub(super) fn absence() -> Option<EngineError> {
        Some(not_built())
    }

    /// The units of no engine.
    pub(super) fn units() -> String {
        String::new()
    }

    /// An engine that says so.
    pub(crate) fn in_this_process(
        _options: &TensorLoadOptions,
        _clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn InferenceEngine>, Error> {
        Ok(Arc::new(Absent))
    }

    struct Absent;

    impl InferenceEngine for Absent {
        fn name(&self) -> &'static str {
            "coreml"
        }

        fn prepare(&self, _artifact: &ModelArtifact, _options: &PrepareOptions) -> Result<Prepared, EngineError> {
            Err(not_built())
        }

        fn open(&self, _prepared: &Prepared) -> Result<Instance, EngineError> {
            Err(not_built())
        }

        fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
            CapabilityReport {
                device_class: "none".to_owned(),
                supported_dtypes: Vec::new(),
                max_batch_size: 1,
                compute_units_requested: prepared.options.compute_units,
                compute_units_actual: ComputeUnits::CpuOnly,
                ane_op_coverage_pct: None,
                compile_p99: None,
                infer_p99: None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerators_come_first_where_they_are_or_were_asked_for_by_name() {
        use ComputeUnits::{All, CpuAndGpu, CpuAndNe, CpuOnly};
        let cases = [
            (None, ModelFmt::MlPackage, Presence::Here, true),
            (None, ModelFmt::MlPackage, Presence::Absent, false),
            (None, ModelFmt::Onnx, Presence::Here, false),
            (Some(All), ModelFmt::MlPackage, Presence::Here, true),
            (Some(All), ModelFmt::MlPackage, Presence::Absent, false),
            (Some(CpuOnly), ModelFmt::MlPackage, Presence::Here, false),
            (Some(CpuAndNe), ModelFmt::MlPackage, Presence::Absent, true),
            (Some(CpuAndGpu), ModelFmt::Onnx, Presence::Absent, true),
        ];
        for (units, format, presence, expected) in cases {
            assert_eq!(has_place(units, format, presence), expected, "{units:?} {format:?} {presence:?}");
        }
    }

    #[test]
    #[cfg(not(target_vendor = "apple"))]
    fn elsewhere_it_is_said_that_there_is_no_accelerator() {
        assert_eq!(presence(), Presence::Absent);
        let word = if cfg!(feature = "coreml") { "not on this platform" } else { "not in this build" };
        assert!(told(ModelFmt::MlPackage).is_some_and(|told| told.contains(word)));
        assert_eq!(told(ModelFmt::Onnx), None);
    }

    #[test]
    #[cfg(feature = "coreml")]
    fn core_ml_has_the_times_the_canary_and_the_service_level_of_the_options() {
        use ballast_coreml::Canary as CoreMlCanary;
        use std::time::Duration;
        let mut options = TensorLoadOptions {
            deadline: Duration::from_secs(3),
            open_max: Duration::from_secs(33),
            canary: Canary::Skip,
            ..TensorLoadOptions::default()
        };
        options.breaker.sla = Some(Duration::from_millis(7));
        let found = with_core_ml::core_ml_options(&options);
        assert_eq!((found.predict_timeout, found.load_timeout), (options.deadline, options.open_max));
        assert_eq!((found.canary, found.sla), (CoreMlCanary::Skip, Duration::from_millis(7)));
        let found = with_core_ml::core_ml_options(&TensorLoadOptions::default());
        assert_eq!(found.canary, CoreMlCanary::Zeros);
    }
}
