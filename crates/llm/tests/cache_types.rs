//! How far an answer strays when keys and values are stored in less than f16.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(clippy::cast_possible_truncation, reason = "the numbers of a tiny model are small")]

use ballast_backend::{BlockId, Generator, LogitRows, Logits, Pulse, SequenceStep, TokenId};
use ballast_gguf::{Gguf, TensorType};
use ballast_llm::{CacheType, EngineOptions, LlamaEngine};
use ballast_testkit::{SplitMix, TinyLlama};
use std::num::NonZeroUsize;
use std::sync::Arc;

const N_TOKENS: usize = 256;

/// Log probabilities behind each of some random tokens, `[N_TOKENS, vocab_size]`.
fn log_probabilities(gguf: &Arc<Gguf>, cache_type: CacheType) -> Vec<Vec<f64>> {
    let n_threads = NonZeroUsize::new(1).unwrap();
    let options = EngineOptions { n_threads, cache_type, ..EngineOptions::default() };
    let mut engine = LlamaEngine::open(Arc::clone(gguf), &options).unwrap();
    let mut random = SplitMix::new(7);
    let vocab_size = engine.shape().vocab_size as u64;
    let tokens: Vec<_> = (0..N_TOKENS).map(|_| TokenId((random.next_u64() % vocab_size) as u32)).collect();
    let blocks: Vec<_> = (0..engine.shape().n_blocks).map(|block| BlockId(block as u32)).collect();
    let step = SequenceStep { tokens: &tokens, start: 0, blocks: &blocks, logits: LogitRows::All };
    let mut logits = Logits::default();
    engine.step(&[step], &mut logits, &Pulse::new()).unwrap();
    let of_row = |row: &[f32]| {
        let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        row.iter().map(|logit| f64::from(*logit) - sum.ln()).collect()
    };
    (0..N_TOKENS).map(|row| of_row(logits.row(row))).collect()
}

fn best(row: &[f64]) -> usize {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap()
}

#[test]
fn log_probabilities_stray_by_the_precision_of_the_cache() {
    let path = std::env::temp_dir().join(format!("ballast-cache-types-{}.gguf", std::process::id()));
    let wide = TinyLlama { embed_dim: 256, ffn_dim: 512, n_heads: 4, n_kv_heads: 2, ..TinyLlama::new(TensorType::F32) };
    wide.write_file(&path).unwrap();
    let gguf = Arc::new(Gguf::open(&path).unwrap());
    std::fs::remove_file(path).unwrap();
    let expected = log_probabilities(&gguf, CacheType::F16);
    // Twice what this model was seen to give.
    for (cache_type, rms_max, n_other_max) in [(CacheType::BF16, 0.006, 2), (CacheType::Q8_0, 0.019, 12)] {
        let got = log_probabilities(&gguf, cache_type);
        let squares = got.iter().flatten().zip(expected.iter().flatten()).map(|(a, b)| (a - b) * (a - b));
        let rms = (squares.sum::<f64>() / (N_TOKENS * expected[0].len()) as f64).sqrt();
        let n_other = got.iter().zip(&expected).filter(|(a, b)| best(a) != best(b)).count();
        assert!(rms > 0.0 && rms < rms_max, "{cache_type:?}: rms {rms}");
        assert!(n_other <= n_other_max, "{cache_type:?}: another best token at {n_other} of {N_TOKENS} positions");
    }
}
