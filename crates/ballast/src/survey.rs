//! What is known of a model before it is loaded.

use crate::load::planned_bytes;
use crate::wiring::{model_plan, tensor_types};
use crate::{Error, LoadOptions};
use ballast_gguf::Gguf;
use std::path::Path;

/// What a model's header tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSurvey {
    /// The most bytes that loading it takes.
    pub planned_bytes: u64,
    /// `general.architecture`.
    pub architecture: String,
    /// Number of weights.
    pub n_parameters: u64,
    /// The type that most weights are stored in: `Q4_1`.
    pub quantization: &'static str,
    /// Bytes of the model's files.
    pub file_bytes: u64,
    /// Positions of one sequence, as the options ask for them.
    pub context_len: usize,
}

/// Reads the header of the model at `path`; loads nothing.
///
/// # Errors
/// If the file is not a model that can be run, or it does not fit a strict budget.
pub fn survey(path: &Path, options: &LoadOptions) -> Result<ModelSurvey, Error> {
    let gguf = Gguf::open(path)?;
    let (shape, _) = model_plan(&gguf, options)?;
    let types = tensor_types(&gguf);
    Ok(ModelSurvey {
        planned_bytes: planned_bytes(&gguf, options)?,
        architecture: gguf.metadata().string("general.architecture")?.unwrap_or_default().to_owned(),
        n_parameters: types.values().sum(),
        quantization: types.into_iter().max_by_key(|(_, n)| *n).map_or("", |(name, _)| name),
        file_bytes: gguf.file_bytes(),
        context_len: shape.context_len,
    })
}
