//! What the tests share: time, a package, an engine, an opened model.
#![allow(dead_code, reason = "each test uses a part")]

use crate::packages::plain;
use ballast_artifacts::{Until, digest_tree};
use ballast_backend::{
    Clock, InferenceEngine, ModelArtifact, ModelFmt, PrepareOptions, Prepared, Pulse, Tensor, TensorData, TensorMap,
};
use ballast_coreml::{CoreMlEngine, CoreMlModel, CoreMlOptions, SharedTensors};
use ballast_testkit::TinyPackage;
use coreml_simulator::{Knobs, set_knobs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Real time.
pub struct Real(Instant);

impl Clock for Real {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

pub struct House {
    pub engine: CoreMlEngine,
    pub clock: Arc<Real>,
    folder: TempDir,
    package: PathBuf,
}

impl House {
    pub fn new(options: CoreMlOptions) -> Self {
        Self::with(options, &plain())
    }

    pub fn with(options: CoreMlOptions, package: &TinyPackage) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model.mlpackage");
        package.write(&path).unwrap();
        Self::new_in(options, folder, path)
    }

    /// With a package that is there already.
    pub fn of(options: CoreMlOptions, package: &Path) -> Self {
        Self::new_in(options, TempDir::new().unwrap(), package.to_owned())
    }

    fn new_in(options: CoreMlOptions, folder: TempDir, package: PathBuf) -> Self {
        set_knobs(Knobs::default());
        let clock = Arc::new(Real(Instant::now()));
        let engine = CoreMlEngine::new(options, Arc::clone(&clock) as Arc<dyn Clock>);
        Self { engine, clock, folder, package }
    }

    pub fn package(&self) -> PathBuf {
        self.package.clone()
    }

    pub fn cache_dir(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub fn artifact(&self) -> ModelArtifact {
        let pulse = Pulse::new();
        let until = Until { clock: &*self.clock, deadline: None, pulse: &pulse };
        let sha256 = digest_tree(&self.package(), &until).unwrap().sha256;
        ModelArtifact::Authoring { path: self.package(), format: ModelFmt::MlPackage, sha256 }
    }

    pub fn options(&self) -> PrepareOptions {
        PrepareOptions { cache_dir: Some(self.cache_dir()), ..PrepareOptions::default() }
    }

    pub fn prepared(&self) -> Prepared {
        self.engine.prepare(&self.artifact(), &self.options()).unwrap()
    }

    pub fn open(&self) -> CoreMlModel {
        self.engine.open_model(&self.prepared()).unwrap()
    }
}

pub fn inputs(values: &[f32]) -> TensorMap {
    let tensor = Tensor::new(vec![1, values.len()], TensorData::F32(values.to_vec())).unwrap();
    TensorMap::from([("x".to_owned(), tensor)])
}

pub fn shared(values: &[f32]) -> SharedTensors {
    inputs(values).into_iter().map(|(name, tensor)| (name, Arc::new(tensor))).collect()
}

/// The f32 elements of `y`.
pub fn y(outputs: &TensorMap) -> Vec<f32> {
    outputs["y"].as_f32().unwrap().to_vec()
}
