//! The rounds' figures, their medians and spread, as text, Markdown or JSON.

use super::process::Outcome;
use super::round::Phases;
use crate::failure::Failure;
use ballast::LoadOptions;
use ballast::machine::Machine;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What is told, in this order: key and words.
const FIGURES: [(&str, &str); 5] = [
    ("prefill_tokens_per_second", "prefill, tokens/s"),
    ("decode_tokens_per_second", "decode, tokens/s"),
    ("batched_decode_tokens_per_second", "batched decode, tokens/s together"),
    ("load_ms", "load, ms"),
    ("peak_memory_bytes", "peak memory, bytes"),
];

/// Rounds of ours and of the peer.
#[derive(Debug)]
pub(super) struct Report {
    setting: Map<String, Value>,
    n_threads: usize,
    ours: Vec<Value>,
    peer: Vec<Value>,
}

/// The middle of some rounds and their range.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(model: &Path, options: &LoadOptions, phases: Phases) -> Result<Self, Failure> {
        let machine = Machine::read();
        let n_threads = options.n_threads.unwrap_or(machine.usable_cpus);
        let kernels = options.kernels.clone().or_else(|| machine.kernel_sets.first().map(|&name| name.to_owned()));
        let setting = json!({
            "model": model.file_name().map(|name| name.to_string_lossy()),
            "model_bytes": std::fs::metadata(model)?.len(),
            "machine": machine.cpu_model,
            "cpus": machine.usable_cpus,
            "threads": n_threads,
            "kernels": kernels,
            "version": env!("CARGO_PKG_VERSION"),
            "prompt_tokens": phases.prompt_tokens,
            "decode_tokens": phases.decode_tokens,
            "sequences": phases.n_sequences,
        });
        let Value::Object(setting) = setting else { unreachable!("json! made an object") };
        Ok(Self { setting, n_threads, ours: Vec::new(), peer: Vec::new() })
    }

    pub(super) fn n_threads(&self) -> usize {
        self.n_threads
    }

    pub(super) fn add_ours(&mut self, outcome: Outcome) -> Result<(), Failure> {
        let mut round: Value = serde_json::from_str(&outcome.stdout)?;
        round["peak_memory_bytes"] = json!(outcome.peak_bytes);
        self.ours.push(round);
        Ok(())
    }

    pub(super) fn add_peer(&mut self, round: Value) {
        self.peer.push(round);
    }

    pub(super) fn to_json(&self) -> Value {
        let side = |rounds: &[Value]| -> Map<String, Value> {
            let figure = |key: &str| spread(rounds, key).map_or(Value::Null, |s| json!([s.median, s.min, s.max]));
            FIGURES.iter().map(|(key, _)| ((*key).to_owned(), figure(key))).collect()
        };
        let ratio = |key: &str| self.ratio(key).map_or(Value::Null, |ratio| json!(ratio));
        let ratios: Map<String, Value> = FIGURES.iter().map(|(key, _)| ((*key).to_owned(), ratio(key))).collect();
        json!({
            "setting": self.setting,
            "n_rounds": self.ours.len(),
            "columns": ["median", "min", "max"],
            "ours": side(&self.ours),
            "peer": (!self.peer.is_empty()).then(|| side(&self.peer)),
            "peer_version": self.peer_version(),
            "ratio_ours_to_peer": (!self.peer.is_empty()).then_some(ratios),
            "rounds": { "ours": self.ours, "peer": self.peer },
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.caption());
        for row in self.rows() {
            text += &format!("{:<34} {:<34} {:<34} {}\n", row[0], row[1], row[2], row[3]);
        }
        text
    }

    pub(super) fn to_markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.caption());
        for (idx, row) in self.rows().iter().enumerate() {
            text += &format!("| {} |\n", row.join(" | "));
            if idx == 0 {
                text += "|---|---|---|---|\n";
            }
        }
        text
    }

    fn caption(&self) -> String {
        let setting = |key: &str| {
            let value = &self.setting[key];
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        let peer = self.peer_version().map(|version| format!(", peer llama.cpp {version}")).unwrap_or_default();
        format!(
            "{} on {}, {} threads, kernels {}, ballast {}{peer}; {} prompt tokens, {} generated, {} sequences in the \
             batched phase; median (least to most) of {} interleaved rounds",
            setting("model"),
            setting("machine"),
            setting("threads"),
            setting("kernels"),
            setting("version"),
            setting("prompt_tokens"),
            setting("decode_tokens"),
            setting("sequences"),
            self.ours.len(),
        )
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let heading = ["", "ballast", "peer", "ballast / peer"].map(str::to_owned);
        let row = |&(key, words): &(&str, &str)| {
            let cell = |rounds: &[Value]| spread(rounds, key).map_or("not measured".to_owned(), |s| s.to_string());
            let ratio = self.ratio(key).map_or(String::new(), |ratio| format!("{ratio:.2}"));
            [words.to_owned(), cell(&self.ours), cell(&self.peer), ratio]
        };
        std::iter::once(heading).chain(FIGURES.iter().map(row)).collect()
    }

    fn ratio(&self, key: &str) -> Option<f64> {
        Some(spread(&self.ours, key)?.median / spread(&self.peer, key)?.median)
    }

    fn peer_version(&self) -> Option<&str> {
        self.peer.first()?["version"].as_str()
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} ({:.0} to {:.0})", self.median, self.min, self.max)
    }
}

/// Median and range of a figure; `None` if any round lacks it.
fn spread(rounds: &[Value], key: &str) -> Option<Spread> {
    let mut values: Vec<f64> = rounds.iter().map(|round| round[key].as_f64()).collect::<Option<_>>()?;
    values.sort_by(f64::total_cmp);
    let (&min, &max) = (values.first()?, values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
    Some(Spread { median, min, max })
}

#[cfg(test)]
mod tests {
    use super::{Spread, spread};
    use serde_json::json;

    #[test]
    fn a_spread_is_the_median_and_the_range() {
        let rounds = [json!({ "a": 3.0 }), json!({ "a": 1.0 }), json!({ "a": 2.0 })];
        assert_eq!(spread(&rounds, "a"), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&rounds[..2], "a"), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    }

    #[test]
    fn what_a_round_lacks_is_not_measured() {
        assert_eq!(spread(&[json!({ "a": 3.0 }), json!({})], "a"), None);
        assert_eq!(spread(&[], "a"), None);
    }
}
