//! The worker's side: greets, opens the instance, answers one call after the other until it is asked to end.

use crate::batch::Batch;
use crate::link::Link;
use crate::shared::SharedArea;
use crate::watch::Watch;
use crate::wire::{Failure, Hello, Opening, Outcome, Reply, Request, Shares, VERSION, Welcome};
use crate::{WorkerError, handover, tensors};
use ballast_backend::{
    Dispatch, EngineError, ErrorKind, Generator, GeneratorShape, Instance, Logits, Predictor, Pulse, SequenceStep,
    TensorMap,
};
use bytemuck::{cast_slice, cast_slice_mut};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Score by which the system prefers a worker to its server when memory runs out; 0 is usual, 1000 the most.
const OOM_SCORE: &str = "500";

/// Serves as a worker: takes over standard input, opens what `open` makes of the parent's payload, and
/// answers the parent's calls. Returns when the parent asks for the end or the engine has panicked; when the parent
/// dies, the process ends at once wherever it is.
///
/// # Errors
/// If this process was not started by [`crate::Worker::spawn`], or the parent breaks the protocol.
pub fn serve(open: impl FnOnce(&str) -> Result<Instance, EngineError>) -> Result<(), WorkerError> {
    let spawn = |source| WorkerError::Spawn { source };
    let calls = take_over_stdin().map_err(spawn)?;
    let handed = handover::receive(&calls).map_err(spawn)?;
    let mut calls = Link::new(calls).map_err(spawn)?;
    let hello: Hello = calls.receive()?;
    calls.send(&Welcome { version: VERSION, token: hello.token })?;
    if hello.version != VERSION {
        return Err(WorkerError::Version { expected: VERSION, got: hello.version });
    }
    let shared = SharedArea::new(handed.shared, hello.shared_bytes_max);
    let watch = Watch::start(Link::new(handed.life).map_err(spawn)?).map_err(spawn)?;
    prefer_to_the_server();
    let instance = match guarded(|| {
        limit_memory(hello.memory_bytes_max)?;
        open(&hello.payload)
    }) {
        Ok(instance) => instance,
        Err(failure) => return Ok(calls.send(&Opening::Failed(failure))?),
    };
    Server { calls, shared, watch }.run(instance)
}

/// The socket that was standard input. Native code that reads finds nothing there from now on.
fn take_over_stdin() -> io::Result<UnixStream> {
    let calls = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(calls))
}

/// Best effort: not every system has the file.
fn prefer_to_the_server() {
    drop(std::fs::write("/proc/self/oom_score_adj", OOM_SCORE));
}

fn limit_memory(bytes_max: Option<u64>) -> Result<(), EngineError> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let Some(bytes) = bytes_max else { return Ok(()) };
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::As, limit).map_err(|error| EngineError::new(ErrorKind::Denied, error))
}

/// Runs native code; its panic becomes a failure.
fn guarded<T>(run: impl FnOnce() -> Result<T, EngineError>) -> Result<T, Failure> {
    // Nothing is used after a panic: the worker ends.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::of_engine(&error)),
        Err(payload) => Err(Failure::of_panic(&*payload)),
    }
}

/// An open worker.
struct Server {
    calls: Link,
    shared: SharedArea,
    watch: Arc<Watch>,
}

/// Whether the worker goes on after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Next,
    End,
}

impl Server {
    fn run(&mut self, instance: Instance) -> Result<(), WorkerError> {
        match instance {
            Instance::Generator(generator) => self.run_generator(generator),
            Instance::Predictor(predictor) => self.run_predictor(predictor),
        }
    }

    fn run_generator(&mut self, mut generator: Box<dyn Generator>) -> Result<(), WorkerError> {
        self.calls.send(&Opening::Generator(generator.shape().into()))?;
        let mut step = Step::default();
        loop {
            match self.calls.receive()? {
                Request::Step { call, n_sequences, n_words } => {
                    let read = step.read(&self.shared, n_sequences, n_words);
                    let done = read.and_then(|()| {
                        let (pulse, shape) = (self.watch.begin(call), generator.shape().clone());
                        let (steps, logits) = (step.batch.steps(), &mut step.logits);
                        guarded(|| generator.step(&steps, logits, pulse))?;
                        write_logits(&self.shared, &steps, logits, &shape)
                    });
                    if self.reply(call, done)? == After::End {
                        return Ok(());
                    }
                }
                Request::End => return Ok(()),
                Request::Predict { .. } => return Err(unexpected("a step or the end")),
            }
        }
    }

    fn run_predictor(&mut self, mut predictor: Box<dyn Predictor>) -> Result<(), WorkerError> {
        self.calls.send(&Opening::Predictor(predictor.io_schema().into()))?;
        let (mut inputs, mut outputs) = (TensorMap::new(), TensorMap::new());
        loop {
            match self.calls.receive()? {
                Request::Predict { call, inputs: heads } => {
                    inputs.retain(|name, _| heads.iter().any(|head| head.name == *name));
                    let read = tensors::read(&heads, &self.shared, &mut inputs).map_err(|error| failure_of(&error));
                    let done = read.and_then(|()| {
                        let pulse = self.watch.begin(call);
                        guarded(|| predict(&mut *predictor, &inputs, &mut outputs, pulse))?;
                        write_outputs(&self.shared, &*predictor, &outputs)
                    });
                    if self.reply(call, done)? == After::End {
                        return Ok(());
                    }
                }
                Request::End => return Ok(()),
                Request::Step { .. } => return Err(unexpected("a prediction or the end")),
            }
        }
    }

    /// Answers a call. After a panic the worker ends.
    fn reply(&mut self, call: u64, done: Result<Outcome, Failure>) -> Result<After, WorkerError> {
        let after = if matches!(&done, Err(failure) if failure.crashed) { After::End } else { After::Next };
        self.calls.send(&Reply { call, outcome: done.unwrap_or_else(Outcome::Failed) })?;
        Ok(after)
    }
}

fn unexpected(expected: &'static str) -> WorkerError {
    WorkerError::Protocol { expected, got: "a call of the other kind".to_owned() }
}

fn failure_of(error: &WorkerError) -> Failure {
    Failure::new(error.kind(), &error.to_string())
}

/// The buffers of steps, kept between them.
#[derive(Debug, Default)]
struct Step {
    words: Vec<u32>,
    batch: Batch,
    logits: Logits,
}

impl Step {
    fn read(&mut self, shared: &SharedArea, n_sequences: usize, n_words: usize) -> Result<(), Failure> {
        let read = shared.check_room((n_words as u64).saturating_mul(4)).and_then(|()| {
            self.words.resize(n_words, 0);
            shared.read(0, cast_slice_mut(&mut self.words))?;
            self.batch.decode(&self.words, n_sequences)
        });
        read.map_err(|error| failure_of(&error))
    }
}

/// Writes the rows that were asked for, if they are what the engine's shape says.
fn write_logits(
    shared: &SharedArea,
    steps: &[SequenceStep<'_>],
    logits: &Logits,
    shape: &GeneratorShape,
) -> Result<Outcome, Failure> {
    let n_rows: usize = steps.iter().map(SequenceStep::n_logit_rows).sum();
    if logits.n_rows() != n_rows || (n_rows > 0 && logits.row(0).len() != shape.vocab_size) {
        let text = format!("logits: expected {n_rows} rows of the vocabulary, got {} rows", logits.n_rows());
        return Err(Failure::new(ErrorKind::Internal, &text));
    }
    let mut offset = 0;
    for row in 0..n_rows {
        offset = shared.write(offset, cast_slice(logits.row(row))).map_err(|error| failure_of(&error))?;
    }
    Ok(Outcome::Stepped { n_rows })
}

fn predict(
    predictor: &mut dyn Predictor,
    inputs: &TensorMap,
    outputs: &mut TensorMap,
    pulse: &Pulse,
) -> Result<(), EngineError> {
    // The parent's caller may have skipped the check; here it costs nothing and the engine relies on it.
    let checked = predictor.io_schema().check_inputs(inputs);
    checked.map_err(|error| EngineError::new(ErrorKind::Invalid, error))?;
    predictor.predict(inputs, outputs, pulse)
}

fn write_outputs(shared: &SharedArea, predictor: &dyn Predictor, outputs: &TensorMap) -> Result<Outcome, Failure> {
    let specs = &predictor.io_schema().outputs;
    if let Some(missing) = specs.iter().find(|spec| !outputs.contains_key(&spec.name)) {
        let text = format!("output {:?}: expected a tensor, got none", missing.name);
        return Err(Failure::new(ErrorKind::Internal, &text));
    }
    let in_order = specs.iter().filter_map(|spec| Some((spec.name.as_str(), outputs.get(&spec.name)?)));
    let heads = tensors::write(in_order, shared).map_err(|error| failure_of(&error))?;
    Ok(Outcome::Predicted { outputs: heads, dispatch: predictor.dispatch().and_then(shares) })
}

/// Shares that are numbers; others say nothing.
fn shares(Dispatch { ane, gpu, cpu }: Dispatch) -> Option<Shares> {
    [ane, gpu, cpu].iter().all(|share| share.is_finite()).then_some(Shares { ane, gpu, cpu })
}
