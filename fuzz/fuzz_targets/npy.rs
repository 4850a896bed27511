//! Any bytes are an array or an error; an array that was read is written and read as itself.
//!
//!     cargo +nightly fuzz run npy -- -max_len=4096
#![no_main]

use ballast::tensor_model::npy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensor) = npy::read(bytes) else { return };
    let written = npy::write(&tensor);
    let again = npy::read(&written).expect("what was written can be read");
    assert_eq!(npy::write(&again), written, "writing is stable");
});
