//! What happened last, for whoever looks into a failing seed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Events that are kept.
const KEPT: usize = 120;

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Duration,
    what: &'static str,
    who: usize,
    detail: u64,
}

/// The last events of a simulation.
#[derive(Debug, Default)]
pub(super) struct Trace(RefCell<VecDeque<Entry>>);

impl Trace {
    pub(super) fn note(&self, at: Duration, what: &'static str, who: usize, detail: u64) {
        let mut entries = self.0.borrow_mut();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(Entry { at, what, who, detail });
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry { at, what, who, detail } in &*self.0.borrow() {
            writeln!(f, "{:>12.3} ms  {what} {who} ({detail})", at.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}
