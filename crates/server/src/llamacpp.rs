//! The routes of llama.cpp's server that its scripts use: completion, tokens and text, templates, properties.

mod completion;
mod embedding;
mod request;
mod router;
mod tokens;

pub(crate) use completion::completion;
pub(crate) use embedding::embedding;
pub(crate) use router::{load, unload};
pub(crate) use tokens::{apply_template, detokenize, props, tokenize};
