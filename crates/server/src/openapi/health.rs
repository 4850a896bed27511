//! Whether the server lives, and its figures.

use super::operation::Operation;
use super::schema::{given, integer, string};
use serde_json::Value;

/// The media types of figures: the older one, and the one to be asked for by name.
const FIGURES: [&str; 2] = ["text/plain", "application/openmetrics-text"];

pub(super) fn operations() -> Vec<Operation> {
    let status = || given(vec![("status", string())]);
    let live = |path| Operation::get(path, "Whether the process answers.", status());
    let ready = |path| {
        Operation::get(path, "Whether it takes requests.", status())
            .fails(503, "It takes none now.")
            .otherwise(status())
    };
    let figures =
        |path| Operation::get(path, "Figures for Prometheus.", string()).text_only(FIGURES[0]).also(FIGURES[1]);
    vec![
        Operation::get("/health", "Whether the engines run, and how busy they are.", health())
            .fails(503, "An engine has stopped.")
            .otherwise(health()),
        live("/health/live"),
        ready("/health/ready"),
        live("/healthz"),
        live("/livez"),
        ready("/readyz"),
        figures("/metrics"),
        figures("/health/metrics"),
    ]
}

fn health() -> Value {
    given(vec![
        ("status", string()),
        ("model", string()),
        ("active_sequences", integer()),
        ("waiting_requests", integer()),
    ])
}
