//! The OpenAI wire: chat and text completions, and the list of models.

mod chat;
mod completions;
mod error;
mod event;
mod models;
mod objects;
mod params;

pub(crate) use chat::chat_completions;
pub(crate) use chat::messages;
pub use chat::{MESSAGES_MAX, PARTS_MAX};
pub use completions::{COMPLETION_TOKENS_DEFAULT, PROMPTS_MAX};
pub(crate) use completions::{Prompt, completions, prompts};
pub(crate) use error::error_body;
pub(crate) use event::{PING, event};
pub(crate) use models::{list_models, show_model};
pub(crate) use objects::finite;
pub use params::{LABEL_CHARS_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX};
