//! The figures of tensor models by Triton's names, model by model and version by version.
//!
//! Counters of those names lack the ending that OpenMetrics wants of counters, so they stand there without a type.

use crate::state::Server;
use crate::tensors::{Counted, Figures, Served};
use std::sync::Arc;

/// Everything that is told of one version.
struct Scrape {
    labels: String,
    figures: Figures,
    n_pending: usize,
}

/// A metric's name after `nv_inference_`, its help, and its value.
type Row = (&'static str, &'static str, fn(&Scrape) -> u64);

fn micros(counted: Counted) -> u64 {
    counted.nanos() / 1000
}

const COUNTERS: &[Row] = &[
    ("request_success", "Requests that were answered", |scrape| scrape.figures.success.count),
    ("count", "Items that were answered", |scrape| scrape.figures.n_inferences),
    ("exec_count", "Runs of models", |scrape| scrape.figures.n_executions),
    ("request_duration_us", "Time of requests that were answered", |scrape| micros(scrape.figures.success)),
    ("queue_duration_us", "Time that requests waited", |scrape| micros(scrape.figures.queue)),
    ("compute_input_duration_us", "Time to make tensors of requests", |scrape| micros(scrape.figures.input)),
    ("compute_infer_duration_us", "Time of runs", |scrape| micros(scrape.figures.infer)),
    ("compute_output_duration_us", "Time to make answers of tensors", |scrape| micros(scrape.figures.output)),
];

/// What is told in the format of this name for counters; empty without tensor models.
pub(super) fn text(server: &Server, counter: &str) -> String {
    let all = server.options.tensors.as_ref().map(crate::ServedTensors::all).unwrap_or_default();
    let scrape = |served: &Arc<Served>| Scrape {
        // Names of models have no character that would have to be escaped.
        labels: format!("model=\"{}\",version=\"{}\"", served.model.name, served.model.version),
        figures: served.figures(),
        n_pending: served.n_pending(),
    };
    let scrapes: Vec<Scrape> = all.iter().map(scrape).collect();
    let mut text = String::new();
    if scrapes.is_empty() {
        return text;
    }
    for (name, help, value) in COUNTERS {
        family(&mut text, (name, help, counter), scrapes.iter().map(|scrape| (scrape.labels.clone(), value(scrape))));
    }
    let failures = scrapes.iter().flat_map(|scrape| {
        let of_reason = |(reason, n): (&&str, &u64)| (format!("{},reason=\"{reason}\"", scrape.labels), *n);
        scrape.figures.failures.iter().map(of_reason)
    });
    family(&mut text, ("request_failure", "Requests that were not answered, by reason", counter), failures);
    let pending = scrapes.iter().map(|scrape| (scrape.labels.clone(), scrape.n_pending as u64));
    family(&mut text, ("pending_request_count", "Requests that wait for a run", "gauge"), pending);
    text
}

fn family(text: &mut String, (name, help, kind): (&str, &str, &str), samples: impl Iterator<Item = (String, u64)>) {
    *text += &format!("# HELP nv_inference_{name} {help}.\n# TYPE nv_inference_{name} {kind}\n");
    for (labels, value) in samples {
        *text += &format!("nv_inference_{name}{{{labels}}} {value}\n");
    }
}
