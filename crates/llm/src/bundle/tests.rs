//! A bundle is compared with its model to the last field of its head.

use super::*;
use crate::LlamaConfig;
use crate::packing::Memory;
use ballast_gguf::{Gguf, TensorType};
use ballast_testkit::TinyLlama;
use ballast_threads::ComputePool;
use std::fs;
use std::num::NonZeroUsize;
use tempfile::TempDir;

const SHA256: Sha256 = Sha256([9; 32]);

struct House {
    dir: TempDir,
    weights: Weights,
    bytes: Vec<u8>,
    head_bytes: usize,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model.gguf");
        TinyLlama::new(TensorType::Q4_1).write_file(&model).unwrap();
        let gguf = Gguf::open(&model).unwrap();
        let weights = Weights::find(&gguf, &LlamaConfig::from_gguf(&gguf).unwrap()).unwrap();
        let memory = Memory::pack(&gguf, &weights, &mut ComputePool::new(NonZeroUsize::MIN), None).unwrap();
        let head = Table::new(&weights).head(SHA256);
        assert_eq!(memory.bytes().len(), weights.n_bytes);
        Self { dir, weights, head_bytes: head.len(), bytes: [&head, memory.bytes()].concat() }
    }

    fn open(&self, bytes: &[u8]) -> Result<Bundle, NotABundle> {
        self.open_as(bytes, SHA256)
    }

    fn open_as(&self, bytes: &[u8], sha256: Sha256) -> Result<Bundle, NotABundle> {
        let path = self.dir.path().join("bundle");
        fs::write(&path, bytes).unwrap();
        Bundle::open(&path, sha256, &self.weights)
    }
}

#[test]
fn a_bundle_gives_back_the_matrices_at_cache_lines() {
    let house = House::new();
    let bundle = house.open(&house.bytes).unwrap();
    assert_eq!(bundle.bytes(), &house.bytes[house.head_bytes..]);
    assert!(bundle.bytes().as_ptr().addr().is_multiple_of(ALIGNMENT));
    assert!(house.weights.matrices().all(|weight| weight.packed().start.is_multiple_of(ALIGNMENT)));
    bundle.check().unwrap();
}

#[test]
fn every_byte_of_the_head_is_compared() {
    let house = House::new();
    for at in 0..house.head_bytes {
        let mut bytes = house.bytes.clone();
        bytes[at] ^= 1;
        match house.open(&bytes) {
            Err(NotABundle::Head { at: found }) => assert_eq!(found, at),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(matches!(house.open_as(&house.bytes, Sha256([8; 32])), Err(NotABundle::Head { .. })), "another model");
}

#[test]
fn a_bundle_of_another_length_is_none() {
    let house = House::new();
    for len in [1, house.head_bytes - 1, house.head_bytes, house.bytes.len() - 1] {
        assert!(matches!(house.open(&house.bytes[..len]), Err(NotABundle::Length { .. })), "{len} bytes");
    }
    let longer = [house.bytes.as_slice(), &[0]].concat();
    assert!(matches!(house.open(&longer), Err(NotABundle::Length { .. })));
    assert!(matches!(house.open(&[]), Err(NotABundle::File(_))));
}
