//! How links become ready: each is prepared on a thread of its own.

use super::Shared;
use super::block_on::block_on;
use super::error::OpenError;
use super::link::{NotReady, Ready};
use super::options::{LinkModel, StartMode};
use crate::events::{CompileEnded, EngineCreated};
use crate::telemetry::{FailureMode, Stage};
use ballast_backend::{
    Clock, Dim, EngineError, InferenceEngine, IoSchema, ModelArtifact, PrepareOptions, Prepared, TensorSpec,
};
use std::sync::{Arc, Weak};
use std::thread::Builder;
use std::time::Duration;

/// One link to be prepared. Holds the engine's supervisor weakly: a preparation that hangs does not keep it.
struct Preparation {
    shared: Weak<Shared>,
    idx: usize,
    engine: Arc<dyn InferenceEngine>,
    clock: Arc<dyn Clock>,
    artifact: ModelArtifact,
    options: PrepareOptions,
}

impl Shared {
    /// Prepares every link, and waits as [`StartMode`] says.
    pub(super) fn start(&self) -> Result<(), OpenError> {
        self.links.iter().for_each(|link| self.parts.telemetry.emit(&EngineCreated { engine: link.engine() }));
        // The last first: a link that is to prove itself waits for those behind it.
        for (idx, link) in self.links.iter().enumerate().rev() {
            match &link.link.model {
                LinkModel::Prepared(prepared) => self.join(idx, Ok(prepared.clone())),
                LinkModel::Artifact { artifact, options } => {
                    let preparation = Preparation {
                        shared: Weak::clone(&self.me),
                        idx,
                        engine: Arc::clone(&link.link.engine),
                        clock: Arc::clone(&self.parts.clock),
                        artifact: artifact.clone(),
                        options: options.clone(),
                    };
                    let thread = Builder::new().name("ballast-prepare".to_owned());
                    thread.spawn(move || preparation.run()).map_err(|error| {
                        tracing::error!(%error, "the system refused a thread");
                        OpenError::ThreadRefused
                    })?;
                }
            }
        }
        self.wait_started()
    }

    /// Waits for the first link, or for all.
    fn wait_started(&self) -> Result<(), OpenError> {
        let until = self.parts.clock.now().saturating_add(self.options.prepare_max);
        let mut settled = self.settled();
        loop {
            let is_all = self.links.iter().all(|link| link.ready.get().is_some());
            let is_any = self.links.iter().any(|link| link.ready().is_ok());
            match self.options.start {
                _ if is_all => break,
                StartMode::Warm if is_any => break,
                StartMode::Warm | StartMode::Wait if self.parts.clock.now() >= until => break,
                StartMode::Warm | StartMode::Wait => {}
            }
            settled = self.wait_settled(settled);
        }
        drop(settled);
        if self.links.iter().any(|link| link.ready().is_ok()) { Ok(()) } else { Err(self.start_error()) }
    }

    fn start_error(&self) -> OpenError {
        let late = OpenError::Late { prepare_max: self.options.prepare_max };
        let failed = self.links.iter().rev().find_map(|link| Some((link.engine(), link.ready.get()?.as_ref().err()?)));
        failed.map_or(late, |(engine, failure)| match failure {
            NotReady::Prepare(source) => OpenError::Prepare { engine, source: Arc::clone(source) },
            NotReady::Schema => OpenError::Schema { engine },
            NotReady::ThreadRefused => OpenError::ThreadRefused,
            NotReady::Unproven(_) | NotReady::Differs => OpenError::Unproven { engine },
        })
    }

    /// Notes how the preparation of a link ended.
    fn join(&self, idx: usize, prepared: Result<Prepared, EngineError>) {
        let ready =
            prepared.map_err(|error| NotReady::Prepare(Arc::new(error))).and_then(|prepared| self.ready(idx, prepared));
        let ready = match (ready, self.options.promotion) {
            (Ok(ready), Some(promotion)) => self.prove(idx, &ready, &promotion).map(|()| ready),
            (Ok(ready), None) => {
                self.warm_up(&ready);
                Ok(ready)
            }
            (Err(failure), _) => Err(failure),
        };
        if let Err(failure) = &ready {
            tracing::error!(engine = self.links[idx].engine(), ?failure, "an engine is left out of its chain");
        }
        let settled = self.settled();
        // A link is prepared once, so that nothing was set before.
        assert!(self.links[idx].ready.set(ready).is_ok(), "a link is prepared once");
        drop(settled);
        self.tell_settled();
    }

    /// Opens the first instance of a link that joins others at work.
    pub(super) fn warm_up(&self, ready: &Ready) {
        let is_swap = self.options.start == StartMode::Warm && self.links.iter().any(|link| link.ready().is_ok());
        if is_swap && let Err(error) = block_on(ready.warm_up()) {
            tracing::warn!(engine = ready.crew.engine, %error, "the first instance of an engine did not open");
        }
    }

    fn ready(&self, idx: usize, mut prepared: Prepared) -> Result<Ready, NotReady> {
        let own = prepared.io_schema.take().ok_or(NotReady::Schema)?;
        let schema = self.schema.get_or_init(|| Arc::new(own.clone()));
        if !is_same(schema, &own) {
            return Err(NotReady::Schema);
        }
        prepared.io_schema = Some(own);
        let link = (&self.links[idx].link, self.links.len() - idx - 1);
        let context = (&self.parts, &self.options);
        Ready::new(link, prepared, Arc::clone(schema), self.buffers.clone(), context)
            .map_err(|_| NotReady::ThreadRefused)
    }
}

/// Whether two models take and give the same, in whatever order they name it. Of what a model gives, one engine may know
/// extents that another leaves open: those that infer them.
fn is_same(a: &IoSchema, b: &IoSchema) -> bool {
    let sorted = |schema: &IoSchema| {
        let IoSchema { mut inputs, mut outputs } = schema.clone();
        // Whether a model may be given several items at once is its own affair.
        for spec in inputs.iter_mut().chain(&mut outputs) {
            spec.batch_capable = false;
        }
        inputs.sort_by(|a, b| a.name.cmp(&b.name));
        outputs.sort_by(|a, b| a.name.cmp(&b.name));
        (inputs, outputs)
    };
    let (a, b) = (sorted(a), sorted(b));
    a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(|(a, b)| agree(a, b))
}

fn agree(a: &TensorSpec, b: &TensorSpec) -> bool {
    let agrees = |(a, b): (&Dim, &Dim)| a == b || *a == Dim::Any || *b == Dim::Any;
    (&a.name, a.dtype, a.shape.len()) == (&b.name, b.dtype, b.shape.len()) && a.shape.iter().zip(&b.shape).all(agrees)
}

/// An engine panicked while it prepared a model.
#[derive(Debug, thiserror::Error)]
#[error("expected the engine to prepare the model, but it panicked")]
struct PreparePanicked;

impl Preparation {
    fn run(self) {
        let Self { shared, idx, engine, clock, artifact, options } = self;
        let began = clock.now();
        let prepare = std::panic::AssertUnwindSafe(|| engine.prepare(&artifact, &options));
        let prepared = std::panic::catch_unwind(prepare)
            .unwrap_or_else(|_| Err(EngineError::new(ballast_backend::ErrorKind::Internal, PreparePanicked)));
        let Some(shared) = shared.upgrade() else { return };
        let duration: Duration = clock.now().saturating_sub(began);
        let outcome = match &prepared {
            Ok(_) => Ok(()),
            Err(error) => Err(FailureMode::of(Stage::Compile, error.kind(), None)),
        };
        shared.parts.telemetry.emit(&CompileEnded { engine: engine.name(), duration, outcome });
        shared.join(idx, prepared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::DType;

    #[test]
    fn engines_agree_where_one_knows_what_the_other_leaves_open_of_its_outputs() {
        use Dim::{Any, Fixed};
        let spec = |name: &str, shape: &[Dim]| TensorSpec {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: shape.to_vec(),
            batch_capable: shape.first() == Some(&Any),
        };
        let model = |given: &[Dim], told: &[Dim]| IoSchema {
            inputs: vec![spec("x", given)],
            outputs: vec![spec("y", told), spec("z", &[Any])],
        };
        let usual = model(&[Any, Fixed(3)], &[Any, Fixed(3)]);
        let mut turned = usual.clone();
        turned.outputs.reverse();
        let other_type = {
            let mut schema = usual.clone();
            schema.outputs[0].dtype = DType::F16;
            schema
        };
        let cases = [
            (usual.clone(), true),
            (turned, true),
            (model(&[Any, Fixed(3)], &[Fixed(1), Any]), true),
            (model(&[Any, Fixed(3)], &[Any, Fixed(4)]), false),
            (model(&[Any, Fixed(3)], &[Any]), false),
            (model(&[Any, Any], &[Any, Fixed(3)]), false),
            (IoSchema { outputs: vec![spec("y", &[Any, Fixed(3)])], ..usual.clone() }, false),
            (other_type, false),
        ];
        for (other, expected) in cases {
            assert_eq!(is_same(&usual, &other), expected, "{other:?}");
            assert_eq!(is_same(&other, &usual), expected, "{other:?}");
        }
    }
}
