//! A conversation that remembers its turns.

use crate::engine::random_seed;
use crate::{Answer, Engine, Error, Generate, GeneratedToken, Prompt};
use ballast_runtime::telemetry::Ids;
use ballast_runtime::{Canceller, CorrelationId, Event, Summary, TenantId, TokenStream, events};
use ballast_tokens::ChatMessage;
use std::cell::Cell;
use std::marker::PhantomData;

/// One conversation. It can move between threads but not be shared by them: turns have an order.
///
/// ```compile_fail,E0277
/// fn shared_by_threads<T: Sync>() {}
/// shared_by_threads::<ballast::ChatSession>();
/// ```
///
/// ```
/// fn shared_by_threads<T: Send + Sync>() {}
/// shared_by_threads::<ballast::Engine>();
/// ```
#[derive(Debug)]
pub struct ChatSession {
    engine: Engine,
    id: CorrelationId,
    tenant: TenantId,
    defaults: Generate,
    history: Vec<ChatMessage>,
    not_sync: PhantomData<Cell<()>>,
}

impl ChatSession {
    pub(crate) fn new(engine: Engine, mut defaults: Generate) -> Self {
        let id = defaults.correlation.get_or_insert_with(new_id).clone();
        let tenant = defaults.tenant.clone();
        engine.runtime().telemetry().emit_for(Ids::new(&id, &tenant), &events::SessionCreated);
        let history = match &defaults.prompt {
            Prompt::Chat(messages) => messages.clone(),
            Prompt::Text(_) | Prompt::Tokens(_) => Vec::new(),
        };
        Self { engine, id, tenant, defaults, history, not_sync: PhantomData }
    }

    /// What the session is called in events and logs: the correlation id it was opened with, or one of its own. Its
    /// requests have the same, unless its settings say otherwise.
    #[must_use]
    pub fn id(&self) -> &CorrelationId {
        &self.id
    }

    /// The turns so far.
    #[must_use]
    pub fn history(&self) -> &[ChatMessage] {
        &self.history
    }

    /// Forgets every turn but a system message at the beginning.
    pub fn clear(&mut self) {
        let n_kept = usize::from(self.history.first().is_some_and(|message| message.role == "system"));
        self.history.truncate(n_kept);
    }

    /// Sets, replaces or (with an empty text) removes the system message at the beginning.
    pub fn set_system(&mut self, text: &str) {
        if self.history.first().is_some_and(|message| message.role == "system") {
            self.history.remove(0);
        }
        if !text.is_empty() {
            self.history.insert(0, ChatMessage::text("system", text));
        }
    }

    /// Sampling, bounds and stop strings of the turns to come.
    pub fn settings_mut(&mut self) -> &mut Generate {
        &mut self.defaults
    }

    /// Says something and starts the answer. The turn becomes part of the history when the reply has ended; dropping
    /// the reply before cancels it and leaves the history as it was.
    ///
    /// Turns have an order, so that the next cannot begin before the reply is gone:
    ///
    /// ```compile_fail,E0499
    /// fn both_at_once(session: &mut ballast::ChatSession) {
    ///     let first = session.send("first");
    ///     let second = session.send("second");
    ///     drop(first);
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`Engine::stream`]; the history stays as it was.
    pub fn send(&mut self, message: &str) -> Result<Reply<'_>, Error> {
        let mut messages = self.history.clone();
        messages.push(ChatMessage::text("user", message));
        let generate = Generate { prompt: Prompt::Chat(messages.clone()), ..self.defaults.clone() };
        let stream = self.engine.stream(&generate)?;
        Ok(Reply { session: self, messages, stream, text: String::new(), tokens: Vec::new(), summary: None })
    }
}

impl Drop for ChatSession {
    fn drop(&mut self) {
        let telemetry = self.engine.runtime().telemetry();
        telemetry.emit_for(Ids::new(&self.id, &self.tenant), &events::SessionDisposed);
    }
}

/// An id for a session that brings none.
fn new_id() -> CorrelationId {
    format!("session-{:016x}", random_seed()).parse().expect("it is short and of visible ASCII")
}

/// An answer on its way: an iterator over its text. Reading it blocks: not for async code.
#[derive(Debug)]
pub struct Reply<'a> {
    session: &'a mut ChatSession,
    messages: Vec<ChatMessage>,
    stream: TokenStream,
    text: String,
    tokens: Vec<GeneratedToken>,
    summary: Option<Summary>,
}

impl Reply<'_> {
    /// A handle that ends the answer, for a signal handler; what was said so far stays in the history.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.stream.canceller()
    }

    /// Reads to the end and returns the answer.
    pub fn finish(mut self) -> Answer {
        self.by_ref().for_each(drop);
        let summary = self.summary.take().expect("iteration ends with the summary");
        Answer::new(std::mem::take(&mut self.text), std::mem::take(&mut self.tokens), summary)
    }

    fn end(&mut self, summary: Summary) -> Option<String> {
        self.text.push_str(&summary.tail);
        self.messages.push(ChatMessage::text("assistant", self.text.clone()));
        self.session.history = std::mem::take(&mut self.messages);
        let tail = summary.tail.clone();
        self.summary = Some(summary);
        (!tail.is_empty()).then_some(tail)
    }
}

impl Iterator for Reply<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            match self.stream.next_blocking()? {
                Event::Token(event) => {
                    self.text.push_str(&event.text);
                    self.tokens.push(GeneratedToken { id: event.token, logprob: event.logprob });
                    if !event.text.is_empty() {
                        return Some(event.text.into());
                    }
                }
                Event::Progress(_) => {}
                Event::Done(summary) => return self.end(summary),
            }
        }
    }
}
