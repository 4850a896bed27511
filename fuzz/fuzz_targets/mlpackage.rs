//! Any bytes give a package or an error, and a package gives a model or an error, which is planned and run, in bounded
//! memory. An input is the length of the model's file in four bytes, that file, and its file of weights.
//!
//!     cargo +nightly fuzz run mlpackage fuzz/corpus-work/mlpackage fuzz/corpus-work/seeds/mlpackage -- -max_len=8192
#![no_main]

#[path = "../wire/mutate.rs"]
mod mutate;
#[path = "../wire/run.rs"]
mod run;

use ballast_tensor::{Package, PackageLimits};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use mutate::Random;
use std::collections::BTreeMap;

/// The model's file and the weights.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((model, weights)) = parts(bytes) else { return };
    let limits = PackageLimits { tensor_bytes_max: 1 << 20, constants_bytes_max: 8 << 20, ..PackageLimits::default() };
    let weights = BTreeMap::from([("weights/weight.bin".to_owned(), weights.to_vec())]);
    let Ok(mut package) = Package::from_bytes(model, &weights, limits) else { return };
    let _ = package.survey();
    if let Ok(model) = package.model(None) {
        run::plan_and_run(&model);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed);
    let Some((model, weights)) = parts(&data[..size]) else {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    };
    let (mut model, mut weights) = (model.to_vec(), weights.to_vec());
    if random.below(4) > 0 || weights.is_empty() {
        model = mutate::change(&model, &mut random, 0);
    } else {
        let size = weights.len();
        weights.extend([0; 64]);
        let (room, changed) = (weights.len(), &mut weights);
        let size = libfuzzer_sys::fuzzer_mutate(changed, size, room);
        weights.truncate(size);
    }
    let whole = [&(model.len() as u32).to_le_bytes()[..], &model, &weights].concat();
    if whole.len() > max_size {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    data[..whole.len()].copy_from_slice(&whole);
    whole.len()
});
