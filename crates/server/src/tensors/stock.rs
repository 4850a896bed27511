//! Who builds tensor models, and what is wrong with one that cannot be served.

use super::{Batching, TENSOR_MODELS_MAX, TENSOR_NAME_BYTES_MAX, TensorModel, VERSIONS_MAX};
use crate::StockError;
use ballast_backend::{Dim, ErrorKind, IoSchema};

/// Most items of a batch.
const BATCH_MAX: usize = 4096;

/// Somebody who builds tensor models. The server reads no file: who starts it may give it somebody who does.
pub trait TensorStock: Send + Sync {
    /// Names of all models that could be loaded. May read folders.
    ///
    /// # Errors
    /// What is to be told to who asked.
    fn list(&self) -> Result<Vec<String>, StockError>;

    /// Builds every version of a model that is to be served. Takes as long as it takes.
    ///
    /// # Errors
    /// What is to be told to who asked.
    fn load(&self, name: &str) -> Result<Vec<TensorModel>, StockError>;

    /// Is told that no version of a model is served any more.
    fn unloaded(&self, name: &str);
}

/// Why a model cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorModelError {
    /// It cannot be in a path.
    #[error(
        "tensor model: expected a name of 1 to {max} letters, digits and ._-+:@",
        max = TENSOR_NAME_BYTES_MAX
    )]
    Name,
    /// It has another name than the one that was asked for.
    #[error("tensor model {name}: expected this name, got {got}")]
    Renamed {
        /// Which was asked for.
        name: String,
        /// Its own.
        got: String,
    },
    /// Versions begin with 1.
    #[error("tensor model {name}: expected a version of 1 or more")]
    Version {
        /// Its name.
        name: String,
    },
    /// There is one already.
    #[error("tensor model {name}: expected one model of version {version}")]
    Twice {
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
    },
    /// There are no versions, or too many.
    #[error("tensor model {name}: expected 1 to {max} versions, got {got}", max = VERSIONS_MAX)]
    Versions {
        /// Its name.
        name: String,
        /// How many.
        got: usize,
    },
    /// There are as many as may be.
    #[error("tensor models: expected at most {max}", max = TENSOR_MODELS_MAX)]
    TooMany,
    /// The engine cannot tell what the model takes.
    #[error("tensor model {name}: expected an engine with inputs and outputs")]
    Schema {
        /// Its name.
        name: String,
    },
    /// Its requests cannot be joined.
    #[error("tensor model {name}: input {input:?} has no first dimension that counts independent items, so no batches")]
    NoBatches {
        /// Its name.
        name: String,
        /// The first such input.
        input: String,
    },
    /// Batches of no use, or without a bound.
    #[error("tensor model {name}: expected batches of at most {max}, preferred ones within, and a queue", max = BATCH_MAX)]
    Batching {
        /// Its name.
        name: String,
    },
    /// Labels of an output that there is not.
    #[error("tensor model {name}: labels: there is no output {output:?}")]
    Labels {
        /// Its name.
        name: String,
        /// The output.
        output: String,
    },
}

impl TensorModelError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Whether a name can be in a path as it is.
pub(super) fn check_name(name: &str) -> Result<(), TensorModelError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+:@".contains(&byte);
    let is_good = (1..=TENSOR_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain);
    // A part of a path that is only dots means another one.
    if is_good && name.bytes().any(|byte| byte != b'.') { Ok(()) } else { Err(TensorModelError::Name) }
}

/// What the model takes and gives, if it can be served.
pub(super) fn check(model: &TensorModel) -> Result<IoSchema, TensorModelError> {
    let name = || model.name.clone();
    check_name(&model.name)?;
    if model.version == 0 {
        return Err(TensorModelError::Version { name: name() });
    }
    let schema = model.engine.io_schema().cloned().ok_or_else(|| TensorModelError::Schema { name: name() })?;
    let Batching { max_batch, ref preferred, queue_max, .. } = model.batching;
    let is_within = preferred.iter().all(|size| (1..=max_batch).contains(size));
    if max_batch > BATCH_MAX || queue_max == 0 || !is_within {
        return Err(TensorModelError::Batching { name: name() });
    }
    let is_open = |spec: &&ballast_backend::TensorSpec| spec.batch_capable && spec.shape.first() == Some(&Dim::Any);
    if let Some(input) = schema.inputs.iter().find(|spec| max_batch > 0 && !is_open(spec)) {
        return Err(TensorModelError::NoBatches { name: name(), input: input.name.clone() });
    }
    match model.labels.keys().find(|output| schema.outputs.iter().all(|spec| spec.name != **output)) {
        Some(output) => Err(TensorModelError::Labels { name: name(), output: output.clone() }),
        None => Ok(schema),
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_parts_of_paths() {
        for good in ["a", "resnet-50", "A.b_c+1", "..."] {
            assert_eq!(check_name(good).is_ok(), good != "...", "{good}");
        }
        for bad in ["", "a/b", "a b", "..", ".", "a\n", "ä", &"x".repeat(300)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
