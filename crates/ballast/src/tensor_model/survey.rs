//! What is known of a tensor model before it is opened.

use super::manifest::DeclaredSpec;
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
    /// Weights by the type they are stored in.
    pub parameters: BTreeMap<&'static str, u64>,
    /// Bytes of the weights.
    pub parameter_bytes: u64,
    /// Bytes that an opened model takes beside its inputs and outputs, as the CPU engine plans them; `None`: it refuses the
    /// model.
    pub memory_bytes: Option<u64>,
    /// What would run where, in words.
    pub runs_on: Vec<String>,
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
}

/// Longest metadata that is told.
const METADATA_CHARS_MAX: usize = 200;

/// Reads the model at `path`; runs nothing.
///
/// # Errors
/// A file that is no tensor model.
pub fn survey(path: &Path) -> Result<TensorSurvey, Error> {
    let format = format_of(path)?;
    let mut survey = tensor_model_survey(path, format)?;
    let licence = ["license", "licence", "License", "com.apple.coreml.model.license"];
    survey.licence = licence.into_iter().find_map(|key| survey.metadata.get(key).cloned());
    for text in survey.metadata.values_mut() {
        if text.chars().count() > METADATA_CHARS_MAX {
            *text = text.chars().take(METADATA_CHARS_MAX).chain(['…']).collect();
        }
    }
    Ok(survey)
}

/// What the file of a model says of itself.
pub(super) fn metadata(path: &Path, format: ModelFmt) -> Result<BTreeMap<String, String>, Error> {
    crate::wiring::tensor_metadata(path, format)
}

/// A format that no survey reads.
pub(crate) fn not_read(path: &Path, got: &str) -> Error {
    TensorIoError::Format { path: path.to_owned(), got: got.to_owned() }.into()
}
