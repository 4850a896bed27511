//! What to generate: a prompt and how to continue it.

use ballast_backend::TokenId;
use ballast_runtime::{CorrelationId, Deadlines, PrefixCache, Priority, TenantId};
use ballast_tokens::{ChatMessage, Constraint, SamplingParams};

/// Where an answer starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text as it is, with the tokens the model wants around a prompt; control tokens in it are only text.
    Text(String),
    /// A conversation, laid out by the model's chat template.
    Chat(Vec<ChatMessage>),
    /// Tokens as they are.
    Tokens(Vec<TokenId>),
}

/// A generation. The defaults are those of the command line: temperature 0.8 among the 40 most likely tokens, with the
/// unlikely tail left out (`top_p` 0.95, `min_p` 0.05), until the model ends or the context is full.
#[derive(Clone, Debug)]
pub struct Generate {
    /// Where the answer starts.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Text that ends the answer; it is not part of it.
    pub stop: Vec<String>,
    /// Most tokens to generate; `None`: until the context is full.
    pub max_tokens: Option<usize>,
    /// Go on after end-of-generation tokens.
    pub ignore_eos: bool,
    /// What the answer must look like; see [`ballast_runtime::Request::constraint`].
    pub constraint: Option<Constraint>,
    /// Give control tokens of the answer as text.
    pub show_special: bool,
    /// How long each phase may take until the answer is ended with `CANCELLED_BY_TIMEOUT`.
    pub deadlines: Deadlines,
    /// Who asks; see [`ballast_runtime::Request::tenant`].
    pub tenant: TenantId,
    /// How soon its turn comes.
    pub priority: Priority,
    /// Which cached keys and values it may use and leave.
    pub prefix_cache: PrefixCache,
    /// What it is called in events and logs; `None`: a number.
    pub correlation: Option<CorrelationId>,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            prompt: Prompt::Text(String::new()),
            sampling: SamplingParams {
                temperature: 0.8,
                top_k: 40,
                top_p: 0.95,
                min_p: 0.05,
                ..SamplingParams::default()
            },
            stop: Vec::new(),
            max_tokens: None,
            ignore_eos: false,
            constraint: None,
            show_special: false,
            deadlines: Deadlines::default(),
            tenant: TenantId::default(),
            priority: Priority::NORMAL,
            prefix_cache: PrefixCache::Tenant,
            correlation: None,
        }
    }
}

impl Generate {
    /// Continues a text.
    pub fn text(prompt: impl Into<String>) -> Self {
        Self { prompt: Prompt::Text(prompt.into()), ..Self::default() }
    }

    /// Answers one message of a user.
    pub fn chat(message: impl Into<String>) -> Self {
        Self::messages(vec![ChatMessage::text("user", message)])
    }

    /// Answers a conversation.
    #[must_use]
    pub fn messages(messages: Vec<ChatMessage>) -> Self {
        Self { prompt: Prompt::Chat(messages), ..Self::default() }
    }
}
