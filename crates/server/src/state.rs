//! What every route shares.

use crate::api_error::ApiError;
use crate::bulkheads::Bulkheads;
use crate::limits::{Limits, Logins};
use crate::llamacpp::Slots;
use crate::models::{EncoderUse, GeneratorUse, ModelUse};
use crate::ollama::PULLS_MAX;
use crate::openai::{Background, ResponseStore};
use crate::security::SecurityCounts;
use crate::tensors::TensorsError;
use crate::{ServedModels, ServedTensors, ServerError, ServerOptions, ServerPhase};
use ballast_tokens::{RenderOptions, format_date};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// How the server ends. `Serving => Leaving => Cut`; what a server does meanwhile is told in `connection.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// It answers, and says that it is not ready.
    Leaving,
    /// Answers in progress end.
    Cut,
}

/// Models, options, and the word that ends answers in progress.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) models: ServedModels,
    pub(crate) options: ServerOptions,
    pub(crate) limits: Arc<Limits>,
    pub(crate) logins: Logins,
    pub(crate) bulkheads: Bulkheads,
    /// Answers that are kept.
    pub(crate) responses: ResponseStore,
    /// Answers that are made though nobody waits.
    pub(crate) background: Background,
    pub(crate) security: SecurityCounts,
    pub(crate) slots: Slots,
    /// Seconds since 1970.
    pub(crate) started_at: i64,
    /// Places for models that are fetched.
    pub(crate) pulls: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
}

impl Server {
    /// # Errors
    /// If the options cannot work, or there are no models.
    pub(crate) fn new(models: ServedModels, options: ServerOptions) -> Result<Self, ServerError> {
        options.check()?;
        if options.tensors.as_ref().is_none_or(ServedTensors::is_empty) {
            models.check()?;
        }
        let (limits, bulkheads) = (Arc::new(Limits::new()), Bulkheads::new(options.bulkheads));
        let (responses, background) = (ResponseStore::new(options.responses), Background::default());
        let (security, phase) = (SecurityCounts::new(), watch::Sender::new(Phase::Serving));
        let (slots, pulls) = (Slots::default(), Arc::new(Semaphore::new(PULLS_MAX)));
        let (logins, started_at) = (Logins::new(options.failed_logins_per_minute), (options.unix_time)());
        Ok(Self {
            models,
            options,
            limits,
            logins,
            bulkheads,
            responses,
            background,
            security,
            slots,
            pulls,
            started_at,
            phase,
        })
    }

    /// The model of this name.
    ///
    /// # Errors
    /// If there is none, or it is to be loaded first: [`crate::models::with_models`] waits for it.
    pub(crate) fn model(&self, name: &str) -> Result<ModelUse, ApiError> {
        self.models.find(name)
    }

    /// The model of this name, which generates; without a name, the first.
    ///
    /// # Errors
    /// As [`Self::model`], or if it does something else.
    pub(crate) fn generator(&self, name: Option<&str>) -> Result<GeneratorUse, ApiError> {
        let name = name.filter(|_| !(self.options.any_model && self.models.is_single()));
        name.map_or_else(|| self.models.first(), |name| self.model(name))?.try_into()
    }

    /// As [`Self::generator`], on wires whose clients name a model only where there are several: where there is one, any
    /// name means it.
    ///
    /// # Errors
    /// As [`Self::generator`].
    pub(crate) fn generator_of_many(&self, name: Option<&str>) -> Result<GeneratorUse, ApiError> {
        self.generator(name.filter(|_| !self.models.is_single()))
    }

    /// The model of this name, which encodes; without a name, the first that does.
    ///
    /// # Errors
    /// If there is none, or it does something else.
    pub(crate) fn encoder(&self, name: Option<&str>) -> Result<EncoderUse, ApiError> {
        let named = name.map_or_else(|| self.models.first_encoder(), |name| self.model(name));
        named?.try_into()
    }

    /// As [`Self::encoder`], on wires whose clients name a model only where there are several: where there is one, any
    /// name means it.
    ///
    /// # Errors
    /// As [`Self::encoder`].
    pub(crate) fn encoder_of_many(&self, name: Option<&str>) -> Result<EncoderUse, ApiError> {
        self.encoder(name.filter(|_| !self.models.is_single()))
    }

    /// How conversations are rendered now, with the cue for the model's turn or without, and what it is told of tools. Of
    /// thinking nothing is said.
    pub(crate) fn rendering(&self, add_generation_prompt: bool, tools: Option<Value>) -> RenderOptions {
        let now = (self.options.unix_time)();
        // FireFunction's template takes tools as text, by this name.
        let functions = tools.as_ref().map_or_else(String::new, Value::to_string);
        let mut options = RenderOptions { add_generation_prompt, tools, now: Some(now), ..RenderOptions::default() };
        options.extra.insert("functions".to_owned(), functions.into());
        // Templates of the Llama 3 family print a date of their makers' where they are given none.
        for (name, format) in [("date_string", "%d %b %Y"), ("datetime", "%b %d %Y")] {
            options.extra.extend(format_date(now, format).map(|date| (name.to_owned(), date.into())));
        }
        options
    }

    /// The tensor models, of which one of this name is meant.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn tensors(&self, name: &str) -> Result<&ServedTensors, TensorsError> {
        self.options.tensors.as_ref().ok_or_else(|| TensorsError::Unknown { name: name.to_owned() })
    }

    /// Whether it makes sense to send requests for tensor models here.
    pub(crate) fn is_ready_for_tensors(&self) -> bool {
        let is_up = !self.is_leaving() && self.models.has_started();
        is_up && self.options.tensors.as_ref().is_none_or(ServedTensors::is_ready)
    }

    /// Says that the server is about to go.
    pub(crate) fn leave(&self) {
        self.phase.send_replace(Phase::Leaving);
        self.tell(ServerPhase::Leaving);
    }

    /// Tells who wants to hear it.
    pub(crate) fn tell(&self, phase: ServerPhase) {
        if let Some(on_phase) = &self.options.on_phase {
            on_phase(phase);
        }
    }

    /// Whether the server is about to go.
    pub(crate) fn is_leaving(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    /// Ends every answer in progress.
    pub(crate) fn cut(&self) {
        self.phase.send_replace(Phase::Cut);
    }

    /// Waits until answers in progress are to end.
    pub(crate) async fn wait_cut(self: Arc<Self>) {
        let mut phase = self.phase.subscribe();
        phase.wait_for(|phase| *phase == Phase::Cut).await.expect("the sender is ours and lives");
    }
}
