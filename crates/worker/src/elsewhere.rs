//! Systems without the sockets and descriptors a worker needs: every call says so.

use crate::{HowEnded, WorkerError, WorkerSpec};
use ballast_backend::{
    Clock, Dispatch, EngineError, Generator, GeneratorShape, Instance, IoSchema, Logits, Predictor, Pulse,
    SequenceStep, TensorMap,
};

/// There are none here.
#[derive(Debug)]
pub enum Worker {}

impl Worker {
    /// Starts no worker.
    ///
    /// # Errors
    /// Always [`WorkerError::NotOnThisPlatform`].
    pub fn spawn(_spec: &WorkerSpec, _clock: &dyn Clock) -> Result<Self, WorkerError> {
        Err(WorkerError::NotOnThisPlatform)
    }

    /// The instance, of which there is none.
    #[must_use]
    pub fn into_instance(self) -> Instance {
        match self {}
    }

    /// The language model, of which there is none.
    ///
    /// # Errors
    /// None: there is no value to call it on.
    pub fn into_generator(self) -> Result<WorkerGenerator, WorkerError> {
        match self {}
    }

    /// The tensor model, of which there is none.
    ///
    /// # Errors
    /// None: there is no value to call it on.
    pub fn into_predictor(self) -> Result<WorkerPredictor, WorkerError> {
        match self {}
    }
}

/// There are none here.
#[derive(Debug)]
pub enum WorkerGenerator {}

impl WorkerGenerator {
    /// The worker's process, of which there is none.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match *self {}
    }

    /// How the worker ended, of which there is none.
    pub fn how_ended(&mut self) -> Option<HowEnded> {
        match *self {}
    }
}

impl Generator for WorkerGenerator {
    fn shape(&self) -> &GeneratorShape {
        match *self {}
    }

    fn step(&mut self, _: &[SequenceStep<'_>], _: &mut Logits, _: &Pulse) -> Result<(), EngineError> {
        match *self {}
    }
}

/// There are none here.
#[derive(Debug)]
pub enum WorkerPredictor {}

impl WorkerPredictor {
    /// The worker's process, of which there is none.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match *self {}
    }

    /// How the worker ended, of which there is none.
    pub fn how_ended(&mut self) -> Option<HowEnded> {
        match *self {}
    }
}

impl Predictor for WorkerPredictor {
    fn io_schema(&self) -> &IoSchema {
        match *self {}
    }

    fn predict(&mut self, _: &TensorMap, _: &mut TensorMap, _: &Pulse) -> Result<(), EngineError> {
        match *self {}
    }

    fn dispatch(&self) -> Option<Dispatch> {
        match *self {}
    }
}

/// Serves nothing.
///
/// # Errors
/// Always [`WorkerError::NotOnThisPlatform`].
pub fn serve(_open: impl FnOnce(&str) -> Result<Instance, EngineError>) -> Result<(), WorkerError> {
    Err(WorkerError::NotOnThisPlatform)
}
