//! The request, parsed once: every field is read, refused by name, or unknown.

use super::conversation::Conversation;
use super::tools;
use super::unsupported::UNSUPPORTED;
use crate::ServerOptions;
use crate::api_error::ApiError;
use crate::constraint;
use crate::fields::{Fields, ParamError};
use crate::openai::params::{self, Mode};
use crate::params::{GenerationParams, Place, Telling, deadline, model_name, strings};
use crate::thinking::{self, Thinking};
use crate::tools::Tools;
use ballast_runtime::PrefixCache;

/// A chat request.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    pub(super) conversation: Conversation,
    pub(super) mode: Mode,
    pub(super) n_choices: usize,
    pub(super) generation: GenerationParams,
    /// Where its keys and values are to be.
    pub(super) place: Place,
    pub(super) tools: Tools,
    /// The prompt and the settings come with the answer: llama.cpp's `verbose`.
    pub(super) is_verbose: bool,
    pub(super) thinking: Thinking,
}

impl ChatRequest {
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn parse(body: &[u8], options: &ServerOptions) -> Result<Self, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let request = Self {
            model: model_name(&mut fields, options)?,
            conversation: Conversation::take(&mut fields)?,
            mode: params::mode(&mut fields)?,
            n_choices: params::n_choices(&mut fields)?,
            generation: generation(&mut fields, options)?,
            place: Place::take(&mut fields)?,
            tools: tools::take(&mut fields)?,
            is_verbose: fields.bool("verbose")?.unwrap_or(options.tells_prompts),
            thinking: thinking::of_chat(&mut fields)?,
        };
        params::labels(&mut fields)?;
        fields.refuse(UNSUPPORTED)?;
        fields.finish()?;
        Ok(request)
    }
}

fn generation(fields: &mut Fields, options: &ServerOptions) -> Result<GenerationParams, ApiError> {
    let (constraint, constrained_by) = constraint::of_openai(fields)?.unzip();
    let n_logprobs = n_logprobs(fields)?;
    let params = GenerationParams {
        sampling: params::sampling(fields, n_logprobs, options)?,
        stop: strings(fields, "stop")?,
        max_tokens: params::max_tokens(fields)?.or(options.max_tokens_default),
        ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
        constraint,
        constrained_by,
        thinking: None,
        show_special: false,
        telling: Telling::take(fields)?,
        prefix_cache: PrefixCache::default(),
        deadline: deadline(fields, options)?,
        priority: params::priority(fields)?,
    };
    params.checked()
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

#[cfg(test)]
mod tests;
