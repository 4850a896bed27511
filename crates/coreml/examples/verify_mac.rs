//! Prints the report of `ballast_coreml::verify_mac` on one package: `verify_mac MODEL.mlpackage [N_PREDICTIONS]`.
#![forbid(unsafe_code)]

use ballast_artifacts::{Until, digest_tree};
use ballast_backend::{
    Clock, Dim, InferenceEngine, IoSchema, ModelArtifact, ModelFmt, PrepareOptions, Pulse, Tensor, TensorData,
    TensorMap,
};
use ballast_coreml::{CoreMlEngine, CoreMlOptions, VerifyOptions, VerifyParts, verify_mac};
use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time since the program began.
struct SinceStart(Instant);

impl Clock for SinceStart {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("expected the path of an .mlpackage")?);
    let n = arguments.next().map_or(Ok(1000), |n| n.parse())?;
    #[expect(clippy::disallowed_methods, reason = "this is a program's main")]
    let clock: Arc<dyn Clock> = Arc::new(SinceStart(Instant::now()));
    let pulse = Pulse::new();
    let sha256 = digest_tree(&path, &Until { clock: &*clock, deadline: None, pulse: &pulse })?.sha256;
    let artifact = ModelArtifact::Authoring { path, format: ModelFmt::MlPackage, sha256 };
    let engine = CoreMlEngine::new(CoreMlOptions::default(), Arc::clone(&clock));
    let prepared = engine.prepare(&artifact, &PrepareOptions::default())?;
    let inputs = ramp(&prepared.io_schema.ok_or("a tensor model has a schema")?)?;
    let prepare = PrepareOptions::default();
    let parts = VerifyParts { engine: &engine, artifact: &artifact, prepare, inputs, reference: None, clock };
    let options = VerifyOptions { n_loads: n, n_predictions: n, ..VerifyOptions::default() };
    let report = verify_mac(&parts, &options)?;
    writeln!(std::io::stdout(), "{}", report.to_json())?;
    Ok(())
}

/// Inputs that differ from element to element, the same each time.
fn ramp(schema: &IoSchema) -> Result<TensorMap, Box<dyn Error>> {
    let mut inputs = TensorMap::new();
    for spec in &schema.inputs {
        let extent = |dim: &Dim| match dim {
            Dim::Fixed(extent) => *extent,
            Dim::Any => 1,
        };
        let mut tensor = Tensor::zeros(spec.shape.iter().map(extent).collect(), spec.dtype)?;
        if let TensorData::F32(values) = tensor.data_mut() {
            let mut state = 1_u16;
            for value in values {
                state = state.wrapping_mul(25_173).wrapping_add(13_849);
                *value = f32::from(state) / 65_536.0;
            }
        }
        inputs.insert(spec.name.clone(), tensor);
    }
    Ok(inputs)
}
