//! A request that is cancelled or left gives its place, its slot and its KV blocks back, in every phase.

use crate::support::{ask, model, tokens, until, until_idle};
use ballast::{Engine, Event, FinishReason, LoadOptions, ReasonCode, RuntimeOptions, Summary, TokenStream};

/// Two slots, small steps, and readers that hold their sequences: what runs goes on running until it is cancelled.
fn engine(model: &crate::support::Model) -> Engine {
    let runtime = RuntimeOptions { buffered_tokens_max: 1, ..RuntimeOptions::default() };
    model.load(LoadOptions { n_parallel: 2, max_batch_tokens: 4, runtime, ..LoadOptions::default() })
}

fn summary(mut stream: TokenStream) -> Summary {
    loop {
        if let Event::Done(summary) = stream.next_blocking().expect("a summary comes") {
            return summary;
        }
    }
}

/// How a request goes away.
#[derive(Clone, Copy, Debug)]
enum Way {
    Cancel,
    Leave,
}

fn go(stream: TokenStream, way: Way) -> Option<Summary> {
    match way {
        Way::Leave => {
            drop(stream);
            None
        }
        Way::Cancel => {
            stream.canceller().cancel();
            let summary = summary(stream);
            assert_eq!(
                (summary.finish_reason, summary.reason),
                (FinishReason::Cancelled, Some(ReasonCode::CancelledByCaller))
            );
            Some(summary)
        }
    }
}

#[test]
fn what_is_cancelled_in_the_queue_in_prefill_or_in_decode_leaves_nothing_held() {
    let model = model(2048);
    let engine = engine(&model);
    for (round, way) in [Way::Cancel, Way::Leave].into_iter().cycle().take(6).enumerate() {
        let seed = u32::try_from(round).unwrap();
        // Two hold the slots, so that a third waits.
        let held: Vec<TokenStream> =
            (0..2).map(|n| engine.stream(&ask(tokens(40, seed * 10 + n), 500)).unwrap()).collect();
        until(&engine, "both slots taken", |health| health.active_sequences == 2);
        let waiting = engine.stream(&ask(tokens(5, seed), 5)).unwrap();
        until(&engine, "one waiting", |health| health.waiting_requests == 1);
        if let Some(summary) = go(waiting, way) {
            assert_eq!(summary.usage.completion_tokens, 0);
        }
        until(&engine, "none waiting", |health| health.waiting_requests == 0 && health.active_sequences == 2);
        // In decode: both have answered something.
        for mut stream in held {
            assert!(matches!(stream.next_blocking(), Some(Event::Token(_))));
            go(stream, way);
        }
        until_idle(&engine);
        // In prefill: hundreds of small steps are ahead of the first token.
        let long = engine.stream(&ask(tokens(1800, seed + 100), 5)).unwrap();
        until(&engine, "in prefill", |health| health.active_sequences == 1);
        if let Some(summary) = go(long, way) {
            assert_eq!((summary.usage.completion_tokens, summary.timings.time_to_first_token), (0, None));
        }
        until_idle(&engine);
    }
    let metrics = engine.metrics().unwrap().requests;
    assert_eq!(metrics.admitted, 6 * 4);
    assert_eq!(metrics.ended.iter().map(|end| end.count).sum::<u64>(), metrics.admitted);
}
