//! What a token allocates between the logits and the text: nothing, once the first tokens have been through. Alone in
//! its binary, because it counts allocations.
#![expect(unsafe_code, reason = "a global allocator that counts")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::TokenId;
use ballast_tokens::{
    Detokenizer, Sampler, SamplingParams, ShowSpecial, StopMatcher, TokenMask, Tokenizer, TokenizerOptions,
    TokenizerSource,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

/// The system's allocator, counting each thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
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

/// As many tokens as bytes, which the tokenizer of these tests has.
const VOCAB_SIZE: usize = 256;
const N_WARM_UP: usize = 600;
const N_TOKENS: usize = 2000;

/// A row of logits, another for each `n`, in which no token is much likelier than the others.
fn fill(logits: &mut [f32], n: usize) {
    for (id, logit) in logits.iter_mut().enumerate() {
        *logit = ((id * 7919 + n * 104_729) % 1009) as f32 / 250.0;
    }
}

/// Allocations of [`N_TOKENS`] tokens, after [`N_WARM_UP`] that do not count.
fn allocations(params: &SamplingParams, mask: Option<&TokenMask>) -> usize {
    let options = TokenizerOptions { allow_fallback: true, ..TokenizerOptions::default() };
    let (tokenizer, _) = Tokenizer::new(&TokenizerSource::default(), &options).unwrap();
    let mut detokenizer = Detokenizer::new(Arc::new(tokenizer), ShowSpecial::No);
    // Begun often, and completed by no text that is valid UTF-8 with this many letters in a row.
    let stops = ["a\u{1}b\u{1}c\u{1}d\u{1}e\u{1}f", "the end of it all"].map(str::to_owned);
    let mut matcher = StopMatcher::new(&stops).unwrap();
    let mut sampler = Sampler::new(params, 5, VOCAB_SIZE).unwrap();
    sampler.accept_prompt(&(0..300).map(|n| TokenId(n * n % 256)).collect::<Vec<_>>());
    let mut logits = vec![0.0; VOCAB_SIZE];
    let mut released = 0;
    let mut token = |n| {
        fill(&mut logits, n);
        let sampled = sampler.sample_masked(&mut logits, mask).unwrap();
        let outcome = matcher.push(detokenizer.push(sampled.token));
        assert_eq!(outcome.matched, None);
        released += outcome.text.len();
    };
    (0..N_WARM_UP).for_each(&mut token);
    let before = ALLOCATIONS.get();
    (N_WARM_UP..N_WARM_UP + N_TOKENS).for_each(&mut token);
    let n_allocations = ALLOCATIONS.get() - before;
    assert!(released > N_TOKENS / 2, "text came out");
    n_allocations
}

#[test]
fn a_token_allocates_nothing_from_logits_to_text() {
    let free = SamplingParams::default();
    let penalties = SamplingParams {
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        presence_penalty: 0.1,
        logit_bias: vec![(TokenId(65), 1.0)],
        ..free.clone()
    };
    let greedy = SamplingParams { temperature: 0.0, ..penalties.clone() };
    let cases = [
        ("greedy", SamplingParams::greedy()),
        ("greedy, penalties", greedy),
        ("unfiltered", free.clone()),
        ("unfiltered, penalties", penalties.clone()),
        ("top-k", SamplingParams { top_k: 40, ..penalties.clone() }),
        ("top-p", SamplingParams { top_p: 0.9, ..penalties.clone() }),
        ("min-p", SamplingParams { min_p: 0.05, ..penalties.clone() }),
        ("all", SamplingParams { top_k: 100, top_p: 0.95, min_p: 0.01, temperature: 0.7, ..penalties }),
    ];
    let mut mask = TokenMask::all(VOCAB_SIZE);
    (0..32).for_each(|id| mask.forbid(TokenId(id)));
    for (name, params) in cases {
        assert_eq!(allocations(&params, None), 0, "{name}");
        assert_eq!(allocations(&params, Some(&mask)), 0, "{name}, masked");
    }
}

#[test]
fn log_probabilities_allocate_only_where_they_were_asked_for() {
    let params = SamplingParams { n_logprobs: Some(3), ..SamplingParams::default() };
    assert!((N_TOKENS..=2 * N_TOKENS).contains(&allocations(&params, None)), "the list is the caller's");
}
