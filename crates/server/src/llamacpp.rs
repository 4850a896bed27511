//! The routes of llama.cpp's server that its scripts use: completion, infill, slots, tokens and text, templates,
//! properties.

mod completion;
mod embedding;
mod error;
mod infill;
mod prompt;
mod request;
mod router;
mod settings;
mod slot_actions;
mod slot_file;
mod slots;
mod tokens;
mod words;

pub(crate) use completion::completion;
pub(crate) use embedding::embedding;
pub(crate) use error::error_body;
pub use infill::INFILL_FILES_MAX;
pub(crate) use infill::infill;
pub(crate) use router::{load, unload};
pub(crate) use settings::settings;
pub(crate) use slot_actions::{act as act_on_slot, slots};
pub use slot_file::SLOT_FILE_NAME_BYTES_MAX;
pub(crate) use slots::Slots;
pub(crate) use tokens::{apply_template, conversation, detokenize, props, tokenize};
