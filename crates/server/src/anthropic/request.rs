//! The request, parsed once: every field is read, refused by name, or unknown.

use super::{content, tools};
use crate::ServerOptions;
use crate::api_error::ApiError;
use crate::constraint;
use crate::fields::{Fields, ParamError, Refused, is_empty, never};
use crate::models::GeneratorUse;
use crate::openai::MESSAGES_MAX;
use crate::params::{GenerationParams, Telling, deadline, model_name};
use crate::state::Server;
use crate::thinking::{self, ChatPrompt, Thinking};
use crate::tools::Tools;
use ballast_runtime::PrefixCache;
use ballast_tokens::{ChatMessage, EncodeOptions, SamplingParams};
use serde_json::Value;

const NO_TOOLS: &str = "the only tools are the caller's own, in `tools`";
const ONE_MODEL: &str = "the model is served as it is";

/// Parameters of this wire that this server knows and cannot obey.
pub(super) const UNSUPPORTED: &[Refused] = &[
    ("container", never, NO_TOOLS),
    ("context_management", never, ONE_MODEL),
    ("diagnostics", never, "see x-request-id and the server's log"),
    ("inference_geo", never, ONE_MODEL),
    ("mcp_servers", is_empty, NO_TOOLS),
    ("service_tier", |value| value == "auto" || value == "standard_only", ONE_MODEL),
    ("speed", |value| value == "standard", ONE_MODEL),
    ("user_profile_id", never, "use `metadata.user_id`"),
    ("workspace_id", never, "there is one workspace"),
];

/// A request for a message.
#[derive(Debug)]
pub(super) struct MessagesRequest {
    pub(super) model: String,
    pub(super) conversation: Conversation,
    pub(super) is_streamed: bool,
    pub(super) generation: GenerationParams,
}

impl MessagesRequest {
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn parse(body: &[u8], options: &ServerOptions) -> Result<Self, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let request = Self {
            model: model_name(&mut fields, options)?,
            conversation: Conversation::take(&mut fields, options)?,
            is_streamed: fields.bool("stream")?.unwrap_or(false),
            generation: generation(&mut fields, options)?,
        };
        request.check_beginning()?;
        request.check_budget()?;
        metadata(&mut fields)?;
        fields.refuse(UNSUPPORTED)?;
        fields.finish()?;
        Ok(request)
    }

    /// # Errors
    /// If the answer's beginning is given and all of it is to keep to a form.
    fn check_beginning(&self) -> Result<(), ParamError> {
        match self.generation.constrained_by {
            Some(param) if self.conversation.prefill.is_some() => {
                let supported = "not together with a last message of the assistant";
                Err(ParamError::Unsupported { param: param.to_owned(), supported })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Thoughts leave room for an answer.
    fn check_budget(&self) -> Result<(), ParamError> {
        match (self.conversation.thinking.tokens_max, self.generation.max_tokens) {
            (Some(budget), Some(max)) if budget >= max => {
                let expected = format!("less than max_tokens, which is {max}");
                Err(ParamError::wrong("thinking.budget_tokens".to_owned(), expected, &budget.into()))
            }
            _ => Ok(()),
        }
    }
}

fn generation(fields: &mut Fields, options: &ServerOptions) -> Result<GenerationParams, ApiError> {
    let default = options.sampling.clone();
    let max_tokens = match fields.count("max_tokens")? {
        Some(0) => return Err(ParamError::wrong("max_tokens".to_owned(), "at least 1", &0.into()).into()),
        Some(n) => n,
        None => {
            let missing = ParamError::Missing { param: "max_tokens".to_owned(), expected: "most tokens of the answer" };
            return Err(missing.into());
        }
    };
    let sampling = SamplingParams {
        temperature: fields.f32("temperature")?.unwrap_or(default.temperature),
        top_k: fields.count("top_k")?.unwrap_or(default.top_k),
        top_p: fields.f32("top_p")?.unwrap_or(default.top_p),
        min_p: fields.f32("min_p")?.unwrap_or(default.min_p),
        seed: fields.seed("seed")?.or(default.seed),
        ..default
    };
    let stop = crate::params::strings(fields, "stop_sequences")?;
    let (constraint, constrained_by) = constraint::of_anthropic(fields)?.unzip();
    let params = GenerationParams {
        sampling,
        stop,
        max_tokens: Some(max_tokens),
        ignore_eos: false,
        constraint,
        constrained_by,
        thinking: None,
        show_special: false,
        telling: Telling::default(),
        prefix_cache: PrefixCache::default(),
        deadline: deadline(fields, options)?,
        priority: None,
    };
    params.checked()
}

/// Whom the request is for. It changes nothing about the answer, and is bounded all the same.
fn metadata(fields: &mut Fields) -> Result<(), ParamError> {
    let Some(value) = fields.take("metadata") else { return Ok(()) };
    let mut metadata = Fields::new("metadata".to_owned(), value)?;
    if let Some(user) = metadata.string("user_id")?
        && user.chars().count() > crate::LABEL_CHARS_MAX
    {
        let expected = format!("at most {} characters", crate::LABEL_CHARS_MAX);
        return Err(ParamError::wrong("metadata.user_id".to_owned(), expected, &user.into()));
    }
    metadata.finish()
}

/// What a prompt is made of.
#[derive(Debug)]
pub(super) struct Conversation {
    messages: Vec<ChatMessage>,
    /// How the answer begins.
    prefill: Option<String>,
    pub(super) tools: Tools,
    pub(super) thinking: Thinking,
}

impl Conversation {
    /// Takes `system`, `messages` and tools. Neighbouring messages of one role are one turn; a last one of the assistant is
    /// how the answer begins.
    ///
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn take(fields: &mut Fields, options: &ServerOptions) -> Result<Self, ParamError> {
        content::cache_control(fields)?;
        let mut messages: Vec<ChatMessage> = Vec::new();
        if let Some(system) = fields.take("system") {
            let content = content::parse("system".to_owned(), Some(system))?;
            messages.push(ChatMessage::text("system", content));
        }
        for (idx, message) in listed(fields.take("messages"))?.into_iter().enumerate() {
            for turn in parse_message(idx, message, &messages)? {
                match messages.last_mut().filter(|last| last.role == turn.role && turn.role != "tool") {
                    Some(last) => join(last, turn),
                    None => messages.push(turn),
                }
            }
        }
        if messages.last().is_some_and(|last| !last.tool_calls.is_empty()) {
            let expected = "answers after the last calls of tools";
            return Err(ParamError::wrong("messages".to_owned(), expected, &Value::Array(Vec::new())));
        }
        let prefill = messages.pop_if(|last| last.role == "assistant").map(|last| last.content);
        if prefill.as_ref().is_some_and(|text| text.ends_with(char::is_whitespace)) {
            let expected = "a last message of the assistant that does not end with white space";
            return Err(ParamError::wrong("messages".to_owned(), expected, &Value::Array(Vec::new())));
        }
        let thinking = thinking::of_messages(fields, options.reasoning)?;
        Ok(Self { messages, prefill, tools: tools::take(fields)?, thinking })
    }

    /// Its tokens.
    ///
    /// # Errors
    /// If the model has no chat template or the template refuses the conversation.
    pub(super) fn prompt(&self, server: &Server, model: &GeneratorUse) -> Result<ChatPrompt, ApiError> {
        let rendering = server.rendering(true, self.tools.told());
        let mut prompt = ChatPrompt::render(server, model, &self.messages, rendering, &self.thinking)?;
        if let Some(prefill) = &self.prefill {
            let as_text = EncodeOptions { add_special: false, parse_special: false };
            prompt.tokens.extend(model.format().tokenizer().encode(prefill, as_text));
        }
        Ok(prompt)
    }
}

fn listed(value: Option<Value>) -> Result<Vec<Value>, ParamError> {
    let param = "messages".to_owned();
    match value {
        None => Err(ParamError::Missing { param, expected: "an array of messages" }),
        Some(Value::Array(messages)) if (1..=MESSAGES_MAX).contains(&messages.len()) => Ok(messages),
        Some(other) => Err(ParamError::wrong(param, format!("an array of 1 to {MESSAGES_MAX} messages"), &other)),
    }
}

/// Makes one turn of two.
fn join(last: &mut ChatMessage, next: ChatMessage) {
    let between = if last.content.is_empty() || next.content.is_empty() { "" } else { "\n" };
    last.content += &format!("{between}{}", next.content);
    last.reasoning += &next.reasoning;
    last.tool_calls.extend(next.tool_calls);
}

fn parse_message(idx: usize, value: Value, before: &[ChatMessage]) -> Result<Vec<ChatMessage>, ParamError> {
    let mut fields = Fields::new(format!("messages.{idx}"), value)?;
    let role = fields.needed_string("role", "user or assistant")?;
    if role != "user" && role != "assistant" {
        return Err(ParamError::wrong(fields.name("role"), "user or assistant", &role.into()));
    }
    let turns = content::turns(fields.name("content"), fields.take("content"), &role, before)?;
    fields.finish()?;
    Ok(turns)
}

#[cfg(test)]
mod tests;
