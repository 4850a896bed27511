//! What a comparison found, with everything it depends on.

use super::compare::Value;
use super::inputs::InputOptions;
use super::tolerance::{Precision, Tolerances};
use ballast_backend::ReasonCode;
use serde::{Serialize, Serializer};

/// One of the two engines, and what it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineLabel {
    /// The engine's name.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// Digest of the model.
    pub model_sha256: String,
    /// Everything its preparation depended on; `None` if it was not prepared through a cache.
    pub cache_key: Option<String>,
}

/// Which inputs were compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputsLabel {
    /// Made from a seed.
    Seeded(InputOptions),
    /// Given by the caller, who says where they come from.
    Given(String),
}

/// What a report says that was not measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportHead {
    /// The engine that counts as right.
    pub reference: EngineLabel,
    /// The engine that is judged.
    pub candidate: EngineLabel,
    /// The inputs.
    pub inputs: InputsLabel,
    /// The precision that the tolerances are for.
    pub precision: Precision,
    /// What is allowed.
    pub tolerances: Tolerances,
    /// The machine, in words.
    pub machine: String,
}

/// One output over all samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputParity {
    /// The output.
    pub name: String,
    /// Largest difference in any sample.
    pub l_inf: f64,
    /// Largest root mean square of any sample.
    pub rmse: f64,
    /// Smallest cosine of any sample; `None` if every sample was zero on both sides.
    pub cosine: Option<f64>,
    /// Elements compared, in all samples.
    pub n_elements: u64,
    /// Places where both sides had a NaN or the same infinity.
    pub n_same_nonfinite: u64,
    /// Places where one side had a NaN or an infinity and the other something else.
    pub n_unmatched: u64,
}

/// The element at which the engines differ most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorstElement {
    /// Its output.
    pub output: String,
    /// The sample, from 0.
    pub sample: u64,
    /// Its place, counted through the whole output.
    pub index: u64,
    /// The reference's value.
    pub reference: Value,
    /// The candidate's value.
    pub candidate: Value,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Places where one side is not finite and the other is not the same.
    Unmatched,
    /// Largest difference.
    LInf,
    /// Root mean square of the differences.
    Rmse,
    /// Cosine.
    Cosine,
}

/// A bound that was not kept, at its worst.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exceeded {
    /// The output.
    pub output: String,
    /// What was measured.
    pub measure: Measure,
    /// The bound.
    pub limit: f64,
    /// What was measured where it was worst.
    pub got: f64,
}

/// What a comparison found. Every number in it is finite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParityReport {
    /// Version of this form.
    pub format: u32,
    /// What it depends on.
    #[serde(flatten)]
    pub head: ReportHead,
    /// Samples compared.
    pub n_samples: u64,
    /// Every output, by name.
    pub outputs: Vec<OutputParity>,
    /// The worst element; `None` if nothing differs.
    pub worst: Option<WorstElement>,
    /// Every bound that was not kept, by output.
    pub exceeded: Vec<Exceeded>,
    /// `PARITY_EXCEEDED` if one was not.
    #[serde(serialize_with = "reason_text")]
    pub reason: Option<ReasonCode>,
}

impl ParityReport {
    /// Version of the form that is written.
    pub const FORMAT: u32 = 1;

    /// Whether every output keeps every bound.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.exceeded.is_empty()
    }
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn reason_text<S: Serializer>(reason: &Option<ReasonCode>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(ReasonCode::as_str).serialize(serializer)
}
