//! Engines at work, and what is done when they misbehave.

use crate::telemetry::{Event, FailureMode, Fields, Level, Metrics, Span, Timing};
use ballast_backend::{Dispatch, ReasonCode};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One call of an engine ended.
#[derive(Clone, Copy, Debug)]
pub struct InferenceEnded {
    /// The engine's name.
    pub engine: &'static str,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Result<(), FailureMode>,
    /// Where the work ran, if the engine can tell.
    pub dispatch: Option<Dispatch>,
    /// Whether it took longer than its service level allows.
    pub sla_violated: bool,
}

impl Event for InferenceEnded {
    const NAME: &'static str = "inference_ended";
    const MESSAGE: &'static str = "a call of an engine ended";

    fn level(&self) -> Level {
        if self.outcome.is_ok() { Level::Debug } else { Level::Warn }
    }

    fn count(&self, metrics: &Metrics) {
        metrics.infers.add(self.outcome.is_ok());
        metrics.record(Timing::Infer, self.duration);
        metrics.sla_violations.add(u64::from(self.sla_violated));
        if let Some(dispatch) = self.dispatch {
            metrics.dispatches.add(dispatch);
        }
        if let Err(mode) = self.outcome {
            metrics.add_failure(mode);
        }
    }

    fn fields(&self) -> Fields {
        Fields::of([
            ("engine", self.engine.into()),
            ("duration_ms", self.duration.into()),
            ("failure", self.outcome.err().map(FailureMode::as_str).into()),
            ("ane_share", self.dispatch.map(|dispatch| dispatch.ane).into()),
            ("gpu_share", self.dispatch.map(|dispatch| dispatch.gpu).into()),
            ("cpu_share", self.dispatch.map(|dispatch| dispatch.cpu).into()),
            ("sla_violated", self.sla_violated.into()),
        ])
    }

    fn span(&self) -> Option<Span> {
        Span::new("inference", self.duration)
    }
}

/// The word for a breaker that lets everything pass. Every other state counts as active.
pub const BREAKER_CLOSED: &str = "closed";

/// A breaker went from one state to another. Each starts closed.
#[derive(Clone, Copy, Debug)]
pub struct BreakerChanged {
    /// The name of the engine it guards.
    pub engine: &'static str,
    /// The state it left; [`BREAKER_CLOSED`] is the one that is told apart.
    pub from: &'static str,
    /// The state it is in.
    pub to: &'static str,
    /// What made it change.
    pub cause: &'static str,
}

impl Event for BreakerChanged {
    const NAME: &'static str = "breaker_changed";
    const MESSAGE: &'static str = "a breaker changed its state";

    fn level(&self) -> Level {
        if self.to == BREAKER_CLOSED { Level::Info } else { Level::Warn }
    }

    fn count(&self, metrics: &Metrics) {
        let is_active = |state: &str| i64::from(state != BREAKER_CLOSED);
        metrics.breakers_open.fetch_add(is_active(self.to) - is_active(self.from), Ordering::Relaxed);
        metrics.breaker_changes.add(1);
    }

    fn fields(&self) -> Fields {
        Fields::of([
            ("engine", self.engine.into()),
            ("from", self.from.into()),
            ("to", self.to.into()),
            ("cause", self.cause.into()),
        ])
    }
}

/// Another engine of the chain answers.
#[derive(Clone, Copy, Debug)]
pub struct FallbackEngaged {
    /// The name of the engine that answers.
    pub engine: &'static str,
    /// Why the one before it does not.
    pub reason: ReasonCode,
}

impl Event for FallbackEngaged {
    const NAME: &'static str = "fallback_engaged";
    const MESSAGE: &'static str = "another engine answers";

    fn level(&self) -> Level {
        Level::Warn
    }

    fn count(&self, metrics: &Metrics) {
        metrics.fallbacks.add(self.reason);
    }

    fn fields(&self) -> Fields {
        Fields::of([("engine", self.engine.into()), ("reason", self.reason.as_str().into())])
    }
}

/// An engine gave no sign of life.
#[derive(Clone, Copy, Debug)]
pub struct EngineStalled {
    /// Its name.
    pub engine: &'static str,
}

impl Event for EngineStalled {
    const NAME: &'static str = "engine_stalled";
    const MESSAGE: &'static str = "an engine gives no sign of life";

    fn level(&self) -> Level {
        Level::Error
    }

    fn count(&self, metrics: &Metrics) {
        metrics.stalls.add(1);
    }

    fn fields(&self) -> Fields {
        Fields::of([("engine", self.engine.into())])
    }
}

/// An engine's thread or process ended.
#[derive(Clone, Copy, Debug)]
pub struct EngineCrashed {
    /// Its name.
    pub engine: &'static str,
}

impl Event for EngineCrashed {
    const NAME: &'static str = "engine_crashed";
    const MESSAGE: &'static str = "an engine's thread or process ended";

    fn level(&self) -> Level {
        Level::Error
    }

    fn count(&self, metrics: &Metrics) {
        metrics.crashes.add(1);
    }

    fn fields(&self) -> Fields {
        Fields::of([("engine", self.engine.into())])
    }
}

/// An engine is opened again.
#[derive(Clone, Copy, Debug)]
pub struct EngineRestarted {
    /// Its name.
    pub engine: &'static str,
    /// Which restart in a row, from 1.
    pub attempt: u32,
    /// How long it was waited before.
    pub after: Duration,
}

impl Event for EngineRestarted {
    const NAME: &'static str = "engine_restarted";
    const MESSAGE: &'static str = "an engine is opened again";

    fn level(&self) -> Level {
        Level::Warn
    }

    fn count(&self, metrics: &Metrics) {
        metrics.restarts.add(1);
    }

    fn fields(&self) -> Fields {
        Fields::of([("engine", self.engine.into()), ("attempt", self.attempt.into()), ("after_ms", self.after.into())])
    }
}

/// Two engines' answers were compared.
#[derive(Clone, Copy, Debug)]
pub struct ParityMeasured {
    /// The name of the engine that was checked.
    pub engine: &'static str,
    /// The largest difference of two elements.
    pub linf: f32,
    /// Whether it is more than the tolerance.
    pub exceeded: bool,
}

impl Event for ParityMeasured {
    const NAME: &'static str = "parity_measured";
    const MESSAGE: &'static str = "the answers of two engines were compared";

    fn level(&self) -> Level {
        if self.exceeded { Level::Error } else { Level::Debug }
    }

    fn count(&self, metrics: &Metrics) {
        metrics.parity.add(self.linf, self.exceeded);
    }

    fn fields(&self) -> Fields {
        Fields::of([("engine", self.engine.into()), ("linf", self.linf.into()), ("exceeded", self.exceeded.into())])
    }
}

/// How busy the compute threads were over some stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct ThreadsObserved {
    /// Time they computed, all together.
    pub busy: Duration,
    /// Time they were there, all together.
    pub available: Duration,
}

impl Event for ThreadsObserved {
    const NAME: &'static str = "threads_observed";
    const MESSAGE: &'static str = "the compute threads were looked at";

    fn level(&self) -> Level {
        Level::Trace
    }

    fn count(&self, metrics: &Metrics) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        metrics.threads_busy_nanos.add(nanos(self.busy));
        metrics.threads_available_nanos.add(nanos(self.available));
    }

    fn fields(&self) -> Fields {
        Fields::of([("busy_ms", self.busy.into()), ("available_ms", self.available.into())])
    }
}
