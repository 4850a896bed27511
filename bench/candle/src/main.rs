//! One round of candle's quantised llama: `bench-candle MODEL --prompt 512 --generate 128 --batch 1 --depth 0
//! --threads 2`, the arguments of `ballast bench round`. Prints its line of JSON.
//!
//! Every list may have several numbers, and 0 is none. Only one sequence at a time is measured: candle's model has one
//! KV cache. Depths are left out: its cache cannot be cut back to where a depth ended.
#![forbid(unsafe_code)]

use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

/// The version of candle in `Cargo.toml`.
const CANDLE: &str = "0.11.1";

/// Tokens of a prompt that are run at once, as many as the others take.
const CHUNK: usize = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (path, options) = parse(&args)?;
    // Read by the thread pool when it is first used.
    let threads = options.get("--threads").map_or("1", |text| text.as_str());
    if std::env::var("RAYON_NUM_THREADS").as_deref() != Ok(threads) {
        return again_with_threads(&args, threads);
    }
    let list = |name: &str| numbers(options.get(name).map_or("0", |text| text.as_str()));
    let begin = Instant::now();
    let mut bench = Bench::load(path)?;
    let mut samples = vec![json!({ "figure": "load", "value": begin.elapsed().as_secs_f64() })];
    bench.prefill(1)?;
    for tokens in list("--prompt")? {
        let rate = bench.prefill(tokens)?;
        samples.push(json!({ "figure": "prefill", "depth": 0, "tokens": tokens, "value": rate }));
    }
    if list("--batch")?.contains(&1) {
        for tokens in list("--generate")? {
            let rate = bench.decode(tokens)?;
            let fields = json!({ "figure": "decode", "sequences": 1, "depth": 0, "tokens": tokens, "value": rate });
            samples.push(fields);
        }
    }
    println!("{}", json!({ "version": CANDLE, "samples": samples }));
    Ok(())
}

type Options = BTreeMap<String, String>;

/// The model's path and the options, each with a value.
fn parse(args: &[String]) -> Result<(&str, Options), String> {
    let (path, rest) = args.split_first().ok_or("expected a model's path")?;
    let pairs = rest.chunks(2).map(|pair| match pair {
        [name, value] if name.starts_with("--") => Ok((name.clone(), value.clone())),
        other => Err(format!("expected an option and its value, got {other:?}")),
    });
    Ok((path, pairs.collect::<Result<_, _>>()?))
}

/// `1,2,3`, without zeros.
fn numbers(text: &str) -> Result<Vec<usize>, std::num::ParseIntError> {
    let all = text.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    Ok(all.into_iter().filter(|&n| n > 0).collect())
}

/// Runs this program again with the number of threads in its environment, where candle's pool looks for it.
fn again_with_threads(args: &[String], threads: &str) -> Result<(), Box<dyn Error>> {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    // Replaces this process, so that its peak memory is the model's.
    Err(command.args(args).env("RAYON_NUM_THREADS", threads).exec().into())
}

struct Bench {
    model: ModelWeights,
    vocab_size: u32,
}

impl Bench {
    fn load(path: &str) -> Result<Self, Box<dyn Error>> {
        let mut file = BufReader::new(File::open(path)?);
        let content = gguf_file::Content::read(&mut file)?;
        let tokens = content.metadata.get("tokenizer.ggml.tokens").ok_or("the model has no vocabulary")?;
        let vocab_size = u32::try_from(tokens.to_vec()?.len())?;
        Ok(Self { model: ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?, vocab_size })
    }

    /// Tokens a second of a prompt, from an empty cache.
    fn prefill(&mut self, n_tokens: usize) -> Result<Value, Box<dyn Error>> {
        let tokens: Vec<u32> = (0..n_tokens).map(|position| self.token(position)).collect();
        let begin = Instant::now();
        for (idx, chunk) in tokens.chunks(CHUNK).enumerate() {
            self.step(chunk, idx * CHUNK)?;
        }
        Ok(json!(n_tokens as f64 / begin.elapsed().as_secs_f64()))
    }

    /// Tokens a second one by one, from an empty cache.
    fn decode(&mut self, n_tokens: usize) -> Result<Value, Box<dyn Error>> {
        let begin = Instant::now();
        for position in 0..n_tokens {
            self.step(&[self.token(position)], position)?;
        }
        Ok(json!(n_tokens as f64 / begin.elapsed().as_secs_f64()))
    }

    /// Runs tokens at a position; at position 0 the model forgets what was before.
    fn step(&mut self, tokens: &[u32], position: usize) -> Result<(), Box<dyn Error>> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        self.model.forward(&input, position)?;
        Ok(())
    }

    /// Some token: the cost does not depend on which.
    fn token(&self, position: usize) -> u32 {
        (position as u32).wrapping_mul(7_919) % self.vocab_size
    }
}
