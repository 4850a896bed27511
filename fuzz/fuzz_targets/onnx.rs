//! Any bytes give a model or an error; a model is planned and run within its bounds, or refused.
//!
//!     cargo +nightly fuzz run onnx fuzz/corpus-work/onnx fuzz/corpus-work/seeds/onnx -- -max_len=8192
#![no_main]

#[path = "../wire/mutate.rs"]
mod mutate;
#[path = "../wire/run.rs"]
mod run;

use ballast_tensor::{Model, ReadLimits};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|bytes: &[u8]| {
    let reading = ReadLimits { tensor_bytes_max: 1 << 20, nodes_max: 1000, ..ReadLimits::default() };
    if let Ok(model) = Model::from_onnx(bytes, reading) {
        run::plan_and_run(&model);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| mutate::mutate(data, size, max_size, seed));
