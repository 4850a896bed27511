//! The request, parsed once: every field is read, refused by name, or unknown.

use super::{Mode, messages, unsupported};
use crate::api_error::ApiError;
use crate::openai::fields::{Fields, ParamError};
use crate::{ServerOptions, json};
use ballast_backend::TokenId;
use ballast_runtime::{Deadlines, Request};
use ballast_tokens::{ChatMessage, SamplingParams};
use serde_json::Value;
use std::time::Duration;

/// Longest `user`.
pub const LABEL_BYTES_MAX: usize = 512;
/// Most entries of `metadata`; the bounds are OpenAI's.
pub const METADATA_ENTRIES_MAX: usize = 16;
/// Longest key of `metadata`.
pub const METADATA_KEY_BYTES_MAX: usize = 64;
/// Longest value of `metadata`.
pub const METADATA_VALUE_BYTES_MAX: usize = 512;

/// A chat request.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    pub(super) messages: Vec<ChatMessage>,
    pub(super) mode: Mode,
    pub(super) deadline: Duration,
    pub(super) ignore_eos: bool,
    sampling: SamplingParams,
    stop: Vec<String>,
    max_tokens: Option<usize>,
}

impl ChatRequest {
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn parse(body: &[u8], options: &ServerOptions) -> Result<Self, ApiError> {
        let mut fields = Fields::new(String::new(), json::parse(body).map_err(ApiError::Json)?)?;
        let request = Self {
            model: fields.string("model")?.ok_or_else(|| missing("model", "the name of the model"))?,
            messages: messages::parse(fields.take("messages"))?,
            mode: mode(&mut fields)?,
            deadline: deadline(&mut fields, options)?,
            ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
            sampling: sampling(&mut fields)?,
            stop: stop(&mut fields)?,
            max_tokens: max_tokens(&mut fields)?.or(options.max_tokens_default),
        };
        labels(&mut fields)?;
        unsupported::refuse(&mut fields)?;
        fields.finish()?;
        request.sampling.validate().map_err(|error| ApiError::Runtime(error.into()))?;
        Ok(request)
    }

    pub(super) fn n_logprobs(&self) -> Option<usize> {
        self.sampling.n_logprobs
    }

    /// What the runtime is asked for.
    pub(super) fn into_generation(self, prompt: Vec<TokenId>, fallback_seed: u64) -> Request {
        Request {
            prompt,
            sampling: self.sampling,
            fallback_seed,
            stop: self.stop,
            max_tokens: self.max_tokens,
            ignore_eos: self.ignore_eos,
            deadlines: Deadlines::total(self.deadline),
            ..Request::new(Vec::new())
        }
    }
}

fn missing(param: &str, expected: &'static str) -> ParamError {
    ParamError::Missing { param: param.to_owned(), expected }
}

fn mode(fields: &mut Fields) -> Result<Mode, ParamError> {
    let is_streamed = fields.bool("stream")?.unwrap_or(false);
    let Some(value) = fields.take("stream_options") else {
        return Ok(if is_streamed { Mode::Streamed { include_usage: false } } else { Mode::Whole });
    };
    if !is_streamed {
        return Err(ParamError::wrong("stream_options".to_owned(), "it only with `stream`", &value));
    }
    let mut options = Fields::new("stream_options".to_owned(), value)?;
    let include_usage = options.bool("include_usage")?.unwrap_or(false);
    options.finish()?;
    Ok(Mode::Streamed { include_usage })
}

fn deadline(fields: &mut Fields, options: &ServerOptions) -> Result<Duration, ParamError> {
    let Some(seconds) = fields.f64("timeout")? else { return Ok(options.request_deadline) };
    let deadline = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    if deadline.is_zero() || deadline > options.request_deadline_max {
        let expected = format!("more than 0 and at most {} seconds", options.request_deadline_max.as_secs_f64());
        return Err(ParamError::wrong("timeout".to_owned(), expected, &seconds.into()));
    }
    Ok(deadline)
}

/// The older and the newer name of the same bound.
fn max_tokens(fields: &mut Fields) -> Result<Option<usize>, ParamError> {
    let (older, newer) = (fields.count("max_tokens")?, fields.count("max_completion_tokens")?);
    let name = if newer.is_some() { "max_completion_tokens" } else { "max_tokens" };
    match (older, newer) {
        (Some(0), _) | (_, Some(0)) => Err(ParamError::wrong(name.to_owned(), "at least 1", &0.into())),
        (Some(a), Some(b)) if a != b => {
            Err(ParamError::wrong(name.to_owned(), format!("the same as max_tokens, {a}"), &b.into()))
        }
        (older, newer) => Ok(newer.or(older)),
    }
}

fn sampling(fields: &mut Fields) -> Result<SamplingParams, ParamError> {
    let default = SamplingParams::default();
    Ok(SamplingParams {
        temperature: fields.f32("temperature")?.unwrap_or(default.temperature),
        top_k: fields.count("top_k")?.unwrap_or(default.top_k),
        top_p: fields.f32("top_p")?.unwrap_or(default.top_p),
        min_p: fields.f32("min_p")?.unwrap_or(default.min_p),
        repetition_penalty: fields.f32("repetition_penalty")?.unwrap_or(default.repetition_penalty),
        frequency_penalty: fields.f32("frequency_penalty")?.unwrap_or(default.frequency_penalty),
        presence_penalty: fields.f32("presence_penalty")?.unwrap_or(default.presence_penalty),
        penalty_window: default.penalty_window,
        logit_bias: logit_bias(fields)?,
        seed: fields.seed("seed")?,
        n_logprobs: n_logprobs(fields)?,
    })
}

fn n_logprobs(fields: &mut Fields) -> Result<Option<usize>, ParamError> {
    let wants = fields.bool("logprobs")?.unwrap_or(false);
    match fields.count("top_logprobs")? {
        Some(n) if !wants => {
            Err(ParamError::wrong("top_logprobs".to_owned(), "it only with `logprobs`: true", &n.into()))
        }
        n => Ok(wants.then(|| n.unwrap_or(0))),
    }
}

/// Token ids are the keys, as strings.
fn logit_bias(fields: &mut Fields) -> Result<Vec<(TokenId, f32)>, ParamError> {
    let Some(value) = fields.take("logit_bias") else { return Ok(Vec::new()) };
    let mut entries = Fields::new("logit_bias".to_owned(), value)?;
    let names: Vec<String> = entries.left().map(str::to_owned).collect();
    let entry = |name: String| {
        let wrong = |got: &Value| ParamError::wrong("logit_bias".to_owned(), "token ids with numbers", got);
        let token = name.parse().map_err(|_| wrong(&Value::String(name.clone())))?;
        let bias = entries.f32(&name)?.unwrap_or(0.0);
        if (-100.0..=100.0).contains(&bias) {
            Ok((TokenId(token), bias))
        } else {
            Err(ParamError::wrong("logit_bias".to_owned(), "numbers from -100 to 100", &bias.into()))
        }
    };
    names.into_iter().map(entry).collect()
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ParamError> {
    let wrong = |got: &Value| ParamError::wrong("stop".to_owned(), "a string or an array of strings", got);
    match fields.take("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop]),
        Some(Value::Array(stops)) => {
            let text = |stop: &Value| stop.as_str().map(str::to_owned).ok_or_else(|| wrong(stop));
            stops.iter().map(text).collect()
        }
        Some(other) => Err(wrong(&other)),
    }
}

/// What callers attach for themselves. It changes nothing about the answer, and is bounded all the same.
fn labels(fields: &mut Fields) -> Result<(), ParamError> {
    if let Some(user) = fields.string("user")?
        && user.len() > LABEL_BYTES_MAX
    {
        return Err(ParamError::wrong("user".to_owned(), format!("at most {LABEL_BYTES_MAX} bytes"), &user.into()));
    }
    let Some(metadata) = fields.take("metadata") else { return Ok(()) };
    let Some(entries) = metadata.as_object().filter(|entries| entries.len() <= METADATA_ENTRIES_MAX) else {
        let expected = format!("an object of at most {METADATA_ENTRIES_MAX} strings");
        return Err(ParamError::wrong("metadata".to_owned(), expected, &metadata));
    };
    let is_bounded = |(key, value): (&String, &Value)| {
        key.len() <= METADATA_KEY_BYTES_MAX && value.as_str().is_some_and(|v| v.len() <= METADATA_VALUE_BYTES_MAX)
    };
    if entries.iter().all(is_bounded) {
        return Ok(());
    }
    let expected =
        format!("keys of at most {METADATA_KEY_BYTES_MAX} and strings of at most {METADATA_VALUE_BYTES_MAX} bytes");
    Err(ParamError::wrong("metadata".to_owned(), expected, &metadata))
}

#[cfg(test)]
mod tests;
