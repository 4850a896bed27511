//! The CPU language-model engine: weights stay quantised, KV lives in blocks, many sequences share a step.
//!
//! - [`LlamaConfig`]: the shapes of a model of the llama family, read from GGUF metadata.
//! - [`plan`](MemoryPlan): what opening the model will take, before anything is allocated.
//! - [`LlamaEngine`]: opened weights, KV blocks and compute threads; implements `backend::Generator`.
//! - [`LlmCpu`]: the engine as `backend::InferenceEngine`: checks and plans a model, then opens instances.
//! - [`EncoderEngine`], [`EncoderCpu`]: encoders of the BERT family, texts to vectors.
//! - [`CompileCache`]: packed weights on disk, mapped by the next start.
//! - [`tensor_to_f32`]: any tensor of a file, dequantised.
//!
//! Start reading at `forward.rs`.
#![forbid(unsafe_code)]

mod attention;
mod bundle;
mod compile_cache;
mod compute;
mod config;
mod dequantize;
mod encoder;
mod engine;
mod error;
mod forward;
mod inputs;
mod kernel_sets;
mod kv;
mod llm_cpu;
mod packing;
mod plan;
mod rope;
mod scratch;
mod step;
mod weights;

pub use ballast_kernels::CacheType;
pub use compile_cache::{COMPILE_CACHE_BYTES_MAX, CompileCache, CompileCacheOptions, CompiledBundle, CompiledModel};
pub use config::LlamaConfig;
pub use dequantize::{tensor_to_f32, weight_type_of};
pub use encoder::{ENCODER_VERSION, EncoderConfig, EncoderCpu, EncoderEngine, EncoderOptions};
pub use engine::{EngineOptions, LlamaEngine, Preparation};
pub use error::LlmError;
pub use kernel_sets::{kernel_set, kernel_sets};
pub use llm_cpu::{ENGINE_VERSION, LlmCpu, STEP_SLA};
pub use packing::{CachedWeights, OnPacked, WeightsPlace};
pub use plan::MemoryPlan;
