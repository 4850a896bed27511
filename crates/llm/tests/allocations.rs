//! A decoded token allocates nothing once the buffers have grown to the batch.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(unsafe_code, reason = "a global allocator that counts")]

use ballast_backend::{BlockId, Generator, LogitRows, Logits, Pulse, SequenceStep, TokenId};
use ballast_gguf::{Gguf, TensorType};
use ballast_llm::{CacheType, EngineOptions, LlamaEngine};
use ballast_testkit::TinyLlama;
use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting what all threads ask of it.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Times that each batch is decoded, at most, until one pass allocates nothing. In the first, buffers grow; a compute
/// thread allocates when it starts, which on a busy machine is late.
const PASSES_MAX: usize = 20;

/// Positions that each sequence has blocks for.
const N_POSITIONS: usize = 64;

/// Runs one token of each of `n` sequences; returns how often memory was asked for.
fn decode(engine: &mut LlamaEngine, n: usize, position: usize, logits: &mut Logits) -> usize {
    let block_len = engine.shape().block_len;
    let blocks: Vec<Vec<BlockId>> = (0..n)
        .map(|idx| {
            let of = idx * N_POSITIONS / block_len..(idx + 1) * N_POSITIONS / block_len;
            of.map(|block| BlockId(u32::try_from(block).unwrap())).collect()
        })
        .collect();
    let token = [TokenId(3)];
    let batch: Vec<_> = blocks
        .iter()
        .map(|blocks| SequenceStep { tokens: &token, start: position, blocks, logits: LogitRows::Last })
        .collect();
    let pulse = Pulse::new();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    engine.step(&batch, logits, &pulse).unwrap();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

// One test: a second one beside it would allocate, too.
#[test]
fn a_decoded_token_allocates_nothing() {
    for weight_type in [TensorType::F16, TensorType::Q4_1, TensorType::Q4_K] {
        let path = std::env::temp_dir().join(format!("ballast-allocations-{}.gguf", std::process::id()));
        TinyLlama { embed_dim: 256, ffn_dim: 512, n_heads: 8, n_kv_heads: 2, ..TinyLlama::new(weight_type) }
            .write_file(&path)
            .unwrap();
        let gguf = Arc::new(Gguf::open(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        let n_threads = NonZeroUsize::new(2).unwrap();
        for cache_type in CacheType::ALL {
            let kv_len = Some(8 * N_POSITIONS);
            let options = EngineOptions { n_threads, kv_len, cache_type, ..EngineOptions::default() };
            let mut engine = LlamaEngine::open(Arc::clone(&gguf), &options).unwrap();
            let mut logits = Logits::default();
            for n in [1, 8] {
                let mut pass = |_| (0..24).map(|position| decode(&mut engine, n, position, &mut logits)).sum();
                let counts: Vec<usize> = (0..PASSES_MAX).map(&mut pass).take_while(|count| *count > 0).collect();
                assert!(counts.len() < PASSES_MAX, "{cache_type:?}, {n} sequences: {counts:?} allocations");
            }
        }
    }
}
