//! Requests for vectors: bounds, turns, company, cancellation, deadlines, and engines that fail under them.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{
    CapabilityReport, CompiledMeta, ComputeUnits, DType, Dispatch, EncoderShape, EngineError, ErrorKind,
    InferenceEngine, Instance, IoSchema, ModelArtifact, Pooling, Predictor, PrepareOptions, Prepared, Pulse,
    ReasonCode, TensorMap, TokenId, encoder_output, encoder_texts,
};
use ballast_runtime::encoding::{
    EncodeError, EncodeReply, EncodeRequest, Encoding, EncodingOptions, EncodingParts, TextTokens,
};
use ballast_runtime::instance_pool::PoolOptions;
use ballast_runtime::supervised::{Link, LinkModel, SupervisedEngine, SupervisedOptions, SupervisedParts};
use ballast_runtime::telemetry::{Metrics, Telemetry};
use ballast_runtime::{AdmissionOptions, Priority, TenantId};
use ballast_testkit::{PATIENCE, VirtualClock};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Under this token the engine panics.
const POISON: u32 = 13;

const SHAPE: EncoderShape = EncoderShape {
    vocab_size: 100,
    context_len: 20,
    pooling: Pooling::Mean,
    width: 2,
    max_batch_tokens: 40,
    max_batch_texts: 8,
};

/// Lengths of the texts of each call, and how many more calls may begin.
#[derive(Debug, Default)]
struct Gate {
    calls: Vec<Vec<usize>>,
    n_waiting: usize,
    is_shut: bool,
}

#[derive(Debug, Default)]
struct Control {
    gate: Mutex<Gate>,
    changed: Condvar,
}

impl Control {
    fn shut(&self, is_shut: bool) {
        self.gate.lock().unwrap().is_shut = is_shut;
        self.changed.notify_all();
    }

    /// Waits until a call stands before the gate.
    fn await_call(&self) {
        let gate = self.gate.lock().unwrap();
        let (gate, _) = self.changed.wait_timeout_while(gate, PATIENCE, |gate| gate.n_waiting == 0).unwrap();
        assert!(gate.n_waiting > 0, "a call was expected");
    }

    fn pass(&self, lengths: Vec<usize>) {
        let mut gate = self.gate.lock().unwrap();
        gate.calls.push(lengths);
        gate.n_waiting += 1;
        self.changed.notify_all();
        gate = self.changed.wait_while(gate, |gate| gate.is_shut).unwrap();
        gate.n_waiting -= 1;
    }

    fn calls(&self) -> Vec<Vec<usize>> {
        self.gate.lock().unwrap().calls.clone()
    }
}

/// An encoder whose vectors are the sum of a text's tokens and their number.
struct Sums {
    schema: IoSchema,
    control: Arc<Control>,
}

impl Predictor for Sums {
    fn io_schema(&self) -> &IoSchema {
        &self.schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, _: &Pulse) -> Result<(), EngineError> {
        let texts = encoder_texts(inputs).unwrap();
        self.control.pass(texts.iter().map(|(tokens, _)| tokens.len()).collect());
        assert!(texts.iter().all(|(tokens, _)| !tokens.contains(&POISON.cast_signed())), "poison");
        let out = encoder_output(outputs, texts.len(), 2).unwrap();
        for ((tokens, _), out) in texts.iter().zip(out.chunks_exact_mut(2)) {
            out.copy_from_slice(&[tokens.iter().sum::<i32>() as f32, tokens.len() as f32]);
        }
        Ok(())
    }

    fn dispatch(&self) -> Option<Dispatch> {
        None
    }
}

struct Engine(Arc<Control>);

impl InferenceEngine for Engine {
    fn name(&self) -> &'static str {
        "sums"
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        Ok(Prepared {
            cache_key: "sums".to_owned(),
            artifact: artifact.clone(),
            options: options.clone(),
            io_schema: Some(SHAPE.io_schema()),
            sla_estimate: Duration::from_secs(3600),
            memory_bytes: 0,
        })
    }

    fn open(&self, _: &Prepared) -> Result<Instance, EngineError> {
        Ok(Instance::Predictor(Box::new(Sums { schema: SHAPE.io_schema(), control: Arc::clone(&self.0) })))
    }

    fn capabilities(&self, _: &Prepared) -> CapabilityReport {
        CapabilityReport {
            device_class: "none".to_owned(),
            supported_dtypes: vec![DType::F32],
            max_batch_size: 8,
            compute_units_requested: ComputeUnits::CpuOnly,
            compute_units_actual: ComputeUnits::CpuOnly,
            ane_op_coverage_pct: None,
            compile_p99: None,
            infer_p99: None,
        }
    }
}

struct House {
    encoding: Encoding,
    control: Arc<Control>,
    clock: Arc<VirtualClock>,
    metrics: Arc<Metrics>,
}

fn house(options: EncodingOptions) -> House {
    let (control, clock, metrics) =
        (Arc::<Control>::default(), Arc::new(VirtualClock::new()), Arc::<Metrics>::default());
    let meta = CompiledMeta { platform: "any".to_owned(), engine_version: "1".to_owned(), backend: "any".to_owned() };
    let artifact = ModelArtifact::Compiled { path: PathBuf::from("sums"), meta };
    let model = LinkModel::Artifact { artifact, options: PrepareOptions::default() };
    let link = Link { engine: Arc::new(Engine(Arc::clone(&control))), model, memory: None };
    let telemetry = Telemetry { metrics: Some(Arc::clone(&metrics)), ..Telemetry::default() };
    let parts = SupervisedParts { clock: clock.clone(), telemetry: telemetry.clone() };
    let pool = PoolOptions { n_instances: 1, ..PoolOptions::default() };
    // An instance that is lost comes back at once: time stands still.
    let mut supervised = SupervisedOptions { pool, ..SupervisedOptions::default() };
    supervised.restart.initial = Duration::ZERO;
    supervised.retry.attempts_max = 1;
    let engine = SupervisedEngine::open(vec![link], parts, supervised).unwrap();
    let parts = EncodingParts { engine, shape: SHAPE, clock: clock.clone(), telemetry };
    House { encoding: Encoding::start(parts, options).unwrap(), control, clock, metrics }
}

fn text(tokens: &[u32]) -> TextTokens {
    TextTokens { tokens: tokens.iter().copied().map(TokenId).collect(), n_first: tokens.len() }
}

fn request(texts: &[&[u32]]) -> EncodeRequest {
    EncodeRequest { texts: texts.iter().map(|tokens| text(tokens)).collect(), ..EncodeRequest::default() }
}

impl House {
    fn submit(&self, texts: &[&[u32]]) -> EncodeReply {
        self.encoding.submit(request(texts)).unwrap()
    }

    /// Lets nothing run from here on; a first request stands before the gate.
    fn hold(&self) -> EncodeReply {
        self.control.shut(true);
        let first = self.submit(&[&[1]]);
        self.control.await_call();
        first
    }
}

#[test]
fn every_request_gets_its_own_vectors_in_its_order() {
    let house = house(EncodingOptions::default());
    let first = house.hold();
    let replies = [house.submit(&[&[1, 2], &[3]]), house.submit(&[&[4, 5, 6]]), house.submit(&[&[7], &[8], &[9]])];
    house.control.shut(false);
    let vectors = replies.map(|reply| reply.wait().unwrap().vectors);
    assert_eq!(vectors[0], [[3.0, 2.0], [3.0, 1.0]]);
    assert_eq!(vectors[1], [[15.0, 3.0]]);
    assert_eq!(vectors[2], [[7.0, 1.0], [8.0, 1.0], [9.0, 1.0]]);
    assert_eq!(first.wait().unwrap().n_tokens, 1);
    assert_eq!(house.control.calls(), [vec![1], vec![2, 1, 3, 1, 1, 1]], "they ran in one call");
}

#[test]
fn a_request_larger_than_a_call_is_put_together_from_several() {
    let house = house(EncodingOptions::default());
    let long = [2; 20];
    let texts = [&long[..], &[1], &long, &long[..15], &[3]];
    let encoded = house.submit(&texts).wait().unwrap();
    assert_eq!(encoded.vectors, [[40.0, 20.0], [1.0, 1.0], [40.0, 20.0], [30.0, 15.0], [3.0, 1.0]]);
    assert_eq!((encoded.n_tokens, house.control.calls().len()), (57, 2));
}

#[test]
fn what_the_encoder_does_not_take_is_refused_with_the_counts() {
    let house = house(EncodingOptions { texts_max: 3, ..EncodingOptions::default() });
    let refused = |texts: &[&[u32]]| house.encoding.submit(request(texts)).unwrap_err();
    assert!(matches!(refused(&[]), EncodeError::Texts { texts_max: 3, got: 0 }));
    assert!(matches!(refused(&[&[1_u32][..]; 4]), EncodeError::Texts { texts_max: 3, got: 4 }));
    assert!(matches!(refused(&[&[1], &[]]), EncodeError::TextLength { idx: 1, tokens_max: 20, got: 0 }));
    let long = refused(&[&[1], &[1; 21]]);
    assert!(matches!(long, EncodeError::TextLength { idx: 1, tokens_max: 20, got: 21 }));
    assert_eq!((long.kind(), long.reason()), (ErrorKind::Invalid, Some(ReasonCode::ContextLengthExceeded)));
    assert!(matches!(refused(&[&[100]]), EncodeError::Token { idx: 0, vocab_size: 100, got: 100 }));
}

#[test]
fn the_queue_is_bounded_by_requests_and_by_tokens() {
    let admission = AdmissionOptions { queue_max: 2, queued_tokens_max: 30 };
    let house = house(EncodingOptions { admission, ..EncodingOptions::default() });
    let first = house.hold();
    let held = house.submit(&[&[1; 20]]);
    let full = house.encoding.submit(request(&[&[1; 11]])).unwrap_err();
    assert_eq!((full.kind(), full.reason()), (ErrorKind::Overloaded, Some(ReasonCode::BackpressureQueueFull)));
    assert!(full.retry_after().is_some());
    let second = house.submit(&[&[1; 10]]);
    assert!(matches!(house.encoding.submit(request(&[&[1]])), Err(EncodeError::QueueFull { .. })));
    assert_eq!(house.encoding.n_waiting(), 2);
    house.control.shut(false);
    for reply in [first, held, second] {
        reply.wait().unwrap();
    }
    assert_eq!(house.encoding.n_waiting(), 0);
}

#[test]
fn higher_priorities_and_tenants_that_had_less_come_first() {
    let house = house(EncodingOptions::default());
    let first = house.hold();
    let of = |len: usize, tenant: &str, priority: Priority| {
        let tenant = tenant.parse::<TenantId>().unwrap();
        house.encoding.submit(EncodeRequest { tenant, priority, ..request(&[&vec![1; len], &[1; 20]]) }).unwrap()
    };
    let replies = [
        of(20, "a", Priority::NORMAL),
        of(19, "a", Priority::NORMAL),
        of(18, "b", Priority::NORMAL),
        of(17, "b", Priority::HIGH),
    ];
    house.control.shut(false);
    for reply in replies {
        reply.wait().unwrap();
    }
    first.wait().unwrap();
    let firsts: Vec<usize> = house.control.calls().iter().map(|call| call[0]).collect();
    assert_eq!(firsts, [1, 17, 20, 18, 19]);
}

#[test]
fn a_request_whose_asker_has_gone_never_runs() {
    let house = house(EncodingOptions::default());
    let first = house.hold();
    drop(house.submit(&[&[1; 7]]));
    let last = house.submit(&[&[1; 3]]);
    house.control.shut(false);
    last.wait().unwrap();
    first.wait().unwrap();
    assert_eq!(house.control.calls(), [[1], [3]]);
    assert_eq!(house.encoding.n_waiting(), 0, "it left its place");
}

#[test]
fn a_request_whose_time_is_over_ends_with_the_reason() {
    let house = house(EncodingOptions::default());
    let first = house.hold();
    let deadline = Some(Duration::from_millis(100));
    let late = house.encoding.submit(EncodeRequest { deadline, ..request(&[&[5]]) }).unwrap();
    house.clock.advance(Duration::from_millis(100));
    house.control.shut(false);
    let error = late.wait().unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Cancelled, Some(ReasonCode::CancelledByTimeout)));
    first.wait().unwrap();
    assert_eq!(house.control.calls().len(), 1);
}

#[test]
fn one_that_no_engine_survives_does_not_take_others_with_it() {
    let house = house(EncodingOptions::default());
    let first = house.hold();
    let (good, bad, other) = (house.submit(&[&[1]]), house.submit(&[&[POISON]]), house.submit(&[&[2]]));
    house.control.shut(false);
    first.wait().unwrap();
    let error = bad.wait().unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Internal, Some(ReasonCode::EngineCrashed)));
    assert_eq!(good.wait().unwrap().vectors, [[1.0, 1.0]]);
    assert_eq!(other.wait().unwrap().vectors, [[2.0, 1.0]]);
}

#[test]
fn a_draining_encoder_answers_what_it_took_and_takes_nothing() {
    let house = house(EncodingOptions::default());
    let first = house.hold();
    house.encoding.drain();
    assert!(matches!(house.encoding.submit(request(&[&[1]])), Err(EncodeError::Draining)));
    house.control.shut(false);
    first.wait().unwrap();
}

#[test]
fn what_waits_when_the_encoder_goes_is_told() {
    let house = house(EncodingOptions::default());
    let (first, second) = (house.hold(), house.submit(&[&[2]]));
    let House { encoding, control, .. } = house;
    let dropped = std::thread::spawn(move || drop(encoding));
    assert!(matches!(second.wait(), Err(EncodeError::Stopped)));
    assert!(matches!(first.wait(), Err(EncodeError::Stopped)));
    control.shut(false);
    dropped.join().unwrap();
}

#[test]
fn requests_are_counted() {
    let house = house(EncodingOptions::default());
    house.submit(&[&[1, 2]]).wait().unwrap();
    house.encoding.submit(request(&[])).unwrap_err();
    let snapshot = house.metrics.snapshot();
    let text = format!("{snapshot:?}");
    assert!(text.contains("prompt_tokens: 2") || text.contains("prompt_tokens_total: 2"), "{text}");
}
