//! Whose texts run next: a state machine without clock, lock or thread.
//!
//! ```text
//! push -> Waiting --batch--> Running (the share it got) --again_alone--> Waiting, alone --batch--> Running
//!            +---- remove ----> gone
//! ```
//!
//! The request of the highest priority is served first, where waiting raises it; among equals the one whose tenant had
//! the fewest tokens of late, then the one that came first. A request with more texts than a batch takes is served over
//! several. What is left of a batch's room goes to whoever fits in it, which delays nobody.

use crate::Priority;
use crate::telemetry::TenantId;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// Texts of one job that wait.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) job: u64,
    /// Which text of the job is the first of these.
    pub(super) first: usize,
    /// For each text, its tokens.
    pub(super) n_tokens: Vec<usize>,
    pub(super) tenant: TenantId,
    pub(super) priority: Priority,
    pub(super) arrived: Duration,
    /// Whether no other job may be in its batch.
    pub(super) is_alone: bool,
}

/// Texts of one job in a batch.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) job: u64,
    pub(super) texts: Range<usize>,
    /// For each text, its tokens.
    pub(super) n_tokens: Vec<usize>,
    /// What is needed to let it wait again.
    terms: (TenantId, Priority, Duration),
}

/// The jobs that wait.
#[derive(Debug)]
pub(super) struct Queue {
    entries: Vec<Entry>,
    /// Tokens that each tenant had since the queue was last empty.
    served: BTreeMap<TenantId, u64>,
    age_step: Duration,
    tokens_max: usize,
    texts_max: usize,
}

impl Queue {
    /// An empty queue for batches of so many tokens and texts.
    pub(super) fn new(age_step: Duration, (tokens_max, texts_max): (usize, usize)) -> Self {
        let age_step = age_step.max(Duration::from_nanos(1));
        Self { entries: Vec::new(), served: BTreeMap::new(), age_step, tokens_max, texts_max }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Takes what waits of a job out.
    pub(super) fn remove(&mut self, job: u64) {
        self.entries.retain(|entry| entry.job != job);
    }

    /// Lets a share wait again, for a batch of its own.
    pub(super) fn again_alone(&mut self, share: &Share) {
        let (tenant, priority, arrived) = share.terms.clone();
        let (job, first, n_tokens) = (share.job, share.texts.start, share.n_tokens.clone());
        self.entries.push(Entry { job, first, n_tokens, tenant, priority, arrived, is_alone: true });
    }

    /// The next batch, in the order of its turn; empty if nothing waits. No text is longer than a batch.
    pub(super) fn batch(&mut self, now: Duration) -> Vec<Share> {
        if self.entries.is_empty() {
            self.served.clear();
            return Vec::new();
        }
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_by_key(|&idx| (self.turn(&self.entries[idx], now), idx));
        let mut shares = Vec::new();
        let (mut n_tokens, mut n_texts) = (self.tokens_max, self.texts_max);
        for idx in order {
            let entry = &mut self.entries[idx];
            if entry.is_alone && !shares.is_empty() {
                continue;
            }
            let mut taken = Vec::new();
            for len in &entry.n_tokens {
                if n_texts == 0 || *len > n_tokens {
                    break;
                }
                (n_tokens, n_texts) = (n_tokens - len, n_texts - 1);
                taken.push(*len);
            }
            let n_taken = taken.len();
            if n_taken == 0 {
                continue;
            }
            entry.n_tokens.drain(..n_taken);
            let texts = entry.first..entry.first + n_taken;
            entry.first = texts.end;
            let terms = (entry.tenant.clone(), entry.priority, entry.arrived);
            *self.served.entry(entry.tenant.clone()).or_default() += taken.iter().sum::<usize>() as u64;
            shares.push(Share { job: entry.job, texts, n_tokens: taken, terms });
            if entry.is_alone {
                break;
            }
        }
        self.entries.retain(|entry| !entry.n_tokens.is_empty());
        shares
    }

    /// The least is served first.
    fn turn(&self, entry: &Entry, now: Duration) -> (Reverse<i64>, u64) {
        let age = now.saturating_sub(entry.arrived).as_nanos() / self.age_step.as_nanos();
        let raised = i64::from(entry.priority.level()).saturating_add(i64::try_from(age).unwrap_or(i64::MAX));
        (Reverse(raised), self.served.get(&entry.tenant).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;
