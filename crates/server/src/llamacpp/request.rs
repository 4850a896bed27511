//! The request for a completion, parsed once: every field is read, refused by name, or unknown.

use crate::ServerOptions;
use crate::api_error::ApiError;
use crate::constraint;
use crate::fields::{Fields, ParamError, Refused, is_empty, is_one, is_zero, never};
use crate::openai::{Prompt, prompts};
use crate::params::{GenerationParams, strings};
use ballast_backend::TokenId;
use ballast_tokens::{EncodeOptions, PENALTY_WINDOW_MAX, SamplingParams, Tokenizer};
use serde_json::Value;
use std::time::Duration;

const PLAIN: &str = "use temperature, top_k, top_p and min_p";
const TEXT: &str = "answers are plain text";
const BY_ITSELF: &str = "places and cached prefixes are found by the server itself";

const UNSUPPORTED: &[Refused] = &[
    ("cache_prompt", |value| *value == true, BY_ITSELF),
    ("dry_multiplier", is_zero, PLAIN),
    ("dynatemp_range", is_zero, PLAIN),
    ("id_slot", |value| *value == -1, BY_ITSELF),
    ("image_data", is_empty, TEXT),
    ("lora", is_empty, "the model is served as it is"),
    ("min_keep", is_zero, PLAIN),
    ("mirostat", is_zero, PLAIN),
    ("n_indent", is_zero, PLAIN),
    ("n_keep", is_zero, "a prompt that is too long is refused, not cut"),
    ("post_sampling_probs", |value| *value == false, "probabilities are the model's own"),
    ("response_fields", is_empty, "all fields are given"),
    ("return_progress", |value| *value == false, "use /health"),
    ("samplers", never, "they follow one another in a fixed order"),
    ("typical_p", is_one, PLAIN),
    ("xtc_probability", is_zero, PLAIN),
];

/// A request for a completion.
#[derive(Debug)]
pub(super) struct CompletionRequest {
    /// `None`: the first.
    pub(super) model: Option<String>,
    pub(super) is_streamed: bool,
    /// Tokens come with the text.
    pub(super) returns_tokens: bool,
    pub(super) generation: GenerationParams,
    prompt: Prompt,
}

impl CompletionRequest {
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn parse(body: &[u8], options: &ServerOptions) -> Result<Self, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let mut prompts = prompts(&mut fields)?;
        let prompt = prompts.pop().filter(|_| prompts.is_empty()).ok_or_else(|| ParamError::Unsupported {
            param: "prompt".to_owned(),
            supported: "one prompt is; /v1/completions takes several",
        })?;
        let request = Self {
            prompt,
            is_streamed: fields.bool("stream")?.unwrap_or(false),
            model: fields.string("model")?,
            returns_tokens: fields.bool("return_tokens")?.unwrap_or(false),
            generation: generation(&mut fields, options)?,
        };
        fields.bool("timings_per_token")?;
        fields.refuse(UNSUPPORTED)?;
        fields.finish()?;
        Ok(request)
    }

    /// The prompt's tokens.
    ///
    /// # Errors
    /// If a token is not one of the model's.
    pub(super) fn prompt(&self, tokenizer: &Tokenizer) -> Result<Vec<TokenId>, ApiError> {
        Ok(self.prompt.tokens(tokenizer, EncodeOptions { add_special: true, parse_special: true })?)
    }
}

fn generation(fields: &mut Fields, options: &ServerOptions) -> Result<GenerationParams, ApiError> {
    let (constraint, constrained_by) = constraint::of_llamacpp(fields)?.unzip();
    let params = GenerationParams {
        sampling: sampling(fields)?,
        stop: strings(fields, "stop")?,
        max_tokens: max_tokens(fields)?.or(options.max_tokens_default),
        ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
        constraint,
        constrained_by,
        show_special: false,
        deadline: deadline(fields, options)?,
        priority: None,
    };
    params.checked()
}

fn sampling(fields: &mut Fields) -> Result<SamplingParams, ParamError> {
    let default = SamplingParams::default();
    let window = fields.i64("repeat_last_n")?.map(|n| usize::try_from(n).unwrap_or(PENALTY_WINDOW_MAX));
    Ok(SamplingParams {
        temperature: fields.f32("temperature")?.unwrap_or(default.temperature),
        top_k: fields.i64("top_k")?.map_or(default.top_k, |k| usize::try_from(k).unwrap_or(0)),
        top_p: fields.f32("top_p")?.unwrap_or(default.top_p),
        min_p: fields.f32("min_p")?.unwrap_or(default.min_p),
        repetition_penalty: fields.f32("repeat_penalty")?.unwrap_or(default.repetition_penalty),
        frequency_penalty: fields.f32("frequency_penalty")?.unwrap_or(default.frequency_penalty),
        presence_penalty: fields.f32("presence_penalty")?.unwrap_or(default.presence_penalty),
        penalty_window: window.unwrap_or(default.penalty_window),
        logit_bias: logit_bias(fields)?,
        // Any seed below 0 asks for a random one.
        seed: fields.i64("seed")?.and_then(|seed| u64::try_from(seed).ok()),
        n_logprobs: fields.count("n_probs")?.filter(|n| *n > 0),
    })
}

/// Pairs of a token and a number, or `false`, which forbids the token.
fn logit_bias(fields: &mut Fields) -> Result<Vec<(TokenId, f32)>, ParamError> {
    let expected = "an array of pairs of a token id and a number or false";
    let wrong = |got: &Value| ParamError::wrong("logit_bias".to_owned(), expected, got);
    let Some(value) = fields.take("logit_bias") else { return Ok(Vec::new()) };
    let pairs = value.as_array().ok_or_else(|| wrong(&value))?;
    let pair = |pair: &Value| {
        let [token, bias] = pair.as_array().map(Vec::as_slice).unwrap_or_default() else { return Err(wrong(pair)) };
        let token = token.as_u64().and_then(|token| u32::try_from(token).ok()).ok_or_else(|| wrong(token))?;
        let forbids = *bias == Value::Bool(false);
        let bias = if forbids { Some(f64::NEG_INFINITY) } else { bias.as_f64() }.ok_or_else(|| wrong(bias))?;
        #[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is what is wanted")]
        let bias = bias as f32;
        Ok((TokenId(token), bias))
    };
    pairs.iter().map(pair).collect()
}

/// Below 0 is until the context is full.
fn max_tokens(fields: &mut Fields) -> Result<Option<usize>, ParamError> {
    let (older, newer) = (fields.i64("n_predict")?, fields.i64("max_tokens")?);
    match older.or(newer) {
        Some(0) => Err(ParamError::wrong("n_predict".to_owned(), "at least 1, or -1 for no bound", &0.into())),
        n => Ok(n.and_then(|n| usize::try_from(n).ok())),
    }
}

/// `t_max_predict_ms`; 0 and below ask for none of their own.
fn deadline(fields: &mut Fields, options: &ServerOptions) -> Result<Duration, ParamError> {
    match fields.i64("t_max_predict_ms")?.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0) {
        Some(ms) => Ok(Duration::from_millis(ms).min(options.request_deadline_max)),
        None => crate::params::deadline(fields, options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broken::bodies_are_refused_without_a_panic;
    use serde_json::json;
    use std::sync::Arc;

    fn parse(extra: Value) -> Result<CompletionRequest, ApiError> {
        let mut request = json!({ "prompt": "once" });
        for (name, value) in extra.as_object().expect("extra fields are an object") {
            request[name] = value.clone();
        }
        let options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
        CompletionRequest::parse(request.to_string().as_bytes(), &options)
    }

    #[test]
    fn everything_supported_reaches_the_runtime() {
        let request = parse(json!({
            "temperature": 0.5, "top_k": -1, "top_p": 0.9, "min_p": 0.1, "repeat_penalty": 1.1, "repeat_last_n": 64,
            "frequency_penalty": 0.25, "presence_penalty": -0.25, "seed": 7, "n_predict": 9, "stop": ["a"],
            "logit_bias": [[5, 1.5], [6, false]], "n_probs": 2, "ignore_eos": true, "t_max_predict_ms": 1500,
            "cache_prompt": true, "id_slot": -1, "samplers": null, "stream": true, "return_tokens": true,
        }))
        .unwrap();
        assert!(request.is_streamed && request.returns_tokens);
        let generation = request.generation.request(vec![TokenId(1)], 3);
        let expected = SamplingParams {
            temperature: 0.5,
            top_k: 0,
            top_p: 0.9,
            min_p: 0.1,
            repetition_penalty: 1.1,
            penalty_window: 64,
            frequency_penalty: 0.25,
            presence_penalty: -0.25,
            logit_bias: vec![(TokenId(5), 1.5), (TokenId(6), f32::NEG_INFINITY)],
            seed: Some(7),
            n_logprobs: Some(2),
        };
        assert_eq!(generation.sampling, expected);
        assert_eq!((generation.max_tokens, generation.ignore_eos), (Some(9), true));
        assert_eq!(generation.deadlines.total, Some(Duration::from_millis(1500)));
        let request = parse(json!({"seed": -1, "n_predict": -1, "n_probs": 0})).unwrap();
        let generation = request.generation;
        assert_eq!((generation.sampling.seed, generation.max_tokens), (None, None));
        assert_eq!(generation.sampling.n_logprobs, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!({"prompt": null}), "prompt", "missing_parameter"),
            (json!({"prompt": ["a", "b"]}), "prompt", "unsupported_parameter"),
            (json!({"n_predict": 0}), "n_predict", "invalid_value"),
            (json!({"logit_bias": [[1]]}), "logit_bias", "invalid_value"),
            (json!({"logit_bias": [[1, true]]}), "logit_bias", "invalid_value"),
            (json!({"grammar": 1}), "grammar", "invalid_value"),
            (json!({"mirostat": 2}), "mirostat", "unsupported_parameter"),
            (json!({"id_slot": 1}), "id_slot", "unsupported_parameter"),
            (json!({"n_keep": 5}), "n_keep", "unsupported_parameter"),
            (json!({"mystery": 5}), "mystery", "unknown_parameter"),
        ];
        for (extra, param, code) in cases {
            let error = parse(extra.clone()).unwrap_err();
            assert_eq!((error.param().as_deref(), error.code().as_str()), (Some(param), code), "{extra}");
        }
    }

    #[test]
    fn broken_bodies_are_refused_without_a_panic() {
        let options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
        let whole = json!({"prompt": [1, 2], "n_predict": -1, "seed": -1, "logit_bias": [[1, false], [2, 0.5]], "stop": ["a"], "n_probs": 2});
        bodies_are_refused_without_a_panic(&whole, |body| CompletionRequest::parse(body, &options));
    }
}
