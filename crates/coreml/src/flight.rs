//! How many calls have not ended, those included that nobody waits for any more.

use crate::CoreMlError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the calls of one model, or of one state.
#[derive(Clone, Debug)]
pub(crate) struct Flights {
    in_flight: Arc<AtomicUsize>,
    late: Arc<AtomicU64>,
}

/// A call that has not ended. Dropped with whatever would answer it.
#[derive(Debug)]
pub(crate) struct Flight(Flights);

impl Flights {
    /// None yet. Late answers are counted in `late`, which many may share.
    pub(crate) fn new(late: Arc<AtomicU64>) -> Self {
        Self { in_flight: Arc::default(), late }
    }

    /// One call more, where that is allowed.
    ///
    /// # Errors
    /// [`CoreMlError::TooManyInFlight`].
    pub(crate) fn begin(&self, in_flight_max: usize) -> Result<Flight, CoreMlError> {
        let more = |n: usize| (n < in_flight_max).then_some(n + 1);
        match self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(Flight(self.clone())),
            Err(_) => Err(CoreMlError::TooManyInFlight { in_flight_max }),
        }
    }

    /// Calls that have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// A call that has ended, whose answer may yet turn out to come too late.
#[cfg(any(target_vendor = "apple", coreml_simulator, test))]
#[derive(Debug)]
pub(crate) struct Landed(Arc<AtomicU64>);

#[cfg(any(target_vendor = "apple", coreml_simulator, test))]
impl Flight {
    /// It has ended.
    pub(crate) fn land(self) -> Landed {
        Landed(Arc::clone(&self.0.late))
    }
}

#[cfg(any(target_vendor = "apple", coreml_simulator, test))]
impl Landed {
    /// Nobody waited for its answer any more.
    pub(crate) fn note(self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_have_not_ended_are_bounded() {
        let late = Arc::new(AtomicU64::new(0));
        let flights = Flights::new(Arc::clone(&late));
        let first = flights.begin(2).unwrap();
        let second = flights.begin(2).unwrap();
        assert!(matches!(flights.begin(2), Err(CoreMlError::TooManyInFlight { in_flight_max: 2 })));
        second.land().note();
        assert_eq!((flights.in_flight(), late.load(Ordering::Acquire)), (1, 1));
        drop((first, flights.begin(2).unwrap()));
        assert_eq!(flights.in_flight(), 0);
    }
}
