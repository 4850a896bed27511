//! What every route shares.

use crate::api_error::ApiError;
use crate::bulkheads::Bulkheads;
use crate::limits::Limits;
use crate::security::SecurityCounts;
use crate::{ServerError, ServerOptions};
use ballast_backend::TokenId;
use ballast_runtime::Runtime;
use ballast_tokens::{ChatMessage, PromptFormat, RenderOptions};
use std::sync::Arc;
use tokio::sync::watch;

/// The model that is served.
#[derive(Clone, Debug)]
pub struct ServedModel {
    /// Its name on the wire.
    pub id: String,
    /// The engine at work.
    pub runtime: Runtime,
    /// How conversations become prompts.
    pub format: PromptFormat,
    /// What else decides the bytes of an answer: model digest and kernels. Sent as `system_fingerprint`.
    pub fingerprint: String,
    /// When the model was loaded, in seconds since 1970.
    pub created: i64,
    /// What its file is.
    pub facts: ModelFacts,
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
    /// Length of the file.
    pub file_bytes: u64,
    /// SHA-256 of the file in hexadecimal; empty where nobody computed it.
    pub sha256: String,
}

/// Model, options, and the word that ends answers in progress.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) model: ServedModel,
    pub(crate) options: ServerOptions,
    pub(crate) limits: Arc<Limits>,
    pub(crate) bulkheads: Bulkheads,
    pub(crate) security: SecurityCounts,
    is_cut: watch::Sender<bool>,
}

impl Server {
    /// # Errors
    /// If the options cannot work or the model has no name.
    pub(crate) fn new(model: ServedModel, options: ServerOptions) -> Result<Self, ServerError> {
        options.check()?;
        if model.id.is_empty() {
            return Err(ServerError::Option { option: "id", expected: "a name of the model" });
        }
        let (limits, bulkheads) = (Arc::new(Limits::new()), Bulkheads::new(options.bulkheads));
        let (security, is_cut) = (SecurityCounts::new(), watch::Sender::new(false));
        Ok(Self { model, options, limits, bulkheads, security, is_cut })
    }

    /// # Errors
    /// If it is not the model that is served.
    pub(crate) fn check_model(&self, id: &str) -> Result<(), ApiError> {
        if id == self.model.id { Ok(()) } else { Err(ApiError::ModelUnknown { served: self.model.id.clone() }) }
    }

    /// How conversations are rendered now, with the cue for the model's turn or without.
    pub(crate) fn rendering(&self, add_generation_prompt: bool) -> RenderOptions {
        let now = Some((self.options.unix_time)());
        RenderOptions { add_generation_prompt, now, ..RenderOptions::default() }
    }

    /// The tokens that a conversation is answered after.
    ///
    /// # Errors
    /// If the model has no chat template, or the template refuses the conversation.
    pub(crate) fn chat_prompt(&self, messages: &[ChatMessage]) -> Result<Vec<TokenId>, ApiError> {
        Ok(self.model.format.chat(messages, &self.rendering(true))?)
    }

    /// Ends every answer in progress.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Waits until answers in progress are to end.
    pub(crate) async fn wait_cut(self: Arc<Self>) {
        let mut is_cut = self.is_cut.subscribe();
        is_cut.wait_for(|is_cut| *is_cut).await.expect("the sender is ours and lives");
    }
}
