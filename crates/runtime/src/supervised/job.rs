//! What happens on an instance's thread: the model is opened if it is not, and runs once.

use super::crew::{Body, Crew, Instance, Loss};
use super::error::PredictFault;
use super::outputs::Buffers;
use crate::events::{ModelLoadEnded, ModelLoadStarted};
use crate::instance_pool::Permit;
use crate::telemetry::{FailureMode, Stage};
use ballast_backend::{
    Dispatch, EngineError, ErrorKind, InferenceEngine, Instance as Opened, Predictor, Prepared, Pulse, TensorMap,
};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// What an instance's thread owns: the model, once it is open.
pub(super) type Cell = Option<Box<dyn Predictor>>;

/// How instances are opened.
pub(super) struct Opener {
    pub(super) engine: Arc<dyn InferenceEngine>,
    pub(super) prepared: Prepared,
}

/// A permit that travels with its call, so that it returns when the call does, whoever still waits for it. One whose
/// instance must not be used again takes it along.
pub(super) struct Seat(Option<Permit<Instance>>);

impl Seat {
    pub(super) fn new(permit: Permit<Instance>) -> Self {
        Self(Some(permit))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take()
            && permit.body.is_condemned()
        {
            permit.lose();
        }
    }
}

/// One call.
pub(super) struct Job {
    pub(super) seat: Seat,
    pub(super) body: Arc<Body>,
    pub(super) crew: Arc<Crew>,
    pub(super) opener: Arc<Opener>,
    /// `None`: only open the model.
    pub(super) inputs: Option<Arc<TensorMap>>,
    pub(super) buffers: Buffers,
    pub(super) deadline: Duration,
}

/// What became of it.
pub(super) struct Ran {
    /// Of an instance that must not be used again: it is given up once its caller was told. Others are back already.
    pub(super) condemned: Option<Seat>,
    pub(super) buffers: Buffers,
    pub(super) run: Duration,
    pub(super) end: Result<Option<Dispatch>, PredictFault>,
}

/// The engine opened a language model.
#[derive(Debug, thiserror::Error)]
#[error("expected a tensor model, got a language model")]
struct NotAPredictor;

impl Job {
    pub(super) fn run(mut self, cell: &mut Cell, pulse: &Pulse) -> Ran {
        let mut run = Duration::ZERO;
        let end = match self.open(cell) {
            Ok(predictor) => {
                let began = self.crew.clock.now();
                let end = self.predict(predictor, pulse);
                run = self.crew.clock.now().saturating_sub(began);
                end
            }
            Err(fault) => Err(fault),
        };
        self.judge(&end);
        let condemned = self.body.is_condemned().then_some(self.seat);
        Ran { condemned, buffers: self.buffers, run, end }
    }

    fn open<'a>(&self, cell: &'a mut Cell) -> Result<&'a mut dyn Predictor, PredictFault> {
        if cell.is_none() {
            *cell = Some(self.open_model()?);
        }
        let predictor = cell.as_mut().expect("it was opened above");
        Ok(&mut **predictor)
    }

    fn open_model(&self) -> Result<Box<dyn Predictor>, PredictFault> {
        let Crew { engine, clock, telemetry, .. } = &*self.crew;
        let began = clock.now();
        telemetry.emit(&ModelLoadStarted { engine });
        self.body.opens(began);
        let opened = caught(|| self.opener.engine.open(&self.opener.prepared), || self.body.condemn(Loss::Crashed));
        self.body.ends();
        let opened = opened.and_then(|opened| match opened {
            Ok(Opened::Predictor(predictor)) => Ok(predictor),
            Ok(Opened::Generator(_)) => Err(PredictFault::Open(EngineError::new(ErrorKind::Invalid, NotAPredictor))),
            Err(error) => Err(PredictFault::Open(error)),
        });
        let outcome = match &opened {
            Ok(_) => Ok(()),
            Err(fault) => Err(FailureMode::of(Stage::Load, fault.kind(), fault.reason())),
        };
        let bytes = if outcome.is_ok() { self.opener.prepared.memory_bytes } else { 0 };
        let duration = clock.now().saturating_sub(began);
        telemetry.emit(&ModelLoadEnded { engine, duration, bytes, outcome });
        if outcome.is_ok() {
            self.crew.opened();
        }
        opened
    }

    fn predict(&mut self, predictor: &mut dyn Predictor, pulse: &Pulse) -> Result<Option<Dispatch>, PredictFault> {
        let Some(inputs) = &self.inputs else { return Ok(None) };
        self.body.begins(self.deadline, self.crew.clock.now());
        let tensors = &mut self.buffers.tensors;
        let run = || predictor.predict(inputs, tensors, pulse).map(|()| predictor.dispatch());
        let ran = caught(run, || self.body.condemn(Loss::Crashed));
        let was_late = self.body.ends();
        match ran? {
            Err(error) if error.kind() == ErrorKind::Cancelled && was_late => Err(PredictFault::Late),
            ran => Ok(ran?),
        }
    }

    /// Whether the instance can be used again.
    fn judge(&self, end: &Result<Option<Dispatch>, PredictFault>) {
        match end {
            Ok(_) => self.body.succeeded(),
            Err(PredictFault::Open(_)) => self.body.condemn(Loss::Unopened),
            Err(PredictFault::Engine(error)) => match error.kind() {
                ErrorKind::Unavailable => self.body.condemn(Loss::Crashed),
                ErrorKind::Internal if self.body.failed() >= self.crew.options.failures_max => {
                    self.body.condemn(Loss::Crashed);
                }
                ErrorKind::Internal
                | ErrorKind::Invalid
                | ErrorKind::Denied
                | ErrorKind::Overloaded
                | ErrorKind::Cancelled => {}
            },
            // Whoever panicked was condemned where it did.
            Err(_) => {}
        }
    }
}

/// Runs an engine's code. If it panics, `condemn` comes before the payload is dropped, which may panic too.
fn caught<T>(run: impl FnOnce() -> T, condemn: impl FnOnce()) -> Result<T, PredictFault> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        condemn();
        tracing::error!("an engine panicked");
        drop(payload);
        PredictFault::Panicked
    })
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ran").field("end", &self.end).finish_non_exhaustive()
    }
}
