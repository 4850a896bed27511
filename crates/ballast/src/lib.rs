//! Ballast as a library: load a model, generate, stream, chat.
//!
//! ```no_run
//! use ballast::{Engine, Generate, LoadOptions};
//! # fn main() -> Result<(), ballast::Error> {
//! let engine = Engine::load("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref(), &LoadOptions::default())?;
//! let answer = engine.generate(&Generate::chat("Why is the sky blue?"))?;
//! println!("{}", answer.text);
//!
//! let mut chat = engine.chat_session(Generate::default());
//! for piece in chat.send("Say it in five words.")? {
//!     print!("{piece}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`TensorModel`] runs ONNX files and Core ML packages: tensors in, tensors out.
//!
//! An [`Encoder`] turns texts into vectors: [`Encoder::embed`], [`Encoder::rerank`]; [`convert`] makes its files.
//!
//! An [`Engine`] is Send + Sync and cheap to clone: share it. A [`ChatSession`] belongs to one conversation and cannot
//! be shared between threads.
#![forbid(unsafe_code)]

/// The examples of the library's page, run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/LIBRARY.md")]
struct LibraryPage;

mod accelerator;
mod answer;
mod budget;
mod chat;
mod clock;
pub mod convert;
mod encoder;
mod engine;
mod error;
pub mod gate;
mod generate;
mod load;
pub mod machine;
mod models;
mod onnx_runtime;
pub mod parity;
mod report;
pub mod repository;
pub mod score;
pub mod soak;
mod survey;
pub mod tensor_model;
mod verify_mac;
pub mod wiring;
mod worker;

pub use answer::{Answer, GeneratedToken};
pub use ballast_backend::{EncoderShape, ErrorKind, Pooling, ReasonCode, TokenId};
pub use ballast_gguf as gguf;
pub use ballast_llm::{
    COMPILE_CACHE_BYTES_MAX, CacheType, CachedWeights, CompileCache, CompileCacheOptions, CompiledBundle,
    CompiledModel, MemoryPlan, OnPacked,
};
pub use ballast_runtime::encoding;
pub use ballast_runtime::{
    Canceller, CorrelationId, Deadlines, Event, FinishReason, Health, Phase, PrefixCache, Priority, Request, Runtime,
    RuntimeError, RuntimeOptions, Summary, TenantId, Timings, TokenEvent, TokenLogprob, TokenStream, Usage, telemetry,
};
pub use ballast_tokens as tokens;
pub use ballast_worker::WorkerError;
pub use budget::{BudgetMode, MemoryBudget};
pub use chat::{ChatSession, Reply};
pub use clock::{SystemClock, unix_seconds};
pub use encoder::{Embedding, Encoder, EncoderLoadOptions, EncoderReport, Ranked};
pub use engine::Engine;
pub use error::Error;
pub use generate::{Generate, Prompt};
pub use load::{Isolation, LoadOptions, LoadProgress};
pub use models::{
    AbArm, AffinityKey, CanaryTerms, LifecycleStats, LoadFailure, ModelLease, ModelReport, ModelSource, ModelState,
    Models, ModelsOptions, OpenModel, Pressure, RollbackReason, RolloutChange, RolloutState, RoutePlan, RouteReport,
    RouteTarget, RoutedLease, RoutedStream, SwapMode, TargetStats,
};
pub use report::{Finding, LoadReport};
pub use survey::{ModelSurvey, survey};
pub use tensor_model::{Manifest, TensorIoError, TensorLoadOptions, TensorModel};
pub use verify_mac::{MacReport, VerifyMacOptions, verify_mac};
pub use worker::worker_main;
