//! A hub that does a random wrong thing at every step: a pull ends with the right file or a typed error, and once the
//! hub is honest again, with the right file.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ballast_store::StoreError;

use crate::hub::{Bench, Hub, Rng, model};
use crate::server::{Reply, Request, Server};

const SEEDS: u64 = 60;

/// Bends an answer in one of the ways that networks, proxies and caches do.
fn bend(rng: &mut Rng, request: &Request, honest: Reply) -> Reply {
    let cut = rng.below(honest.body.len() + 1);
    match rng.below(10) {
        0 => honest,
        1 => Reply::status(500),
        2 => Reply::status(429).with("retry-after", "1"),
        3 => honest.with("etag", format!("\"{}\"", rng.below(3))).cut_at(cut),
        4 => Reply { status: 200, ..honest }.cut_at(cut),
        5 if request.from > 0 => honest.with("content-range", format!("bytes 0-{cut}/*")),
        6 => Reply::status(416),
        7 if !honest.body.is_empty() => {
            let mut reply = honest;
            let at = rng.below(reply.body.len());
            reply.body[at] ^= 1;
            reply.cut_at(cut)
        }
        _ => honest.cut_at(cut),
    }
}

#[test]
fn converges_to_the_right_file_or_a_typed_error() {
    let (mut arrived, mut refused) = (0, 0);
    for seed in 0..SEEDS {
        let bytes = model(20_000, seed);
        let hub = Hub::with(&[("m.gguf", &bytes)]);
        let (rng, is_honest) = (Mutex::new(Rng(seed)), Arc::new(AtomicBool::new(false)));
        let honest_now = Arc::clone(&is_honest);
        let server = Server::start(move |request| {
            let honest = hub.answer(request);
            if honest_now.load(Ordering::SeqCst) { honest } else { bend(&mut rng.lock().unwrap(), request, honest) }
        });
        let bench = Bench::new(&server);
        match bench.pull("hf:u/r") {
            Ok(located) => {
                assert_eq!(fs::read(located.path()).unwrap(), bytes, "seed {seed}");
                arrived += 1;
            }
            Err(error) => {
                assert!(is_expected(&error), "seed {seed}: {error:?}");
                assert!(!bench.target("m.gguf").exists(), "seed {seed}");
                refused += 1;
            }
        }
        is_honest.store(true, Ordering::SeqCst);
        let located = bench.pull("hf:u/r").unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert_eq!(fs::read(located.path()).unwrap(), bytes, "seed {seed}");
        assert!(bench.partial("part").is_empty() && bench.partial("json").is_empty(), "seed {seed}");
    }
    assert!(arrived > 5 && refused > 5, "the chaos is neither harmless nor total: {arrived} {refused}");
}

fn is_expected(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Status { .. }
            | StoreError::RateLimited { .. }
            | StoreError::Unreachable { .. }
            | StoreError::Interrupted { .. }
            | StoreError::DigestMismatch { .. }
            | StoreError::WrongSize { .. }
            | StoreError::BadListing { .. }
            // A bit turned over in the listing makes another commit, name or digest.
            | StoreError::NotOnHub { .. }
            | StoreError::NoMatch { .. }
            | StoreError::NoDigest { .. }
    )
}
