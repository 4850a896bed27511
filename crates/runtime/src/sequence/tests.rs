//! When the mask for the next token is made. Nothing runs here: the parts are called as the owner calls them.

use super::{Reader, Sequence, Surroundings};
use crate::conductor::Job;
use crate::guide::Guide;
use crate::telemetry::Telemetry;
use crate::{Canceller, CorrelationId, Deadlines, Event, FinishReason, TenantId};
use ballast_backend::GeneratorShape;
use ballast_testkit::tiny_tokenizer;
use ballast_tokens::{Constraint, Detokenizer, GrammarCompiler, Sampler, SamplingParams, ShowSpecial, StopMatcher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const NOW: Duration = Duration::from_secs(1);

/// A sequence that must keep to seven digits, whose reader is `sender`.
fn digits(sender: mpsc::Sender<Event>) -> Sequence {
    let tokenizer = tiny_tokenizer();
    let vocab_size = tokenizer.vocab_size();
    let shape = GeneratorShape {
        vocab_size,
        context_len: 64,
        block_len: 4,
        n_blocks: 64,
        max_batch_tokens: 16,
        max_batch_sequences: 1,
    };
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    let grammar = compiler.compile(&Constraint::Regex("[0-9]{7}".to_owned())).unwrap();
    let reader =
        Reader { pass: None, sender, canceller: Canceller::default(), submitted_at: NOW, degraded: Vec::new() };
    Sequence {
        tokens: vec![ballast_backend::TokenId(1)],
        n_prompt: 1,
        n_cached: 0,
        max_tokens: 20,
        ignore_eos: false,
        wants_logprobs: false,
        sampler: Sampler::new(&SamplingParams::greedy(), 0, vocab_size).unwrap(),
        tells_progress: false,
        guide: Guide::new(Some(grammar), None, &tokenizer, vocab_size),
        detokenizer: Detokenizer::new(Arc::clone(&tokenizer), ShowSpecial::No),
        around: Surroundings {
            tokenizer,
            shape,
            engine: "test",
            telemetry: Telemetry::default(),
            slow_reader_max: Duration::from_secs(60),
        },
        stop: Some(StopMatcher::new(&[]).unwrap()),
        permit: None,
        reader,
        correlation: CorrelationId::from_number(1),
        tenant: TenantId::default(),
        deadlines: Deadlines::default(),
        first_step_at: None,
        first_token_at: None,
        moved_at: NOW,
        paused_since: None,
        untold: None,
        n_read_told: None,
        untold_progress: None,
    }
}

/// The owner lets sequences catch up when it has given the engine a step and waits for it.
#[test]
fn the_mask_for_the_next_token_is_made_while_the_engine_computes() {
    let (sender, mut events) = mpsc::channel(32);
    let mut sequence = digits(sender);
    let mut logits = vec![0.0; sequence.around.shape.vocab_size];
    for n_tokens in 0..7 {
        assert!(!sequence.has_mask(), "after {n_tokens} tokens");
        sequence.catch_up();
        assert!(sequence.has_mask(), "before the engine answers, after {n_tokens} tokens");
        sequence.accept(&mut logits, NOW);
    }
    let mut last = None;
    while let Ok(event) = events.try_recv() {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Done(summary)) if summary.finish_reason == FinishReason::Stop));
}
