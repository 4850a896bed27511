//! The events of a response in the background, for whoever comes to hear them. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

/// Most bytes of events that are kept of one response; the first go.
pub const RESPONSE_EVENTS_BYTES_MAX: usize = 2 << 20;

/// Events in order, without the first `n_gone`.
#[derive(Debug, Default)]
pub(super) struct Log {
    events: VecDeque<Arc<str>>,
    n_gone: usize,
    bytes: usize,
    is_ended: bool,
}

/// What a reader gets.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// Events, at least one.
    Events(Vec<Arc<str>>),
    /// Nothing now.
    Later,
    /// All were read, and no more will come.
    End,
    /// The next event is no longer there; the first that is has this number.
    Gone(usize),
}

impl Log {
    pub(super) fn push(&mut self, event: &str) {
        self.bytes += event.len();
        self.events.push_back(event.into());
        while self.bytes > RESPONSE_EVENTS_BYTES_MAX {
            let Some(first) = self.events.pop_front() else { return };
            self.bytes -= first.len();
            self.n_gone += 1;
        }
    }

    pub(super) fn end(&mut self) {
        self.is_ended = true;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events from number `next` on.
    pub(super) fn read(&self, next: usize) -> Read {
        let Some(skipped) = next.checked_sub(self.n_gone) else { return Read::Gone(self.n_gone) };
        let events: Vec<Arc<str>> = self.events.iter().skip(skipped).cloned().collect();
        match (events.is_empty(), self.is_ended) {
            (false, _) => Read::Events(events),
            (true, false) => Read::Later,
            (true, true) => Read::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_hears_everything_once_and_then_the_end() {
        let mut log = Log::default();
        assert_eq!(log.read(0), Read::Later);
        log.push("a");
        log.push("b");
        assert_eq!(log.read(0), Read::Events(vec!["a".into(), "b".into()]));
        assert_eq!(log.read(1), Read::Events(vec!["b".into()]));
        assert_eq!(log.read(2), Read::Later);
        log.end();
        assert_eq!((log.read(1), log.read(2)), (Read::Events(vec!["b".into()]), Read::End));
    }

    #[test]
    fn the_first_events_go_when_there_are_too_many_bytes() {
        let mut log = Log::default();
        let half = "x".repeat(RESPONSE_EVENTS_BYTES_MAX / 2);
        log.push(&half);
        log.push(&half);
        assert!(matches!(log.read(0), Read::Events(_)));
        log.push("y");
        assert_eq!((log.read(0), log.bytes()), (Read::Gone(1), half.len() + 1));
        assert_eq!(log.read(2), Read::Events(vec!["y".into()]));
    }
}
