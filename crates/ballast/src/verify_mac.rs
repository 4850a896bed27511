//! Everything that only a Mac can tell of a Core ML package, measured there: loads, latency by unit, plan, parity to the
//! CPU engine on the same package, memory, the machine; and the rows of gates and device matrix that follow from it.

use crate::gate::GateReport;
use crate::tensor_model::{FileInput, TensorLoadOptions};

/// What is measured.
#[derive(Clone, Debug)]
pub struct VerifyMacOptions {
    /// Times that the package is compiled, from the cache after the first, and opened.
    pub n_loads: usize,
    /// Predictions on each choice of units.
    pub n_predictions: usize,
    /// Files to predict on; empty: numbers from a seed.
    pub files: Vec<FileInput>,
    /// Same seed, same numbers.
    pub seed: u64,
    /// Extent of dimensions that the model leaves open.
    pub any_dim: usize,
    /// How the CPU's engine opens the package, and Core ML where that has such an option.
    pub load: TensorLoadOptions,
}

impl Default for VerifyMacOptions {
    fn default() -> Self {
        let load = TensorLoadOptions::default();
        Self { n_loads: 1000, n_predictions: 1000, files: Vec::new(), seed: 0, any_dim: 1, load }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct MacReport {
    /// The report as JSON. `sha256` in it is the digest of the rest.
    pub json: String,
    /// The gates' rows that follow from it.
    pub gates: Vec<GateReport>,
    /// A row of a matrix of devices, in Markdown.
    pub device_row: String,
    /// Whether Core ML answered on any choice of units.
    pub is_answered: bool,
}

#[cfg(feature = "coreml")]
pub use measured::verify_mac;

/// Measures, which takes minutes.
///
/// # Errors
/// Always: this build has no Core ML.
#[cfg(not(feature = "coreml"))]
pub fn verify_mac(_path: &std::path::Path, _options: &VerifyMacOptions) -> Result<MacReport, crate::Error> {
    Err(crate::accelerator::not_built().into())
}

#[cfg(feature = "coreml")]
mod measured {
    use super::{MacReport, VerifyMacOptions};
    use crate::gate::mac;
    use crate::tensor_model::{ComputeUnits, ModelFmt, TensorLoadOptions, TensorModel, format_of};
    use crate::{Error, SystemClock, accelerator};
    use ballast_backend::{Clock, EngineError, ModelArtifact, TensorMap};
    use ballast_coreml::{CoreMlError, VerifyOptions, VerifyParts, verify_mac as verify};
    use ballast_runtime::parity::{InputOptions, seeded_inputs};
    use std::path::Path;
    use std::sync::Arc;

    /// Measures, which takes minutes. Core ML runs in this process: start no server in it.
    ///
    /// # Errors
    /// Elsewhere than on an Apple system: that there is no Core ML; on one, a package that the CPU's engine cannot read, or
    /// inputs that it does not take. What fails on one choice of units is told in the report.
    pub fn verify_mac(path: &Path, options: &VerifyMacOptions) -> Result<MacReport, Error> {
        accelerator::check()?;
        let format = format_of(path)?;
        if format != ModelFmt::MlPackage {
            let error = CoreMlError::Format { got: format.as_str() };
            return Err(EngineError::new(error.kind(), error).into());
        }
        let load = TensorLoadOptions { compute_units: Some(ComputeUnits::CpuOnly), ..options.load.clone() };
        let cpu = TensorModel::open(path, &load)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let engine = accelerator::core_ml(&options.load, &clock);
        let reference =
            |inputs: &TensorMap| cpu.predict(inputs.clone()).ok().map(|prediction| prediction.outputs.into_tensors());
        let artifact: &ModelArtifact = cpu.artifact();
        let parts = VerifyParts {
            engine: &engine,
            artifact,
            prepare: load.prepare(),
            inputs: inputs(&cpu, options)?,
            reference: Some(&reference),
            clock,
        };
        let plan = VerifyOptions {
            n_loads: options.n_loads,
            n_predictions: options.n_predictions,
            ..VerifyOptions::default()
        };
        let report = verify(&parts, &plan).map_err(|error| EngineError::new(error.kind(), error))?;
        Ok(MacReport {
            json: report.to_json(),
            gates: mac::gates(&report),
            device_row: mac::device_row(&report),
            is_answered: report.units.iter().any(|unit| unit.latency.is_some()),
        })
    }

    fn inputs(model: &TensorModel, options: &VerifyMacOptions) -> Result<TensorMap, Error> {
        if options.files.is_empty() {
            let seeded = InputOptions { seed: options.seed, any_dim: options.any_dim, ..InputOptions::default() };
            return Ok(seeded_inputs(model.schema(), &seeded, 0)?);
        }
        Ok(model.frames(&options.files)?.frame(0, None)?)
    }
}
