//! Any bytes give a model or an error, and a model is planned within its bounds or refused.
//!
//!     cargo +nightly fuzz run onnx fuzz/corpus-onnx -- -max_len=8192
#![no_main]

use ballast_tensor::{Executor, ExecutorOptions, Model, ReadLimits, RunLimits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let reading = ReadLimits { tensor_bytes_max: 1 << 20, nodes_max: 1000, ..ReadLimits::default() };
    let Ok(model) = Model::from_onnx(bytes, reading) else { return };
    let limits = RunLimits { tensor_bytes_max: 1 << 20, ..RunLimits::default() };
    drop(Executor::new(&model, ExecutorOptions { limits, ..ExecutorOptions::default() }));
});
