//! An answer does not depend on its company: the same seed gives the same tokens and text alone, beside seven others, in
//! a KV cache too small for all, and with one thread or two.

use crate::support::{ModelFile, one_thread, said};
use ballast::gguf::TensorType;
use ballast::tokens::SamplingParams;
use ballast::{Answer, Engine, Generate, LoadOptions, TokenId, TokenStream};
use ballast_testkit::TinyLlama;
use std::path::Path;

const N_TOGETHER: usize = 8;
const TEMPERATURE: f32 = 1.0;

/// What is compared.
type Said = (Vec<TokenId>, String);

/// The request of a seed; prompts have lengths of their own.
fn request(seed: u64, max_tokens: usize) -> Generate {
    let n_words = usize::try_from(seed % 7).unwrap();
    let prompt = format!("{}the number {seed}", "hello ".repeat(n_words));
    let sampling = SamplingParams { temperature: TEMPERATURE, seed: Some(seed), ..SamplingParams::default() };
    Generate { sampling, max_tokens: Some(max_tokens), ignore_eos: true, ..Generate::text(prompt) }
}

fn alone(engine: &Engine, seeds: &[u64], max_tokens: usize) -> Vec<Said> {
    seeds.iter().map(|&seed| said(&engine.generate(&request(seed, max_tokens)).unwrap())).collect()
}

/// Asks for all of `seeds` in groups of eight, each group at once; a last group that is smaller is filled up.
fn together(engine: &Engine, seeds: &[u64], max_tokens: usize) -> Vec<Said> {
    let group_of = |group: &[u64]| -> Vec<Said> {
        let fill = (1000..).take(N_TOGETHER - group.len());
        let submit = |seed| engine.stream(&request(seed, max_tokens)).unwrap();
        let streams: Vec<TokenStream> = group.iter().copied().chain(fill).map(submit).collect();
        streams.into_iter().map(|stream| said(&Answer::collect(stream, |_| {}))).take(group.len()).collect()
    };
    seeds.chunks(N_TOGETHER).flat_map(group_of).collect()
}

/// The ways to run a model that must make no difference, with the reference first. A KV cache has room for one context,
/// so a context of `kv_tight` positions makes sequences give way to each other.
fn ways(kv_tight: usize) -> Vec<(&'static str, LoadOptions)> {
    let with_threads = |n_threads| LoadOptions { n_threads: Some(n_threads), ..one_thread() };
    let roomy = |options: LoadOptions| LoadOptions { kv_len: Some(2048), ..options };
    vec![
        ("1 thread", roomy(with_threads(1))),
        ("2 threads", roomy(with_threads(2))),
        ("a KV cache for some", LoadOptions { context_len: Some(kv_tight), ..with_threads(1) }),
        ("steps of 5 tokens", LoadOptions { max_batch_tokens: 5, ..roomy(with_threads(2)) }),
        ("3 at a time", LoadOptions { n_parallel: 3, ..roomy(with_threads(1)) }),
    ]
}

fn check(path: &Path, seeds: &[u64], max_tokens: usize, kv_tight: usize) {
    let mut reference: Option<Vec<Said>> = None;
    for (way, options) in ways(kv_tight) {
        let engine = Engine::load(path, &options).unwrap();
        let runs = [("alone", alone(&engine, seeds, max_tokens)), ("together", together(&engine, seeds, max_tokens))];
        for (company, run) in runs {
            let reference = reference.get_or_insert_with(|| run.clone());
            for ((seed, got), expected) in seeds.iter().zip(&run).zip(reference.iter()) {
                assert_eq!(got, expected, "seed {seed}, {company}, {way}, {}", path.display());
            }
        }
    }
    let distinct: std::collections::HashSet<Said> = reference.unwrap().into_iter().collect();
    assert_eq!(distinct.len(), seeds.len(), "every seed says something of its own");
}

#[test]
fn twenty_seeds_say_the_same_in_any_company() {
    let seeds: Vec<u64> = (0..20).collect();
    for weight_type in [TensorType::Q4_1, TensorType::Q6_K] {
        let file = ModelFile::new(TinyLlama::new(weight_type));
        check(file.path(), &seeds, 32, 256);
    }
}

#[test]
fn a_real_model_says_the_same_in_any_company() {
    #[expect(clippy::disallowed_methods, reason = "the person running the tests names the model")]
    let Some(path) = std::env::var_os("BALLAST_TEST_MODEL") else {
        println!("skipped: BALLAST_TEST_MODEL names no model file");
        return;
    };
    let seeds: Vec<u64> = (0..5).collect();
    check(Path::new(&path), &seeds, 24, 320);
}
