//! Where log events go: the trait, the event, the level, and the loggers that pass events on.

use super::{Fields, Ids};
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How much an event matters, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every token.
    Trace,
    /// Every request's steps.
    Debug,
    /// What an operator wants to read back.
    Info,
    /// Something was degraded, refused or done again.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// Every level, least first; the index of each is its number in the prior system's interface.
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// Lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A stretch of time that ends with an event: what an exporter of traces makes a span of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What took the time, in snake case.
    pub name: &'static str,
    /// How long it took, up to the event.
    pub duration: Duration,
}

impl Span {
    pub(crate) fn new(name: &'static str, duration: Duration) -> Option<Self> {
        Some(Self { name, duration })
    }
}

/// One event, as a logger is given it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuntimeLogEvent<'a> {
    /// What kind of event, in snake case; stable.
    pub name: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What happened, as a sentence.
    pub message: &'static str,
    /// Whose event it is.
    pub ids: Ids<'a>,
    /// Its values.
    pub fields: Fields,
    /// The stretch of time that ended with it.
    pub span: Option<Span>,
}

/// Takes log events. Called from the threads that compute: it must not block for long.
pub trait Logger: Send + Sync {
    /// Whether events of this level are wanted. Others are not put together.
    fn enabled(&self, level: Level) -> bool;

    /// Takes one event.
    fn log(&self, event: &RuntimeLogEvent<'_>);
}

/// Wants nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullLogger;

impl Logger for NullLogger {
    fn enabled(&self, _: Level) -> bool {
        false
    }

    fn log(&self, _: &RuntimeLogEvent<'_>) {}
}

/// Passes on what matters at least so much.
#[derive(Clone, Copy, Debug)]
pub struct AtLeast<L> {
    /// The least level that is passed on.
    pub level: Level,
    /// Where it goes.
    pub logger: L,
}

impl<L: Logger> Logger for AtLeast<L> {
    fn enabled(&self, level: Level) -> bool {
        level >= self.level && self.logger.enabled(level)
    }

    fn log(&self, event: &RuntimeLogEvent<'_>) {
        if event.level >= self.level {
            self.logger.log(event);
        }
    }
}

/// Passes every event to each logger that wants it.
#[derive(Clone, Default)]
pub struct Fanout(pub Vec<Arc<dyn Logger>>);

impl Logger for Fanout {
    fn enabled(&self, level: Level) -> bool {
        self.0.iter().any(|logger| logger.enabled(level))
    }

    fn log(&self, event: &RuntimeLogEvent<'_>) {
        self.0.iter().filter(|logger| logger.enabled(event.level)).for_each(|logger| logger.log(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::RingLogger;

    fn event(level: Level) -> RuntimeLogEvent<'static> {
        RuntimeLogEvent { name: "e", level, message: "m", ids: Ids::NONE, fields: Fields::default(), span: None }
    }

    #[test]
    fn levels_go_from_trace_to_error() {
        assert!(Level::ALL.is_sorted());
        assert_eq!(Level::ALL.map(Level::as_str), ["trace", "debug", "info", "warn", "error"]);
    }

    #[test]
    fn a_level_filter_passes_its_level_and_above() {
        let ring = Arc::new(RingLogger::new(8));
        let filter = AtLeast { level: Level::Warn, logger: Fanout(vec![Arc::clone(&ring) as _]) };
        for level in Level::ALL {
            assert_eq!(filter.enabled(level), level >= Level::Warn, "{level}");
            filter.log(&event(level));
        }
        let seen: Vec<_> = ring.records().iter().map(|record| record.level).collect();
        assert_eq!(seen, [Level::Warn, Level::Error]);
    }

    #[test]
    fn a_fanout_gives_each_logger_what_it_wants() {
        let (all, few) = (Arc::new(RingLogger::new(8)), Arc::new(RingLogger::new(8)));
        let errors: Arc<dyn Logger> =
            Arc::new(AtLeast { level: Level::Error, logger: Fanout(vec![Arc::clone(&few) as _]) });
        let fanout = Fanout(vec![Arc::clone(&all) as _, errors, Arc::new(NullLogger)]);
        Level::ALL.iter().for_each(|level| fanout.log(&event(*level)));
        assert_eq!((all.records().len(), few.records().len()), (5, 1));
        assert!(!Fanout(vec![Arc::new(NullLogger)]).enabled(Level::Error));
    }
}
