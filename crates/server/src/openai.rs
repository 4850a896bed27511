//! The OpenAI wire: chat and text completions, responses, and the list of models.

mod chat;
mod completions;
mod count_tokens;
mod embeddings;
mod error;
mod event;
mod functions;
mod models;
mod objects;
mod params;
mod responses;

pub(crate) use chat::chat_completions;
pub(crate) use chat::{Conversation, MESSAGE_CALLS_MAX};
pub use chat::{MESSAGES_MAX, PARTS_MAX};
pub(crate) use completions::completions;
pub use completions::{COMPLETION_TOKENS_DEFAULT, PROMPTS_MAX};
pub(crate) use count_tokens::count_tokens;
pub(crate) use embeddings::embeddings;
pub(crate) use error::error_body;
pub(crate) use event::{PING, event};
pub(crate) use functions::functions;
pub(crate) use models::{list_models, show_model};
pub(crate) use objects::finite;
pub use params::{LABEL_CHARS_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX};
pub use responses::{BACKGROUND_MAX, RESPONSE_EVENTS_BYTES_MAX, ResponseStoreOptions};
pub(crate) use responses::{
    Background, INCLUDABLE, ResponseStore, cancel as cancel_response, create as create_response,
    delete as delete_response, input_items, retrieve as retrieve_response,
};
