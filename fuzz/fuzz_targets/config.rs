//! Any text is a configuration or an error that says where.
//!
//!     cargo +nightly fuzz run config fuzz/corpus-work/config crates/ballast/corpus/config -- -max_len=4096
#![no_main]

use ballast::repository::RepositoryConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = RepositoryConfig::parse(text) {
        assert!(!error.to_string().is_empty());
    }
});
