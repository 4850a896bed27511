//! What a connection is doing, and when it is to end for doing nothing. Pure; `places.rs` holds one for every connection.
//!
//! ```text
//! Idle    => Reading   the first byte of a head came
//! Reading => Busy      the head is there
//! Idle    => Busy      the same, where bytes of it came before
//! Busy    => Idle      the last answer in progress has ended
//! Idle    ends after idle_timeout, Reading after header_timeout: bytes that come one by one do not put that off
//! Busy    ends when an answer over HTTP/2 is not taken any further for stall_timeout; over HTTP/1 the socket says so
//! ```
//!
//! Once a connection speaks HTTP/2, bytes may be anything: it is Idle between its requests whatever comes.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long a connection may do nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleLimits {
    pub(super) header_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) stall_timeout: Duration,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests whose answer has not been sent whole.
    n_busy: usize,
    /// When it last was busy, or wrote.
    idle_since: Duration,
    /// When the first byte of a head came.
    reading_since: Option<Duration>,
    is_h2: bool,
    /// Answers of which a piece was taken and no other was asked for, and since when.
    handed: BTreeMap<u64, Duration>,
}

impl Activity {
    pub(super) fn new(now: Duration) -> Self {
        Self { n_busy: 0, idle_since: now, reading_since: None, is_h2: false, handed: BTreeMap::new() }
    }

    /// Bytes came. Returns whether it may end sooner than it was to.
    pub(super) fn read(&mut self, now: Duration) -> bool {
        let begins = self.n_busy == 0 && !self.is_h2 && self.reading_since.is_none();
        if begins {
            self.reading_since = Some(now);
        }
        begins
    }

    /// Bytes were taken.
    pub(super) fn wrote(&mut self, now: Duration) {
        self.idle_since = now;
    }

    /// A request begins.
    pub(super) fn begin(&mut self, is_h2: bool) {
        self.n_busy += 1;
        self.reading_since = None;
        self.is_h2 |= is_h2;
    }

    /// A request has ended.
    pub(super) fn end(&mut self, answer: u64, now: Duration) {
        self.n_busy = self.n_busy.saturating_sub(1);
        self.idle_since = now;
        self.handed.remove(&answer);
    }

    /// A piece of an answer was taken. Returns whether it may end sooner than it was to.
    pub(super) fn hand(&mut self, answer: u64, now: Duration) -> bool {
        let is_first = self.is_h2 && self.handed.is_empty();
        if self.is_h2 {
            self.handed.insert(answer, now);
        }
        is_first
    }

    /// The next piece of an answer is asked for.
    pub(super) fn ask(&mut self, answer: u64) {
        self.handed.remove(&answer);
    }

    /// Since when it does nothing; `None`: it is busy.
    pub(super) fn idle_since(&self) -> Option<Duration> {
        (self.n_busy == 0).then_some(self.idle_since)
    }

    /// When it is to end, as things are now.
    pub(super) fn due_at(&self, limits: &IdleLimits) -> Option<Duration> {
        if self.n_busy > 0 {
            return self.handed.values().min().map(|since| since.saturating_add(limits.stall_timeout));
        }
        Some(match self.reading_since {
            Some(since) => since.saturating_add(limits.header_timeout),
            None => self.idle_since.saturating_add(limits.idle_timeout),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: IdleLimits = IdleLimits {
        header_timeout: Duration::from_secs(15),
        idle_timeout: Duration::from_secs(120),
        stall_timeout: Duration::from_secs(60),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn due(activity: &Activity) -> Option<u64> {
        activity.due_at(&LIMITS).map(|due| due.as_secs())
    }

    #[test]
    fn nothing_at_all_is_idle_and_a_head_that_comes_slowly_ends_sooner() {
        let mut activity = Activity::new(at(1));
        assert_eq!(due(&activity), Some(121));
        assert!(activity.read(at(100)));
        assert_eq!(due(&activity), Some(115));
        assert!(!activity.read(at(110)), "bytes that come one by one put nothing off");
        assert_eq!(due(&activity), Some(115));
    }

    #[test]
    fn what_is_busy_does_not_end_and_is_idle_after_it() {
        let mut activity = Activity::new(at(0));
        activity.read(at(0));
        activity.begin(false);
        assert_eq!((due(&activity), activity.idle_since()), (None, None));
        assert!(!activity.read(at(5)), "a body is no head");
        assert!(!activity.hand(7, at(6)));
        assert_eq!(due(&activity), None, "over HTTP/1 the socket stalls");
        activity.end(7, at(10));
        assert_eq!((due(&activity), activity.idle_since()), (Some(130), Some(at(10))));
        activity.wrote(at(20));
        assert_eq!(due(&activity), Some(140), "the end of an answer is still on its way");
    }

    #[test]
    fn over_http_2_bytes_are_no_head_and_an_answer_that_is_not_taken_ends() {
        let mut activity = Activity::new(at(0));
        assert!(activity.read(at(1)), "nobody knows yet what it speaks");
        activity.begin(true);
        activity.begin(true);
        assert!(activity.hand(1, at(10)) && !activity.hand(2, at(11)));
        assert_eq!(due(&activity), Some(70));
        activity.ask(1);
        assert_eq!(due(&activity), Some(71));
        activity.end(2, at(12));
        assert_eq!(due(&activity), None);
        activity.end(1, at(20));
        assert!(!activity.read(at(30)));
        assert_eq!(due(&activity), Some(140));
    }
}
