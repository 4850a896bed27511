//! What a completion handler does: it answers once, in a pool, without a panic, and knows when nobody waits any more.

use super::raw::pooled;
use crate::flight::Flight;
use crate::{Action, CoreMlError};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

/// The calls that count while this is unanswered: the model's, and the state's where there is one.
type Flights = (Flight, Option<Flight>);

/// The right to answer one call, with what is needed for it. Whoever drops it unanswered tells the caller so.
pub(super) struct Answer<P, T>(Mutex<Option<Pending<P, T>>>);

struct Pending<P, T> {
    action: Action,
    sender: SyncSender<Result<T, CoreMlError>>,
    payload: P,
    flights: Option<Flights>,
}

impl<P: Send, T: Send> Answer<P, T> {
    /// `sender` must have room for one answer.
    pub(super) fn new(action: Action, sender: SyncSender<Result<T, CoreMlError>>, payload: P) -> Self {
        Self(Mutex::new(Some(Pending { action, sender, payload, flights: None })))
    }

    /// Counts as these until it is answered or dropped.
    pub(super) fn counted_by(mut self, flights: Flights) -> Self {
        let pending = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(pending) = pending {
            pending.flights = Some(flights);
        }
        self
    }

    /// Answers with what `body` makes of the payload. A second answer is ignored. Never panics: this is called by
    /// Objective-C, through which a panic must not pass.
    pub(super) fn give(&self, body: impl FnOnce(P) -> Result<T, CoreMlError>) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Pending { action, sender, payload, flights }) = taken else { return };
        let given = catch_unwind(AssertUnwindSafe(|| {
            // The pool ends before the answer is there: what the call lent and gave away is free by then.
            let answer = pooled(|| catch_unwind(AssertUnwindSafe(|| body(payload))));
            let answer = answer.unwrap_or_else(|panic| Err(panicked(action, &*panic)));
            // The call has landed before its answer is there, too: whoever has the answer may begin the next.
            let late = flights.map(|(flight, state)| {
                drop(state);
                flight.land()
            });
            let is_late = sender.send(answer).is_err();
            if let (true, Some(late)) = (is_late, late) {
                late.note();
            }
        }));
        if given.is_err() {
            tracing::error!(%action, "core ml: dropping what a handler was given panicked");
        }
    }
}

fn panicked(action: Action, panic: &(dyn Any + Send)) -> CoreMlError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    CoreMlError::HandlerPanicked { action, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_panic_in_a_handler_becomes_an_error_and_goes_no_further() {
        let (sender, answers) = sync_channel::<Result<u8, _>>(1);
        let answer = Answer::new(Action::Predict, sender, ());
        answer.give(|()| panic!("as planned"));
        let error = answers.recv().unwrap().unwrap_err();
        let CoreMlError::HandlerPanicked { action: Action::Predict, message } = error else { panic!("{error:?}") };
        assert_eq!(message, "as planned");
    }

    #[test]
    fn a_handler_answers_once_and_one_that_is_dropped_answers_never() {
        let (sender, answers) = sync_channel(1);
        let answer = Answer::new(Action::Load, sender, 7);
        answer.give(Ok);
        answer.give(|_| panic!("there is nothing left to answer with"));
        assert_eq!(answers.recv().unwrap().unwrap(), 7);
        assert!(answers.recv().is_err());
    }
}
