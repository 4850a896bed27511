//! What is known of a tensor model before it is opened.

use super::manifest::{DeclaredQuantization, DeclaredSpec, Manifest};
use super::{TensorIoError, format_of};
use crate::Error;
use crate::wiring::tensor_model_survey;
use ballast_backend::ModelFmt;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What a model's file tells, and what the engines would do with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorSurvey {
    /// The format: `onnx`, `mlpackage`.
    pub format: &'static str,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Who made it, in the file's words.
    pub producer: String,
    /// Versions of the operators, by domain; the empty one is ONNX's own.
    pub opsets: BTreeMap<String, i64>,
    /// What the file says of itself; long texts are cut.
    pub metadata: BTreeMap<String, String>,
    /// Its licence, where the file names one.
    pub licence: Option<String>,
    /// Inputs; those that are no tensors of a known rank have no shape.
    pub inputs: Vec<DeclaredSpec>,
    /// Outputs.
    pub outputs: Vec<DeclaredSpec>,
    /// Operators by how often they occur, most first.
    pub operators: Vec<OperatorCount>,
    /// Why the CPU engine refuses the model, operator by operator; empty: it runs there.
    pub refused: Vec<String>,
    /// Number of weights by the way they are stored, such as `f32` or `lut4`.
    pub parameters: BTreeMap<String, u64>,
    /// Bytes of the weights as they are stored.
    pub parameter_bytes: u64,
    /// The same with the bytes of each way.
    pub weights: Vec<WeightFacts>,
    /// Bytes that an opened model takes beside its inputs and outputs, as the CPU engine plans them; `None`: it refuses the
    /// model.
    pub memory_bytes: Option<u64>,
    /// What would run where, in words.
    pub runs_on: Vec<String>,
    /// What rules say of Apple's neural engine: a prediction, made on any system.
    pub forecast: ForecastFacts,
    /// What only a Core ML package tells.
    pub package: Option<PackageFacts>,
    /// What the manifest beside the model says of its weights and of what compressing them costs; `None`: it says nothing.
    pub recorded: Option<RecordedFacts>,
}

/// Weights that are stored in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightFacts {
    /// The way: the type of plain elements, or how they are compressed.
    pub storage: String,
    /// How many tensors.
    pub n_tensors: usize,
    /// How many elements they have together.
    pub n_elements: u64,
    /// Of how many bytes, with what expanding them needs.
    pub bytes: u64,
}

/// What rules say of Apple's neural engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForecastFacts {
    /// `prediction`: nothing of this was measured.
    pub label: &'static str,
    /// What the rules were applied to.
    pub basis: &'static str,
    /// Operations, constants aside.
    pub n_operations: usize,
    /// Those that no rule keeps off the neural engine.
    pub n_predicted: usize,
    /// Their share in percent; `None`: there is no operation.
    pub share_pct: Option<f64>,
    /// What the rules found.
    pub findings: Vec<FindingFacts>,
}

/// What one rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingFacts {
    /// Why.
    pub reason: &'static str,
    /// Whether the operations are expected to run elsewhere, not only slower.
    pub keeps_off: bool,
    /// How many operations.
    pub n_operations: usize,
    /// The first of them, each its kind and its name.
    pub operations: Vec<String>,
}

/// What a Core ML package tells besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageFacts {
    /// What kind of model, such as `ML Program`.
    pub kind: &'static str,
    /// Version of the format.
    pub specification_version: i64,
    /// The oldest systems that read it; `None`: not known.
    pub minimum_os: Option<&'static str>,
    /// Whether it can be trained on a device.
    pub is_updatable: bool,
    /// Its functions.
    pub functions: Vec<FunctionFacts>,
}

/// A function of a package. Features are in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionFacts {
    /// Its name.
    pub name: String,
    /// Whether it is the one that runs unless another is asked for.
    pub is_default: bool,
    /// Version of its operations.
    pub opset: String,
    /// What it takes.
    pub inputs: Vec<String>,
    /// What it gives.
    pub outputs: Vec<String>,
    /// What it keeps from run to run.
    pub states: Vec<String>,
    /// Classes of a classifier; 0: it is none.
    pub n_classes: usize,
}

/// What a manifest says that somebody measured before, as `ballast gate B --record` writes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordedFacts {
    /// How the weights are stored.
    pub quantization: Option<DeclaredQuantization>,
    /// The model that the differences are from.
    pub reference: Option<String>,
    /// Largest difference of an output.
    pub accuracy_delta_l_inf: Option<f64>,
    /// Root mean square of the differences.
    pub accuracy_delta_rmse: Option<f64>,
}

/// An operator of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperatorCount {
    /// Its name, with its domain in front where that is not ONNX's own.
    pub name: String,
    /// How often it occurs, in graphs within operators too.
    pub count: usize,
    /// Whether the CPU engine has it at all.
    pub known: bool,
    /// How many of its results have each type, where the format tells: its precision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<(String, usize)>,
}

/// Longest metadata that is told.
const METADATA_CHARS_MAX: usize = 200;

/// Reads the model at `path`; runs nothing.
///
/// # Errors
/// A file that is no tensor model, or a manifest beside it that is none.
pub fn survey(path: &Path) -> Result<TensorSurvey, Error> {
    let format = format_of(path)?;
    let mut survey = tensor_model_survey(path, format)?;
    let licence = ["license", "licence", "License", "com.apple.coreml.model.license"];
    survey.licence = licence.into_iter().find_map(|key| survey.metadata.get(key).cloned());
    survey.recorded = Manifest::beside(path)?.and_then(recorded);
    for text in survey.metadata.values_mut() {
        if text.chars().count() > METADATA_CHARS_MAX {
            *text = text.chars().take(METADATA_CHARS_MAX).chain(['…']).collect();
        }
    }
    Ok(survey)
}

/// What a manifest says of weights and of what compressing them costs.
fn recorded(manifest: Manifest) -> Option<RecordedFacts> {
    let Manifest { quantization, accuracy_delta_of, accuracy_delta_l_inf, accuracy_delta_rmse, .. } = manifest;
    let is_told = quantization.is_some() || accuracy_delta_l_inf.is_some() || accuracy_delta_rmse.is_some();
    is_told.then_some(RecordedFacts {
        quantization,
        reference: accuracy_delta_of,
        accuracy_delta_l_inf,
        accuracy_delta_rmse,
    })
}

/// What the file of a model says of itself.
pub(super) fn metadata(path: &Path, format: ModelFmt) -> Result<BTreeMap<String, String>, Error> {
    crate::wiring::tensor_metadata(path, format)
}

/// A format that no survey reads.
pub(crate) fn not_read(path: &Path, got: &str) -> Error {
    TensorIoError::Format { path: path.to_owned(), got: got.to_owned() }.into()
}
