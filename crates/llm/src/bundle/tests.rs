//! A bundle is compared with its model to the last field of its head.

use super::*;
use crate::LlamaConfig;
use crate::packing::Memory;
use ballast_gguf::{Gguf, TensorType};
use ballast_kernels::{PackedMatrix, WeightMatrix, pack};
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

/// If this fails, packed matrices are not what they were: count [`LAYOUT_VERSION`] up, so that no bundle of the old
/// layout is read as one of the new, and write the new number here.
#[test]
fn packed_bytes_of_every_type_are_those_of_this_layout_version() {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for weight_type in WeightType::ALL {
        let (n_rows, n_cols) = (17, 2 * weight_type.block_len());
        let n_bytes = n_rows * 2 * weight_type.block_bytes();
        let source: Vec<u8> = (0..n_bytes).map(|idx| (idx * 167 % 251) as u8).collect();
        let mut packed = vec![0; PackedMatrix::bytes_of(weight_type, n_rows, n_cols).unwrap()];
        pack(&WeightMatrix::new(weight_type, n_rows, n_cols, &source).unwrap(), &mut packed);
        // FNV-1a.
        packed.iter().for_each(|byte| hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }
    assert_eq!((LAYOUT_VERSION, layout().as_str(), hash), (1, "strips16.1", 0));
}
