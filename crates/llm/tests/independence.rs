//! What a sequence is told does not depend on its company: bytes are equal alone, in a batch of eight, in chunks of any
//! size, with one thread or several, with any set of kernels, and whether a token was part of a prompt or was decoded.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(clippy::cast_possible_truncation, reason = "the numbers of a tiny model are small")]

use ballast_backend::{BlockId, Generator, LogitRows, Logits, Pulse, SequenceStep, TokenId};
use ballast_gguf::{Gguf, TensorType};
use ballast_llm::{CacheType, EngineOptions, LlamaEngine};
use ballast_testkit::{SplitMix, TinyLlama};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

const TYPES: [TensorType; 6] =
    [TensorType::F32, TensorType::F16, TensorType::Q4_1, TensorType::Q8_0, TensorType::Q4_K, TensorType::Q6_K];
const USUAL: CacheType = CacheType::F16;
const N_TOKENS: usize = 34;
const N_SEQUENCES: usize = 8;

fn file(test: &str, weight_type: TensorType) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ballast-{test}-{}-{weight_type:?}.gguf", std::process::id()));
    TinyLlama { embed_dim: 256, ffn_dim: 512, n_heads: 8, n_kv_heads: 2, ..TinyLlama::new(weight_type) }
        .write_file(&path)
        .unwrap();
    path
}

/// How an engine is opened: threads, kernels, and the type of its KV cache.
type Way = (usize, &'static dyn ballast_kernels::Kernels, CacheType);

fn open(gguf: &Arc<Gguf>, (n_threads, kernels, cache_type): Way) -> LlamaEngine {
    let n_threads = NonZeroUsize::new(n_threads).unwrap();
    let kv_len = Some(N_SEQUENCES * 64);
    let options = EngineOptions { kernels, n_threads, kv_len, cache_type, ..EngineOptions::default() };
    LlamaEngine::open(Arc::clone(gguf), &options).unwrap()
}

/// The tokens of sequence `idx`.
fn tokens(idx: usize, vocab_size: usize) -> Vec<TokenId> {
    let mut random = SplitMix::new(idx as u64);
    (0..N_TOKENS).map(|_| TokenId((random.next_u64() % vocab_size as u64) as u32)).collect()
}

/// Blocks that no other sequence has, in an order of their own.
fn blocks(idx: usize) -> Vec<BlockId> {
    [2 * idx + 1, 2 * idx].map(|block| BlockId(block as u32)).to_vec()
}

/// The bits of every logit of sequence `idx`, run alone in chunks of `chunk_len`.
fn alone(engine: &mut LlamaEngine, idx: usize, chunk_len: usize) -> Vec<u32> {
    let tokens = tokens(idx, engine.shape().vocab_size);
    let (mut logits, mut bits) = (Logits::default(), Vec::new());
    for (chunk_idx, chunk) in tokens.chunks(chunk_len).enumerate() {
        let start = chunk_idx * chunk_len;
        let step = SequenceStep { tokens: chunk, start, blocks: &blocks(idx), logits: LogitRows::All };
        engine.step(&[step], &mut logits, &Pulse::new()).unwrap();
        bits.extend((0..logits.n_rows()).flat_map(|row| logits.row(row)).map(|logit| logit.to_bits()));
    }
    bits
}

/// The same for all sequences together, token by token.
fn together(engine: &mut LlamaEngine) -> Vec<Vec<u32>> {
    let vocab_size = engine.shape().vocab_size;
    let sequences: Vec<_> = (0..N_SEQUENCES).map(|idx| (tokens(idx, vocab_size), blocks(idx))).collect();
    let (mut logits, mut bits) = (Logits::default(), vec![Vec::new(); N_SEQUENCES]);
    for start in 0..N_TOKENS {
        let batch: Vec<_> = sequences
            .iter()
            .map(|(tokens, blocks)| SequenceStep {
                tokens: &tokens[start..=start],
                start,
                blocks,
                logits: LogitRows::Last,
            })
            .collect();
        engine.step(&batch, &mut logits, &Pulse::new()).unwrap();
        for (row, bits) in bits.iter_mut().enumerate() {
            bits.extend(logits.row(row).iter().map(|logit| logit.to_bits()));
        }
    }
    bits
}

#[test]
fn bytes_do_not_depend_on_batch_chunks_or_threads() {
    for weight_type in TYPES {
        let path = file("independence", weight_type);
        let gguf = Arc::new(Gguf::open(&path).unwrap());
        // Weights and cache know nothing of each other: one type of weights does for all types of caches.
        for cache_type in CacheType::ALL.into_iter().filter(|of| *of == USUAL || weight_type == TensorType::Q8_0) {
            let expected: Vec<_> = {
                let mut engine = open(&gguf, (1, ballast_kernels::detect(), cache_type));
                (0..N_SEQUENCES).map(|idx| alone(&mut engine, idx, N_TOKENS)).collect()
            };
            for kernels in ballast_kernels::available() {
                for n_threads in [1, 2] {
                    let way = format!("{weight_type:?} {cache_type:?} {}, {n_threads} threads", kernels.name());
                    let mut engine = open(&gguf, (n_threads, kernels, cache_type));
                    for chunk_len in [1, 7] {
                        let got = alone(&mut engine, 0, chunk_len);
                        assert!(got == expected[0], "{way} chunks of {chunk_len}");
                    }
                    assert!(together(&mut engine) == expected, "{way} in a batch");
                }
            }
        }
        drop(gguf);
        std::fs::remove_file(path).unwrap();
    }
}
