//! The request, parsed once: every field is read, refused by name, or unknown.

use super::keep_alive::{self, Keep};
use super::words::Kind;
use super::{options, tools};
use crate::api_error::ApiError;
use crate::fields::{Fields, ParamError, Refused, is_empty};
use crate::models::GeneratorUse;
use crate::openai::MESSAGES_MAX;
use crate::params::GenerationParams;
use crate::state::Server;
use crate::thinking::{self, ChatPrompt, Thinking};
use crate::tools::Tools;
use crate::{Reasoning, ServerOptions};
use ballast_backend::TokenId;
use ballast_runtime::RuntimeError;
use ballast_tokens::{ChatMessage, EncodeOptions, ThinkingParser};
use serde_json::Value;

const TEXT_ONLY: &str = "the model reads and writes text";
const ROLES: &str = "one of system, user, assistant, tool";

const UNSUPPORTED: &[Refused] = &[
    ("context", is_empty, "send the conversation to /api/chat"),
    ("images", is_empty, TEXT_ONLY),
    ("suffix", |value| value == "", "text goes on from the prompt only"),
    ("template", |value| value == "", "the model's own chat template is used, or `raw`"),
];

/// How the answer is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Streamed,
    Whole,
    /// There is nothing to answer: the model is to be loaded.
    Nothing,
}

/// What is to be answered.
#[derive(Debug, PartialEq)]
pub(super) enum Prompt {
    Conversation(Vec<ChatMessage>),
    /// Text as it is.
    Raw(String),
    Nothing,
}

/// A request to chat or to generate.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) prompt: Prompt,
    pub(super) asked: Asked,
    pub(super) tools: Tools,
    pub(super) thinking: Thinking,
    pub(super) generation: GenerationParams,
    /// How long the model is to stay loaded without use, if the request says so.
    pub(super) keep: Option<Keep>,
    /// Tokens that prompt and answer may have together.
    context_len: Option<usize>,
}

impl Ask {
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn parse(body: &[u8], kind: Kind, server: &ServerOptions) -> Result<Self, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.needed_string("model", "the name of the model")?;
        let prompt = match kind {
            Kind::Chat => conversation(fields.take("messages"))?,
            Kind::Generate => prompt(&mut fields)?,
        };
        let tools = match kind {
            Kind::Chat => tools::take(&mut fields)?,
            Kind::Generate => Tools::default(),
        };
        let thinking = thinking::of_ollama(&mut fields)?;
        let is_streamed = fields.bool("stream")?.unwrap_or(true);
        let keep = keep_alive::take(&mut fields)?;
        let (generation, context_len) = options::take(&mut fields, server, None)?;
        fields.refuse(UNSUPPORTED)?;
        fields.finish()?;
        let asked = if is_streamed { Asked::Streamed } else { Asked::Whole };
        Ok(Self { model, prompt, asked, tools, thinking, generation, keep, context_len })
    }

    /// How to generate after a prompt of `n_prompt` tokens, so that the context that was asked for is kept.
    ///
    /// # Errors
    /// If the server's context is smaller than that, or the prompt does not fit.
    pub(super) fn within_context(&self, n_prompt: usize, model: &GeneratorUse) -> Result<GenerationParams, ApiError> {
        let mut generation = self.generation.clone();
        let Some(asked) = self.context_len else { return Ok(generation) };
        let context_len = model.runtime().shape().context_len;
        if asked == 0 || asked > context_len {
            let expected = format!("1 to {context_len}, the context that the server was started with");
            return Err(ParamError::wrong("options.num_ctx".to_owned(), expected, &asked.into()).into());
        }
        let room = asked.saturating_sub(n_prompt);
        if room == 0 {
            return Err(RuntimeError::ContextLengthExceeded { got: n_prompt, context_len: asked }.into());
        }
        generation.max_tokens = Some(generation.max_tokens.map_or(room, |max| max.min(room)));
        Ok(generation)
    }
}

/// `prompt`, with the words before it, or as it is.
fn prompt(fields: &mut Fields) -> Result<Prompt, ParamError> {
    let text = fields.string("prompt")?.unwrap_or_default();
    let is_raw = fields.bool("raw")?.unwrap_or(false);
    let system = fields.string("system")?.filter(|system| !system.is_empty());
    if text.is_empty() {
        return Ok(Prompt::Nothing);
    }
    if is_raw {
        return match system {
            None => Ok(Prompt::Raw(text)),
            Some(_) => {
                let supported = "a raw prompt is all there is";
                Err(ParamError::Unsupported { param: "system".to_owned(), supported })
            }
        };
    }
    let message = |role: &str, content: String| ChatMessage::text(role, content);
    let system = system.map(|system| message("system", system));
    Ok(Prompt::Conversation(system.into_iter().chain([message("user", text)]).collect()))
}

/// `messages`.
fn conversation(value: Option<Value>) -> Result<Prompt, ParamError> {
    match value {
        None => Ok(Prompt::Nothing),
        Some(Value::Array(messages)) if messages.is_empty() => Ok(Prompt::Nothing),
        Some(Value::Array(messages)) if messages.len() <= MESSAGES_MAX => {
            let messages = messages.into_iter().enumerate().map(|(idx, message)| parse_message(idx, message));
            Ok(Prompt::Conversation(messages.collect::<Result<_, _>>()?))
        }
        Some(other) => {
            let expected = format!("an array of at most {MESSAGES_MAX} messages");
            Err(ParamError::wrong("messages".to_owned(), expected, &other))
        }
    }
}

fn parse_message(idx: usize, value: Value) -> Result<ChatMessage, ParamError> {
    let mut fields = Fields::new(format!("messages[{idx}]"), value)?;
    let role = fields.needed_string("role", ROLES)?;
    if !["system", "user", "assistant", "tool"].contains(&role.as_str()) {
        return Err(ParamError::wrong(fields.name("role"), ROLES, &role.into()));
    }
    let mut message = ChatMessage { role, ..ChatMessage::default() };
    match message.role.as_str() {
        "assistant" => {
            message.tool_calls = tools::calls(idx, fields.take("tool_calls"))?;
            message.reasoning = fields.string("thinking")?.unwrap_or_default();
        }
        "tool" => {
            message.name = fields.string("tool_name")?;
            message.tool_call_id = fields.string("tool_call_id")?;
        }
        _ => {}
    }
    if (message.tool_calls.is_empty() && message.reasoning.is_empty()) || fields.peek("content").is_some() {
        message.content = fields.needed_string("content", "a string")?;
    }
    for field in ["images", "tool_calls", "tool_name", "thinking"] {
        if fields.take(field).is_some_and(|value| !is_empty(&value) && value != "") {
            return Err(ParamError::Unsupported { param: fields.name(field), supported: TEXT_ONLY });
        }
    }
    fields.finish()?;
    Ok(message)
}

impl Prompt {
    /// Its tokens, and what takes thoughts out of the answer; none where there is nothing to answer.
    ///
    /// # Errors
    /// If the model has no chat template, or the template refuses the conversation or knows of no thoughts that are asked for.
    pub(super) fn read(
        &self,
        server: &Server,
        model: &GeneratorUse,
        ask: &mut Ask,
    ) -> Result<(Vec<TokenId>, Option<ThinkingParser>), ApiError> {
        match self {
            Self::Nothing => Ok((Vec::new(), None)),
            Self::Raw(text) => {
                // Who sends a raw prompt writes all of it, the model's control tokens included.
                let options = EncodeOptions { add_special: true, parse_special: true };
                Ok((model.format().tokenizer().encode(text, options), None))
            }
            Self::Conversation(messages) => {
                let prompt = ChatPrompt::render(
                    server,
                    model,
                    messages,
                    server.rendering(true, ask.tools.told()),
                    &ask.thinking,
                )?;
                if ask.thinking.wish == Some(Reasoning::On) && !prompt.can_think() {
                    let supported = "this model's template knows of no thoughts";
                    return Err(ParamError::Unsupported { param: "think".to_owned(), supported }.into());
                }
                let thoughts = prompt.think(&ask.thinking, model, &mut ask.generation);
                Ok((prompt.tokens, thoughts))
            }
        }
    }
}

#[cfg(test)]
mod tests;
