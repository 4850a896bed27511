//! What an emit costs, with different things attached.
//!
//!     cargo run --release -p ballast-runtime --example events

use ballast_runtime::events::{InferenceEnded, TokenGenerated};
use ballast_runtime::telemetry::{
    AtLeast, ConsoleLogger, CorrelationId, Event, Ids, JsonLogger, Level, Logger, Metrics, NullLogger, RingLogger,
    Telemetry, TenantId, TracingLogger,
};
use std::hint::black_box;
use std::io::{Write, sink, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Emits that are timed together.
const EMITS: u32 = 100_000;

/// Rounds that the median is taken of.
const ROUNDS: usize = 51;

fn main() -> std::io::Result<()> {
    let metrics = || Some(Arc::new(Metrics::default()));
    let logger = |logger: Arc<dyn Logger>| Some(logger);
    let handles = [
        ("nothing", Telemetry::default()),
        ("null logger", Telemetry { metrics: None, logger: logger(Arc::new(NullLogger)) }),
        ("metrics", Telemetry { metrics: metrics(), logger: None }),
        ("metrics, null logger", Telemetry { metrics: metrics(), logger: logger(Arc::new(NullLogger)) }),
        (
            "metrics, console at info",
            Telemetry {
                metrics: metrics(),
                logger: logger(Arc::new(AtLeast { level: Level::Info, logger: ConsoleLogger::new(sink()) })),
            },
        ),
        ("metrics, tracing to nobody", Telemetry { metrics: metrics(), logger: logger(Arc::new(TracingLogger)) }),
        ("metrics, ring of 1000", Telemetry { metrics: metrics(), logger: logger(Arc::new(RingLogger::new(1000))) }),
        (
            "metrics, JSON to nowhere",
            Telemetry { metrics: metrics(), logger: logger(Arc::new(JsonLogger::new(sink()))) },
        ),
    ];
    let (time, dispatch) = (Duration::from_micros(20_123), Some(ballast_backend::Dispatch::CPU));
    let token = TokenGenerated { since_last: Some(time) };
    let inference = InferenceEnded { engine: "e", duration: time, outcome: Ok(()), dispatch, sla_violated: false };
    writeln!(stdout(), "{:<28}{:>16}{:>18}   ns per emit, median", "attached", "TokenGenerated", "InferenceEnded")?;
    for (name, telemetry) in &handles {
        let (token_ns, inference_ns) = (median_ns(telemetry, &token), median_ns(telemetry, &inference));
        writeln!(stdout(), "{name:<28}{token_ns:>16.2}{inference_ns:>18.2}")?;
    }
    Ok(())
}

/// Nanoseconds of one emit: the median of many rounds.
#[expect(clippy::disallowed_methods, reason = "a measurement of time takes the machine's own clock")]
fn median_ns(telemetry: &Telemetry, event: &impl Event) -> f64 {
    let (correlation, tenant) = (CorrelationId::from_number(1), TenantId::default());
    let ids = Ids::new(&correlation, &tenant);
    let round = || {
        let start = Instant::now();
        for _ in 0..EMITS {
            black_box(telemetry).emit_for(black_box(ids), black_box(event));
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(EMITS)
    };
    let mut rounds: Vec<f64> = std::iter::repeat_with(round).take(ROUNDS).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}
