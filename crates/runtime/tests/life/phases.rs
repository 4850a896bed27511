//! Deadlines by phase, slow readers, policies, drain, and what is counted on the way.

use crate::house::{Ended, House, ask, echo, held_echo, open, open_with, parts, read};
use ballast_backend::ReasonCode;
use ballast_runtime::telemetry::{CorrelationId, LogRecord, Metrics, RingLogger, Telemetry, Timing, Value};
use ballast_runtime::{
    Deadlines, Event, FinishReason, InputPolicy, Obligations, Phase, PrefixCache, Request, Runtime, RuntimeError,
    RuntimeOptions, RuntimeParts, TenantId, Verdict,
};
use ballast_testkit::VirtualClock;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn overdue(ended: &Ended) -> (Option<ReasonCode>, Option<Phase>) {
    (ended.summary.reason, ended.summary.overdue)
}

#[test]
fn each_phase_has_its_own_deadline() {
    let late = |phase| (Some(ReasonCode::CancelledByTimeout), Some(phase));
    let mut script = held_echo();
    script.shape.max_batch_sequences = 1;
    let house = open(script);
    let first_token = Deadlines { first_token: Some(4 * SECOND), ..Deadlines::default() };
    let working = house.runtime.submit(Request { deadlines: first_token, ..ask(b'a', 1, 9) }).unwrap();
    house.control.wait_begun(1);
    let queue = Deadlines { queue: Some(2 * SECOND), total: Some(60 * SECOND), ..Deadlines::default() };
    let waiting = house.runtime.submit(Request { deadlines: queue, ..ask(b'b', 1, 9) }).unwrap();
    house.clock.advance(2 * SECOND);
    assert_eq!(overdue(&read(waiting)), late(Phase::Queue));
    house.clock.advance(2 * SECOND);
    assert_eq!(overdue(&read(working)), late(Phase::FirstToken));
    // The first step's end is not heard by anybody; the next request's first token is, its second is held back.
    house.control.allow(2);
    let inter_token = Deadlines { inter_token: Some(3 * SECOND), ..Deadlines::default() };
    let stream = house.runtime.submit(Request { deadlines: inter_token, ..ask(b'c', 1, 9) }).unwrap();
    house.control.wait_begun(3);
    house.clock.advance(3 * SECOND);
    let ended = read(stream);
    assert_eq!((overdue(&ended), ended.text.as_str()), (late(Phase::InterToken), "c"));
    house.control.release();
}

#[test]
fn a_reader_that_stays_slow_is_cut() {
    let slow_reader_max = 30 * SECOND;
    let options = RuntimeOptions { buffered_tokens_max: 3, slow_reader_max, ..RuntimeOptions::default() };
    let house = open_with(echo(), options);
    let slow = house.runtime.submit(ask(b'a', 1, 50)).unwrap();
    assert_eq!(read(house.runtime.submit(ask(b'b', 1, 100)).unwrap()).tokens.len(), 100);
    house.clock.advance(slow_reader_max);
    while house.runtime.health().active_sequences > 0 {
        std::thread::yield_now();
    }
    let ended = read(slow);
    assert_eq!(ended.how(), (FinishReason::Cancelled, Some(ReasonCode::BackpressureBufferFull)));
    assert_eq!(ended.text, "aaa", "what was buffered is not lost");
    let health = &house.runtime.health().engines[0];
    assert_eq!(health.available_blocks, health.blocks);
}

#[test]
fn draining_finishes_what_is_in_flight_and_takes_nothing_new() {
    let house = open(held_echo());
    let working = house.runtime.submit(ask(b'a', 1, 9)).unwrap();
    house.control.wait_begun(1);
    let runtime = house.runtime.clone();
    let draining = std::thread::spawn(move || runtime.drain(60 * SECOND));
    while !house.runtime.health().draining {
        std::thread::yield_now();
    }
    assert!(matches!(house.runtime.submit(ask(b'b', 1, 1)), Err(RuntimeError::Draining)));
    house.control.release();
    assert_eq!(read(working).how(), (FinishReason::Length, None));
    draining.join().unwrap();
    assert!(!house.runtime.health().running);
}

#[test]
fn draining_cuts_what_does_not_finish_in_time() {
    let house = open_with(echo(), RuntimeOptions { buffered_tokens_max: 3, ..RuntimeOptions::default() });
    let unread = house.runtime.submit(ask(b'a', 1, 50)).unwrap();
    house.runtime.drain(Duration::ZERO);
    assert_eq!(read(unread).how(), (FinishReason::Cancelled, Some(ReasonCode::Draining)));
}

/// Blocks what begins with `x`, and allows two tokens of everything else.
struct Strict;

impl InputPolicy for Strict {
    fn review(&self, request: &Request) -> Verdict {
        if request.prompt[0].0 == u32::from(b'x') {
            Verdict::Block { rule: "no-x" }
        } else {
            Verdict::AllowWithin(Obligations { max_tokens: Some(2) })
        }
    }
}

#[test]
fn a_policy_blocks_and_puts_bounds_before_an_engine_sees_anything() {
    let (engine, control) = echo().engine();
    let mut parts = parts(&VirtualClock::new(), RuntimeOptions::default());
    parts.policy = Some(Arc::new(Strict));
    let runtime = Runtime::start(Box::new(engine), parts);
    let blocked = runtime.submit(ask(b'x', 3, 9)).unwrap_err();
    assert_eq!(blocked.reason(), Some(ReasonCode::PolicyBlocked));
    assert_eq!((control.steps().len(), runtime.health().waiting_requests), (0, 0));
    assert_eq!(read(runtime.submit(ask(b'a', 3, 9)).unwrap()).text, "aa");
    assert_eq!(read(runtime.submit(ask(b'a', 3, 1)).unwrap()).text, "a");
}

#[test]
fn a_known_beginning_is_reported_as_cached_and_tenants_do_not_share_it() {
    let house = open(echo());
    let asked = |tenant: &str, prefix_cache| {
        let tenant: TenantId = tenant.parse().unwrap();
        read(house.runtime.submit(Request { tenant, prefix_cache, ..ask(b'a', 40, 3) }).unwrap())
    };
    let cached = |tenant, prefix_cache| asked(tenant, prefix_cache).summary.usage.cached_tokens;
    assert_eq!(cached("one", PrefixCache::Tenant), 0);
    assert_eq!(cached("one", PrefixCache::Tenant), 39);
    assert_eq!(cached("two", PrefixCache::Tenant), 0);
    assert_eq!(cached("one", PrefixCache::Shared), 0);
    assert_eq!(cached("two", PrefixCache::Shared), 39);
    assert_eq!(cached("one", PrefixCache::Off), 0);
    assert_eq!(asked("one", PrefixCache::Tenant).text, "aaa");
}

#[test]
fn evicted_blocks_are_counted() {
    let mut script = echo();
    (script.shape.n_blocks, script.shape.block_len) = (4, 8);
    let (engine, _control) = script.engine();
    let metrics = Arc::new(Metrics::default());
    let mut parts = parts(&VirtualClock::new(), RuntimeOptions::default());
    parts.telemetry = Telemetry { metrics: Some(Arc::clone(&metrics)), logger: None };
    let runtime = Runtime::start(Box::new(engine), parts);
    for letter in [b'a', b'b'] {
        read(runtime.submit(ask(letter, 24, 2)).unwrap());
    }
    runtime.drain(Duration::ZERO);
    let evicted = runtime.health().engines[0].evicted_blocks;
    assert!(evicted > 0);
    assert_eq!(metrics.snapshot().resources.kv_evicted_blocks, evicted);
}

#[test]
fn what_is_admitted_and_refused_is_named_whether_its_caller_names_it_or_not() {
    let (engine, _control) = echo().engine();
    let ring = Arc::new(RingLogger::new(64));
    let mut parts = parts(&VirtualClock::new(), RuntimeOptions::default());
    parts.telemetry = Telemetry { metrics: None, logger: Some(Arc::clone(&ring) as _) };
    let runtime = Runtime::start(Box::new(engine), parts);
    let named = |name: &str, n_prompt| Request {
        correlation: Some(name.parse().unwrap()),
        tenant: "house".parse().unwrap(),
        ..ask(b'a', n_prompt, 1)
    };
    read(runtime.submit(named("first", 1)).unwrap());
    runtime.submit(named("second", 0)).unwrap_err();
    read(runtime.submit(ask(b'a', 1, 1)).unwrap());
    runtime.submit(ask(b'a', 0, 1)).unwrap_err();
    let told = |name| -> Vec<(String, String)> {
        let of = |record: LogRecord| (record.correlation.unwrap().to_string(), record.tenant.unwrap().to_string());
        ring.records().into_iter().filter(|record| record.name == name).map(of).collect()
    };
    let numbered = |number| CorrelationId::from_number(number).to_string();
    let tenants = ["house", "default"].map(str::to_owned);
    let expected = |first: &str, number| [first.to_owned(), numbered(number)].into_iter().zip(tenants.clone());
    assert_eq!(told("request_admitted"), expected("first", 1).collect::<Vec<_>>());
    assert_eq!(told("request_refused"), expected("second", 2).collect::<Vec<_>>());
    assert_eq!(told("request_ended")[1].0, numbered(1), "and it ends under the name it was admitted with");
}

#[test]
fn the_runtime_tells_its_metrics_what_happens() {
    let (engine, _control) = echo().engine();
    let metrics = Arc::new(Metrics::default());
    let mut parts = parts(&VirtualClock::new(), RuntimeOptions::default());
    parts.telemetry = Telemetry { metrics: Some(Arc::clone(&metrics)), logger: None };
    let runtime = Runtime::start(Box::new(engine), parts);
    for _ in 0..2 {
        read(runtime.submit(ask(b'a', 33, 5)).unwrap());
    }
    runtime.submit(ask(b'a', 0, 5)).unwrap_err();
    runtime.drain(Duration::ZERO);
    let snapshot = metrics.snapshot();
    assert_eq!((snapshot.infer_count, snapshot.infer_success), (10, 10), "steps");
    let requests = &snapshot.requests;
    assert_eq!((requests.prompt_tokens, requests.completion_tokens, requests.cached_tokens), (66, 10, 32));
    assert_eq!(snapshot.resources.kv_hit_rate, Some(32.0 / 66.0));
    assert!(snapshot.summary().contains("10"), "{}", snapshot.summary());
}

#[test]
fn every_generated_token_is_an_event_and_the_first_has_none_before_it() {
    let (metrics, ring) = (Arc::new(Metrics::default()), Arc::new(RingLogger::new(64)));
    let telemetry = Telemetry { metrics: Some(Arc::clone(&metrics)), logger: Some(Arc::clone(&ring) as _) };
    let (script, clock) = (held_echo(), VirtualClock::new());
    let (engine, control) = script.engine();
    let parts = RuntimeParts { telemetry, ..parts(&clock, RuntimeOptions::default()) };
    let runtime = Runtime::start(Box::new(engine), parts);
    let mut stream = runtime.submit(ask(b'a', 2, 3)).unwrap();
    for _ in 0..3 {
        clock.advance(Duration::from_millis(20));
        control.allow(1);
        assert!(matches!(stream.next_blocking(), Some(Event::Token(_))));
    }
    assert!(matches!(stream.next_blocking(), Some(Event::Done(_))));
    let told: Vec<_> = ring.records().into_iter().filter(|record| record.name.contains("token")).collect();
    assert_eq!(
        told.iter().map(|record| record.name).collect::<Vec<_>>(),
        ["first_token", "token_generated", "token_generated", "token_generated"]
    );
    let since_last = |record: &LogRecord| record.fields.as_slice()[0];
    let later = ("since_last_ms", Value::from(Duration::from_millis(20)));
    assert_eq!(told[1..].iter().map(since_last).collect::<Vec<_>>(), [("since_last_ms", Value::Absent), later, later]);
    let counted = metrics.snapshot();
    assert_eq!((counted.requests.generated_tokens, counted.requests.completion_tokens), (3, 3));
    assert_eq!(metrics.timing(Timing::InterToken).count(), 2);
}

/// Prompt tokens read and tokens generated, at each word of progress.
fn told_progress(house: &House, request: Request) -> (Vec<(usize, usize)>, usize) {
    let (mut told, mut n_tokens) = (Vec::new(), 0);
    let mut stream = house.runtime.submit(request).unwrap();
    while let Some(event) = stream.next_blocking() {
        match event {
            Event::Progress(progress) => told.push((progress.read_tokens, progress.usage.completion_tokens)),
            Event::Token(_) => n_tokens += 1,
            Event::Done(_) => {}
        }
    }
    (told, n_tokens)
}

#[test]
fn progress_is_told_at_each_part_of_the_prompt_and_before_each_token() {
    let house = open(echo());
    let asking = || Request { tells_progress: true, ..ask(b'a', 150, 2) };
    assert_eq!(told_progress(&house, asking()), (vec![(0, 0), (64, 0), (128, 0), (150, 1), (150, 2)], 2));
    let (again, _) = told_progress(&house, asking());
    assert!(matches!(again[..], [(128..150, 0), (150, 1), (150, 2)]), "what is cached is read: {again:?}");
    assert_eq!(told_progress(&house, ask(b'a', 150, 2)), (Vec::new(), 2), "nobody asked");
}

#[test]
fn progress_takes_no_room_from_tokens() {
    let house = open_with(echo(), RuntimeOptions { buffered_tokens_max: 1, ..RuntimeOptions::default() });
    let (told, n_tokens) = told_progress(&house, Request { tells_progress: true, ..ask(b'a', 2, 5) });
    assert_eq!(n_tokens, 5);
    assert!(told.len() <= 6, "{told:?}");
}
