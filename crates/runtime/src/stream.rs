//! The reader's end of a request.

use crate::bell::Bell;
use crate::governance::Approved;
use crate::pipeline::{self, Route};
use crate::runtime::Inner;
use crate::sequence::{EVENTS_PER_STEP, is_of_constraint};
use crate::{FinishReason, Progress, Summary, Timings, TokenEvent, Usage};
use ballast_backend::ReasonCode;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// What a stream yields: tokens, then one summary.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A generated token.
    Token(TokenEvent),
    /// A part of the prompt was read, or a token comes next; only where the request asks for it, and never in the way of
    /// a token: a slow reader misses some.
    Progress(Progress),
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
    bell: Bell,
    canceller: Canceller,
    n_tokens: usize,
    prompt_tokens: usize,
    done: bool,
    /// How the request goes on if its engine fails before it has answered anything.
    rescue: Option<Box<Rescue>>,
}

/// A request and the engines that have not been asked yet.
pub(crate) struct Rescue {
    pub(crate) approved: Approved,
    pub(crate) route: Route,
    pub(crate) runtime: Weak<Inner>,
}

impl fmt::Debug for Rescue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rescue").field("route", &self.route).finish_non_exhaustive()
    }
}

impl TokenStream {
    pub(crate) fn new(
        (receiver, bell): (mpsc::Receiver<Event>, Bell),
        canceller: Canceller,
        prompt_tokens: usize,
        rescue: Option<Box<Rescue>>,
    ) -> Self {
        Self { receiver, bell, canceller, n_tokens: 0, prompt_tokens, done: false, rescue }
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
        while !self.done {
            let event = self.receiver.blocking_recv();
            if let Noted::Event(event) = self.note(event) {
                return Some(event);
            }
        }
        None
    }

    /// Waits for the next event; `None` after the summary.
    pub async fn recv(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Polls for the next event; `None` after the summary.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        while !self.done {
            let Poll::Ready(event) = self.receiver.poll_recv(context) else { return Poll::Pending };
            if let Noted::Event(event) = self.note(event) {
                return Poll::Ready(Some(event));
            }
        }
        Poll::Ready(None)
    }

    /// Counts what passes, turns the owner's silent end into a summary of its own, and goes on at the next engine where
    /// one has failed before anything was answered.
    fn note(&mut self, event: Option<Event>) -> Noted {
        if self.receiver.capacity() == EVENTS_PER_STEP {
            // This event was the one too many: its sequence waits for the room that it took.
            self.bell.ring();
        }
        let event = event.unwrap_or_else(|| Event::Done(self.lost()));
        match &event {
            Event::Token(_) => self.n_tokens += 1,
            Event::Progress(_) => {}
            Event::Done(summary) => {
                let is_engines =
                    summary.finish_reason == FinishReason::Error && !summary.reason.is_some_and(is_of_constraint);
                if is_engines && self.n_tokens == 0 && self.is_rescued(summary) {
                    return Noted::Rescued;
                }
                self.done = true;
            }
        }
        Noted::Event(event)
    }

    /// Goes on at the next engine, if there is one that takes the request.
    fn is_rescued(&mut self, summary: &Summary) -> bool {
        let Some(mut rescue) = self.rescue.take() else { return false };
        if summary.timings.queue < summary.timings.total {
            rescue.approved.end_queue_time();
        }
        let why = summary.reason.unwrap_or(ReasonCode::EngineFailed);
        match pipeline::rescue(*rescue, why) {
            Ok(stream) => {
                *self = stream;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "no other engine takes the request");
                false
            }
        }
    }

    fn lost(&self) -> Summary {
        Summary {
            tail: String::new(),
            finish_reason: FinishReason::Error,
            stop_idx: None,
            reason: Some(ReasonCode::EngineCrashed),
            overdue: None,
            degraded: Vec::new(),
            engine: "",
            usage: Usage { prompt_tokens: self.prompt_tokens, cached_tokens: 0, completion_tokens: self.n_tokens },
            timings: Timings::default(),
        }
    }
}

/// What became of something that was received.
enum Noted {
    /// It is for the reader.
    Event(Event),
    /// The request goes on at another engine; what it says comes next.
    Rescued,
}

#[cfg(test)]
mod tests {
    use super::{Bell, Canceller, Event, TokenStream, mpsc};
    use crate::TokenEvent;
    use crate::owner::Message;
    use ballast_backend::TokenId;
    use compact_str::CompactString;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_read_rings_where_its_sequence_waited_for_the_room() {
        // Room for events, how many lie in it, which reads ring.
        let cases: [(usize, usize, &[bool]); 4] =
            [(2, 1, &[true]), (2, 2, &[false, true]), (4, 3, &[true, false, false]), (8, 3, &[false, false, false])];
        for (room, n_events, rings) in cases {
            let ((sender, receiver), (outbox, inbox)) = (mpsc::channel(room), sync_channel(8));
            let bell = Bell::new(outbox);
            let mut stream = TokenStream::new((receiver, bell.clone()), Canceller::default(), 1, None);
            for _ in 0..n_events {
                let token = TokenEvent { token: TokenId(7), text: CompactString::default(), logprob: None };
                sender.try_send(Event::Token(token)).unwrap();
            }
            for (nth, &expected) in rings.iter().enumerate() {
                assert!(stream.next_blocking().is_some());
                let rang = matches!(inbox.try_recv(), Ok(Message::Read));
                bell.heard();
                assert_eq!(rang, expected, "read {nth} of {n_events} among {room}");
            }
        }
    }
}
