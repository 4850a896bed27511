//! Any bytes give a header or an error; what was read can be written, and then stays the same.
//!
//!     cargo +nightly fuzz run gguf_parse fuzz/corpus-work crates/gguf/corpus -- -max_len=8192
#![no_main]

use ballast_gguf::{Gguf, Header, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Gguf::parse(bytes) else { return };
    let written = rewrite(&header, bytes);
    let again = Gguf::parse(&written).expect("what was read can be written and read");
    assert_eq!(rewrite(&again, &written), written, "writing is stable");
});

fn rewrite(header: &Header, bytes: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in header.metadata.iter() {
        writer.metadata(key, value.clone());
    }
    for tensor in &header.tensors {
        let start = usize::try_from(tensor.offset).expect("inside the file");
        let n_bytes = usize::try_from(tensor.n_bytes).expect("inside the file");
        writer.tensor(&tensor.name, &tensor.shape, tensor.tensor_type, &bytes[start..start + n_bytes]);
    }
    writer.to_bytes().expect("what was read can be written")
}
