//! One request in flight and its reader, polled: no thread of its own, so that hundreds cost nothing.

use super::traffic::{After, Conduct};
use crate::{Event, Summary, TokenStream};
use std::task::{Context, Poll};
use std::time::Duration;

/// Wait of a slow reader after every token.
const SLOW_READ: Duration = Duration::from_millis(60);

/// How it ended for its reader.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// With a summary; `text` is the answer.
    Ended { summary: Box<Summary>, text: String },
    /// The reader went away before.
    Left,
    /// The stream ended without a summary.
    Silent,
}

/// A reader and what it reads.
#[derive(Debug)]
pub(super) struct Client {
    stream: TokenStream,
    pub(super) conduct: Conduct,
    pub(super) chat_idx: Option<usize>,
    asked_at: Duration,
    n_tokens: usize,
    text: String,
    reads_again_at: Duration,
}

impl Client {
    pub(super) fn new(stream: TokenStream, conduct: Conduct, chat_idx: Option<usize>, now: Duration) -> Self {
        let text = String::new();
        Self { stream, conduct, chat_idx, asked_at: now, n_tokens: 0, text, reads_again_at: Duration::ZERO }
    }

    /// How long it has been waited for.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.asked_at)
    }

    /// Reads what its conduct lets it read; how it ended, once it has.
    pub(super) fn poll(&mut self, now: Duration, context: &mut Context<'_>) -> Option<Outcome> {
        match self.conduct {
            Conduct::Cancels(after) if self.has_had_enough(after, now) => self.stream.canceller().cancel(),
            Conduct::Leaves(after) if self.has_had_enough(after, now) => return Some(Outcome::Left),
            Conduct::Cancels(_)
            | Conduct::Leaves(_)
            | Conduct::Reads
            | Conduct::ReadsSlowly
            | Conduct::StopsReading
            | Conduct::Hurries => {}
        }
        while self.wants_more(now) {
            match self.stream.poll_recv(context) {
                Poll::Pending => return None,
                Poll::Ready(None) => return Some(Outcome::Silent),
                Poll::Ready(Some(Event::Token(event))) => {
                    self.n_tokens += 1;
                    self.text += &event.text;
                    self.reads_again_at = now.saturating_add(SLOW_READ);
                }
                Poll::Ready(Some(Event::Progress(_))) => {}
                Poll::Ready(Some(Event::Done(summary))) => {
                    let text = std::mem::take(&mut self.text) + &summary.tail;
                    return Some(Outcome::Ended { summary: Box::new(summary), text });
                }
            }
        }
        None
    }

    fn has_had_enough(&self, after: After, now: Duration) -> bool {
        match after {
            After::Time(time) => self.age(now) >= time,
            After::Tokens(n) => self.n_tokens >= n,
        }
    }

    /// One who stopped reading looks again when its answer must have been cut, to learn how it ended.
    fn wants_more(&self, now: Duration) -> bool {
        match self.conduct {
            Conduct::Reads | Conduct::Hurries => true,
            Conduct::ReadsSlowly => now >= self.reads_again_at,
            Conduct::StopsReading => self.n_tokens == 0 || self.age(now) >= super::SLOW_READER_MAX * 2,
            Conduct::Cancels(after) => !self.has_had_enough(after, now) || self.stream.canceller().is_cancelled(),
            Conduct::Leaves(after) => !self.has_had_enough(after, now),
        }
    }
}
