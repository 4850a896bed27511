//! temporary
#![allow(clippy::all, clippy::pedantic)]
use ballast_backend::*;
use ballast_gguf::Gguf;
use ballast_llm::{EngineOptions, LlamaEngine};
use std::sync::Arc;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t0 = Instant::now();
    let gguf = Arc::new(Gguf::open(a[1].as_ref()).unwrap());
    let threads = a.get(2).map_or(2, |s| s.parse().unwrap());
    let mut o = EngineOptions { n_threads: std::num::NonZeroUsize::new(threads).unwrap(), kv_len: Some(16384), ..EngineOptions::default() };
    if let Some(k) = a.get(3) { o.kernels = ballast_llm::kernel_set(k).unwrap(); }
    let mut e = LlamaEngine::open(gguf, &o).unwrap();
    println!("open {:.1} ms", t0.elapsed().as_secs_f64() * 1e3);
    let mut logits = Logits::default();
    let bl = e.shape().block_len;
    let blocks: Vec<Vec<BlockId>> = (0..16).map(|s| (0..1024 / bl as u32).map(|b| BlockId(s * 1024 / bl as u32 + b)).collect()).collect();
    let vocab = e.shape().vocab_size as u32;
    let tok = |i: usize| TokenId((i as u32 * 7919 + 13) % vocab);
    for _ in 0..2 {
        let toks: Vec<TokenId> = (0..512).map(tok).collect();
        let mut best = f64::MAX;
        for _ in 0..4 {
            let t = Instant::now();
            e.step(&[SequenceStep { tokens: &toks, start: 0, blocks: &blocks[0], logits: LogitRows::Last }], &mut logits, &Pulse::new()).unwrap();
            best = best.min(t.elapsed().as_secs_f64());
        }
        println!("prefill 512: {:.0} tok/s", 512.0 / best);
        for n in [1usize, 4, 8, 16] {
            let mut best = f64::MAX;
            for _ in 0..3 {
                let t = Instant::now();
                for i in 0..24 {
                    let ts: Vec<[TokenId; 1]> = (0..n).map(|s| [tok(i + s)]).collect();
                    let batch: Vec<_> = (0..n).map(|s| SequenceStep { tokens: &ts[s], start: 128 + i, blocks: &blocks[s], logits: LogitRows::Last }).collect();
                    e.step(&batch, &mut logits, &Pulse::new()).unwrap();
                }
                best = best.min(t.elapsed().as_secs_f64());
            }
            println!("decode x{n}: {:.0} tok/s", 24.0 * n as f64 / best);
        }
    }
}
