//! Many requests at once: room in the queue, slow readers, company in the batch.

use crate::house::{ask, echo, held_echo, open, open_with, read};
use ballast_backend::TokenId;
use ballast_runtime::{AdmissionOptions, FinishReason, Request, RuntimeError, RuntimeOptions};
use ballast_testkit::{Script, SplitMix, tiny_tokenizer};

#[test]
fn a_full_queue_refuses_and_has_room_again() {
    let mut script = held_echo();
    script.shape.max_batch_sequences = 1;
    let admission = AdmissionOptions { queue_max: 2, ..AdmissionOptions::default() };
    let house = open_with(script, RuntimeOptions { admission, ..RuntimeOptions::default() });
    let working = house.runtime.submit(ask(b'a', 1, 2)).unwrap();
    house.control.wait_begun(1);
    let waiting: Vec<_> = (0..2).map(|_| house.runtime.submit(ask(b'b', 1, 2)).unwrap()).collect();
    let refused = house.runtime.submit(ask(b'c', 1, 2)).unwrap_err();
    assert!(matches!(refused, RuntimeError::QueueFull { queue_max: 2, .. }), "{refused}");
    house.control.release();
    for stream in waiting.into_iter().chain([working]) {
        assert_eq!(read(stream).how(), (FinishReason::Length, None));
    }
    house.pass();
    assert_eq!(house.steps_of(b'c'), 0);
}

#[test]
fn a_slow_reader_pauses_its_own_sequence_and_loses_nothing() {
    let house = open_with(echo(), RuntimeOptions { buffered_tokens_max: 3, ..RuntimeOptions::default() });
    let slow = house.runtime.submit(ask(b'a', 1, 50)).unwrap();
    assert_eq!(read(house.runtime.submit(ask(b'b', 1, 100)).unwrap()).tokens.len(), 100);
    assert!(house.steps_of(b'a') <= 4, "{} steps ahead of the reader", house.steps_of(b'a'));
    let ended = read(slow);
    assert_eq!(ended.text, "a".repeat(50));
    assert_eq!(ended.how(), (FinishReason::Length, None));
}

/// Says a letter that depends on every token so far, so that a wrong block or position anywhere shows.
fn scrambler() -> Script {
    Script::new(tiny_tokenizer().vocab_size(), |tokens| {
        let seed = tokens.iter().fold(1_u64, |seed, token| SplitMix::new(seed ^ u64::from(token.0)).next_u64());
        TokenId(u32::from(b'a') + u32::from(seed.to_le_bytes()[0] % 26))
    })
}

/// Prompts of many lengths, around the block length and over the batch.
fn prompts() -> Vec<Request> {
    [1, 3, 4, 5, 8, 17, 30, 2, 9, 21].into_iter().zip(b'a'..).map(|(n, letter)| ask(letter, n, 12)).collect()
}

#[test]
fn company_in_the_batch_changes_no_answer() {
    let alone: Vec<_> =
        prompts().into_iter().map(|request| read(open(scrambler()).runtime.submit(request).unwrap()).text).collect();
    // The second has room for all; the third must preempt and recompute; the fourth also prefills in small chunks.
    for (n_blocks, max_batch_tokens) in [(256, 64), (13, 64), (13, 7)] {
        let mut script = scrambler();
        (script.shape.n_blocks, script.shape.block_len) = (n_blocks, 4);
        script.shape.max_batch_tokens = max_batch_tokens;
        let house = open(script);
        let streams: Vec<_> = prompts().into_iter().map(|request| house.runtime.submit(request).unwrap()).collect();
        let together: Vec<_> = streams.into_iter().map(|stream| read(stream).text).collect();
        assert_eq!(together, alone, "{n_blocks} blocks, {max_batch_tokens} tokens in a step");
    }
}
