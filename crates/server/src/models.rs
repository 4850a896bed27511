//! The models that are served: what each is, who knows them by name, and the uses of them.
//!
//! ```text
//! known.rs      a model that can be loaded, and how far its load is
//! shelf.rs      the known models by name
//! stock.rs      who fetches and deletes them
//! served.rs     the house: loaded on demand, kept, evicted, unloaded
//! waiting.rs    requests that wait for their model
//! card.rs       what is told of a model, loaded or not
//! ```

mod card;
mod known;
mod served;
mod shelf;
mod stock;
mod waiting;

pub(crate) use card::{Card, Stage};
pub use known::{KnownModel, LoadMeter, LoadModel};
pub use served::{HouseOptions, ServedModels};
pub use shelf::{ALIASES_MAX, MODELS_MAX};
pub use stock::{ModelStock, PULL_STEPS_MAX, PullStep, PullWatch, StockError};
pub(crate) use waiting::{Effort, with_models};

use crate::api_error::ApiError;
use ballast_runtime::Runtime;
use ballast_runtime::encoding::TextEncoder;
use ballast_runtime::lifecycle::Lease;
use ballast_tokens::PromptFormat;
use std::ops::Deref;
use std::sync::Arc;

/// A model that is served.
#[derive(Clone, Debug)]
pub struct ServedModel {
    /// Its name on the wire.
    pub id: String,
    /// Other names that find it.
    pub aliases: Vec<String>,
    /// What it does.
    pub kind: ModelKind,
    /// What else decides the bytes of an answer: model digest and kernels. Sent as `system_fingerprint`.
    pub fingerprint: String,
    /// When the model was loaded, in seconds since 1970.
    pub created: i64,
    /// What its file is.
    pub facts: ModelFacts,
}

/// What a model does, and with what.
#[derive(Clone, Debug)]
pub enum ModelKind {
    /// It answers prompts token by token.
    Generator(Generator),
    /// It turns texts into vectors, or ranks them.
    Encoder(TextEncoder),
}

/// A model that answers prompts. Clones are the same model.
#[derive(Clone, Debug)]
pub struct Generator {
    /// The engine at work.
    pub runtime: Runtime,
    /// How conversations become prompts.
    pub format: PromptFormat,
}

/// What is told of a model's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// As the file names it: `llama`.
    pub architecture: String,
    /// Number of weights.
    pub n_parameters: u64,
    /// The type that most weights are stored in: `Q4_1`.
    pub quantization: String,
    /// Its name without the folder; empty where it is not told.
    pub file_name: String,
    /// Length of the file.
    pub file_bytes: u64,
    /// SHA-256 of the file in hexadecimal; empty where nobody computed it.
    pub sha256: String,
}

impl ServedModel {
    /// Positions of one sequence.
    pub(crate) fn context_len(&self) -> usize {
        match &self.kind {
            ModelKind::Generator(generator) => generator.runtime.shape().context_len,
            ModelKind::Encoder(encoder) => encoder.shape().context_len,
        }
    }

    /// What generates, if it does.
    pub(crate) fn generator(&self) -> Option<&Generator> {
        match &self.kind {
            ModelKind::Generator(generator) => Some(generator),
            ModelKind::Encoder(_) => None,
        }
    }

    /// What encodes, if it does.
    pub(crate) fn encoder(&self) -> Option<&TextEncoder> {
        match &self.kind {
            ModelKind::Generator(_) => None,
            ModelKind::Encoder(encoder) => Some(encoder),
        }
    }
}

/// A use of a loaded model: it is not unloaded as long as this is held.
#[derive(Clone, Debug)]
pub(crate) struct ModelUse(Arc<Lease<ServedModel>>);

impl ModelUse {
    fn new(lease: Lease<ServedModel>) -> Self {
        Self(Arc::new(lease))
    }
}

impl Deref for ModelUse {
    type Target = ServedModel;

    fn deref(&self) -> &ServedModel {
        &self.0
    }
}

/// What stays loaded as long as an answer is in progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    _model: Option<ModelUse>,
}

/// A use of a model that generates.
#[derive(Clone, Debug)]
pub(crate) struct GeneratorUse {
    // Dropped before the use of the model: whoever ends that counts on nothing else holding it.
    generator: Generator,
    model: ModelUse,
}

impl TryFrom<ModelUse> for GeneratorUse {
    type Error = ApiError;

    /// # Errors
    /// If the model does something else.
    fn try_from(model: ModelUse) -> Result<Self, ApiError> {
        let generator = model.generator().cloned();
        let generator = generator.ok_or_else(|| ApiError::ModelCannot { model: model.id.clone(), what: "generate" })?;
        Ok(Self { generator, model })
    }
}

/// A use of a model that encodes.
#[derive(Clone, Debug)]
pub(crate) struct EncoderUse {
    // As in a generator's use.
    encoder: TextEncoder,
    model: ModelUse,
}

impl TryFrom<ModelUse> for EncoderUse {
    type Error = ApiError;

    /// # Errors
    /// If the model does something else.
    fn try_from(model: ModelUse) -> Result<Self, ApiError> {
        let encoder = model.encoder().cloned();
        let encoder =
            encoder.ok_or_else(|| ApiError::ModelCannot { model: model.id.clone(), what: "give embeddings" })?;
        Ok(Self { encoder, model })
    }
}

impl EncoderUse {
    /// The engine at work, with its vocabulary.
    pub(crate) fn encoder(&self) -> &TextEncoder {
        &self.encoder
    }

    /// The use of the model, for as long as its answer is in progress.
    pub(crate) fn into_model(self) -> ModelUse {
        self.model
    }
}

impl Deref for EncoderUse {
    type Target = ServedModel;

    fn deref(&self) -> &ServedModel {
        &self.model
    }
}

impl GeneratorUse {
    /// The engine at work.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.generator.runtime
    }

    /// How conversations become prompts.
    pub(crate) fn format(&self) -> &PromptFormat {
        &self.generator.format
    }

    /// The use of the model, for as long as its answers are in progress.
    pub(crate) fn into_model(self) -> Held {
        Held { _model: Some(self.model) }
    }
}

impl Deref for GeneratorUse {
    type Target = ServedModel;

    fn deref(&self) -> &ServedModel {
        &self.model
    }
}
