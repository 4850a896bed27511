//! Counts, to see that a simulation is worth its name.

use std::collections::BTreeMap;

/// What became of the requests, and what happened on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) asked: usize,
    pub(super) ends: BTreeMap<String, usize>,
    pub(super) happened: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn count(&mut self, what: &'static str, n: u64) {
        *self.happened.entry(what).or_default() += n;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        for (end, n) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += n;
        }
        for (&what, n) in &other.happened {
            self.count(what, *n);
        }
    }
}
