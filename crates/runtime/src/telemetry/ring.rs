//! The last events, kept in memory to be read back.

use super::{CorrelationId, Fields, Level, Logger, RuntimeLogEvent, Span, TenantId};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A log event that outlives its emit.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// How many events the ring took before it.
    pub index: u64,
    /// What kind of event.
    pub name: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub message: &'static str,
    /// The request or session.
    pub correlation: Option<CorrelationId>,
    /// Its tenant.
    pub tenant: Option<TenantId>,
    /// Its values.
    pub fields: Fields,
    /// The stretch of time that ended with it.
    pub span: Option<Span>,
}

/// Keeps the last events. Who reads them sees the run as a sequence of what happened, not as totals.
#[derive(Debug)]
pub struct RingLogger {
    records_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<LogRecord>,
    n_taken: u64,
}

impl RingLogger {
    /// Keeps the last `records_max` events; 0 keeps none.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self { records_max, kept: Mutex::default() }
    }

    /// What is kept, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<LogRecord> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.records.iter().cloned().collect()
    }
}

impl Logger for RingLogger {
    fn enabled(&self, _: Level) -> bool {
        self.records_max > 0
    }

    fn log(&self, event: &RuntimeLogEvent<'_>) {
        let RuntimeLogEvent { name, level, message, ids, fields, span } = *event;
        let (correlation, tenant) = (ids.correlation.cloned(), ids.tenant.cloned());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.n_taken;
        kept.n_taken += 1;
        kept.records.push_back(LogRecord { index, name, level, message, correlation, tenant, fields, span });
        let n_over = kept.records.len().saturating_sub(self.records_max);
        kept.records.drain(..n_over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Ids;

    fn log(ring: &RingLogger, n_events: u64) {
        let (correlation, tenant) = (CorrelationId::from_number(7), TenantId::default());
        for idx in 0..n_events {
            let fields = Fields::of([("idx", idx.into())]);
            let ids = Ids::new(&correlation, &tenant);
            ring.log(&RuntimeLogEvent { name: "e", level: Level::Info, message: "m", ids, fields, span: None });
        }
    }

    #[test]
    fn the_last_events_are_kept_and_the_oldest_given_up() {
        let ring = RingLogger::new(3);
        log(&ring, 5);
        let indices: Vec<_> = ring.records().iter().map(|record| record.index).collect();
        assert_eq!(indices, [2, 3, 4]);
        assert_eq!(ring.records()[0].correlation, Some(CorrelationId::from_number(7)));
        assert_eq!(ring.records()[0].fields, Fields::of([("idx", 2_u64.into())]));
    }

    #[test]
    fn a_ring_without_room_keeps_and_wants_nothing() {
        let ring = RingLogger::new(0);
        assert!(!ring.enabled(Level::Error));
        log(&ring, 2);
        assert!(ring.records().is_empty());
    }
}
