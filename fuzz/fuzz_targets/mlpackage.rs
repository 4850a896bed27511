//! Any bytes give a package or an error, and a package gives a model or an error, in bounded memory.
//!
//!     cargo +nightly fuzz run mlpackage fuzz/corpus-work -- -max_len=8192
#![no_main]

use ballast_tensor::{Package, PackageLimits};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|input: (&[u8], Vec<u8>)| {
    let (bytes, weights) = input;
    let limits = PackageLimits { tensor_bytes_max: 1 << 20, constants_bytes_max: 8 << 20, ..PackageLimits::default() };
    let weights = BTreeMap::from([("weights/weight.bin".to_owned(), weights)]);
    let Ok(mut package) = Package::from_bytes(bytes, &weights, limits) else { return };
    let _ = package.survey();
    let _ = package.model(None);
});
