//! What every route shares.

use crate::api_error::ApiError;
use crate::limits::Limits;
use crate::llamacpp::Slots;
use crate::models::{GeneratorUse, ModelUse};
use crate::{Reasoning, ServedModels, ServerError, ServerOptions};
use ballast_backend::TokenId;
use ballast_tokens::{ChatMessage, RenderOptions, format_date};
use std::sync::Arc;
use tokio::sync::watch;

/// Models, options, and the word that ends answers in progress.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) models: ServedModels,
    pub(crate) options: ServerOptions,
    /// `None`: everybody may ask as often as they like.
    pub(crate) limits: Option<Limits>,
    pub(crate) slots: Slots,
    is_cut: watch::Sender<bool>,
}

impl Server {
    /// # Errors
    /// If the options cannot work.
    pub(crate) fn new(models: ServedModels, options: ServerOptions) -> Result<Self, ServerError> {
        options.check()?;
        let limits = options.rate_limit.and_then(Limits::new);
        Ok(Self { models, options, limits, slots: Slots::default(), is_cut: watch::Sender::new(false) })
    }

    /// The model of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn model(&self, name: &str) -> Result<ModelUse, ApiError> {
        self.models.find(name)
    }

    /// The model of this name, which generates; without a name, the first.
    ///
    /// # Errors
    /// If there is none, or it does something else.
    pub(crate) fn generator(&self, name: Option<&str>) -> Result<GeneratorUse, ApiError> {
        let name = name.filter(|_| !(self.options.any_model && self.models.is_single()));
        name.map_or_else(|| Ok(self.models.first()), |name| self.model(name))?.try_into()
    }

    /// As [`Self::generator`], on wires whose clients name a model only where there are several: where there is one, any
    /// name means it.
    ///
    /// # Errors
    /// As [`Self::generator`].
    pub(crate) fn generator_of_many(&self, name: Option<&str>) -> Result<GeneratorUse, ApiError> {
        self.generator(name.filter(|_| !self.models.is_single()))
    }

    /// How conversations are rendered now, with the cue for the model's turn or without.
    pub(crate) fn rendering(&self, add_generation_prompt: bool) -> RenderOptions {
        let now = (self.options.unix_time)();
        let mut options = RenderOptions { add_generation_prompt, now: Some(now), ..RenderOptions::default() };
        // Templates of the Llama 3 family print a date of their makers' where they are given none.
        for (name, format) in [("date_string", "%d %b %Y"), ("datetime", "%b %d %Y")] {
            options.extra.extend(format_date(now, format).map(|date| (name.to_owned(), date.into())));
        }
        // Templates that do not know the name ignore it; for most others it is true where nothing is said, and some would
        // close the reasoning at once.
        let thinks = self.options.reasoning != Some(Reasoning::Off);
        options.extra.insert("enable_thinking".to_owned(), thinks.into());
        options
    }

    /// The tokens that a model answers a conversation after.
    ///
    /// # Errors
    /// If the model has no chat template, or the template refuses the conversation.
    pub(crate) fn chat_prompt(&self, model: &GeneratorUse, messages: &[ChatMessage]) -> Result<Vec<TokenId>, ApiError> {
        Ok(model.format().chat(messages, &self.rendering(true))?)
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
