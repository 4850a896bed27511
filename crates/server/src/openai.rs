//! The OpenAI wire: chat completions and the list of models.

mod chat;
mod error;
mod fields;
mod models;

pub(crate) use chat::chat_completions;
pub use chat::{
    LABEL_BYTES_MAX, MESSAGES_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX, PARTS_MAX,
};
pub(crate) use fields::ParamError;
pub(crate) use models::{list_models, show_model};
