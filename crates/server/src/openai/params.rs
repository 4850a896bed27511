//! Parameters that chat and text completions share.

use crate::ServerOptions;
use crate::fields::{Fields, ParamError};
use crate::incoming;
use crate::params::CHOICES_MAX;
use ballast_backend::TokenId;
use ballast_runtime::Priority;
use ballast_tokens::{LogprobsOf, SamplingParams};
use serde_json::Value;

/// Longest `user`.
pub const LABEL_CHARS_MAX: usize = 512;
/// Most entries of `metadata`; the bounds are OpenAI's.
pub const METADATA_ENTRIES_MAX: usize = 16;
/// Longest key of `metadata`.
pub const METADATA_KEY_CHARS_MAX: usize = 64;
/// Longest value of `metadata`.
pub const METADATA_VALUE_CHARS_MAX: usize = 512;

/// How answers are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Whole,
    Streamed { include_usage: bool },
}

/// `stream` and `stream_options`.
pub(super) fn mode(fields: &mut Fields) -> Result<Mode, ParamError> {
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

/// `priority`, which comes before the header's.
pub(super) fn priority(fields: &mut Fields) -> Result<Option<Priority>, ParamError> {
    fields.take("priority").map(|value| incoming::priority("priority", &value)).transpose()
}

/// `n`: how many answers.
pub(super) fn n_choices(fields: &mut Fields) -> Result<usize, ParamError> {
    let n = fields.count("n")?.unwrap_or(1);
    if (1..=CHOICES_MAX).contains(&n) {
        return Ok(n);
    }
    Err(ParamError::wrong("n".to_owned(), format!("1 to {CHOICES_MAX}"), &n.into()))
}

/// The older and the newer name of the same bound.
pub(super) fn max_tokens(fields: &mut Fields) -> Result<Option<usize>, ParamError> {
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

/// Everything that decides which tokens are drawn; `n_logprobs` as the wire asked for them.
pub(super) fn sampling(
    fields: &mut Fields,
    n_logprobs: Option<usize>,
    options: &ServerOptions,
) -> Result<SamplingParams, ParamError> {
    let default = &options.sampling;
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
        seed: fields.seed("seed")?.or(default.seed),
        n_logprobs,
        logprobs_of: LogprobsOf::Model,
    })
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

/// What callers attach for themselves. It changes nothing about the answer, and is bounded all the same.
pub(super) fn labels(fields: &mut Fields) -> Result<(), ParamError> {
    label(fields, "user")?;
    metadata(fields)?;
    Ok(())
}

/// A name that callers give to something of theirs.
pub(super) fn label(fields: &mut Fields, field: &str) -> Result<Option<String>, ParamError> {
    match fields.string(field)? {
        Some(label) if label.chars().count() > LABEL_CHARS_MAX => {
            Err(ParamError::wrong(fields.name(field), format!("at most {LABEL_CHARS_MAX} characters"), &label.into()))
        }
        label => Ok(label),
    }
}

/// `metadata`: pairs of strings.
pub(super) fn metadata(fields: &mut Fields) -> Result<Option<Value>, ParamError> {
    let Some(metadata) = fields.take("metadata") else { return Ok(None) };
    let Some(entries) = metadata.as_object().filter(|entries| entries.len() <= METADATA_ENTRIES_MAX) else {
        let expected = format!("an object of at most {METADATA_ENTRIES_MAX} strings");
        return Err(ParamError::wrong("metadata".to_owned(), expected, &metadata));
    };
    let is_bounded = |(key, value): (&String, &Value)| {
        key.chars().count() <= METADATA_KEY_CHARS_MAX
            && value.as_str().is_some_and(|value| value.chars().count() <= METADATA_VALUE_CHARS_MAX)
    };
    if entries.iter().all(is_bounded) {
        return Ok(Some(metadata));
    }
    let expected = format!(
        "keys of at most {METADATA_KEY_CHARS_MAX} and strings of at most {METADATA_VALUE_CHARS_MAX} characters"
    );
    Err(ParamError::wrong("metadata".to_owned(), expected, &metadata))
}
