//! The gates of the prior system for one tensor model, each row measured here and now.
//!
//! - A: it is opened again and again, without growth.
//! - B: it answers in time, and as a reference does; deadlines are kept.
//! - C: what an accelerator gains over the CPU.
//! - D: it goes on answering, on several instances.
//!
//! A row without a value says why it was not measured; it fails nothing.

#[cfg(feature = "coreml")]
pub(crate) mod mac;
mod record;
mod rows;
mod runs;

pub use record::record;
pub use rows::{Delta, Gate, GateReport, GateRow};

use crate::tensor_model::{FileInput, TensorLoadOptions, TensorModel};
use crate::{Error, SystemClock};
use ballast_backend::{Clock, TensorMap};
use ballast_runtime::parity::{InputOptions, seeded_inputs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a gate is run with.
#[derive(Clone, Debug)]
pub struct GateOptions {
    /// Which.
    pub gate: Gate,
    /// Openings or predictions; `None`: the gate's own number.
    pub count: Option<usize>,
    /// Another file of the same model, whose answers count as right; `None`: the same file, whose floats are rounded to 16
    /// bits on the side that is judged, as accelerators compute.
    pub reference: Option<PathBuf>,
    /// What one prediction may take.
    pub sla: Duration,
    /// Files to predict on; empty: numbers from a seed.
    pub files: Vec<FileInput>,
    /// Same seed, same numbers.
    pub seed: u64,
    /// Extent of dimensions that the model leaves open.
    pub any_dim: usize,
    /// How the model is opened.
    pub load: TensorLoadOptions,
}

impl GateOptions {
    /// The gate with what the prior system asks of it.
    #[must_use]
    pub fn new(gate: Gate) -> Self {
        Self {
            gate,
            count: None,
            reference: None,
            sla: Duration::from_millis(20),
            files: Vec::new(),
            seed: 0,
            any_dim: 1,
            load: TensorLoadOptions::default(),
        }
    }

    fn n(&self) -> usize {
        self.count.unwrap_or(self.gate.count()).max(1)
    }

    /// Inputs number `sample`.
    fn inputs(&self, model: &TensorModel, sample: usize) -> Result<TensorMap, Error> {
        if self.files.is_empty() {
            let options = InputOptions { seed: self.seed, any_dim: self.any_dim, ..InputOptions::default() };
            return Ok(seeded_inputs(model.schema(), &options, sample as u64)?);
        }
        let frames = model.frames(&self.files)?;
        Ok(frames.frame(0, None)?)
    }
}

/// Runs a gate; `progress` is told how many of how many are done.
///
/// # Errors
/// A model that cannot be opened or takes no such inputs. What the gate finds is in its rows.
pub fn run(path: &Path, options: &GateOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<GateReport, Error> {
    let clock = SystemClock::start();
    let rows = match options.gate {
        Gate::A => runs::openings(path, options, progress)?,
        Gate::B => runs::answers(path, options, progress)?,
        Gate::C => runs::accelerator(path, options, progress)?,
        Gate::D => runs::endurance(path, options, progress)?,
    };
    Ok(GateReport { gate: options.gate, count: options.n(), took: clock.now(), rows })
}
