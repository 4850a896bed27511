//! What the decisions about a request cost: a place in the queue, the breaker's leave, an event, a version to ask.

use crate::SystemClock;
use crate::table::{Claim, Table};
use ballast_backend::Clock;
use ballast_runtime::breaker::{BreakerOptions, CircuitBreaker, Outcome};
use ballast_runtime::events::FirstToken;
use ballast_runtime::telemetry::{Metrics, NullLogger, Telemetry};
use ballast_runtime::{Admission, AdmissionOptions};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// A decision is too short for the clock: each call of a row makes this many, and the row's figures are divided by it.
const BATCH: u64 = 256;
const ADMISSION: Claim = "38-45 ns";
const EVENT: Claim = "1 us";

pub(crate) fn measure(table: &mut Table, clock: &SystemClock) {
    let admission = Admission::new(AdmissionOptions::default());
    batch(table, clock, ("admission: place taken and freed", ADMISSION), || {
        black_box(admission.place(black_box(100)).expect("there is room"));
    });
    let full = Admission::new(AdmissionOptions { queue_max: 1, ..AdmissionOptions::default() });
    let _held = full.place(1).expect("there is room for one");
    batch(table, clock, ("admission: refused", ADMISSION), || {
        black_box(full.place(black_box(100)).expect_err("there is no room"));
    });
    let breaker = CircuitBreaker::new(BreakerOptions::default(), |_| {});
    let now = clock.now();
    let outcome = Outcome::Success { latency: Duration::from_millis(1) };
    batch(table, clock, ("breaker: leave asked and outcome told", ""), || {
        breaker.try_pass(black_box(now)).expect("it is closed").record(outcome, now);
    });
    let event = FirstToken { ttft: Duration::from_millis(3) };
    let silent = Telemetry::default();
    batch(table, clock, ("event: nothing attached", EVENT), || silent.emit(black_box(&event)));
    let counted = Telemetry { metrics: Some(Arc::new(Metrics::default())), logger: Some(Arc::new(NullLogger)) };
    batch(table, clock, ("event: metrics and a null logger", EVENT), || counted.emit(black_box(&event)));
}

fn batch(table: &mut Table, clock: &SystemClock, (name, claim): (&str, Claim), mut decide: impl FnMut()) {
    let mut times = Vec::new();
    for _ in 0..4_000 {
        let begin = clock.now();
        (0..BATCH).for_each(|_| decide());
        let nanos = clock.now().saturating_sub(begin).as_nanos();
        times.push(u64::try_from(nanos).unwrap_or(u64::MAX) / BATCH);
    }
    table.add(name, claim, times);
}
