//! From what a caller says to the tokens a model reads.

use crate::{ChatMessage, ChatTemplate, EncodeOptions, RenderOptions, TemplateError, Tokenizer};
use ballast_backend::{ErrorKind, TokenId};
use std::sync::Arc;

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
}

impl PromptFormat {
    /// The format of a model.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>, template: Option<ChatTemplate>) -> Self {
        Self { tokenizer, template: template.map(Arc::new) }
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Text as it is, with the tokens the model wants around a prompt. Names of control tokens in it are only text.
    #[must_use]
    pub fn text(&self, text: &str) -> Vec<TokenId> {
        self.tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: false })
    }

    /// The text a conversation becomes.
    ///
    /// # Errors
    /// If the model has no chat template, or the template refuses the conversation.
    pub fn chat_text(&self, messages: &[ChatMessage], options: &RenderOptions) -> Result<String, PromptError> {
        let template = self.template.as_ref().ok_or(PromptError::TemplateMissing)?;
        Ok(template.render(messages, options)?)
    }

    /// The tokens a conversation becomes. Where both the template and the tokenizer write BOS, one is kept.
    ///
    /// # Errors
    /// As [`PromptFormat::chat_text`].
    pub fn chat(&self, messages: &[ChatMessage], options: &RenderOptions) -> Result<Vec<TokenId>, PromptError> {
        let text = self.chat_text(messages, options)?;
        let mut tokens = self.tokenizer.encode(&text, EncodeOptions { add_special: true, parse_special: true });
        if let [first, second, ..] = tokens[..]
            && Some(first) == self.tokenizer.bos()
            && first == second
        {
            tokens.remove(0);
        }
        Ok(tokens)
    }
}
