//! A loaded tensor model: named tensors in, named tensors out; or people's files in and answers out.
//!
//! ```no_run
//! use ballast::tensor_model::{TensorLoadOptions, TensorModel};
//! # fn main() -> Result<(), ballast::Error> {
//! let model = TensorModel::open("resnet.onnx".as_ref(), &TensorLoadOptions::default())?;
//! let answer = model.ask(&[(None, "cat.png".into())])?;
//! for (output, reading) in &answer.readings {
//!     println!("{output}: {reading:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The model runs in the same supervised engine as any other: instances, deadline, breaker, fallback, parity. How files
//! become inputs, and outputs answers, is declared in a [`Manifest`].

mod ask;
mod boxes;
mod bytes;
mod draw;
mod elements;
mod error;
mod files;
mod inputs;
mod json;
pub mod manifest;
pub mod npy;
mod options;
mod picture;
mod reading;
mod regions;
mod sound;
mod survey;
mod text;

pub use ask::{Answer, FileInput};
pub use ballast_backend::{ComputeUnits, ModelFmt, TensorMap};
pub use ballast_runtime::instance_pool::PoolOptions;
pub use ballast_runtime::supervised::{
    LinkPhase, Outputs, PredictError, PredictLatency, PredictOptions, Prediction, StartMode, SupervisedEngine,
    SupervisedHealth,
};
pub use ballast_tensor::{Rounding, TraceEntry};
pub use boxes::FoundBox;
pub use draw::Drawn;
pub use error::{NpyError, TensorIoError};
pub use inputs::{Frames, INPUT_BYTES_MAX};
pub use manifest::Manifest;
pub use options::{Canary, Fallback, TensorEngine, TensorLoadOptions};
pub use reading::{Reading, Scored};
pub(crate) use survey::not_read;
pub use survey::{
    FindingFacts, ForecastFacts, FunctionFacts, OperatorCount, PackageFacts, RecordedFacts, TensorSurvey, WeightFacts,
    survey,
};

use crate::wiring::{tensor_chain, tensor_trace};
use crate::{Error, SystemClock};
use ballast_artifacts::{Until, digest_file, digest_tree};
use ballast_backend::{Clock, EngineError, IoSchema, ModelArtifact, Pulse};
use ballast_runtime::supervised::SupervisedParts;
use ballast_runtime::telemetry::MetricsSnapshot;
use manifest::{LabelsRule, OutputRule};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A loaded tensor model. Send + Sync; clones share it.
#[derive(Clone, Debug)]
pub struct TensorModel {
    engine: SupervisedEngine,
    facts: Arc<Facts>,
}

#[derive(Debug)]
struct Facts {
    path: PathBuf,
    artifact: ModelArtifact,
    schema: IoSchema,
    manifest: Manifest,
    /// What the model file says of itself, where the manifest asks for it.
    metadata: BTreeMap<String, String>,
    options: TensorLoadOptions,
}

impl TensorModel {
    /// Opens the ONNX file or Core ML package at `path`, with the manifest beside it, if there is one.
    ///
    /// # Errors
    /// A file that is no such model, or one that no engine runs; a manifest that is none or speaks of another model; a
    /// model over a strict memory budget.
    pub fn open(path: &Path, options: &TensorLoadOptions) -> Result<Self, Error> {
        let manifest = match &options.manifest {
            Some(manifest) => Manifest::read(manifest)?,
            None => Manifest::beside(path)?.unwrap_or_default(),
        };
        let format = format_of(path)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let artifact = artifact(path, format, &*clock)?;
        let options = options.with_manifest(&manifest);
        let chain = tensor_chain(&artifact, format, &options, &clock)?;
        let parts = SupervisedParts { clock, telemetry: options.telemetry.clone() };
        let engine = SupervisedEngine::open(chain, parts, options.supervised(&manifest))?;
        let schema = engine.io_schema().cloned().unwrap_or_default();
        manifest.check(&schema)?;
        let metadata = if manifest.wants_metadata() { survey::metadata(path, format)? } else { BTreeMap::new() };
        let path = path.to_owned();
        Ok(Self { engine, facts: Arc::new(Facts { path, artifact, schema, manifest, metadata, options }) })
    }

    /// Runs the model once, within the deadline of the options. Must not be called from async code: use
    /// [`TensorModel::engine`] there.
    ///
    /// # Errors
    /// Inputs that the model does not take, or why nobody answered.
    pub fn predict(&self, inputs: TensorMap) -> Result<Prediction, Error> {
        let options = PredictOptions { deadline: self.facts.options.deadline, ..PredictOptions::default() };
        Ok(self.engine.predict_blocking(inputs, options)?)
    }

    /// The supervised engine beneath: what a server is given.
    #[must_use]
    pub fn engine(&self) -> &SupervisedEngine {
        &self.engine
    }

    /// What it takes and gives.
    #[must_use]
    pub fn schema(&self) -> &IoSchema {
        &self.facts.schema
    }

    /// How its files are read; empty if there is none.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.facts.manifest
    }

    /// The model as it lies on disk, with its digest.
    #[must_use]
    pub fn artifact(&self) -> &ModelArtifact {
        &self.facts.artifact
    }

    /// The same model, which tells so many labels, whatever its manifest says. A model of one output, of which nothing is
    /// declared, tells the places of its highest scores.
    #[must_use]
    pub fn with_top_k(&self, top_k: usize) -> Self {
        let Facts { path, artifact, schema, manifest, metadata, options } = &*self.facts;
        let mut manifest = manifest.clone();
        if let [spec] = &schema.outputs[..] {
            let numbered = LabelsRule { names: None, softmax: false, top_k };
            manifest.outputs.entry(spec.name.clone()).or_insert(OutputRule::Labels(numbered));
        }
        for rule in manifest.outputs.values_mut() {
            if let OutputRule::Labels(rule) = rule {
                rule.top_k = top_k;
            }
        }
        let (path, artifact, schema) = (path.clone(), artifact.clone(), schema.clone());
        let (metadata, options) = (metadata.clone(), options.clone());
        let facts = Facts { path, artifact, schema, manifest, metadata, options };
        Self { engine: self.engine.clone(), facts: Arc::new(facts) }
    }

    /// How it is, link by link.
    #[must_use]
    pub fn health(&self) -> SupervisedHealth {
        self.engine.health()
    }

    /// Links, buffers and figures in words.
    #[must_use]
    pub fn summary(&self) -> String {
        self.engine.summary()
    }

    /// What was counted. The memory is that of the whole process: now, and at most since it began; `None` where it cannot
    /// be read.
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        let mut metrics = self.engine.metrics();
        let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        metrics.memory_current_mb = crate::machine::resident_bytes().map(mb);
        metrics.memory_peak_mb = crate::machine::peak_resident_bytes().map(mb);
        metrics
    }

    /// Runs the model once on this thread, alone, and notes what each operator took.
    ///
    /// # Errors
    /// As [`TensorModel::predict`]; or a model that no engine traces.
    pub fn trace(&self, inputs: TensorMap) -> Result<Vec<TraceEntry>, Error> {
        tensor_trace(&self.facts.artifact, &self.facts.options, inputs)
    }

    /// The folder that paths of the manifest are relative to.
    fn folder(&self) -> &Path {
        self.facts.path.parent().unwrap_or(Path::new(""))
    }
}

/// Bytes of a file's beginning by which its format is told.
const HEAD_BYTES: usize = 16;

/// The format of a tensor model, by its content and its name.
///
/// # Errors
/// A path that cannot be read, or is neither.
pub fn format_of(path: &Path) -> Result<ModelFmt, TensorIoError> {
    let read = |source| TensorIoError::Read { path: path.to_owned(), source };
    let other = |got: &str| TensorIoError::Format { path: path.to_owned(), got: got.to_owned() };
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if std::fs::metadata(path).map_err(read)?.is_dir() {
        let is_package = path.join("Manifest.json").is_file();
        return match extension {
            "mlpackage" => Ok(ModelFmt::MlPackage),
            "mlmodelc" => Err(other("a compiled Core ML model, which one Mac made for itself")),
            _ if is_package => Ok(ModelFmt::MlPackage),
            _ => Err(other("a folder without Manifest.json")),
        };
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(HEAD_BYTES as u64).read_to_end(&mut head)).map_err(read)?;
    match (&head[..], extension) {
        ([b'G', b'G', b'U', b'F', ..], _) => Err(other("a GGUF file, which holds a language model or an encoder")),
        ([b'P', b'K', 3, 4, ..], _) => Err(other("an archive")),
        (_, "mlmodel") => Ok(ModelFmt::MlPackage),
        // Both formats are protocol buffers; an ONNX model begins with the version of its form.
        ([8, ..], _) | (_, "onnx") => Ok(ModelFmt::Onnx),
        _ => Err(other("other bytes")),
    }
}

/// The model with its digest.
fn artifact(path: &Path, format: ModelFmt, clock: &dyn Clock) -> Result<ModelArtifact, Error> {
    let until = Until { clock, deadline: None, pulse: &Pulse::new() };
    let digest = if path.is_dir() {
        digest_tree(path, &until).map(|digest| digest.sha256)
    } else {
        digest_file(path, &until).map(|digest| digest.sha256)
    };
    let sha256 = digest.map_err(|error| EngineError::new(error.kind(), error))?;
    Ok(ModelArtifact::Authoring { path: path.to_owned(), format, sha256 })
}
