//! What each version of the layout looks like: packed bytes and bundles cannot change under the same version.

use super::{LAYOUT_VERSION, Table};
use crate::LlamaConfig;
use crate::packing::Memory;
use crate::weights::Weights;
use ballast_artifacts::{Until, digest_parts};
use ballast_backend::{Pulse, Sha256};
use ballast_gguf::{Gguf, TensorType};
use ballast_kernels::{PackedMatrix, STRIP_ROWS, WeightMatrix, WeightType, pack};
use ballast_testkit::{SplitMix, TinyLlama, VirtualClock};
use ballast_threads::ComputePool;
use std::num::NonZeroUsize;

/// The digests of every version of the layout, the first one's first. What is there is never changed.
const LAYOUTS: [&str; 1] = ["\
F32 c421ad2e5d7e3766eceefe0637e934e94c347fe94052eb83d955367ca963e1a2
F16 c52ee9f97ddfdd8c576feca3c413c77ba1db91997f554310d10e0e56bb769272
BF16 c52ee9f97ddfdd8c576feca3c413c77ba1db91997f554310d10e0e56bb769272
Q4_0 5d75597dbb53801c90c0f9c8cfcc7682845e6502dc0d18736fd75bb06b2b8391
Q4_1 b2b90d44fddededa88e1cc0085f6e827c586e9d1ea4de73ec38d0473e2c79d4c
Q5_0 6731d7de8c9b48f1732c2e601b702d4ce70533d6aa44da2b209a9ec5ed136728
Q5_1 aa8eb2b786c343c152e08266573c1a1dff539aba653e8fd8487804a373df0555
Q8_0 bc0216d96ca6b0c986e5c0d1b6dcacb10f0300539b8b429bd9a6839a8e65074e
Q4_K 0a3ad3e8a494db9b57a3a33dcccfa1ec72302177e97d8b78d1b87bcab0d832fa
Q5_K aa4691ef6915a52b8bba5f343aacf5c79d9974f8ccec25cdad54a3e6fe631eed
Q6_K 7aff9a5651cf9e4fa3dfbc266c241af51e23d36349dd785a8f61fa6ccdde3738
bundle 39f2355b6e3b76b84ddd9bf330dad508cef661ed9b3659dc511cdc018c33b390
"];

/// A whole strip and one that is padded.
const N_ROWS: usize = STRIP_ROWS + 3;
/// Blocks in a row of the types that have the longest.
const N_COLS: usize = 2 * 256;

fn digest(parts: &[&[u8]]) -> Sha256 {
    let (clock, pulse) = (VirtualClock::default(), Pulse::new());
    let until = Until { clock: &clock, deadline: None, pulse: &pulse };
    digest_parts(parts.iter().copied(), &until, |_, _| {}).unwrap().sha256
}

/// What `pack` makes of the same random bytes.
fn packed(weight_type: WeightType) -> Vec<u8> {
    let mut random = SplitMix::new(1);
    let n_bytes = N_ROWS * N_COLS / weight_type.block_len() * weight_type.block_bytes();
    let source: Vec<u8> = (0..n_bytes).map(|_| random.next_u8()).collect();
    let mut out = vec![0; PackedMatrix::bytes_of(weight_type, N_ROWS, N_COLS).unwrap()];
    pack(&WeightMatrix::new(weight_type, N_ROWS, N_COLS, &source).unwrap(), &mut out);
    out
}

/// The head and the matrices of a model's bundle.
fn bundle() -> [Vec<u8>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    TinyLlama::new(TensorType::Q4_1).write_file(&path).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let weights = Weights::find(&gguf, &LlamaConfig::from_gguf(&gguf).unwrap()).unwrap();
    let memory = Memory::pack(&gguf, &weights, &mut ComputePool::new(NonZeroUsize::MIN), None).unwrap();
    [Table::new(&weights).head(Sha256([9; 32])), memory.bytes().to_vec()]
}

/// One line for each weight type, and one for a whole bundle.
fn layout() -> String {
    let of_type = |weight_type| format!("{weight_type:?} {}\n", digest(&[&packed(weight_type)]));
    let types: String = WeightType::ALL.into_iter().map(of_type).collect();
    let [head, matrices] = bundle();
    // The head has the version in it, so that a bundle differs from one version to the next whatever else does.
    types + &format!("bundle {}\n", digest(&[&head, &matrices]))
}

#[test]
fn what_is_packed_cannot_change_under_the_same_version() {
    let (version, found) = (usize::try_from(LAYOUT_VERSION).unwrap(), layout());
    let known = LAYOUTS.get(version - 1).copied();
    assert!(
        known == Some(&*found) && LAYOUTS.len() == version,
        "what `ballast_kernels::pack` writes, or the bundle around it, is not that of layout version {version}. Caches on \
         disk have the old layout under this version, and would be read as the new one. Set LAYOUT_VERSION in \
         crates/llm/src/bundle.rs to {} and append to LAYOUTS (crates/llm/src/bundle/golden.rs), changing nothing that \
         is there:\n\n{found}\nIf only the line of the bundle differs, the head, the order or the places of matrices \
         changed; or testkit makes another model of the same seed, which must not happen by itself.\n\nknown:\n\n{}",
        LAYOUTS.len() + 1,
        known.unwrap_or("nothing"),
    );
}
