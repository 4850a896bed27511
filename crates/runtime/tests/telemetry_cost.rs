//! What an emit allocates: nothing, with nothing attached, with metrics, and with a logger that wants nothing. Alone in
//! its binary, because it counts allocations.
#![expect(unsafe_code, reason = "a global allocator that counts")]

use ballast_backend::{Dispatch, ErrorKind, ReasonCode};
use ballast_runtime::FinishReason;
use ballast_runtime::events::{
    BreakerChanged, InferenceEnded, KvLookup, RequestEnded, RequestRefused, RequestStarted, TokenGenerated,
};
use ballast_runtime::telemetry::{
    AtLeast, ConsoleLogger, CorrelationId, Ids, Level, Logger, Metrics, NullLogger, Telemetry, TenantId,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::sink;
use std::sync::Arc;
use std::time::Duration;

/// The system's allocator, counting each thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn emit_some(telemetry: &Telemetry) {
    let (time, reason) = (Duration::from_millis(1), Some(ReasonCode::BackpressureQueueFull));
    let (correlation, tenant) = (CorrelationId::from_number(1), TenantId::default());
    let ids = Ids::new(&correlation, &tenant);
    telemetry.emit_for(ids, &RequestStarted { queue_time: time });
    telemetry.emit_for(ids, &TokenGenerated { since_last: Some(time) });
    telemetry.emit_for(ids, &KvLookup { hit_tokens: 1, miss_tokens: 2 });
    telemetry.emit_for(ids, &RequestRefused { kind: ErrorKind::Overloaded, reason });
    let (prompt_tokens, completion_tokens, cached_tokens) = (5, 3, 2);
    let finish_reason = FinishReason::Stop;
    let total = time;
    telemetry
        .emit_for(ids, &RequestEnded { finish_reason, reason, prompt_tokens, completion_tokens, cached_tokens, total });
    let dispatch = Some(Dispatch::CPU);
    telemetry.emit(&InferenceEnded { engine: "e", duration: time, outcome: Ok(()), dispatch, sla_violated: true });
    telemetry.emit(&BreakerChanged { engine: "e", from: "closed", to: "open", cause: "failures" });
}

fn allocations(telemetry: &Telemetry) -> usize {
    let before = ALLOCATIONS.get();
    emit_some(telemetry);
    ALLOCATIONS.get() - before
}

#[test]
fn nothing_attached_allocates_nothing() {
    assert_eq!(allocations(&Telemetry::default()), 0);
}

#[test]
fn counting_allocates_nothing() {
    let telemetry = Telemetry { metrics: Some(Arc::new(Metrics::default())), logger: None };
    assert_eq!(allocations(&telemetry), 0);
}

#[test]
fn a_logger_that_wants_nothing_allocates_nothing() {
    let filtered = AtLeast { level: Level::Error, logger: ConsoleLogger::new(Vec::<u8>::new()) };
    let loggers: [Arc<dyn Logger>; 2] = [Arc::new(NullLogger), Arc::new(filtered)];
    for logger in loggers {
        assert_eq!(allocations(&Telemetry { metrics: None, logger: Some(logger) }), 0);
    }
}

#[test]
fn a_console_logger_reuses_its_line() {
    let telemetry = Telemetry { metrics: None, logger: Some(Arc::new(ConsoleLogger::new(sink()))) };
    emit_some(&telemetry);
    assert_eq!(allocations(&telemetry), 0);
}

#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(Box::new(before));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn the_handle_goes_to_every_thread() {
    fn needs_send_and_sync(_: impl Clone + Send + Sync + Default + 'static) {}
    needs_send_and_sync(Telemetry::default());
}
