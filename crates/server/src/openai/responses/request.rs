//! The request, parsed once: every field is read, refused by name, or unknown.

use super::format::{self, Text};
use super::input;
use super::item::Item;
use super::tools;
use super::unsupported::UNSUPPORTED;
use crate::ServerOptions;
use crate::api_error::ApiError;
use crate::fields::{Fields, ParamError};
use crate::openai::objects::named;
use crate::openai::params;
use crate::params::{GenerationParams, Telling, deadline, model_name, strings};
use crate::thinking::{self, Thinking};
use crate::tools::Tools;
use ballast_runtime::PrefixCache;
use serde_json::{Value, json};

/// What `include` may name. Of most there is nothing to include, since no answer here has such items.
pub(crate) const INCLUDABLE: [&str; 8] = [
    LOGPROBS,
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
];
const LOGPROBS: &str = "message.output_text.logprobs";

/// How the answer is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Whole,
    Streamed,
    /// The work goes on whoever listens.
    Background {
        is_streamed: bool,
    },
}

/// A request for a response.
#[derive(Debug)]
pub(super) struct ResponseRequest {
    pub(super) model: String,
    pub(super) instructions: Option<String>,
    pub(super) input: Vec<Item>,
    pub(super) previous: Option<String>,
    pub(super) mode: Mode,
    pub(super) is_stored: bool,
    pub(super) generation: GenerationParams,
    pub(super) tools: Tools,
    pub(super) thinking: Thinking,
    /// What every response tells of its request, by field.
    pub(super) echo: Value,
}

impl ResponseRequest {
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn parse(body: &[u8], options: &ServerOptions) -> Result<Self, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = model_name(&mut fields, options)?;
        let instructions = fields.string("instructions")?;
        let input = input::parse(fields.take("input"), &|kind| named(&options.random, kind))?;
        let previous = fields.string("previous_response_id")?;
        let is_stored = is_stored(&mut fields, options)?;
        let mode = mode(&mut fields, is_stored)?;
        let text = format::parse(fields.take("text"))?;
        let mut echo = echo(&mut fields, &text)?;
        tools::echo(&fields).into_iter().for_each(|(field, value)| echo[field] = value);
        let tools = tools::take(&mut fields)?;
        let thinking = thinking::of_responses(&mut fields)?;
        let generation = generation(&mut fields, text, options)?;
        let mut request =
            Self { model, instructions, input, previous, mode, is_stored, generation, tools, thinking, echo };
        request.tell_what_was_asked();
        fields.refuse(UNSUPPORTED)?;
        fields.finish()?;
        Ok(request)
    }

    /// Adds to the echo what the request means, defaults filled in.
    fn tell_what_was_asked(&mut self) {
        let sampling = &self.generation.sampling;
        let more = json!({
            "background": matches!(self.mode, Mode::Background { .. }),
            "instructions": self.instructions,
            "max_output_tokens": self.generation.max_tokens,
            "max_tool_calls": null,
            "previous_response_id": self.previous,
            "reasoning": { "effort": self.thinking.told_effort(), "summary": null },
            "service_tier": "default",
            "store": self.is_stored,
            "temperature": number(sampling.temperature),
            "top_logprobs": sampling.n_logprobs.unwrap_or(0),
            "top_p": number(sampling.top_p),
            "truncation": "disabled",
        });
        if let (Value::Object(echo), Value::Object(more)) = (&mut self.echo, more) {
            echo.extend(more);
        }
    }
}

/// A number as it was sent: 0.7 and not the nearest of 32 bits.
fn number(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

/// `store`, which is true unless it is said otherwise or nothing is kept here.
fn is_stored(fields: &mut Fields, options: &ServerOptions) -> Result<bool, ParamError> {
    let keeps = options.responses.count_max > 0;
    match fields.bool("store")? {
        Some(true) if !keeps => {
            Err(ParamError::Unsupported { param: fields.name("store"), supported: "this server keeps no responses" })
        }
        wanted => Ok(wanted.unwrap_or(keeps)),
    }
}

/// `stream`, `stream_options` and `background`.
fn mode(fields: &mut Fields, is_stored: bool) -> Result<Mode, ParamError> {
    let is_streamed = fields.bool("stream")?.unwrap_or(false);
    if let Some(value) = fields.take("stream_options") {
        if !is_streamed {
            return Err(ParamError::wrong("stream_options".to_owned(), "it only with `stream`", &value));
        }
        let mut options = Fields::new("stream_options".to_owned(), value)?;
        options.refuse(&[("include_obfuscation", |value| *value == false, "events are sent as they are")])?;
        options.finish()?;
    }
    if !fields.bool("background")?.unwrap_or(false) {
        return Ok(if is_streamed { Mode::Streamed } else { Mode::Whole });
    }
    if !is_stored {
        let supported = "a response in the background must be stored, or nobody could fetch it";
        return Err(ParamError::Unsupported { param: fields.name("background"), supported });
    }
    Ok(Mode::Background { is_streamed })
}

/// What callers attach for themselves, which changes nothing about the answer.
fn echo(fields: &mut Fields, text: &Text) -> Result<Value, ParamError> {
    Ok(json!({
        "metadata": params::metadata(fields)?.unwrap_or_else(|| json!({})),
        "prompt_cache_key": params::label(fields, "prompt_cache_key")?,
        "safety_identifier": params::label(fields, "safety_identifier")?,
        "text": text.echo,
        "user": params::label(fields, "user")?,
    }))
}

fn generation(fields: &mut Fields, text: Text, options: &ServerOptions) -> Result<GenerationParams, ApiError> {
    let n_logprobs = n_logprobs(fields)?;
    let params = GenerationParams {
        sampling: params::sampling(fields, n_logprobs, options)?,
        stop: strings(fields, "stop")?,
        max_tokens: max_output_tokens(fields)?.or(options.max_tokens_default),
        ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
        constrained_by: text.constraint.is_some().then_some(format::PARAM),
        constraint: text.constraint,
        thinking: None,
        show_special: false,
        telling: Telling::take(fields)?,
        prefix_cache: PrefixCache::default(),
        deadline: deadline(fields, options)?,
        priority: params::priority(fields)?,
    };
    params.checked()
}

fn max_output_tokens(fields: &mut Fields) -> Result<Option<usize>, ParamError> {
    match fields.count("max_output_tokens")? {
        Some(0) => Err(ParamError::wrong("max_output_tokens".to_owned(), "at least 1", &0.into())),
        count => Ok(count),
    }
}

/// Log probabilities are told if `include` names them; `top_logprobs` says of how many other tokens.
fn n_logprobs(fields: &mut Fields) -> Result<Option<usize>, ParamError> {
    let is_included = include(fields)?;
    match fields.count("top_logprobs")? {
        Some(n) if n > 0 && !is_included => {
            let expected = format!("it only where `include` names {LOGPROBS}");
            Err(ParamError::wrong("top_logprobs".to_owned(), expected, &n.into()))
        }
        n => Ok(is_included.then(|| n.unwrap_or(0))),
    }
}

/// `include`: whether it names log probabilities.
///
/// # Errors
/// If it names what there is nowhere.
pub(super) fn include(fields: &mut Fields) -> Result<bool, ParamError> {
    let names = strings(fields, "include")?;
    match names.iter().find(|name| !INCLUDABLE.contains(&name.as_str())) {
        Some(name) => {
            let expected = format!("some of {}", INCLUDABLE.join(", "));
            Err(ParamError::wrong(fields.name("include"), expected, &name.as_str().into()))
        }
        None => Ok(names.iter().any(|name| name == LOGPROBS)),
    }
}

#[cfg(test)]
mod tests;
