//! What is measured: the figures of a round, their words, units, and the line of JSON that programs tell them in.

use super::statistics::Spread;
use serde_json::{Value, json};

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    /// Prompt tokens a second: `tokens` of them behind `depth` that are there already.
    Prefill { depth: usize, tokens: usize },
    /// Generated tokens a second, all sequences together: `tokens` each, behind `depth` that are there already.
    Decode { sequences: usize, depth: usize, tokens: usize },
    /// Seconds until the engine stands.
    Load,
    /// Most bytes that the process of a round held.
    PeakMemory,
    /// Seconds from the start of a server, with nothing prepared, until it says that it is ready.
    FirstReady,
    /// Seconds from the start of a server until it says that it is ready.
    Ready,
    /// Seconds from the start of a server until the first token of a short prompt.
    FirstToken,
    /// Most bytes that a server for one sequence held.
    ServerMemory,
}

/// How a figure is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    TokensPerSecond,
    Seconds,
    Bytes,
}

impl Figure {
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::Prefill { .. } | Self::Decode { .. } => Unit::TokensPerSecond,
            Self::Load | Self::FirstReady | Self::Ready | Self::FirstToken => Unit::Seconds,
            Self::PeakMemory | Self::ServerMemory => Unit::Bytes,
        }
    }

    /// What a table calls it, with the unit that [`Unit::show`] uses.
    pub(super) fn words(self) -> String {
        let behind = |depth: usize| if depth > 0 { format!(" behind {depth}") } else { String::new() };
        match self {
            Self::Prefill { depth, tokens } => format!("prefill {tokens}{}, tokens/s", behind(depth)),
            Self::Decode { sequences: 1, depth, tokens } => format!("decode {tokens}{}, tokens/s", behind(depth)),
            Self::Decode { sequences, depth, tokens } => {
                format!("batched decode {sequences} x {tokens}{}, tokens/s together", behind(depth))
            }
            Self::Load => "load, ms".to_owned(),
            Self::PeakMemory => "peak memory, MiB".to_owned(),
            Self::FirstReady => "first start to ready, ms".to_owned(),
            Self::Ready => "start to ready, ms".to_owned(),
            Self::FirstToken => "start to first token, ms".to_owned(),
            Self::ServerMemory => "server for one sequence, peak MiB".to_owned(),
        }
    }

    /// The fields that name it in JSON.
    pub(super) fn to_json(self) -> Value {
        match self {
            Self::Prefill { depth, tokens } => json!({ "figure": "prefill", "depth": depth, "tokens": tokens }),
            Self::Decode { sequences, depth, tokens } => {
                json!({ "figure": "decode", "sequences": sequences, "depth": depth, "tokens": tokens })
            }
            Self::Load => json!({ "figure": "load" }),
            Self::PeakMemory => json!({ "figure": "peak_memory" }),
            Self::FirstReady => json!({ "figure": "first_ready" }),
            Self::Ready => json!({ "figure": "ready" }),
            Self::FirstToken => json!({ "figure": "first_token" }),
            Self::ServerMemory => json!({ "figure": "server_memory" }),
        }
    }

    /// The figure that these fields name.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let count = |key: &str| usize::try_from(value[key].as_u64()?).ok();
        let depth = count("depth").unwrap_or(0);
        match value["figure"].as_str()? {
            "prefill" => Some(Self::Prefill { depth, tokens: count("tokens")? }),
            "decode" => Some(Self::Decode { sequences: count("sequences")?, depth, tokens: count("tokens")? }),
            "load" => Some(Self::Load),
            "peak_memory" => Some(Self::PeakMemory),
            "first_ready" => Some(Self::FirstReady),
            "ready" => Some(Self::Ready),
            "first_token" => Some(Self::FirstToken),
            "server_memory" => Some(Self::ServerMemory),
            _ => None,
        }
    }
}

impl Unit {
    /// The name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TokensPerSecond => "tokens/s",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
        }
    }

    /// A median with its range, in the unit of [`Figure::words`].
    pub(super) fn show(self, spread: Spread) -> String {
        let scale = match self {
            Self::TokensPerSecond => 1.0,
            Self::Seconds => 1e3,
            Self::Bytes => 1.0 / f64::from(1 << 20),
        };
        let Spread { median, min, max } = spread;
        let number = |value: f64| significant(value * scale);
        format!("{} ({} to {})", number(median), number(min), number(max))
    }
}

/// A number with three significant digits or all digits before the point, whichever is more.
pub(super) fn significant(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A figure and its value in one round, or why there is none.
pub(super) type Sample = (Figure, Result<f64, String>);

/// What a program told of one round.
#[derive(Debug, Default)]
pub(super) struct RoundTold {
    pub(super) version: Option<String>,
    pub(super) samples: Vec<Sample>,
}

impl RoundTold {
    /// The line of JSON that tells it: what our own round prints, and peers that follow our contract.
    pub(super) fn to_json(&self) -> Value {
        let sample = |(figure, value): &Sample| {
            let mut fields = figure.to_json();
            match value {
                Ok(value) => fields["value"] = json!(value),
                Err(why) => fields["failed"] = json!(why),
            }
            fields
        };
        json!({ "version": self.version, "samples": self.samples.iter().map(sample).collect::<Vec<_>>() })
    }

    /// Reads that line; `None` if it is none.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let sample = |fields: &Value| {
            let failed = fields["failed"].as_str().map(str::to_owned);
            let value = fields["value"].as_f64().ok_or_else(|| failed.unwrap_or_else(|| "no value".to_owned()));
            Some((Figure::from_json(fields)?, value))
        };
        let samples = value["samples"].as_array()?.iter().map(sample).collect::<Option<_>>()?;
        Some(Self { version: value["version"].as_str().map(str::to_owned), samples })
    }

    /// A round that told nothing of these figures, and why.
    pub(super) fn failed(figures: &[Figure], why: &str) -> Self {
        Self { version: None, samples: figures.iter().map(|&figure| (figure, Err(why.to_owned()))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, RoundTold, Unit, significant};
    use crate::verbs::bench::statistics::Spread;

    const FIGURES: [Figure; 9] = [
        Figure::Prefill { depth: 0, tokens: 512 },
        Figure::Decode { sequences: 1, depth: 4096, tokens: 16 },
        Figure::Decode { sequences: 8, depth: 0, tokens: 128 },
        Figure::Load,
        Figure::PeakMemory,
        Figure::FirstReady,
        Figure::Ready,
        Figure::FirstToken,
        Figure::ServerMemory,
    ];

    #[test]
    fn a_round_is_read_as_it_was_told() {
        let mut samples: Vec<_> = FIGURES.iter().zip([1.5; 9]).map(|(&figure, value)| (figure, Ok(value))).collect();
        samples.push((Figure::Load, Err("no memory".to_owned())));
        let told = RoundTold { version: Some("1".to_owned()), samples };
        let read = RoundTold::from_json(&told.to_json()).unwrap();
        assert_eq!((read.version, read.samples), (told.version, told.samples));
    }

    #[test]
    fn what_is_no_round_is_not_read_as_one() {
        for bad in ["{}", "[]", r#"{"samples":[{"figure":"speed","value":1}]}"#] {
            assert!(RoundTold::from_json(&serde_json::from_str(bad).unwrap()).is_none(), "{bad}");
        }
    }

    #[test]
    fn words_tell_figures_apart() {
        let words: std::collections::BTreeSet<String> = FIGURES.iter().map(|figure| figure.words()).collect();
        assert_eq!(words.len(), FIGURES.len());
        assert_eq!(FIGURES[1].words(), "decode 16 behind 4096, tokens/s");
    }

    #[test]
    fn spreads_are_shown_in_the_unit_of_the_words() {
        let spread = Spread { median: 0.5, min: 0.25, max: 1.0 };
        assert_eq!(Unit::Seconds.show(spread), "500 (250 to 1000)");
        assert_eq!(Unit::TokensPerSecond.show(spread), "0.50 (0.25 to 1.00)");
        let bytes = Spread { median: 3e6, min: 1_048_576.0, max: 1e9 };
        assert_eq!(Unit::Bytes.show(bytes), "2.86 (1.00 to 954)");
        assert_eq!(significant(12.34), "12.3");
    }
}
