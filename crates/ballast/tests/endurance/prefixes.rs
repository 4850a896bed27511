//! What a conversation has computed is not computed again, and what one tenant has computed is not another's.

use crate::support::{ask, model, tokens};
use ballast::tokens::SamplingParams;
use ballast::{Generate, LoadOptions, TenantId, Usage};

const N_TURNS: usize = 20;

fn options() -> LoadOptions {
    LoadOptions { context_len: None, ..LoadOptions::default() }
}

/// Tokens are known if they were in the prompt of the turn before or in its answer; of those, the ones that were not
/// found cached were computed again.
#[test]
fn a_conversation_of_twenty_turns_computes_less_than_5_percent_again() {
    let model = model(4096);
    let engine = model.load(options());
    let mut session = engine.chat_session(Generate {
        sampling: SamplingParams::greedy(),
        max_tokens: Some(16),
        ignore_eos: true,
        // Letters only: what is said becomes the same tokens when it is read again.
        stop: Vec::new(),
        ..Generate::default()
    });
    session.settings_mut().sampling.logit_bias = (b'a'..=b'j').map(|letter| (letter_token(letter), 60.0)).collect();
    let (mut n_known, mut n_again, mut n_prompt) = (0, 0, 0);
    for turn in 0..N_TURNS {
        let answer =
            session.send(&format!("what comes after the number {turn}, and what after that")).unwrap().finish();
        let Usage { prompt_tokens, cached_tokens, completion_tokens } = answer.usage;
        if turn > 0 {
            assert!(prompt_tokens > n_known, "turn {turn} repeats all before it");
            n_prompt += prompt_tokens;
            n_again += n_known.saturating_sub(cached_tokens);
        }
        n_known = prompt_tokens + completion_tokens;
    }
    assert!(n_again * 100 < n_prompt * 5, "{n_again} of {n_prompt} prompt tokens were computed again");
}

/// Bytes are tokens of their own in the tiny vocabulary.
fn letter_token(letter: u8) -> ballast::TokenId {
    ballast::TokenId(u32::from(letter))
}

#[test]
fn tenants_do_not_find_each_others_prefixes() {
    let model = model(1024);
    let engine = model.load(options());
    let cached = |tenant: &str| {
        let tenant: TenantId = tenant.parse().unwrap();
        engine.generate(&Generate { tenant, ..ask(tokens(300, 1), 2) }).unwrap().usage.cached_tokens
    };
    assert_eq!(cached("one"), 0);
    assert!(cached("one") >= 256, "the same tenant finds its own");
    assert_eq!(cached("two"), 0);
    assert!(cached("two") >= 256);
}
