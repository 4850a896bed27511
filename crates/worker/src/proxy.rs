//! Instances in workers, as the runtime uses them: a thin `Generator` and a thin `Predictor`.

use crate::call::Caller;
use crate::process::WorkerProcess;
use crate::wire::{Opening, Outcome, Request};
use crate::{HowEnded, WorkerError, WorkerSpec, batch, tensors};
use ballast_backend::{
    Clock, Dispatch, EngineError, Generator, GeneratorShape, Instance, IoSchema, Logits, Predictor, Pulse,
    SequenceStep, TensorMap,
};
use bytemuck::{cast_slice, cast_slice_mut};

/// An open instance in a process of its own. Dropping it ends the process.
#[derive(Debug)]
pub enum Worker {
    /// A language model.
    Generator(WorkerGenerator),
    /// A tensor model.
    Predictor(WorkerPredictor),
}

impl Worker {
    /// Starts a worker and waits until its instance is open. `clock` tells when [`crate::WorkerLimits::open_max`] has
    /// passed.
    ///
    /// # Errors
    /// If the process cannot be started, is not a worker of this version, dies, or cannot open the instance: then with
    /// the kind the engine gave.
    pub fn spawn(spec: &WorkerSpec, clock: &dyn Clock) -> Result<Self, WorkerError> {
        let (mut process, opening) = WorkerProcess::start(spec, clock)?;
        let checked = match opening {
            Opening::Generator(shape) => shape.try_into().map(Checked::Generator),
            Opening::Predictor(schema) => schema.try_into().map(Checked::Predictor),
            Opening::Failed(failure) => Err(failure.into_error()),
        };
        match checked {
            Ok(Checked::Generator(shape)) => {
                Ok(Self::Generator(WorkerGenerator { caller: Caller::new(process), shape, words: Vec::new() }))
            }
            Ok(Checked::Predictor(schema)) => {
                Ok(Self::Predictor(WorkerPredictor { caller: Caller::new(process), schema, dispatch: None }))
            }
            Err(error) => Err(process.lose(error)),
        }
    }

    /// The instance, whatever it is.
    #[must_use]
    pub fn into_instance(self) -> Instance {
        match self {
            Self::Generator(generator) => Instance::Generator(Box::new(generator)),
            Self::Predictor(predictor) => Instance::Predictor(Box::new(predictor)),
        }
    }

    /// The language model.
    ///
    /// # Errors
    /// If it is a tensor model.
    pub fn into_generator(self) -> Result<WorkerGenerator, WorkerError> {
        match self {
            Self::Generator(generator) => Ok(generator),
            Self::Predictor(_) => Err(other_kind("a language model", "a tensor model")),
        }
    }

    /// The tensor model.
    ///
    /// # Errors
    /// If it is a language model.
    pub fn into_predictor(self) -> Result<WorkerPredictor, WorkerError> {
        match self {
            Self::Predictor(predictor) => Ok(predictor),
            Self::Generator(_) => Err(other_kind("a tensor model", "a language model")),
        }
    }
}

enum Checked {
    Generator(GeneratorShape),
    Predictor(IoSchema),
}

fn other_kind(expected: &'static str, got: &str) -> WorkerError {
    WorkerError::Protocol { expected, got: got.to_owned() }
}

/// A language model in a worker.
#[derive(Debug)]
pub struct WorkerGenerator {
    caller: Caller,
    shape: GeneratorShape,
    words: Vec<u32>,
}

impl WorkerGenerator {
    /// The worker's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.caller.process.pid()
    }

    /// How the worker ended, if it has; also between calls.
    pub fn how_ended(&mut self) -> Option<HowEnded> {
        self.caller.how_ended()
    }

    fn try_step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), WorkerError> {
        let n_rows: usize = batch.iter().map(SequenceStep::n_logit_rows).sum();
        batch::encode(batch, &mut self.words)?;
        let call = self.caller.begin(pulse)?;
        let shared = &self.caller.process.shared;
        shared.check_room((n_rows as u64).saturating_mul(4 * self.shape.vocab_size as u64))?;
        shared.write(0, cast_slice(&self.words))?;
        let request = Request::Step { call, n_sequences: batch.len(), n_words: self.words.len() };
        match self.caller.call(call, &request, pulse)? {
            Outcome::Stepped { n_rows: got } if got == n_rows => {
                let values = logits.reset(n_rows, self.shape.vocab_size);
                let read = self.caller.process.shared.read(0, cast_slice_mut(values));
                read.map(drop).map_err(|error| self.caller.lose(error))
            }
            Outcome::Stepped { n_rows: got } => {
                let expected = "as many rows of logits as were asked for";
                Err(self.caller.lose(WorkerError::Protocol { expected, got: format!("{got} of {n_rows}") }))
            }
            Outcome::Predicted { .. } | Outcome::Failed(_) => Err(self.caller.lose(other_kind("logits", "tensors"))),
        }
    }
}

impl Generator for WorkerGenerator {
    fn shape(&self) -> &GeneratorShape {
        &self.shape
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), EngineError> {
        Ok(self.try_step(batch, logits, pulse)?)
    }
}

/// A tensor model in a worker.
#[derive(Debug)]
pub struct WorkerPredictor {
    caller: Caller,
    schema: IoSchema,
    dispatch: Option<Dispatch>,
}

impl WorkerPredictor {
    /// The worker's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.caller.process.pid()
    }

    /// How the worker ended, if it has; also between calls.
    pub fn how_ended(&mut self) -> Option<HowEnded> {
        self.caller.how_ended()
    }

    fn try_predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), WorkerError> {
        let call = self.caller.begin(pulse)?;
        let pairs = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let request = Request::Predict { call, inputs: tensors::write(pairs, &self.caller.process.shared)? };
        match self.caller.call(call, &request, pulse)? {
            Outcome::Predicted { outputs: heads, dispatch } => {
                let read = tensors::check_heads(&heads, &self.schema.outputs)
                    .and_then(|()| tensors::read(&heads, &self.caller.process.shared, outputs));
                read.map_err(|error| self.caller.lose(error))?;
                self.dispatch = dispatch.map(|shares| Dispatch { ane: shares.ane, gpu: shares.gpu, cpu: shares.cpu });
                Ok(())
            }
            Outcome::Stepped { .. } | Outcome::Failed(_) => Err(self.caller.lose(other_kind("tensors", "logits"))),
        }
    }
}

impl Predictor for WorkerPredictor {
    fn io_schema(&self) -> &IoSchema {
        &self.schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), EngineError> {
        Ok(self.try_predict(inputs, outputs, pulse)?)
    }

    fn dispatch(&self) -> Option<Dispatch> {
        self.dispatch
    }
}
