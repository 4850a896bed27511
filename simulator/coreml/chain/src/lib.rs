//! A model that Core ML, simulated, opens in a worker process, and what the framework does to that process.

use ballast_artifacts::{Until, digest_tree};
use ballast_backend::{
    Clock, EngineError, ErrorKind, InferenceEngine, Instance, ModelArtifact, ModelFmt, PrepareOptions, Pulse,
};
use ballast_coreml::{CoreMlEngine, CoreMlOptions};
use coreml_simulator::{Fault, Knobs, set_knobs};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the framework does in a worker instead of its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Its work.
    #[default]
    Work,
    /// It ends the process, as a bad compilation for the neural engine does.
    Abort,
    /// It throws an Objective-C exception.
    Throw,
    /// It never returns.
    Freeze,
    /// It fails.
    Fail,
}

impl Deed {
    fn fault(self) -> Fault {
        match self {
            Self::Work => Fault::None,
            Self::Abort => Fault::Kill,
            Self::Throw => Fault::Throw,
            Self::Freeze => Fault::Freeze,
            Self::Fail => Fault::Error(0),
        }
    }
}

/// What a worker opens.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// The package.
    pub package: PathBuf,
    /// The compile cache.
    pub cache: PathBuf,
    /// When the model is loaded.
    pub at_load: Deed,
    /// When it must answer zeros before it counts as opened.
    pub at_canary: Deed,
    /// When it is asked.
    pub at_predict: Deed,
}

impl Job {
    /// In words that [`open`] understands.
    ///
    /// # Panics
    /// If the paths are not UTF-8.
    #[must_use]
    pub fn payload(&self) -> String {
        serde_json::to_string(self).expect("paths of tests are UTF-8")
    }

    fn options(&self) -> PrepareOptions {
        PrepareOptions { cache_dir: Some(self.cache.clone()), ..PrepareOptions::default() }
    }
}

/// Opens what a [`Job`] says, in the process that is the worker.
///
/// # Errors
/// A payload that is none, or what the engine says.
pub fn open(payload: &str) -> Result<Instance, EngineError> {
    let job: Job = serde_json::from_str(payload).map_err(|error| EngineError::new(ErrorKind::Invalid, error))?;
    let clock = Arc::new(Real::start());
    let artifact = artifact(&job.package, &*clock);
    let engine = CoreMlEngine::new(CoreMlOptions::default(), clock);
    set_knobs(Knobs { load: job.at_load.fault(), ..Knobs::default() });
    let prepared = engine.prepare(&artifact, &job.options())?;
    set_knobs(Knobs { predict: job.at_canary.fault(), ..Knobs::default() });
    let instance = engine.open(&prepared)?;
    set_knobs(Knobs { predict: job.at_predict.fault(), ..Knobs::default() });
    Ok(instance)
}

/// A package with its digest.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn artifact(package: &Path, clock: &dyn Clock) -> ModelArtifact {
    let pulse = Pulse::new();
    let until = Until { clock, deadline: None, pulse: &pulse };
    let sha256 = digest_tree(package, &until).expect("a package of a test can be read").sha256;
    ModelArtifact::Authoring { path: package.to_owned(), format: ModelFmt::MlPackage, sha256 }
}

/// Real time.
#[derive(Debug)]
pub struct Real(Instant);

impl Real {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Real {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
