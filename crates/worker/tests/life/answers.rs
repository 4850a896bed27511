//! Answers, failures and interruptions cross the processes unchanged.

use crate::probe::{VOCAB_SIZE, successor};
use crate::support::{beside, cause, generator, is_there, spawn, spec, step, wait_beats};
use ballast_backend::{
    BlockId, DType, ErrorKind, Generator, Interrupted, LogitRows, Logits, Predictor, Pulse, SequenceStep, Tensor,
    TensorData, TensorMap, TokenId,
};
use ballast_worker::{FRAME_BYTES_MAX, HowEnded, SharedPlace, Worker, WorkerError, WorkerLimits, WorkerSpec};

/// A prompt in two chunks, a second sequence, then a decode step of both; every row of logits.
fn rows_of(engine: &mut dyn Generator) -> Vec<Vec<f32>> {
    let tokens: Vec<TokenId> = (3..43).map(TokenId).collect();
    let blocks = [BlockId(5), BlockId(1), BlockId(9)];
    let share = |range: std::ops::Range<usize>, logits| SequenceStep {
        tokens: &tokens[range.clone()],
        start: range.start,
        blocks: &blocks[..range.end.div_ceil(16)],
        logits,
    };
    let other = |start, logits| SequenceStep { tokens: &tokens[..1], start, blocks: &[BlockId(0)], logits };
    let mut rows = Vec::new();
    let mut logits = Logits::default();
    for batch in [
        vec![share(0..20, LogitRows::None), other(0, LogitRows::Last)],
        vec![other(1, LogitRows::Last), share(20..39, LogitRows::All)],
        vec![share(39..40, LogitRows::Last)],
        vec![other(2, LogitRows::None)],
    ] {
        engine.step(&batch, &mut logits, &Pulse::new()).unwrap();
        rows.extend((0..logits.n_rows()).map(|row| logits.row(row).to_vec()));
    }
    rows
}

#[test]
fn a_worker_answers_as_the_engine_in_process() {
    let mut worker = generator("successor");
    let (mut engine, _control) = successor().engine();
    assert_eq!(worker.shape(), engine.shape());
    let rows = rows_of(&mut worker);
    assert_eq!((rows.len(), rows[0].len()), (22, VOCAB_SIZE));
    assert_eq!(rows, rows_of(&mut engine));
}

#[test]
fn shared_memory_may_lie_in_a_directory_and_leaves_nothing_there() {
    let dir = tempfile::tempdir().unwrap();
    let spec = WorkerSpec { shared: SharedPlace::Directory(dir.path().to_owned()), ..spec("successor") };
    let mut worker = spawn(&spec).unwrap().into_generator().unwrap();
    let is_empty = || std::fs::read_dir(dir.path()).unwrap().next().is_none();
    assert!(is_empty());
    assert_eq!(rows_of(&mut worker), rows_of(&mut successor().engine().0));
    assert!(is_empty());
}

#[test]
fn dropping_the_proxy_ends_the_process() {
    let worker = generator("successor");
    let pid = worker.pid();
    assert!(is_there(pid));
    drop(worker);
    assert!(!is_there(pid));
}

#[test]
fn an_engine_that_reads_and_prints_disturbs_nothing() {
    let mut worker = generator("read");
    let steps = beside(move || [(); 2].map(|()| step(&mut worker, &[1], &Pulse::new()).is_ok()));
    assert_eq!(steps.wait(), [true, true]);
}

#[test]
fn a_failed_step_keeps_its_kind_and_text_and_the_worker() {
    let mut worker = generator("fails second");
    assert!(step(&mut worker, &[1], &Pulse::new()).is_ok());
    let error = step(&mut worker, &[1], &Pulse::new()).unwrap_err();
    assert_eq!(error.to_string(), "engine: step 1 fails by its script");
    assert!(matches!(cause(&error), WorkerError::Engine { kind: ErrorKind::Internal, .. }), "{error:?}");
    assert!(step(&mut worker, &[1], &Pulse::new()).is_ok());
    assert_eq!(worker.how_ended(), None);
}

#[test]
fn logits_that_are_not_the_vocabularys_are_an_error() {
    let mut worker = generator("few logits");
    assert_eq!(step(&mut worker, &[1], &Pulse::new()).unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(worker.how_ended(), None);
}

#[test]
fn an_engine_that_cannot_be_opened_says_why() {
    let error = spawn(&spec("nothing")).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Denied, "no engine \"nothing\""));
    let error = spawn(&spec("panics while it opens")).unwrap_err();
    assert!(matches!(&error, WorkerError::Panicked { text } if text == "it panics while it opens"), "{error}");
}

#[test]
fn an_interruption_ends_the_step_and_not_the_worker() {
    let mut worker = generator("beat");
    let pid = worker.pid();
    for _ in 0..2 {
        let pulse = Pulse::new();
        let theirs = pulse.clone();
        let stepped = beside(move || {
            let error = step(&mut worker, &[1], &theirs).unwrap_err();
            (worker, error)
        });
        // The step would never end by itself; its beats come through.
        wait_beats(&pulse, 3);
        pulse.interrupt();
        let (back, error) = stepped.wait();
        assert_eq!((error.kind(), back.pid()), (ErrorKind::Cancelled, pid));
        assert!(matches!(cause(&error), WorkerError::Engine { .. }), "{error:?}");
        worker = back;
    }
    assert_eq!(worker.how_ended(), None);
}

#[test]
fn a_call_that_nobody_waits_for_is_not_begun() {
    let mut worker = generator("hang");
    let pulse = Pulse::new();
    pulse.interrupt();
    let error = step(&mut worker, &[1], &pulse).unwrap_err();
    assert!(matches!(cause(&error), WorkerError::Interrupted(Interrupted::Call)), "{error:?}");
    assert_eq!(worker.how_ended(), None);
    pulse.abandon();
    assert_eq!(step(&mut worker, &[1], &pulse).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(worker.how_ended(), Some(HowEnded::Signal(9)));
}

#[test]
fn a_step_over_the_shared_memory_is_refused_and_the_worker_goes_on() {
    let limits = WorkerLimits { shared_bytes_max: 4 * VOCAB_SIZE as u64, ..WorkerLimits::default() };
    let mut worker = spawn(&WorkerSpec { limits, ..spec("successor") }).unwrap().into_generator().unwrap();
    let tokens = [TokenId(1), TokenId(2)];
    let share = SequenceStep { tokens: &tokens, start: 0, blocks: &[BlockId(0)], logits: LogitRows::All };
    let error = worker.step(&[share], &mut Logits::default(), &Pulse::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(matches!(cause(&error), WorkerError::SharedTooLarge { max_bytes: 256, got_bytes: 512 }), "{error:?}");
    assert!(step(&mut worker, &[1, 2], &Pulse::new()).is_ok());
}

#[test]
fn a_payload_longer_than_a_frame_is_refused() {
    let error = spawn(&spec(&"x".repeat(FRAME_BYTES_MAX))).unwrap_err();
    assert!(matches!(error, WorkerError::CallTooLong { .. }), "{error}");
}

fn input(values: Vec<f32>) -> TensorMap {
    TensorMap::from([("x".to_owned(), Tensor::new(vec![values.len()], TensorData::F32(values)).unwrap())])
}

#[test]
fn a_tensor_model_answers_across_processes() {
    let worker = spawn(&spec("doubles")).unwrap();
    let Worker::Predictor(mut worker) = worker else { panic!("{worker:?}") };
    let mut outputs = TensorMap::new();
    assert_eq!(worker.dispatch(), None);
    for values in [vec![1.0, -2.5], vec![-0.0, f32::MAX, -1.0, 4.0], vec![]] {
        worker.predict(&input(values.clone()), &mut outputs, &Pulse::new()).unwrap();
        let twice: Vec<f32> = values.iter().map(|v| v * 2.0).collect();
        assert_eq!(outputs["twice"].as_f32().unwrap(), twice);
        let negative: Vec<bool> = values.iter().map(|v| *v < 0.0).collect();
        assert_eq!(outputs["negative"].data(), &TensorData::Bool(negative));
    }
    assert_eq!(worker.dispatch().unwrap().cpu, 1.0);
}

#[test]
fn inputs_that_the_model_does_not_take_are_refused_and_the_worker_goes_on() {
    let mut worker = spawn(&spec("doubles")).unwrap().into_predictor().unwrap();
    let mut outputs = TensorMap::new();
    let mut wrong = input(vec![1.0]);
    wrong.insert("y".to_owned(), Tensor::zeros(vec![1], DType::F32).unwrap());
    for bad in [TensorMap::new(), wrong] {
        assert_eq!(worker.predict(&bad, &mut outputs, &Pulse::new()).unwrap_err().kind(), ErrorKind::Invalid);
    }
    worker.predict(&input(vec![1.0]), &mut outputs, &Pulse::new()).unwrap();
    assert_eq!(outputs["twice"].as_f32(), Some(&[2.0][..]));
}

#[test]
fn a_worker_of_the_other_kind_is_told_apart() {
    assert!(spawn(&spec("doubles")).unwrap().into_generator().is_err());
    assert!(spawn(&spec("successor")).unwrap().into_predictor().is_err());
}
