//! What became of every request: each ends exactly once, in one of the ways that are counted here.

use super::client::Outcome;
use super::traffic::Conduct;
use crate::telemetry::Histogram;
use crate::{FinishReason, ReasonCode, RuntimeError, Summary};
use std::collections::BTreeMap;
use std::time::Duration;

/// Counts of one stretch of time.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Requests that were taken.
    pub(super) n_admitted: u64,
    /// Those that ended, by finish reason and reason code.
    pub(super) ends: BTreeMap<(&'static str, &'static str), u64>,
    /// Those whose reader went away before.
    pub(super) n_left: u64,
    /// Those that ended with a whole answer.
    pub(super) n_answered: u64,
    /// Those that ended otherwise because their reader wanted it so.
    pub(super) n_intended: u64,
    /// Those that ended otherwise although nobody wanted it, and their reader was told.
    pub(super) n_failed: u64,
    /// Those whose stream ended without the owner's word.
    pub(super) n_lost: u64,
    /// Those that did not end.
    pub(super) n_stuck: u64,
    /// Those that were run again after an engine was lost.
    pub(super) n_retried: u64,
    /// Those cancelled while they waited, while their prompt was run, and while they were answered.
    pub(super) n_cancelled: [u64; 3],
    /// Those refused, by reason code.
    pub(super) refused: BTreeMap<&'static str, u64>,
    /// Those refused without being told when to come back.
    pub(super) n_without_hint: u64,
    /// The longest that a refusal took.
    pub(super) refusal_max: Duration,
    /// Tokens of whole answers.
    pub(super) n_good_tokens: u64,
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) ttft: Histogram,
}

impl Ledger {
    /// Notes a refusal that took `took`.
    pub(super) fn refuse(&mut self, error: &RuntimeError, took: Duration) {
        *self.refused.entry(error.reason().map_or("other", ReasonCode::as_str)).or_default() += 1;
        self.n_without_hint += u64::from(error.retry_after().is_none());
        self.refusal_max = self.refusal_max.max(took);
    }

    /// Notes how a request ended.
    pub(super) fn end(&mut self, conduct: Conduct, outcome: &Outcome) {
        match outcome {
            Outcome::Left => {
                self.n_left += 1;
                self.n_intended += 1;
            }
            Outcome::Silent => self.n_lost += 1,
            Outcome::Ended { summary, .. } => self.note(conduct, summary),
        }
    }

    fn note(&mut self, conduct: Conduct, summary: &Summary) {
        let reason = summary.reason.map_or("-", ReasonCode::as_str);
        *self.ends.entry((summary.finish_reason.as_str(), reason)).or_default() += 1;
        self.n_retried += u64::from(summary.degraded.contains(&ReasonCode::Retried));
        if let Some(ttft) = summary.timings.time_to_first_token {
            self.ttft.record(ttft);
        }
        self.prompt_tokens += summary.usage.prompt_tokens as u64;
        self.cached_tokens += summary.usage.cached_tokens as u64;
        match summary.finish_reason {
            FinishReason::Stop | FinishReason::Length => {
                self.n_answered += 1;
                self.n_good_tokens += summary.usage.completion_tokens as u64;
            }
            // No engine has signed it: the owner went without a word.
            FinishReason::Error if summary.engine.is_empty() => self.n_lost += 1,
            FinishReason::Error => self.n_failed += 1,
            FinishReason::Cancelled if is_intended(conduct, summary.reason) => {
                self.n_intended += 1;
                self.n_cancelled[phase_idx(summary)] += 1;
            }
            FinishReason::Cancelled => self.n_failed += 1,
        }
    }

    /// Requests that were refused.
    pub(super) fn n_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Share of whole answers among the requests that were taken and whose readers wanted one, in percent.
    pub(super) fn success_pct(&self) -> Option<f64> {
        let n_wanted = self.n_answered + self.n_failed + self.n_lost + self.n_stuck;
        (n_wanted > 0).then(|| self.n_answered as f64 * 100.0 / n_wanted as f64)
    }

    /// Whether every request that was taken is counted as ended in one way, and no more.
    pub(super) fn adds_up(&self) -> bool {
        let n_ended = self.n_answered + self.n_intended + self.n_failed + self.n_lost + self.n_stuck;
        n_ended == self.n_admitted
    }
}

fn is_intended(conduct: Conduct, reason: Option<ReasonCode>) -> bool {
    match conduct {
        Conduct::Cancels(_) => reason == Some(ReasonCode::CancelledByCaller),
        Conduct::Hurries => reason == Some(ReasonCode::CancelledByTimeout),
        Conduct::StopsReading | Conduct::ReadsSlowly => reason == Some(ReasonCode::BackpressureBufferFull),
        Conduct::Reads | Conduct::Leaves(_) => false,
    }
}

/// 0: it waited; 1: its prompt was run; 2: it was answered.
fn phase_idx(summary: &Summary) -> usize {
    match summary.timings.time_to_first_token {
        Some(_) => 2,
        None if summary.timings.queue < summary.timings.total => 1,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::traffic::After;
    use super::*;
    use crate::{Timings, Usage};

    fn summary(finish_reason: FinishReason, reason: Option<ReasonCode>) -> Summary {
        Summary {
            tail: String::new(),
            finish_reason,
            stop_idx: None,
            reason,
            overdue: None,
            degraded: Vec::new(),
            engine: "llm-cpu",
            usage: Usage { prompt_tokens: 5, cached_tokens: 2, completion_tokens: 3 },
            timings: Timings::default(),
        }
    }

    fn ledger(cases: &[(Conduct, Summary)]) -> Ledger {
        let mut ledger = Ledger { n_admitted: cases.len() as u64, ..Ledger::default() };
        for (conduct, summary) in cases {
            let summary = Box::new(summary.clone());
            ledger.end(*conduct, &Outcome::Ended { summary, text: String::new() });
        }
        ledger
    }

    #[test]
    fn only_what_its_reader_wanted_is_no_failure() {
        let cancelled = |reason| summary(FinishReason::Cancelled, Some(reason));
        let cancels = Conduct::Cancels(After::Tokens(1));
        let counted = |conduct, summary| {
            let ledger = ledger(&[(conduct, summary)]);
            (ledger.n_answered, ledger.n_intended, ledger.n_failed, ledger.n_lost)
        };
        let by_caller = || cancelled(ReasonCode::CancelledByCaller);
        let by_timeout = || cancelled(ReasonCode::CancelledByTimeout);
        assert_eq!(counted(Conduct::Reads, summary(FinishReason::Stop, None)), (1, 0, 0, 0));
        assert_eq!(counted(cancels, by_caller()), (0, 1, 0, 0));
        assert_eq!(counted(Conduct::Reads, by_caller()), (0, 0, 1, 0));
        assert_eq!(counted(cancels, by_timeout()), (0, 0, 1, 0));
        assert_eq!(counted(Conduct::Hurries, by_timeout()), (0, 1, 0, 0));
        assert_eq!(counted(Conduct::StopsReading, cancelled(ReasonCode::BackpressureBufferFull)), (0, 1, 0, 0));
        let crashed = summary(FinishReason::Error, Some(ReasonCode::EngineCrashed));
        assert_eq!(counted(Conduct::Reads, crashed.clone()), (0, 0, 1, 0));
        assert_eq!(counted(Conduct::Reads, Summary { engine: "", ..crashed }), (0, 0, 0, 1));
    }

    #[test]
    fn a_request_that_is_counted_nowhere_does_not_add_up() {
        let mut ledger = ledger(&[(Conduct::Reads, summary(FinishReason::Length, None))]);
        assert!(ledger.adds_up());
        assert_eq!(ledger.success_pct(), Some(100.0));
        ledger.n_admitted += 1;
        assert!(!ledger.adds_up());
        ledger.end(Conduct::Leaves(After::Tokens(1)), &Outcome::Left);
        assert!(ledger.adds_up());
        ledger.n_stuck += 1;
        assert_eq!(ledger.success_pct(), Some(50.0));
    }

    #[test]
    fn a_cancellation_is_counted_in_the_phase_it_met() {
        let at = |queue_ms, ttft_ms: Option<u64>, total_ms| Timings {
            queue: Duration::from_millis(queue_ms),
            time_to_first_token: ttft_ms.map(Duration::from_millis),
            total: Duration::from_millis(total_ms),
        };
        let end = |timings| {
            let cancelled = summary(FinishReason::Cancelled, Some(ReasonCode::CancelledByCaller));
            (Conduct::Cancels(After::Tokens(1)), Summary { timings, ..cancelled })
        };
        let ledger = ledger(&[end(at(9, None, 9)), end(at(2, None, 9)), end(at(2, Some(5), 9)), end(at(2, None, 9))]);
        assert_eq!(ledger.n_cancelled, [1, 2, 1]);
    }
}
