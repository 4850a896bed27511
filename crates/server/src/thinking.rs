//! Thinking, whatever wire asks for it: what chat templates are told of it, how much of it there may be, and thoughts taken
//! out of answers.

mod fields;

pub use fields::TEMPLATE_VARIABLES_MAX;
pub(crate) use fields::{of_chat, of_messages, of_ollama, of_responses};

use crate::api_error::ApiError;
use crate::models::GeneratorUse;
use crate::params::GenerationParams;
use crate::state::Server;
use crate::{Reasoning, ServerOptions};
use ballast_backend::TokenId;
use ballast_tokens::{
    ChatMessage, EncodeOptions, RenderOptions, ThinkingFormat, ThinkingParser, ThinkingPlan, ThinkingStart,
};
use serde_json::{Map, Value};

/// What a request says of thinking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Thinking {
    /// Whether the model is to think; `None`: as the server says.
    pub(crate) wish: Option<Reasoning>,
    /// Most tokens of thoughts.
    pub(crate) tokens_max: Option<usize>,
    /// How hard it is to think, in the words of templates that know of it.
    pub(crate) effort: Option<String>,
    /// Variables for the template.
    pub(crate) variables: Map<String, Value>,
    pub(crate) shown: Shown,
}

/// Where thoughts are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Apart from what is said.
    #[default]
    Apart,
    /// In the text, with their marks.
    InText,
}

impl Thinking {
    /// Whether the model is asked to think.
    fn is_on(&self, options: &ServerOptions) -> bool {
        self.tokens_max != Some(0) && self.wish.or(options.reasoning) != Some(Reasoning::Off)
    }

    /// The effort in words; `None` where nothing was said.
    pub(crate) fn told_effort(&self) -> Option<&str> {
        let off = (self.wish == Some(Reasoning::Off)).then_some("none");
        off.or(self.effort.as_deref())
    }

    /// Tells a template. Those that do not know a name ignore it; for most others `enable_thinking` is true where nothing is
    /// said, and some would close the thoughts at once.
    pub(crate) fn tell(&self, options: &ServerOptions, rendering: &mut RenderOptions) {
        let is_on = self.is_on(options);
        rendering.extra.extend(self.variables.clone());
        let mut tell = |name: &str, value: Value| drop(rendering.extra.insert(name.to_owned(), value));
        tell("enable_thinking", is_on.into());
        if self.wish.is_some() {
            tell("thinking", is_on.into());
        }
        if let Some(effort) = self.effort.as_ref().filter(|_| is_on) {
            tell("reasoning_effort", effort.as_str().into());
        }
        if let Some(tokens_max) = self.tokens_max {
            tell("thinking_budget", tokens_max.into());
        }
    }
}

/// The tokens that a model answers a conversation after.
#[derive(Debug)]
pub(crate) struct ChatPrompt {
    pub(crate) tokens: Vec<TokenId>,
    /// How the model marks thoughts, and whether they are open.
    thoughts: Option<(ThinkingFormat, ThinkingStart)>,
    /// The model is not to think, or may think as much as it likes.
    is_on: bool,
}

impl ChatPrompt {
    /// Renders a conversation. Where the model is not to think and its template opens thoughts all the same, they are closed.
    ///
    /// # Errors
    /// If the model has no chat template, or the template refuses the conversation.
    pub(crate) fn render(
        server: &Server,
        model: &GeneratorUse,
        messages: &[ChatMessage],
        mut rendering: RenderOptions,
        thinking: &Thinking,
    ) -> Result<Self, ApiError> {
        thinking.tell(&server.options, &mut rendering);
        let mut tokens = model.format().chat(messages, &rendering)?;
        let is_on = thinking.is_on(&server.options);
        let tokenizer = model.format().tokenizer();
        let thoughts = model.format().thinking().map(|format| match format.start(tokenizer, &tokens) {
            ThinkingStart::Opened if !is_on => {
                let as_written = EncodeOptions { add_special: false, parse_special: true };
                tokens.extend(tokenizer.encode(&format.closing(), as_written));
                (format, ThinkingStart::Unopened)
            }
            start @ (ThinkingStart::Opened | ThinkingStart::Unopened) => (format, start),
        });
        Ok(Self { tokens, thoughts, is_on })
    }

    /// Whether the model's template knows of thoughts.
    pub(crate) fn can_think(&self) -> bool {
        self.thoughts.is_some()
    }

    /// Has an answer keep to what is asked of its thoughts, and gives what takes them out of it; `None` where there are none,
    /// or they stay in the text. Comes after everything that says what the answer must look like.
    pub(crate) fn think(
        &self,
        thinking: &Thinking,
        model: &GeneratorUse,
        generation: &mut GenerationParams,
    ) -> Option<ThinkingParser> {
        let (format, start) = self.thoughts?;
        let is_bounded = thinking.tokens_max.is_some() || generation.constraint.is_some();
        generation.thinking =
            (self.is_on && is_bounded).then_some(ThinkingPlan { format, start, tokens_max: thinking.tokens_max });
        if thinking.shown == Shown::InText {
            return None;
        }
        let tokenizer = model.format().tokenizer();
        let is_control = |mark: &str| tokenizer.id_of(mark).is_some_and(|id| tokenizer.is_special(id));
        // Control tokens are no text unless they are asked for.
        generation.show_special |= is_control(format.open()) || is_control(format.close());
        Some(ThinkingParser::new(format, start))
    }
}
