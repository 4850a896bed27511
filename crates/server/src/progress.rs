//! What streams tell of answers in progress, by llama.cpp's names: the times until now (`timings_per_token`) and how much
//! of the prompt was read (`return_progress`).

use crate::params::Telling;
use ballast_runtime::{Progress, Summary};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// What is told of the answers of one request.
#[derive(Debug)]
pub(crate) struct Reporter {
    telling: Telling,
    /// The last word from each answer.
    latest: Vec<Option<Progress>>,
}

impl Reporter {
    pub(crate) fn new(telling: Telling, n_answers: usize) -> Self {
        Self { telling, latest: vec![None; n_answers] }
    }

    /// Takes note of how far an answer has come, and gives what is to be told of it at once.
    pub(crate) fn note(&mut self, idx: usize, progress: &Progress) -> Option<PromptProgress> {
        self.latest[idx] = Some(*progress);
        // The prompt is read when the first token comes.
        let is_of_prompt = progress.usage.completion_tokens <= 1;
        (self.telling.prompt && is_of_prompt).then(|| prompt_progress(progress))
    }

    /// The times until now, where they are to come with every piece.
    pub(crate) fn times(&self, idx: usize) -> Option<Times> {
        self.latest[idx].as_ref().filter(|_| self.telling.times).map(times)
    }

    /// Adds what is told with every piece.
    pub(crate) fn add_to(&self, idx: usize, piece: &mut Value) {
        if let Some(times) = self.times(idx) {
            piece["timings"] = json!(times);
        }
    }
}

/// How much of a prompt was read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct PromptProgress {
    total: usize,
    cache: usize,
    processed: usize,
    time_ms: f64,
}

fn prompt_progress(progress: &Progress) -> PromptProgress {
    let Progress { read_tokens, usage, timings } = progress;
    PromptProgress {
        total: usage.prompt_tokens,
        cache: usage.cached_tokens,
        processed: *read_tokens,
        time_ms: ms(timings.total.saturating_sub(timings.queue)),
    }
}

/// Times until now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Times {
    cache_n: usize,
    prompt_n: usize,
    prompt_ms: f64,
    prompt_per_token_ms: f64,
    prompt_per_second: f64,
    predicted_n: usize,
    predicted_ms: f64,
    predicted_per_token_ms: f64,
    predicted_per_second: f64,
}

/// The times of an answer that has ended.
pub(crate) fn times_of(summary: &Summary) -> Times {
    let Summary { usage, timings, .. } = summary;
    times(&Progress { read_tokens: usage.prompt_tokens, usage: *usage, timings: *timings })
}

/// The first token comes from reading the prompt, so that the time of the answer is that of the others.
fn times(progress: &Progress) -> Times {
    let Progress { read_tokens, usage, timings } = progress;
    let first = timings.time_to_first_token.unwrap_or(timings.total);
    let (prompt_ms, predicted_ms) = (ms(first.saturating_sub(timings.queue)), ms(timings.total.saturating_sub(first)));
    let prompt_n = read_tokens.saturating_sub(usage.cached_tokens);
    let steps = usage.completion_tokens.saturating_sub(1);
    let share = |time: f64, n: usize| if n == 0 { 0.0 } else { time / n as f64 };
    let rate = |n: usize, time: f64| if time > 0.0 { n as f64 / time * 1e3 } else { 0.0 };
    Times {
        cache_n: usage.cached_tokens,
        prompt_n,
        prompt_ms,
        prompt_per_token_ms: share(prompt_ms, prompt_n),
        prompt_per_second: rate(prompt_n, prompt_ms),
        predicted_n: usage.completion_tokens,
        predicted_ms,
        predicted_per_token_ms: share(predicted_ms, steps),
        predicted_per_second: rate(steps, predicted_ms),
    }
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_runtime::{Timings, Usage};

    fn progress(read_tokens: usize, completion_tokens: usize) -> Progress {
        let time_to_first_token = (completion_tokens > 0).then(|| Duration::from_millis(30));
        let timings =
            Timings { queue: Duration::from_millis(10), time_to_first_token, total: Duration::from_millis(50) };
        Progress { read_tokens, usage: Usage { prompt_tokens: 8, cached_tokens: 2, completion_tokens }, timings }
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        let note = |times, prompt, progress: &Progress| {
            let mut reporter = Reporter::new(Telling { times, prompt }, 1);
            let told = reporter.note(0, progress);
            (told.is_some(), reporter.times(0).is_some())
        };
        assert_eq!(note(false, false, &progress(4, 0)), (false, false));
        assert_eq!(note(true, false, &progress(4, 0)), (false, true));
        assert_eq!(note(false, true, &progress(4, 0)), (true, false));
        assert_eq!(note(false, true, &progress(8, 1)), (true, false), "the prompt is read with the first token");
        assert_eq!(note(false, true, &progress(8, 2)), (false, false));
    }

    #[test]
    fn times_are_those_until_now() {
        let ms_of = |time: f64| Duration::from_secs_f64(time).as_secs();
        let reading = times(&progress(4, 0));
        assert_eq!((reading.prompt_n, ms_of(reading.prompt_ms)), (2, 40));
        assert_eq!((reading.predicted_n, ms_of(reading.predicted_ms)), (0, 0));
        let answering = times(&progress(8, 3));
        assert_eq!((answering.prompt_n, ms_of(answering.prompt_ms)), (6, 20));
        assert_eq!((ms_of(answering.predicted_ms), ms_of(answering.predicted_per_token_ms)), (20, 10));
    }
}
