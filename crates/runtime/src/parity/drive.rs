//! Runs two predictors on the same inputs.

use super::error::ParityError;
use super::inputs::{InputOptions, seeded_inputs};
use super::report::{EngineLabel, InputsLabel, ParityReport, ReportHead};
use super::tally::ParityTally;
use super::tolerance::{Precision, Tolerances};
use ballast_backend::{Predictor, Pulse, TensorMap};
use std::borrow::Cow;
use std::fmt;

/// Most samples of one comparison.
pub const SAMPLES_MAX: usize = 100_000;

/// One of the two engines.
pub struct Side<'a> {
    /// What the report calls it.
    pub label: EngineLabel,
    /// The instance.
    pub predictor: &'a mut dyn Predictor,
}

impl fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side").field("label", &self.label).finish_non_exhaustive()
    }
}

/// What the engines are run on.
#[derive(Clone, Debug, PartialEq)]
pub enum ParityInputs {
    /// So many samples from a seed, for the reference's inputs.
    Seeded {
        /// What to make.
        options: InputOptions,
        /// How many.
        n_samples: usize,
    },
    /// These.
    Given {
        /// One for each sample.
        samples: Vec<TensorMap>,
        /// Where they come from, for the report.
        origin: String,
    },
}

/// What to compare, and by what to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct ParityPlan {
    /// The inputs.
    pub inputs: ParityInputs,
    /// The precision the report names.
    pub precision: Precision,
    /// What is allowed; usually [`Precision::tolerances`].
    pub tolerances: Tolerances,
    /// The machine, in words.
    pub machine: String,
}

/// Runs both engines on every sample, and compares every output.
///
/// # Errors
/// If an engine fails or does not take the inputs, the outputs cannot be compared, or the plan is out of bounds.
pub fn compare_predictors(
    reference: &mut Side<'_>,
    candidate: &mut Side<'_>,
    plan: &ParityPlan,
    pulse: &Pulse,
) -> Result<ParityReport, ParityError> {
    let (n_samples, inputs) = match &plan.inputs {
        ParityInputs::Seeded { options, n_samples } => (*n_samples, InputsLabel::Seeded(*options)),
        ParityInputs::Given { samples, origin } => (samples.len(), InputsLabel::Given(origin.clone())),
    };
    if !(1..=SAMPLES_MAX).contains(&n_samples) {
        return Err(ParityError::Samples { max: SAMPLES_MAX, got: n_samples });
    }
    let mut tally = ParityTally::new(plan.tolerances)?;
    for sample in 0..n_samples {
        let inputs = match &plan.inputs {
            ParityInputs::Seeded { options, .. } => {
                Cow::Owned(seeded_inputs(reference.predictor.io_schema(), options, sample as u64)?)
            }
            ParityInputs::Given { samples, .. } => Cow::Borrowed(&samples[sample]),
        };
        let expected = reference.run(&inputs, pulse)?;
        let got = candidate.run(&inputs, pulse)?;
        tally.add_outputs(&expected, &got)?;
    }
    tally.finish(ReportHead {
        reference: reference.label.clone(),
        candidate: candidate.label.clone(),
        inputs,
        precision: plan.precision,
        tolerances: plan.tolerances,
        machine: plan.machine.clone(),
    })
}

impl Side<'_> {
    /// The outputs, in tensors that were not there before: an output that is not written is missing, never an old one.
    fn run(&mut self, inputs: &TensorMap, pulse: &Pulse) -> Result<TensorMap, ParityError> {
        self.predictor.io_schema().check_inputs(inputs)?;
        let mut outputs = TensorMap::new();
        let ran = self.predictor.predict(inputs, &mut outputs, pulse);
        ran.map_err(|source| ParityError::Engine { engine: self.label.engine.clone(), source })?;
        Ok(outputs)
    }
}
