//! The reader's end of a request.

use crate::{FinishReason, Summary, Timings, TokenEvent, Usage};
use ballast_backend::ReasonCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// What a stream yields: tokens, then one summary.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A generated token.
    Token(TokenEvent),
    /// The end.
    Done(Summary),
}

/// Ends a request from anywhere: the stream goes on to its summary, with `CANCELLED_BY_CALLER`.
#[derive(Clone, Debug, Default)]
pub struct Canceller(Arc<AtomicBool>);

impl Canceller {
    /// Asks for the end. The owner obeys before its next step.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The answer as it is generated. Dropping it cancels the request.
#[derive(Debug)]
pub struct TokenStream {
    receiver: mpsc::Receiver<Event>,
    canceller: Canceller,
    n_tokens: usize,
    prompt_tokens: usize,
    done: bool,
}

impl TokenStream {
    pub(crate) fn new(receiver: mpsc::Receiver<Event>, canceller: Canceller, prompt_tokens: usize) -> Self {
        Self { receiver, canceller, n_tokens: 0, prompt_tokens, done: false }
    }

    /// A handle that ends this request, for another thread or a signal handler.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Waits for the next event on this thread; `None` after the summary.
    ///
    /// # Panics
    /// If called from async code: use [`TokenStream::recv`] there.
    pub fn next_blocking(&mut self) -> Option<Event> {
        let event = self.receiver.blocking_recv();
        self.note(event)
    }

    /// Waits for the next event; `None` after the summary.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await;
        self.note(event)
    }

    /// Polls for the next event; `None` after the summary.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.receiver.poll_recv(context).map(|event| self.note(event))
    }

    /// Counts what passes, and turns the owner's silent end into a summary of its own.
    fn note(&mut self, event: Option<Event>) -> Option<Event> {
        match &event {
            _ if self.done => return None,
            Some(Event::Token(_)) => self.n_tokens += 1,
            Some(Event::Done(_)) => self.done = true,
            None => {
                self.done = true;
                return Some(Event::Done(self.lost()));
            }
        }
        event
    }

    fn lost(&self) -> Summary {
        Summary {
            tail: String::new(),
            finish_reason: FinishReason::Error,
            reason: Some(ReasonCode::EngineFailed),
            usage: Usage { prompt_tokens: self.prompt_tokens, completion_tokens: self.n_tokens },
            timings: Timings::default(),
        }
    }
}
