//! From what a caller says to the tokens a model reads.
//!
//! A conversation's control tokens come from the template alone: where a message spells one, such as `<|im_end|>`, it
//! stays text, so nobody can end a turn or begin another by writing so.

use crate::tool_format::has_tools;
use crate::{
    ChatMessage, ChatTemplate, EncodeOptions, RenderOptions, TemplateError, ThinkingFormat, Tokenizer, ToolFormat,
};
use ballast_backend::{ErrorKind, TokenId};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// Parts a control token's name where a message spells it. A noncharacter (Unicode 23.7), which text has no use for.
const BREAK: char = '\u{fdd0}';

/// Why a conversation cannot become a prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The model has no chat template.
    #[error("chat template: expected one in the model file (tokenizer.chat_template), got none")]
    TemplateMissing,
    /// The template refuses the conversation.
    #[error("chat template: {0}")]
    Template(#[from] TemplateError),
}

impl PromptError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TemplateMissing => ErrorKind::Invalid,
            Self::Template(error) => error.kind(),
        }
    }
}

/// A model's way to read prompts: its tokenizer and its chat template. Send + Sync.
#[derive(Clone, Debug)]
pub struct PromptFormat {
    tokenizer: Arc<Tokenizer>,
    template: Option<Arc<ChatTemplate>>,
    /// Names of the tokens that mean something to the model other than their text.
    control_names: Arc<[String]>,
    /// How the model marks its thoughts.
    thinking: Option<ThinkingFormat>,
    /// How the model calls tools: found out when it is first asked for.
    tools: Arc<OnceLock<ToolFormat>>,
}

impl PromptFormat {
    /// The format of a model.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>, template: Option<ChatTemplate>) -> Self {
        let ids = (0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX)).map(TokenId);
        let names = ids.filter(|&id| tokenizer.is_special(id)).map(|id| tokenizer.token_text(id).to_owned());
        let control_names = names.filter(|name| name.chars().nth(1).is_some()).collect();
        let thinking = template.as_ref().and_then(|template| ThinkingFormat::of(template.source()));
        Self { tokenizer, template: template.map(Arc::new), control_names, thinking, tools: Arc::default() }
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The text of the chat template, where the model has one.
    #[must_use]
    pub fn template_source(&self) -> Option<&str> {
        self.template.as_ref().map(|template| template.source())
    }

    /// Text as it is, with the tokens the model wants around a prompt. Names of control tokens in it are only text.
    #[must_use]
    pub fn text(&self, text: &str) -> Vec<TokenId> {
        self.tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: false })
    }

    /// How the model writes calls of tools.
    ///
    /// # Errors
    /// If the model has no chat template.
    pub fn tool_format(&self) -> Result<&ToolFormat, PromptError> {
        let template = self.template.as_ref().ok_or(PromptError::TemplateMissing)?;
        Ok(self.tools.get_or_init(|| ToolFormat::of_or_generic(template)))
    }

    /// How the model marks what it thinks before it answers; `None` where its template knows no thoughts.
    #[must_use]
    pub fn thinking(&self) -> Option<ThinkingFormat> {
        self.thinking
    }

    /// The control tokens by their names.
    #[must_use]
    pub fn control_tokens(&self) -> Vec<(String, TokenId)> {
        let names = self.control_names.iter();
        names.filter_map(|name| Some((name.clone(), self.tokenizer.id_of(name)?))).collect()
    }

    /// The text a conversation becomes. Shows control tokens that messages spell as they are; [`PromptFormat::chat`]
    /// does not read them as such.
    ///
    /// # Errors
    /// If the model has no chat template, or the template refuses the conversation.
    pub fn chat_text(&self, messages: &[ChatMessage], options: &RenderOptions) -> Result<String, PromptError> {
        let template = self.template.as_ref().ok_or(PromptError::TemplateMissing)?;
        if has_tools(messages, options) {
            return Ok(self.tool_format()?.render(template, messages, options)?);
        }
        Ok(template.render(messages, options)?)
    }

    /// The tokens a conversation becomes, with BOS before them where the model wants it and the template does not
    /// write it.
    ///
    /// # Errors
    /// As [`PromptFormat::chat_text`].
    pub fn chat(&self, messages: &[ChatMessage], options: &RenderOptions) -> Result<Vec<TokenId>, PromptError> {
        let messages: Vec<_> = messages.iter().map(|message| self.disarmed(message)).collect();
        let tools = options.tools.as_ref().map(|tools| self.disarmed_json(tools));
        let text = self.chat_text(&messages, &RenderOptions { tools, ..options.clone() })?;
        let as_written = EncodeOptions { add_special: false, parse_special: true };
        let mut tokens: Vec<_> = text.split(BREAK).flat_map(|part| self.tokenizer.encode(part, as_written)).collect();
        if let Some(bos) = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos())
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// The message with every control token's name that it spells parted after the first character. What the model
    /// itself said is left alone, since templates look into it, but for the arguments of its calls.
    fn disarmed(&self, message: &ChatMessage) -> ChatMessage {
        let mut message = message.clone();
        if message.role != "assistant" {
            message.content = self.disarmed_text(&message.content);
        }
        // Nothing is looked for in thoughts.
        message.reasoning = self.disarmed_text(&message.reasoning);
        message.name = message.name.as_deref().map(|name| self.disarmed_text(name));
        message.tool_call_id = message.tool_call_id.as_deref().map(|id| self.disarmed_text(id));
        for call in &mut message.tool_calls {
            call.id = self.disarmed_text(&call.id);
            call.name = self.disarmed_text(&call.name);
            call.arguments = self.disarmed_fields(&call.arguments);
        }
        message
    }

    fn disarmed_text(&self, text: &str) -> String {
        let mut text: Cow<'_, str> = text.into();
        if text.contains(BREAK) {
            text = text.replace(BREAK, "\u{fffd}").into();
        }
        for name in self.control_names.iter() {
            if text.contains(name.as_str()) {
                let first = name.chars().next().map_or(0, char::len_utf8);
                text = text.replace(name.as_str(), &format!("{}{BREAK}{}", &name[..first], &name[first..])).into();
            }
        }
        text.into_owned()
    }

    fn disarmed_fields(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        fields.iter().map(|(name, value)| (self.disarmed_text(name), self.disarmed_json(value))).collect()
    }

    fn disarmed_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.disarmed_text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.disarmed_json(item)).collect(),
            Value::Object(fields) => Value::Object(self.disarmed_fields(fields)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}
