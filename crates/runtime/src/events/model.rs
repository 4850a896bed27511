//! Engines, models and sessions that come and go.

use crate::telemetry::{Event, FailureMode, Fields, Level, Metrics, Span, Timing};
use std::time::Duration;

/// An engine was created.
#[derive(Clone, Copy, Debug)]
pub struct EngineCreated {
    /// Its name.
    pub engine: &'static str,
}

impl Event for EngineCreated {
    const NAME: &'static str = "engine_created";
    const MESSAGE: &'static str = "an engine was created";

    fn level(&self) -> Level {
        Level::Info
    }

    fn count(&self, metrics: &Metrics) {
        metrics.engines_created.add(1);
    }

    fn fields(&self) -> Fields {
        Fields::of([("engine", self.engine.into())])
    }
}

/// An engine has made a model ready, or has failed to.
#[derive(Clone, Copy, Debug)]
pub struct CompileEnded {
    /// The engine's name.
    pub engine: &'static str,
    /// How long it took.
    pub duration: Duration,
    /// How it ended.
    pub outcome: Result<(), FailureMode>,
}

impl Event for CompileEnded {
    const NAME: &'static str = "compile_ended";
    const MESSAGE: &'static str = "the preparation of a model ended";

    fn level(&self) -> Level {
        level_of(self.outcome)
    }

    fn count(&self, metrics: &Metrics) {
        metrics.compiles.add(self.outcome.is_ok());
        metrics.record(Timing::Compile, self.duration);
        count_failure(metrics, self.outcome);
    }

    fn fields(&self) -> Fields {
        Fields::of([
            ("engine", self.engine.into()),
            ("duration_ms", self.duration.into()),
            ("failure", self.outcome.err().map(FailureMode::as_str).into()),
        ])
    }

    fn span(&self) -> Option<Span> {
        Span::new("compile", self.duration)
    }
}

/// The loading of a model has begun.
#[derive(Clone, Copy, Debug)]
pub struct ModelLoadStarted {
    /// The engine's name.
    pub engine: &'static str,
}

impl Event for ModelLoadStarted {
    const NAME: &'static str = "model_load_started";
    const MESSAGE: &'static str = "a model is being loaded";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, _: &Metrics) {}

    fn fields(&self) -> Fields {
        Fields::of([("engine", self.engine.into())])
    }
}

/// A model was loaded, or could not be.
#[derive(Clone, Copy, Debug)]
pub struct ModelLoadEnded {
    /// The engine's name.
    pub engine: &'static str,
    /// How long it took.
    pub duration: Duration,
    /// Memory it takes; 0 if it was not loaded.
    pub bytes: u64,
    /// How it ended.
    pub outcome: Result<(), FailureMode>,
}

impl Event for ModelLoadEnded {
    const NAME: &'static str = "model_load_ended";
    const MESSAGE: &'static str = "the loading of a model ended";

    fn level(&self) -> Level {
        level_of(self.outcome)
    }

    fn count(&self, metrics: &Metrics) {
        metrics.loads.add(self.outcome.is_ok());
        metrics.loaded_bytes.add(self.bytes);
        metrics.record(Timing::Load, self.duration);
        count_failure(metrics, self.outcome);
    }

    fn fields(&self) -> Fields {
        Fields::of([
            ("engine", self.engine.into()),
            ("duration_ms", self.duration.into()),
            ("bytes", self.bytes.into()),
            ("failure", self.outcome.err().map(FailureMode::as_str).into()),
        ])
    }

    fn span(&self) -> Option<Span> {
        Span::new("model_load", self.duration)
    }
}

/// A load was given up because it took too long or nobody wanted it any more, and has not ended in its time. Its memory is
/// held until it does.
#[derive(Clone, Copy, Debug)]
pub struct LoadStuck {
    /// Bytes that it takes.
    pub bytes: u64,
}

impl Event for LoadStuck {
    const NAME: &'static str = "load_stuck";
    const MESSAGE: &'static str = "a load that was given up does not end";

    fn level(&self) -> Level {
        Level::Error
    }

    fn count(&self, metrics: &Metrics) {
        metrics.loads_stuck.add(1);
        metrics.add_failure(FailureMode::Timeout);
    }

    fn fields(&self) -> Fields {
        Fields::of([("bytes", self.bytes.into())])
    }
}

fn level_of(outcome: Result<(), FailureMode>) -> Level {
    if outcome.is_ok() { Level::Info } else { Level::Error }
}

fn count_failure(metrics: &Metrics, outcome: Result<(), FailureMode>) {
    if let Err(mode) = outcome {
        metrics.add_failure(mode);
    }
}

/// A session began.
#[derive(Clone, Copy, Debug)]
pub struct SessionCreated;

impl Event for SessionCreated {
    const NAME: &'static str = "session_created";
    const MESSAGE: &'static str = "a session began";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, metrics: &Metrics) {
        metrics.sessions_created.add(1);
    }
}

/// A session ended.
#[derive(Clone, Copy, Debug)]
pub struct SessionDisposed;

impl Event for SessionDisposed {
    const NAME: &'static str = "session_disposed";
    const MESSAGE: &'static str = "a session ended";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, metrics: &Metrics) {
        metrics.sessions_disposed.add(1);
    }
}
