//! A loaded model that answers.

use crate::clock::unix_seconds;
use crate::load::{Loaded, load};
use crate::machine;
use crate::{Answer, ChatSession, Error, Generate, LoadOptions, LoadReport, Prompt};
use ballast_backend::TokenId;
use ballast_runtime::events::MemoryObserved;
use ballast_runtime::telemetry::MetricsSnapshot;
use ballast_runtime::{Request, Runtime, TokenStream};
use ballast_tokens::{PromptFormat, RenderOptions};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

/// A loaded model. Send + Sync; clones share the model and its batch.
#[derive(Clone, Debug)]
pub struct Engine {
    runtime: Runtime,
    format: PromptFormat,
    report: Arc<LoadReport>,
}

impl Engine {
    /// Loads the GGUF model at `path` and starts its engine.
    ///
    /// # Errors
    /// If the file is not a model that can be run, or it does not fit the memory budget.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, Error> {
        let Loaded { runtime, format, report } = load(path, options)?;
        Ok(Self { runtime, format, report: Arc::new(report) })
    }

    /// An engine around a runtime that was built elsewhere, such as one whose engines are not named by
    /// [`crate::wiring`].
    #[must_use]
    pub fn from_runtime(runtime: Runtime, format: PromptFormat, report: LoadReport) -> Self {
        Self { runtime, format, report: Arc::new(report) }
    }

    /// What loading found out.
    #[must_use]
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// The runtime beneath: what a server is given.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What was counted since it was loaded; `None` if the options of loading asked for no metrics. The memory is that
    /// of the whole process, read now; `None` where it cannot be read.
    #[must_use]
    pub fn metrics(&self) -> Option<MetricsSnapshot> {
        if let Some(current_bytes) = machine::resident_bytes() {
            self.runtime.telemetry().emit(&MemoryObserved { current_bytes });
        }
        self.runtime.telemetry().metrics.as_ref().map(|metrics| metrics.snapshot())
    }

    /// Answers and waits for the end.
    ///
    /// # Errors
    /// As [`Engine::stream`].
    ///
    /// # Panics
    /// If called from async code: use [`Engine::stream`] and [`TokenStream::recv`] there.
    pub fn generate(&self, generate: &Generate) -> Result<Answer, Error> {
        Ok(Answer::collect(self.stream(generate)?, |_| {}))
    }

    /// Starts an answer and returns its stream; dropping the stream cancels it.
    ///
    /// # Errors
    /// If the prompt cannot be laid out or is too long, what the answer must look like cannot be enforced, or the queue is
    /// full.
    pub fn stream(&self, generate: &Generate) -> Result<TokenStream, Error> {
        Ok(self.runtime.submit(self.request(generate)?)?)
    }

    /// How prompts become tokens.
    #[must_use]
    pub fn format(&self) -> &PromptFormat {
        &self.format
    }

    /// The tokens a prompt becomes.
    ///
    /// # Errors
    /// If a conversation cannot be laid out.
    pub fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<TokenId>, Error> {
        match prompt {
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Text(text) => Ok(self.format.text(text)),
            Prompt::Chat(messages) => {
                let now = Some(unix_seconds());
                let options = RenderOptions { add_generation_prompt: true, now, ..RenderOptions::default() };
                Ok(self.format.chat(messages, &options)?)
            }
        }
    }

    /// Opens a conversation that remembers its turns. `defaults` gives sampling and bounds; its prompt, if it is a
    /// chat, is the beginning of the history.
    #[must_use]
    pub fn chat_session(&self, defaults: Generate) -> ChatSession {
        ChatSession::new(self.clone(), defaults)
    }

    fn request(&self, generate: &Generate) -> Result<Request, Error> {
        Ok(Request {
            prompt: self.prompt_tokens(&generate.prompt)?,
            sampling: generate.sampling.clone(),
            fallback_seed: random_seed(),
            stop: generate.stop.clone(),
            max_tokens: generate.max_tokens,
            ignore_eos: generate.ignore_eos,
            constraint: generate.constraint.as_ref().map(|constraint| self.runtime.compile(constraint)).transpose()?,
            show_special: generate.show_special,
            thinking: None,
            tells_progress: false,
            deadlines: generate.deadlines,
            tenant: generate.tenant.clone(),
            priority: generate.priority,
            prefix_cache: generate.prefix_cache,
            correlation: generate.correlation.clone(),
        })
    }
}

/// A seed for requests that bring none, from the system's randomness.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}
