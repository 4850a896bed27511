//! What is counted, logged and summed up.
//!
//! ```text
//! event --emit--> Telemetry --+--> Metrics   atomics: counters, gauges, histograms --> MetricsSnapshot
//!                             +--> Logger    one RuntimeLogEvent: level, message, ids, fixed slots, span
//! ```
//!
//! [`Telemetry`] is the handle that the runtime emits the structs of [`crate::events`] through. With nothing attached,
//! an emit is two branches. Nothing here prints, reads a clock or keeps text that a caller wrote: the values of a log
//! event are numbers, times, fixed words and checked identifiers ([`Value`], [`Ids`]).

mod codes;
mod failure;
mod fields;
mod growth;
mod health;
mod histogram;
mod ids;
mod lines;
mod logger;
mod metrics;
mod ring;
mod snapshot;
mod summary;
mod tracing_logger;
mod window;

pub use codes::{DegradeReason, StopReason};
pub use failure::{FailureMode, Stage};
pub use fields::{FIELDS_MAX, Fields, Value};
pub use growth::{Growth, GrowthMeter, GrowthOptions};
pub use health::{Grade, Graded, HealthFigures, HealthLimits, HealthReport, Limits};
pub use histogram::{Histogram, HistogramSnapshot};
pub use ids::{CORRELATION_ID_BYTES_MAX, CorrelationId, IdError, Ids, TENANT_ID_BYTES_MAX, TenantId};
pub use lines::{ConsoleLogger, JsonLogger};
pub use logger::{AtLeast, Fanout, Level, Logger, NullLogger, RuntimeLogEvent, Span};
pub use metrics::{Metrics, Timing};
pub use ring::{LogRecord, RingLogger};
pub use snapshot::{
    EndCount, EngineFigures, MetricsSnapshot, RequestFigures, ResourceFigures, TimeFigures, TimingSnapshot,
};
pub use tracing_logger::TracingLogger;
pub use window::{RollingWindow, WindowTotals};

use std::fmt;
use std::sync::Arc;

/// One thing that happened. Counts itself and describes itself; [`Telemetry::emit`] does both.
pub trait Event {
    /// Its stable name, in snake case.
    const NAME: &'static str;
    /// What happened, as a sentence for people.
    const MESSAGE: &'static str;

    /// How much it matters.
    fn level(&self) -> Level;

    /// Counts it.
    fn count(&self, metrics: &Metrics);

    /// Its values, with the same keys each time.
    fn fields(&self) -> Fields {
        Fields::default()
    }

    /// The stretch of time that ended with it, where there is one.
    fn span(&self) -> Option<Span> {
        None
    }
}

/// Where events go. Cheap to clone; `default()` has nothing attached.
#[derive(Clone, Default)]
pub struct Telemetry {
    /// What counts them.
    pub metrics: Option<Arc<Metrics>>,
    /// What logs them.
    pub logger: Option<Arc<dyn Logger>>,
}

impl Telemetry {
    /// Counts and logs an event that belongs to no request.
    #[inline]
    pub fn emit(&self, event: &impl Event) {
        self.emit_for(Ids::NONE, event);
    }

    /// Counts and logs an event of the request that `ids` name.
    #[inline]
    pub fn emit_for(&self, ids: Ids<'_>, event: &impl Event) {
        if let Some(metrics) = &self.metrics {
            event.count(metrics);
        }
        if let Some(logger) = &self.logger {
            log(&**logger, ids, event);
        }
    }
}

fn log<E: Event>(logger: &dyn Logger, ids: Ids<'_>, event: &E) {
    let level = event.level();
    if logger.enabled(level) {
        let (fields, span) = (event.fields(), event.span());
        logger.log(&RuntimeLogEvent { name: E::NAME, level, message: E::MESSAGE, ids, fields, span });
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (has_metrics, has_logger) = (self.metrics.is_some(), self.logger.is_some());
        f.debug_struct("Telemetry").field("metrics", &has_metrics).field("logger", &has_logger).finish()
    }
}
