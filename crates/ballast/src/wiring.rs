//! The one place that names engines: which engine opens which file.

use crate::{Error, LoadOptions};
use ballast_backend::Generator;
use ballast_gguf::Gguf;
use ballast_llm::{EngineOptions, LlamaEngine};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Opens the engine for a file, alone, without a runtime around it: for benchmarks and for looking at logits.
///
/// # Errors
/// If no engine runs the model, or the options ask for what this machine does not have.
pub fn open_generator(gguf: &Arc<Gguf>, options: &LoadOptions) -> Result<Box<dyn Generator>, Error> {
    Ok(Box::new(LlamaEngine::open(Arc::clone(gguf), &engine_options(options)?)?))
}

/// The engine's options among those of loading.
///
/// # Errors
/// If the kernel set asked for is not to be had on this CPU.
pub(crate) fn engine_options(options: &LoadOptions) -> Result<EngineOptions, Error> {
    let defaults = EngineOptions::default();
    let kernels = match &options.kernels {
        None => defaults.kernels,
        Some(name) => ballast_llm::kernel_set(name).ok_or_else(|| Error::KernelsUnavailable {
            got: name.clone(),
            available: ballast_llm::kernel_sets(),
        })?,
    };
    Ok(EngineOptions {
        kernels,
        n_threads: options.n_threads.and_then(NonZeroUsize::new).unwrap_or(defaults.n_threads),
        context_len: options.context_len,
        kv_len: options.kv_len,
        max_batch_tokens: options.max_batch_tokens,
        max_batch_sequences: options.n_parallel,
    })
}
