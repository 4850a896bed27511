//! `generation_settings`: everything that decided an answer, by llama.cpp's names. What it has and this server has not
//! is said to be off.

use crate::params::GenerationParams;
use ballast_tokens::{SamplingParams, Tokenizer};
use serde_json::{Value, json};

/// The settings of a request; `is_streamed` and `n_probs` as it was asked.
pub(crate) fn settings(params: &GenerationParams, tokenizer: &Tokenizer, is_streamed: bool) -> Value {
    let mut settings = sampling(&params.sampling);
    let n_predict = params.max_tokens.map_or_else(|| json!(-1), |n| json!(n));
    let ends = if params.ignore_eos { tokenizer.end_of_generation_ids() } else { &[] };
    // JSON has no infinity: null is what forbids a token.
    let bias = |token: u32, bias: f32| json!({ "token": token, "bias": if bias.is_finite() { json!(bias) } else { Value::Null } });
    let given = params.sampling.logit_bias.iter().map(|(token, value)| bias(token.0, *value));
    let biases: Vec<Value> = ends.iter().map(|token| bias(token.0, f32::NEG_INFINITY)).chain(given).collect();
    let told = [
        ("n_predict", n_predict.clone()),
        ("max_tokens", n_predict),
        ("ignore_eos", json!(params.ignore_eos)),
        ("stop", json!(params.stop)),
        ("stream", json!(is_streamed)),
        ("logit_bias", json!(biases)),
    ];
    for (name, value) in told {
        settings[name] = value;
    }
    settings
}

/// How tokens are drawn.
pub(super) fn sampling(sampling: &SamplingParams) -> Value {
    json!({
        "seed": sampling.seed.map_or_else(|| json!(-1), |seed| json!(seed)),
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_last_n": sampling.penalty_window,
        "repeat_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "n_probs": sampling.n_logprobs.unwrap_or(0),
        "adaptive_decay": 0.0,
        "adaptive_target": -1.0,
        "dry_multiplier": 0.0,
        "dynatemp_range": 0.0,
        "lora": [],
        "min_keep": 0,
        "mirostat": 0,
        "n_discard": 0,
        "n_keep": 0,
        "typical_p": 1.0,
        "xtc_probability": 0.0,
    })
}
