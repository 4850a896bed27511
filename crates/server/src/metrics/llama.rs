//! The figures by llama.cpp's names, without labels: those of all models together. Its names are no names for
//! OpenMetrics, so they stand in the older format only.

use super::Scrape;
use ballast_runtime::telemetry::{HistogramSnapshot, MetricsSnapshot, Timing};
use std::time::Duration;

/// Sums over all models.
#[derive(Debug, Default)]
struct Sums {
    prompt_tokens: u64,
    cached_tokens: u64,
    generated_tokens: u64,
    tokens_max: u64,
    steps: u64,
    first_token: Duration,
    queue: Duration,
    between: Duration,
    request: Duration,
    step: Duration,
    active: usize,
    waiting: usize,
}

impl Sums {
    fn of(scrapes: &[Scrape]) -> Self {
        let mut sums = Self::default();
        for scrape in scrapes {
            sums.active += scrape.health.active_sequences;
            sums.waiting += scrape.health.waiting_requests;
            let Some(counted) = &scrape.counted else { continue };
            let MetricsSnapshot { requests, infer_count, .. } = &counted.figures;
            sums.prompt_tokens += requests.prompt_tokens.saturating_sub(requests.cached_tokens);
            sums.cached_tokens += requests.cached_tokens;
            sums.generated_tokens += requests.generated_tokens;
            sums.tokens_max = sums.tokens_max.max(requests.tokens_max.unwrap_or(0));
            sums.steps += infer_count;
            let sum = |timing| counted.time(timing).map_or(Duration::ZERO, HistogramSnapshot::sum);
            sums.first_token += sum(Timing::TimeToFirstToken);
            sums.queue += sum(Timing::Queue);
            sums.between += sum(Timing::InterToken);
            sums.request += sum(Timing::Request);
            sums.step += sum(Timing::Infer);
        }
        sums
    }

    /// Time from the first steps of requests to their first tokens.
    fn reading(&self) -> f64 {
        self.first_token.saturating_sub(self.queue).as_secs_f64()
    }
}

/// What each metric is called, its type, its help and its value.
pub(super) fn text(scrapes: &[Scrape]) -> String {
    let sums = Sums::of(scrapes);
    let rate = |n: u64, seconds: f64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
    let resident = sums.request.saturating_sub(sums.queue).as_secs_f64();
    let busy = if sums.step.is_zero() { 0.0 } else { resident / sums.step.as_secs_f64() };
    let between = sums.between.as_secs_f64();
    let rows = [
        ("prompt_tokens_total", "counter", "Prompt tokens read", sums.prompt_tokens as f64),
        ("prompt_tokens_cached_total", "counter", "Prompt tokens found in the cache", sums.cached_tokens as f64),
        ("prompt_seconds_total", "counter", "Time to read prompts", sums.reading()),
        ("tokens_predicted_total", "counter", "Tokens generated", sums.generated_tokens as f64),
        ("tokens_predicted_seconds_total", "counter", "Time from one token to the next", between),
        ("n_decode_total", "counter", "Steps of engines", sums.steps as f64),
        ("n_tokens_max", "counter", "Most tokens of a request that ended", sums.tokens_max as f64),
        ("spec_decode_num_draft_tokens_total", "counter", "Tokens drafted: nothing is drafted", 0.0),
        ("spec_decode_num_accepted_tokens_total", "counter", "Drafted tokens taken: nothing is drafted", 0.0),
        ("spec_decode_num_drafts_total", "counter", "Drafts: nothing is drafted", 0.0),
        ("prompt_tokens_seconds", "gauge", "Prompt tokens read per second", rate(sums.prompt_tokens, sums.reading())),
        ("predicted_tokens_seconds", "gauge", "Tokens generated per second", rate(sums.generated_tokens, between)),
        ("requests_processing", "gauge", "Sequences being generated", sums.active as f64),
        ("requests_deferred", "gauge", "Requests waiting for their turn", sums.waiting as f64),
        ("n_busy_slots_per_decode", "gauge", "Sequences in a step, over the time of all steps", busy),
    ];
    let row = |(name, kind, help, value): (&str, &str, &str, f64)| {
        format!("# HELP llamacpp:{name} {help}.\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}\n")
    };
    rows.into_iter().map(row).collect()
}
