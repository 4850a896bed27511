//! llama.cpp: `llama-bench` for what one sequence does, `llama-batched-bench` beside it for sequences together.

use super::super::figure::{Figure, RoundTold, Sample};
use super::super::phases::comma_separated;
use super::super::process;
use super::Question;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Positions to which llama.cpp rounds a sequence's context up.
const CONTEXT_STEP: usize = 256;

/// Tokens a second of some figures.
type Rates = Vec<(Figure, f64)>;

/// One round. Its three programs fail apart from each other.
pub(super) fn round(bench: &Path, question: &Question<'_>) -> RoundTold {
    let mut told = RoundTold::default();
    let (alone, together, deep) = split(question);
    if !alone.is_empty() {
        shallow(bench, question, &alone, &mut told);
    }
    if !deep.is_empty() {
        let decode = question.phases.generate.first().copied().unwrap_or(0);
        let depths = comma_separated(&question.phases.depth);
        let args = ["-p", "0", "-n", &decode.to_string(), "-d", &depths].map(str::to_owned);
        let outcome =
            process::run(command(bench, question).args(args)).and_then(|outcome| parse_bench(&outcome.stdout));
        told.samples.extend(outcome.map_or_else(|why| failed(&deep, &why), |(_, samples)| only(&deep, samples)));
    }
    let batched = beside(bench, "llama-batched-bench");
    if !together.is_empty() && batched.exists() {
        told.samples.extend(batched_samples(&batched, question, &together));
    }
    told
}

/// The figures of one sequence alone, those of several together, and those behind a context. The peer's prompt behind a
/// context is not asked for: it is another length than ours.
fn split(question: &Question<'_>) -> (Vec<Figure>, Vec<Figure>, Vec<Figure>) {
    let is_batch = |figure: &Figure| matches!(figure, Figure::Decode { sequences: 2.., .. });
    let (together, alone) = question.phases.shallow().into_iter().partition(is_batch);
    let is_decode = |figure: &Figure| matches!(figure, Figure::Decode { .. });
    (alone, together, question.phases.deep().into_iter().filter(is_decode).collect())
}

fn shallow(bench: &Path, question: &Question<'_>, figures: &[Figure], told: &mut RoundTold) {
    let decodes = figures.iter().any(|figure| matches!(figure, Figure::Decode { .. }));
    let generate = if decodes { question.phases.generate.as_slice() } else { &[] };
    let mut command = command(bench, question);
    command.args(["-p", &comma_separated(&question.phases.prompt), "-n", &comma_separated(generate)]);
    match process::run(&mut command).and_then(|outcome| Ok((outcome.peak_bytes, parse_bench(&outcome.stdout)?))) {
        Ok((peak_bytes, (version, samples))) => {
            told.version = version;
            told.samples.extend(only(figures, samples));
            told.samples.extend(peak_bytes.map(|bytes| (Figure::PeakMemory, Ok(bytes as f64))));
        }
        Err(why) => told.samples.extend(failed(figures, &why)),
    }
}

fn command(bench: &Path, question: &Question<'_>) -> Command {
    let mut command = Command::new(bench);
    command.arg("-m").arg(question.model).args(["-r", "1", "-o", "json", "-t", &question.n_threads.to_string()]);
    command
}

fn batched_samples(batched: &Path, question: &Question<'_>, figures: &[Figure]) -> Vec<Sample> {
    let (mut sequences_max, mut tokens_max) = (0, 0);
    for figure in figures {
        if let Figure::Decode { sequences, tokens, .. } = *figure {
            (sequences_max, tokens_max) = (sequences_max.max(sequences), tokens_max.max(tokens));
        }
    }
    let batches: Vec<usize> = question.phases.batch.iter().copied().filter(|&n| n > 1).collect();
    let threads = question.n_threads.to_string();
    let context = sequences_max * (1 + tokens_max).next_multiple_of(CONTEXT_STEP);
    let mut command = Command::new(batched);
    command.arg("-m").arg(question.model).args(["-t", &threads, "-tb", &threads, "-npp", "1"]);
    command.args(["-ntg", &comma_separated(&question.phases.generate), "-npl", &comma_separated(&batches)]);
    command.args(["-c", &context.to_string(), "--output-format", "jsonl"]);
    let samples = process::run(&mut command).map(|outcome| parse_batched(&outcome.stdout));
    samples.map_or_else(|why| failed(figures, &why), |samples| only(figures, samples))
}

/// A program in the same folder.
pub(in super::super) fn beside(bench: &Path, name: &str) -> PathBuf {
    bench.with_file_name(name)
}

fn failed(figures: &[Figure], why: &str) -> Vec<Sample> {
    RoundTold::failed(figures, why).samples
}

/// The samples that were asked for; one that is missing has failed.
fn only(figures: &[Figure], samples: Rates) -> Vec<Sample> {
    let value = |figure: &Figure| samples.iter().find(|(found, _)| found == figure).map(|(_, value)| *value);
    let missing = || "the program said nothing of it".to_owned();
    figures.iter().map(|figure| (*figure, value(figure).ok_or_else(missing))).collect()
}

/// `llama-bench -o json`: the version, and tokens a second of every test.
fn parse_bench(stdout: &str) -> Result<(Option<String>, Rates), String> {
    let tests: Vec<Value> = serde_json::from_str(stdout).map_err(|error| format!("its output is not JSON: {error}"))?;
    let sample = |test: &Value| {
        let count = |key: &str| test[key].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let (depth, rate) = (count("n_depth"), test["avg_ts"].as_f64()?);
        match (count("n_prompt"), count("n_gen")) {
            (0, 0) => None,
            (0, tokens) => Some((Figure::Decode { sequences: 1, depth, tokens }, rate)),
            (tokens, _) => Some((Figure::Prefill { depth, tokens }, rate)),
        }
    };
    let version = tests.first().and_then(|test| test["build_commit"].as_str()).map(str::to_owned);
    Ok((version, tests.iter().filter_map(sample).collect()))
}

/// `llama-batched-bench --output-format jsonl`: lines of JSON among others.
fn parse_batched(stdout: &str) -> Rates {
    let sample = |line: &str| {
        let test: Value = serde_json::from_str(line).ok()?;
        let count = |key: &str| test[key].as_u64().and_then(|n| usize::try_from(n).ok());
        let figure = Figure::Decode { sequences: count("pl")?, depth: 0, tokens: count("tg")? };
        Some((figure, test["speed_tg"].as_f64()?))
    };
    stdout.lines().filter_map(sample).collect()
}

#[cfg(test)]
mod tests;
