//! Test support: scripted engines, a virtual clock, a tiny tokenizer and tiny model files.
//!
//! - [`ScriptedGenerator`]: an engine that says what a test wants, when the test wants it; [`ScriptControl`] holds its
//!   steps back and shows what was run.
//! - [`FaultyPredictor`], [`FaultyGenerator`]: engines that fail as a [`FaultPlan`] says; [`FaultControl`] ends their hangs.
//! - [`VirtualClock`]: time that moves when a test says so.
//! - [`tiny_tokenizer()`], [`tiny_template()`]: 256 byte tokens, a few merges, the control tokens of ChatML.
//! - [`TinyBert`]: an encoder's model file with random weights, with a vocabulary and, if asked for, a classifier.
//! - [`TinyLlama`]: a llama model file with random weights, small enough to run in any test.
//! - [`TinyOnnx`]: an ONNX model of the nodes that a test names.
//! - [`TinyPackage`]: a Core ML package of the operations that a test names.
//!
//! Only tests depend on it; it panics where a test could do nothing but panic.
#![forbid(unsafe_code)]

mod clock;
mod faulty;
mod random;
mod scripted;
mod tiny_bert;
mod tiny_llama;
mod tiny_onnx;
mod tiny_package;
mod tiny_tokenizer;

pub use clock::VirtualClock;
pub use faulty::{Fault, FaultControl, FaultPlan, FaultRates, FaultyGenerator, FaultyPredictor, Function, Hang};
pub use random::SplitMix;
pub use scripted::{Next, PATIENCE, RecordedShare, Script, ScriptControl, ScriptedGenerator};
pub use tiny_bert::{TinyBert, tiny_word_piece};
pub use tiny_llama::{TinyLlama, TinyLlamaError, with_tiny_model};
pub use tiny_onnx::{OnnxAttribute, TinyOnnx};
pub use tiny_package::TinyPackage;
pub use tiny_tokenizer::{
    ASSISTANT_TURN, CHATML, IM_END, IM_START, tiny_metadata, tiny_prompt_format, tiny_template, tiny_tokenizer,
    tokens_of,
};
