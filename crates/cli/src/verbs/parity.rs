//! `ballast parity`: how far two ways of running a model differ.

use crate::failure::{Exit, Failure};
use crate::options::{locate, open_gguf, read_text};
use crate::{output, progress};
use ballast::machine::Machine;
use ballast::parity::{
    EngineLabel, ModelInputs, ModelParity, ModelPlan, ModelSide, ParityError, Precision, SEQUENCES_MAX, Tolerances,
    compare_models, model_sha256,
};
use ballast::tokens::{PromptFormat, Tokenizer, TokenizerOptions};
use ballast::{CacheType, Isolation, LoadOptions, ReasonCode, wiring};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:\n  \
    ballast parity default @kernels=generic\n  \
    ballast parity model.gguf@kernels=generic,threads=1 model.gguf@isolation=process --json\n  \
    ballast parity model-f16.gguf model-q8_0.gguf --precision int8 -f text.txt";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The way that counts as right: MODEL[@KEY=VALUE,...]; keys: kernels, threads, batch, cache-type, isolation
    /// (process).
    a: String,
    /// The way that is judged, written the same; without a MODEL it is that of A.
    b: String,
    /// A text to run instead of seeded tokens.
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Same seed, same tokens.
    #[arg(short = 's', long, value_name = "N", default_value_t = 0, conflicts_with = "file")]
    seed: u64,
    /// Seeded sequences.
    #[arg(long, value_name = "N", default_value_t = 4, conflicts_with = "file", value_parser = sequences)]
    sequences: usize,
    /// Tokens of a sequence, at most.
    #[arg(long, value_name = "TOKENS", default_value_t = 64, value_parser = tokens)]
    tokens: usize,
    /// The precision of the less precise way: its tolerances are taken.
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    precision: PrecisionArg,
    /// Largest difference of two logits, instead of the precision's; bounds their root mean square, too.
    #[arg(long, value_name = "L_INF", value_parser = difference)]
    tolerance: Option<f64>,
    /// Smallest cosine of two rows of logits [default: not asked for].
    #[arg(long, value_name = "COSINE", value_parser = cosine, allow_negative_numbers = true)]
    cosine_min: Option<f64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionArg {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers.
    Int8,
}

/// One way of running a model, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Way {
    /// Empty: the other's.
    model: String,
    kernels: Option<String>,
    n_threads: Option<usize>,
    batch: Option<usize>,
    cache_type: CacheType,
    is_isolated: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (a, mut b) = (Way::parse(&self.a)?, Way::parse(&self.b)?);
        if a.model.is_empty() {
            return Err(Failure::usage("A: expected a model, got none"));
        }
        if b.model.is_empty() {
            b.model.clone_from(&a.model);
        }
        let (mut reference, gguf) = a.open(self.tokens)?;
        let (mut candidate, _) = b.open(self.tokens)?;
        for side in [&reference, &candidate] {
            let context_len = side.engine.shape().context_len;
            if context_len < self.tokens {
                return Err(Failure::usage(format!("--tokens: expected at most {context_len}, got {}", self.tokens)));
            }
        }
        let inputs = self.inputs(&gguf, reference.engine.shape().vocab_size)?;
        let bar = progress::steps("parity", inputs.sequences.len());
        let show = |done: usize| bar.set_position(done as u64);
        let found = compare_models(&mut reference, &mut candidate, &inputs, &self.plan(), show).map_err(failure)?;
        bar.finish_and_clear();
        if self.json {
            output::json(&report(&found)?)?
        } else {
            output::write(&words(&found))?
        }
        if found.report.is_within() {
            return Ok(());
        }
        let mut differ = Failure::failed("the logits differ by more than the tolerance");
        differ.reason = Some(ReasonCode::ParityExceeded);
        Err(differ)
    }

    fn inputs(&self, gguf: &ballast::gguf::Gguf, vocab_size: usize) -> Result<ModelInputs, Failure> {
        let Some(file) = &self.file else {
            return ModelInputs::seeded(self.seed, vocab_size, self.sequences, self.tokens).map_err(failure);
        };
        let text = read_text(file)?;
        let tokenizer = Tokenizer::from_gguf(gguf.metadata(), &TokenizerOptions::default());
        let (tokenizer, _) = tokenizer.map_err(ballast::Error::from)?;
        let tokens = PromptFormat::new(Arc::new(tokenizer), None).text(&text);
        Ok(ModelInputs::given(&tokens, self.tokens, "text given by the caller"))
    }

    fn plan(&self) -> ModelPlan {
        let precision = match self.precision {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::F16 => Precision::F16,
            PrecisionArg::Int8 => Precision::Int8,
        };
        let usual = precision.tolerances();
        let tolerances = Tolerances {
            l_inf_max: self.tolerance.unwrap_or(usual.l_inf_max),
            rmse_max: self.tolerance.unwrap_or(usual.rmse_max),
            cosine_min: self.cosine_min,
        };
        let machine = Machine::read().cpu_model.unwrap_or_else(|| "not measured".to_owned());
        ModelPlan { precision, tolerances, machine }
    }
}

impl Way {
    /// Reads `MODEL[@KEY=VALUE,...]`. An `@` that no key follows belongs to the model's name.
    fn parse(text: &str) -> Result<Self, Failure> {
        let Some((model, keys)) = text.rsplit_once('@').filter(|(_, keys)| keys.contains('=')) else {
            return Ok(Self { model: text.to_owned(), ..Self::default() });
        };
        let mut way = Self { model: model.to_owned(), ..Self::default() };
        for pair in keys.split(',') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || value.parse().ok().filter(|&n: &usize| n > 0);
            let expected = match key {
                "kernels" if !value.is_empty() => {
                    way.kernels = Some(value.to_owned());
                    continue;
                }
                "threads" if number().is_some() => {
                    way.n_threads = number();
                    continue;
                }
                "batch" if number().is_some() => {
                    way.batch = number();
                    continue;
                }
                "cache-type" if CacheType::by_name(value).is_some() => {
                    way.cache_type = CacheType::by_name(value).unwrap_or_default();
                    continue;
                }
                "isolation" if matches!(value, "process" | "in-process") => {
                    way.is_isolated = value == "process";
                    continue;
                }
                "kernels" => "kernels=NAME",
                "threads" => "threads=N above 0",
                "batch" => "batch=TOKENS above 0",
                "cache-type" => "cache-type=f16, bf16 or q8_0",
                "isolation" => "isolation=process or isolation=in-process",
                _ => "kernels, threads, batch, cache-type or isolation",
            };
            return Err(Failure::usage(format!("{text}: expected {expected}, got {pair:?}")));
        }
        Ok(way)
    }

    fn options(&self, context_len: usize) -> LoadOptions {
        let usual = LoadOptions::default();
        LoadOptions {
            context_len: Some(context_len),
            n_parallel: 1,
            n_threads: self.n_threads,
            kernels: self.kernels.clone(),
            cache_type: self.cache_type,
            max_batch_tokens: self.batch.unwrap_or(usual.max_batch_tokens),
            isolation: if self.is_isolated { Isolation::Process } else { Isolation::InProcess },
            ..usual
        }
    }

    fn open(&self, context_len: usize) -> Result<(ModelSide, Arc<ballast::gguf::Gguf>), Failure> {
        let located = locate(&self.model)?;
        let gguf = Arc::new(open_gguf(located.path())?);
        let options = self.options(context_len);
        let engine = wiring::open_engine(located.path(), &gguf, &options)?;
        let model_sha256 = model_sha256(&gguf).map_err(|error| Failure::failed(error.to_string()))?;
        let kernels = self.kernels.as_deref().unwrap_or("best");
        let threads = self.n_threads.map_or_else(|| "all".to_owned(), |n| n.to_string());
        let place = if self.is_isolated { "process" } else { "in-process" };
        let label = EngineLabel {
            engine: format!(
                "llm-cpu kernels={kernels} threads={threads} batch={} cache-type={} isolation={place}",
                options.max_batch_tokens,
                self.cache_type.name()
            ),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model_sha256,
            cache_key: None,
        };
        Ok((ModelSide { label, engine }, gguf))
    }
}

fn failure(error: ParityError) -> Failure {
    let exit = Exit::of_kind(error.kind());
    Failure::new(exit, error.to_string())
}

fn report(found: &ModelParity) -> Result<Value, Failure> {
    let mut report = serde_json::to_value(&found.report)?;
    let positions = found.positions.iter().enumerate().map(|(position, at)| {
        json!({ "position": position, "n_samples": at.n_samples, "l_inf": at.l_inf, "rmse": at.rmse, "cosine": at.cosine })
    });
    report["positions"] = positions.collect();
    report["within"] = found.report.is_within().into();
    Ok(report)
}

/// The positions that differ most, and the whole.
fn words(found: &ModelParity) -> String {
    /// Positions that are shown.
    const SHOWN_MAX: usize = 5;
    let report = &found.report;
    let cosine =
        |cosine: Option<f64>| cosine.map_or_else(|| "not measured".to_owned(), |cosine| format!("{cosine:.9}"));
    let mut text = format!("A: {}\nB: {}\n", report.head.reference.engine, report.head.candidate.engine);
    let mut worst: Vec<usize> = (0..found.positions.len()).collect();
    worst.sort_by(|&a, &b| found.positions[b].l_inf.total_cmp(&found.positions[a].l_inf));
    for position in worst.into_iter().take(SHOWN_MAX) {
        let at = &found.positions[position];
        text += &format!(
            "position {position}: L-inf {:.3e}, RMSE {:.3e}, cosine {}\n",
            at.l_inf,
            at.rmse,
            cosine(at.cosine)
        );
    }
    for output in &report.outputs {
        let (l_inf, rmse) = (output.l_inf, output.rmse);
        text += &format!(
            "{} rows: L-inf {l_inf:.3e}, RMSE {rmse:.3e}, cosine {}\n",
            report.n_samples,
            cosine(output.cosine)
        );
    }
    let Tolerances { l_inf_max, rmse_max, .. } = report.head.tolerances;
    let verdict = if report.is_within() { "within" } else { "over" };
    text + &format!("{verdict} the tolerance: L-inf {l_inf_max:e}, RMSE {rmse_max:e}\n")
}

fn sequences(text: &str) -> Result<usize, String> {
    let n: Option<usize> = text.parse().ok();
    n.filter(|n| (1..=SEQUENCES_MAX).contains(n)).ok_or_else(|| format!("expected 1 to {SEQUENCES_MAX}, got {text:?}"))
}

fn tokens(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| format!("expected a whole number above 0, got {text:?}"))
}

fn difference(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|n| *n >= 0.0).ok_or_else(|| format!("expected a number of 0 or more, got {text:?}"))
}

fn cosine(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|n| (-1.0..=1.0).contains(n)).ok_or_else(|| format!("expected -1 to 1, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::Way;
    use ballast::CacheType;

    #[test]
    fn ways_are_a_model_and_keys() {
        let plain = |model: &str| Way { model: model.to_owned(), ..Way::default() };
        for name in ["model.gguf", "dir@2/model.gguf", "hf:user/repo:Q4_0"] {
            assert_eq!(Way::parse(name).unwrap(), plain(name));
        }
        let way = Way::parse("m@kernels=generic,threads=2,batch=7,cache-type=bf16,isolation=process").unwrap();
        let expected = Way {
            kernels: Some("generic".to_owned()),
            n_threads: Some(2),
            batch: Some(7),
            cache_type: CacheType::BF16,
            is_isolated: true,
            ..plain("m")
        };
        assert_eq!(way, expected);
        assert_eq!(Way::parse("@threads=1").unwrap().model, "");
    }

    #[test]
    fn keys_that_are_none_are_wrong_usage() {
        for bad in [
            "m@kernels=",
            "m@threads=0",
            "m@batch=x",
            "m@cache-type=f32",
            "m@isolation=vm",
            "m@speed=1",
            "m@threads=1,",
        ] {
            assert!(Way::parse(bad).unwrap_err().what.contains("expected"), "{bad}");
        }
    }
}
