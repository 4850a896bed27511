//! Encoders of the BERT family on the CPU: texts in, vectors out, nothing kept between calls.
//!
//! - `config.rs`, `weights.rs`: what a file says and has, checked.
//! - `batch.rs`: the texts of a call, flattened to rows.
//! - `forward.rs`: the forward pass; `attention.rs`: every token sees every other of its text.
//! - `pooling.rs`: token vectors to one, and the classifier.
//! - `engine.rs`: the engine as the runtime knows engines.

mod attention;
mod batch;
mod config;
mod engine;
mod forward;
mod pooling;
mod weights;

pub use config::EncoderConfig;
pub use engine::{ENCODER_VERSION, EncoderCpu, EncoderEngine, EncoderOptions};
