//! The engine: packages to compiled bundles in the cache, compiled bundles to models.

use crate::bundle::{BUNDLE, move_dir};
use crate::call::LoadSettings;
use crate::metrics::{Counters, Outcome};
use crate::model::Shared;
use crate::schema::fix_shapes;
use crate::wait::Wait;
use crate::{
    Action, CoreMlError, CoreMlMetrics, CoreMlModel, CoreMlOptions, DeviceKind, PlanReport, Planning, check_available,
    layout, platform,
};
use ballast_artifacts::{
    ArtifactCache, CacheKey, CacheOptions, Entry, KeyParts, Origin, Until, Verification, digest_tree,
};
use ballast_backend::{
    CapabilityReport, Clock, CompiledMeta, ComputeUnits, Dim, EngineError, InferenceEngine, Instance, IoSchema,
    ModelArtifact, ModelFmt, PrepareOptions, Prepared, Pulse, Quantization, Sha256,
};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// Engine and the version of what it keeps in the compile cache.
pub const ENGINE_VERSION: &str = "coreml.1";

/// Most prepared models that an engine keeps on the disk and remembers plans of; past it the one prepared first goes.
const KNOWN_MAX: usize = 64;

/// The engine by the name that the prior system gave it.
pub type CoreMLBackend = CoreMlEngine;

/// Core ML as an engine. Shareable; its models are not.
pub struct CoreMlEngine {
    shared: Shared,
    /// Where bundles are kept for the engine's life when no cache is given.
    scratch: Mutex<Option<TempDir>>,
    known: Mutex<Vec<Known>>,
}

/// A model that was prepared.
struct Known {
    key: String,
    entry: Option<Arc<Entry>>,
    plan: Option<PlanReport>,
}

/// A bundle that is ready to be loaded.
struct Bundle {
    key: CacheKey,
    path: PathBuf,
    meta: CompiledMeta,
    bytes: u64,
    entry: Option<Arc<Entry>>,
    was_cached: bool,
}

impl fmt::Debug for CoreMlEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreMlEngine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl CoreMlEngine {
    /// An engine. Made on every system; it works where [`crate::IS_AVAILABLE`].
    #[must_use]
    pub fn new(options: CoreMlOptions, clock: Arc<dyn Clock>) -> Self {
        let (counters, late) = (Arc::new(Counters::default()), Arc::new(AtomicU64::new(0)));
        let shared = Shared { options, clock, counters, late };
        Self { shared, scratch: Mutex::default(), known: Mutex::default() }
    }

    /// What was counted so far, over all models of this engine.
    #[must_use]
    pub fn get_metrics(&self) -> CoreMlMetrics {
        self.shared.counters.snapshot(platform::resident_bytes(), self.shared.late.load(Ordering::Acquire))
    }

    /// The figures in words.
    #[must_use]
    pub fn summary(&self) -> String {
        self.get_metrics().summary()
    }

    /// Opens a model on this thread, with all that [`ballast_backend::Predictor`] does not show. Outputs of which Core ML
    /// names no shape have those of the prepared schema, where somebody who read the package filled them in.
    ///
    /// # Errors
    /// As [`InferenceEngine::open`].
    pub fn open_model(&self, prepared: &Prepared) -> Result<CoreMlModel, CoreMlError> {
        let ModelArtifact::Compiled { path, .. } = &prepared.artifact else {
            return Err(CoreMlError::Format { got: "a model that was not prepared" });
        };
        let started = self.shared.clock.now();
        let opened = CoreMlModel::open(path, &self.settings(prepared), prepared, self.shared.clone());
        let took = self.shared.clock.now().saturating_sub(started);
        self.shared.counters.loaded(took, opened.as_ref().map_or_else(Outcome::Failed, |_| Outcome::Done));
        let model = opened?;
        if self.shared.options.planning == Planning::AtOpen
            && let Err(error) = self.compute_plan(prepared)
        {
            tracing::warn!(%error, "core ml: does not say which unit will run what");
        }
        let (entry, plan) = self.known(&prepared.cache_key);
        Ok(model.with(entry, plan))
    }

    /// Asks Core ML which unit will run which operation (macOS 14.4), and remembers it.
    ///
    /// # Errors
    /// What Core ML says; that the system is too old; or a time-out.
    pub fn compute_plan(&self, prepared: &Prepared) -> Result<PlanReport, CoreMlError> {
        let pulse = Pulse::new();
        let wait = Wait::new(Action::Plan, self.shared.options.load_timeout, &*self.shared.clock, &pulse);
        let operations = platform::plan(prepared.artifact.path(), &self.settings(prepared), &wait)?;
        let plan = PlanReport::new(&operations);
        self.shared.counters.planned(&plan);
        self.remember(&prepared.cache_key, None, Some(plan.clone()));
        Ok(plan)
    }

    fn settings(&self, prepared: &Prepared) -> LoadSettings<'_> {
        let CoreMlOptions { hints, function, .. } = &self.shared.options;
        LoadSettings { units: prepared.options.compute_units, hints: *hints, function: function.as_deref() }
    }

    fn known(&self, key: &str) -> (Option<Arc<Entry>>, Option<PlanReport>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|known| known.key == key);
        found.map_or((None, None), |known| (known.entry.clone(), known.plan.clone()))
    }

    fn remember(&self, key: &str, entry: Option<Arc<Entry>>, plan: Option<PlanReport>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.iter_mut().find(|known| known.key == key) {
            found.entry = entry.or(found.entry.take());
            found.plan = plan.or(found.plan.take());
            return;
        }
        if known.len() == KNOWN_MAX {
            known.remove(0);
        }
        known.push(Known { key: key.to_owned(), entry, plan });
    }

    /// Where compiled bundles are kept: in `dir`, or until the engine is dropped.
    fn cache(&self, dir: Option<&Path>) -> Result<ArtifactCache, CoreMlError> {
        let bytes_max = self.shared.options.cache_bytes_max;
        let options = CacheOptions { bytes_max, verification: Verification::FirstOpen };
        if let Some(dir) = dir {
            return Ok(ArtifactCache::open(dir, options)?);
        }
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if scratch.is_none() {
            let made = tempfile::tempdir();
            let io = |source| CoreMlError::Io { what: "make a folder in", path: std::env::temp_dir(), source };
            *scratch = Some(made.map_err(io)?);
        }
        let dir = scratch.as_ref().expect("it was made above").path().join("cache");
        Ok(ArtifactCache::open(&dir, options)?)
    }

    fn prepare_model(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, CoreMlError> {
        check_available()?;
        if options.quantization != Quantization::AsStored {
            return Err(CoreMlError::Quantization { wanted: options.quantization.as_str() });
        }
        let timeout = options.deadline.unwrap_or(self.shared.options.compile_timeout);
        let until = self.shared.clock.now().saturating_add(timeout);
        let bundle = self.bundle(artifact, options, until)?;
        if let Some(budget_bytes) = options.memory_budget_bytes.filter(|budget| bundle.bytes > *budget) {
            return Err(CoreMlError::OverBudget { budget_bytes, bytes: bundle.bytes });
        }
        let schema = self.schema(&bundle.path, options, until)?;
        let cache_key = bundle.key.as_str().to_owned();
        self.remember(&cache_key, bundle.entry, None);
        Ok(Prepared {
            cache_key,
            artifact: ModelArtifact::Compiled { path: bundle.path, meta: bundle.meta },
            options: options.clone(),
            io_schema: Some(schema),
            sla_estimate: self.shared.options.sla,
            memory_bytes: bundle.bytes,
        })
    }

    /// The compiled bundle of an artifact: its own, from the cache, or made now.
    fn bundle(
        &self,
        artifact: &ModelArtifact,
        options: &PrepareOptions,
        until: Duration,
    ) -> Result<Bundle, CoreMlError> {
        let pulse = Pulse::new();
        let limit = Until { clock: &*self.shared.clock, deadline: Some(until), pulse: &pulse };
        match artifact {
            ModelArtifact::Compiled { path, meta } => {
                let content = digest_tree(path, &limit)?;
                let key = key(content.sha256, &meta.backend, options)?;
                let (path, meta) = (path.clone(), meta.clone());
                Ok(Bundle { key, path, meta, bytes: content.bytes, entry: None, was_cached: true })
            }
            ModelArtifact::Authoring { path, format: ModelFmt::MlPackage, sha256 } => {
                let got = digest_tree(path, &limit)?.sha256;
                if got != *sha256 {
                    return Err(CoreMlError::Digest { expected: *sha256, got });
                }
                let started = self.shared.clock.now();
                let made = self.compiled(path, &key(got, BACKEND, options)?, options, &limit);
                let took = self.shared.clock.now().saturating_sub(started);
                self.shared.counters.compiled(
                    took,
                    match &made {
                        Ok(bundle) if bundle.was_cached => Outcome::Cached,
                        Ok(_) => Outcome::Done,
                        Err(error) => Outcome::Failed(error),
                    },
                );
                made
            }
            ModelArtifact::Authoring { format, .. } => Err(CoreMlError::Format { got: format.as_str() }),
        }
    }

    fn compiled(
        &self,
        package: &Path,
        key: &CacheKey,
        options: &PrepareOptions,
        until: &Until<'_>,
    ) -> Result<Bundle, CoreMlError> {
        let package = std::path::absolute(package).map_err(|source| CoreMlError::Io {
            what: "look at",
            path: package.to_owned(),
            source,
        })?;
        let cache = self.cache(options.cache_dir.as_deref())?;
        let left = until.deadline.map_or(Duration::MAX, |until| until.saturating_sub(self.shared.clock.now()));
        let meta = meta();
        let entry = cache.get_or_build(key, &meta, until, |dir| {
            let wait = Wait::new(Action::Compile, left, &*self.shared.clock, until.pulse);
            move_dir(&platform::compile(&package, &wait)?, &dir.join(BUNDLE))
        })?;
        let was_cached = matches!(entry.origin(), Origin::Hit | Origin::Waited);
        let (key, path, bytes) = (key.clone(), entry.path().join(BUNDLE), entry.bytes());
        Ok(Bundle { key, path, meta, bytes, entry: Some(Arc::new(entry)), was_cached })
    }

    /// Loads for the CPU, which is quick, to see what the model takes and gives.
    fn schema(&self, bundle: &Path, options: &PrepareOptions, until: Duration) -> Result<IoSchema, CoreMlError> {
        let pulse = Pulse::new();
        let left = until.saturating_sub(self.shared.clock.now());
        let wait = Wait::new(Action::Load, left, &*self.shared.clock, &pulse);
        let CoreMlOptions { hints, function, .. } = &self.shared.options;
        let settings = LoadSettings { units: ComputeUnits::CpuOnly, hints: *hints, function: function.as_deref() };
        let mut schema = platform::Loaded::load(bundle, &settings, &wait)?.describe()?.schema();
        fix_shapes(&mut schema, &options.shapes)?;
        Ok(schema)
    }
}

impl InferenceEngine for CoreMlEngine {
    fn name(&self) -> &'static str {
        "coreml"
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        Ok(self.prepare_model(artifact, options)?)
    }

    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
        Ok(Instance::Predictor(Box::new(self.open_model(prepared)?)))
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        let requested = prepared.options.compute_units;
        let facts = platform::machine_facts();
        let (_, plan) = self.known(&prepared.cache_key);
        let metrics = self.get_metrics();
        let time = |ms: Option<f64>| ms.map(|ms| Duration::from_secs_f64(ms / 1e3));
        CapabilityReport {
            device_class: facts.chip.or(facts.mac_model).unwrap_or_else(|| "unknown".to_owned()),
            supported_dtypes: layout::dtypes(),
            max_batch_size: prepared.io_schema.as_ref().map_or(1, items_max),
            compute_units_requested: requested,
            compute_units_actual: actual_units(requested, plan.as_ref()),
            ane_op_coverage_pct: plan.and_then(|plan| plan.ane_supported_pct),
            compile_p99: time(metrics.compile_p99_ms),
            infer_p99: time(metrics.infer_p99_ms),
        }
    }
}

/// What kind of bundle Core ML's compiler makes.
const BACKEND: &str = "mlmodelc";

fn meta() -> CompiledMeta {
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    CompiledMeta { platform, engine_version: ENGINE_VERSION.to_owned(), backend: BACKEND.to_owned() }
}

/// A bundle depends on the system's build: what an older one compiled may not load, or not to the best.
fn key(sha256: Sha256, backend: &str, options: &PrepareOptions) -> Result<CacheKey, CoreMlError> {
    let build = platform::machine_facts().os_build.unwrap_or_else(|| "unknown".to_owned());
    Ok(CacheKey::new(&KeyParts {
        sha256,
        engine_version: ENGINE_VERSION,
        backend,
        compute_units: options.compute_units,
        quantization: options.quantization,
        shapes: &options.shapes,
        build: &build,
    })?)
}

/// Items that every input takes in one call.
fn items_max(schema: &IoSchema) -> usize {
    let items = |dim: Option<&Dim>| match dim {
        Some(Dim::Fixed(extent)) => *extent,
        Some(Dim::Any) | None => 1,
    };
    schema.inputs.iter().map(|spec| items(spec.shape.first())).min().unwrap_or(1).max(1)
}

/// The units that the plan uses, among those that were asked for; what was asked for where there is no plan.
fn actual_units(requested: ComputeUnits, plan: Option<&PlanReport>) -> ComputeUnits {
    let Some(shares) = plan.and_then(|plan| plan.by_count) else { return requested };
    let uses = |kind| match kind {
        DeviceKind::NeuralEngine => shares.ane_pct > 0.0,
        DeviceKind::Gpu => shares.gpu_pct > 0.0,
        DeviceKind::Cpu | DeviceKind::Unknown => true,
    };
    match (uses(DeviceKind::NeuralEngine), uses(DeviceKind::Gpu)) {
        (true, true) => ComputeUnits::All,
        (true, false) => ComputeUnits::CpuAndNe,
        (false, true) => ComputeUnits::CpuAndGpu,
        (false, false) => ComputeUnits::CpuOnly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shares;

    #[test]
    fn the_units_that_are_used_are_those_of_the_plan() {
        let plan = |ane_pct, gpu_pct| PlanReport {
            by_count: Some(Shares { ane_pct, gpu_pct, cpu_pct: 100.0 - ane_pct - gpu_pct }),
            ..PlanReport::default()
        };
        let all = ComputeUnits::All;
        assert_eq!(actual_units(all, None), all);
        assert_eq!(actual_units(all, Some(&plan(0.0, 0.0))), ComputeUnits::CpuOnly);
        assert_eq!(actual_units(all, Some(&plan(70.0, 0.0))), ComputeUnits::CpuAndNe);
        assert_eq!(actual_units(all, Some(&plan(0.0, 5.0))), ComputeUnits::CpuAndGpu);
        assert_eq!(actual_units(all, Some(&plan(50.0, 5.0))), ComputeUnits::All);
    }
}

#[cfg(all(test, not(any(target_vendor = "apple", coreml_simulator))))]
mod elsewhere_tests {
    use super::*;
    use ballast_backend::{ErrorKind, ReasonCode};
    use ballast_testkit::VirtualClock;

    #[test]
    fn elsewhere_a_clear_typed_error_says_that_there_is_no_core_ml() {
        let engine = CoreMLBackend::new(CoreMlOptions::default(), Arc::new(VirtualClock::default()));
        let artifact = ModelArtifact::Authoring {
            path: PathBuf::from("m.mlpackage"),
            format: ModelFmt::MlPackage,
            sha256: Sha256([0; 32]),
        };
        let refused = engine.prepare(&artifact, &PrepareOptions::default()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        let error: CoreMlError = refused.downcast().unwrap();
        assert!(matches!(error, CoreMlError::NotOnThisPlatform { .. }));
        assert_eq!(error.reason(), Some(ReasonCode::EngineUnavailable));
        assert!(!crate::IS_AVAILABLE && crate::devices().is_empty());
        assert_eq!(engine.get_metrics(), CoreMlMetrics::default());
    }
}
