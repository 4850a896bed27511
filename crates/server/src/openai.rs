//! The OpenAI wire: chat and text completions, and the list of models.

mod chat;
mod completions;
mod count_tokens;
mod error;
mod event;
mod models;
mod objects;
mod params;

pub(crate) use chat::chat_completions;
pub(crate) use chat::messages;
pub use chat::{MESSAGES_MAX, PARTS_MAX};
pub(crate) use completions::completions;
pub use completions::{COMPLETION_TOKENS_DEFAULT, PROMPTS_MAX};
pub(crate) use count_tokens::count_tokens;
pub(crate) use error::error_body;
pub(crate) use event::{PING, event};
pub(crate) use models::{list_models, show_model};
pub(crate) use objects::{finite, llama_timings};
pub use params::{LABEL_BYTES_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX};
