//! Downloads that must not succeed: a typed error each, nothing under the model's name, no secret in any text.

use std::time::Duration;

use ballast_store::{Digest, Secret, StoreError};

use crate::hub::{Bench, COMMIT, Hub, TOKEN, model};
use crate::server::{Reply, Server};

const NAME: &str = "hf:u/r:Q4_0";
const FILE: &str = "m.Q4_0.gguf";

/// Pulls from a hub whose answers for files are `reply`; gives the error and the number of requests for files.
fn refused(reply: Reply) -> (StoreError, usize) {
    let hub = Hub::with(&[(FILE, &model(5000, 1))]);
    let server = Server::start(
        move |request| {
            if request.path.contains("/resolve/") { reply.clone() } else { hub.answer(request) }
        },
    );
    let bench = Bench::new(&server);
    let error = bench.pull(NAME).unwrap_err();
    check_clean(&bench, &error);
    (error, server.file_ranges().len())
}

/// Pulls from a hub whose listing is `json`.
fn refused_listing(json: String) -> StoreError {
    let server = Server::start(move |_| Reply { status: 200, body: json.clone().into_bytes(), ..Reply::default() });
    let bench = Bench::new(&server);
    let error = bench.pull(NAME).unwrap_err();
    check_clean(&bench, &error);
    assert!(server.file_ranges().is_empty());
    error
}

fn check_clean(bench: &Bench, error: &StoreError) {
    assert!(!bench.target(FILE).exists());
    assert!(bench.store.list().is_empty());
    for text in [error.to_string(), error.why(), error.next_step().to_owned()] {
        assert!(!text.is_empty(), "{error:?}");
    }
    let all = format!("{error} {} {error:?} {:?}", error.why(), bench.store);
    assert!(!all.contains(TOKEN) && !all.contains("signature="), "{all}");
}

#[test]
fn statuses_become_typed_errors_and_only_passing_ones_are_tried_again() {
    type Check = fn(&StoreError) -> bool;
    let cases: [(u16, usize, Check); 9] = [
        (401, 1, |e| matches!(e, StoreError::Denied { status: 401, had_token: true, .. })),
        (403, 1, |e| matches!(e, StoreError::Denied { status: 403, .. })),
        (404, 1, |e| matches!(e, StoreError::NotOnHub { .. })),
        (410, 1, |e| matches!(e, StoreError::NotOnHub { .. })),
        (418, 1, |e| matches!(e, StoreError::Status { status: 418, .. })),
        (429, 5, |e| matches!(e, StoreError::RateLimited { wait: None, .. })),
        (500, 5, |e| matches!(e, StoreError::Status { status: 500, .. })),
        (503, 5, |e| matches!(e, StoreError::Status { status: 503, .. })),
        (416, 5, |e| matches!(e, StoreError::Interrupted { .. })),
    ];
    for (status, attempts, check) in cases {
        let (error, got) = refused(Reply::status(status));
        assert!(check(&error), "{status}: {error:?}");
        assert_eq!(got, attempts, "{status}");
    }
}

#[test]
fn a_wait_longer_than_the_limit_is_reported_and_not_waited_for() {
    let (error, attempts) = refused(Reply::status(429).with("retry-after", "3600"));
    assert!(matches!(error, StoreError::RateLimited { wait: Some(wait), .. } if wait == Duration::from_secs(3600)));
    assert_eq!(attempts, 1);
}

#[test]
fn other_content_of_the_right_size_is_a_wrong_digest() {
    let body = model(5000, 2);
    let (error, attempts) = refused(Reply { status: 200, body, ..Reply::default() });
    assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error:?}");
    assert_eq!(attempts, 1);
}

#[test]
fn another_size_is_refused_before_it_is_read() {
    let (error, attempts) = refused(Reply { status: 200, body: model(9000, 1), ..Reply::default() });
    assert!(matches!(error, StoreError::WrongSize { .. }), "{error:?}");
    assert_eq!(attempts, 1);
}

#[test]
fn a_server_that_never_sends_enough_is_given_up() {
    let body = model(5000, 1);
    let (error, attempts) = refused(Reply { status: 200, body, ..Reply::default() }.cut_at(0));
    assert!(matches!(error, StoreError::Interrupted { got_bytes: 0, .. }), "{error:?}");
    assert_eq!(attempts, 5);
}

#[test]
fn redirects_that_lead_nowhere_good_are_not_followed() {
    let locations = ["file:///etc/passwd?signature=x", "ftp://h/x?signature=x", "//h/x?signature=x", "x", "http://"];
    for location in locations {
        let (error, attempts) = refused(Reply::status(302).with("location", location));
        assert!(matches!(error, StoreError::Redirect { .. }), "{location}: {error:?}");
        assert_eq!(attempts, 1, "{location}");
    }
    let around = Reply::status(302).with("location", format!("/u/r/resolve/{COMMIT}/again?signature=x"));
    let (error, attempts) = refused(around);
    assert!(matches!(error, StoreError::Redirect { problem: "it redirects too often", .. }), "{error:?}");
    assert_eq!(attempts, 6);
}

#[test]
fn what_is_no_gguf_file_is_not_kept() {
    let cases: [&[u8]; 3] = [b"", b"<html>please log in</html>", b"GGUF\x03\0\0\0 and then nothing sensible"];
    for content in cases {
        let hub = Hub::with(&[(FILE, content)]);
        let server = Server::start(move |request| hub.answer(request));
        let bench = Bench::new(&server);
        let error = bench.pull(NAME).unwrap_err();
        assert!(matches!(error, StoreError::NotGguf { .. }), "{error:?}");
        check_clean(&bench, &error);
        assert!(bench.partial("part").is_empty());
    }
}

#[test]
fn hostile_listings_are_refused() {
    let listing = |files: &str| format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{files}]}}");
    let lfs = |size: &str| {
        let digest = Digest::of(b"");
        listing(&format!(r#"{{"rfilename":"{FILE}","lfs":{{"sha256":"{digest}","size":{size}}}}}"#))
    };
    for json in
        ["", "null", "[]", "{\"sha\":\"../../x\",\"siblings\":[]}", &"[".repeat(50_000), &lfs("-1"), &lfs("1e99")]
    {
        let error = refused_listing(json.to_owned());
        assert!(matches!(error, StoreError::BadListing { .. }), "{error:?}");
    }
    let error = refused_listing(listing(r#"{"rfilename":"../../../m.Q4_0.gguf","size":1}"#));
    assert!(matches!(error, StoreError::NoMatch { .. }), "{error:?}");
    let error = refused_listing(listing(&format!(r#"{{"rfilename":"{FILE}","size":1}}"#)));
    assert!(matches!(error, StoreError::NoDigest { .. }), "{error:?}");
    let error = refused_listing(lfs(&u64::MAX.to_string()));
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
    let error = refused_listing(listing(r#"{"rfilename":"m-Q4_0-00001-of-00002.gguf","size":1}"#));
    assert!(matches!(error, StoreError::MissingShards { have: 1, want: 2, .. }), "{error:?}");
    let error = refused_listing(listing(r#"{"rfilename":"a.Q4_0.gguf"},{"rfilename":"b.Q4_0.gguf"}"#));
    assert!(matches!(error, StoreError::Ambiguous { ref candidates, .. } if candidates.len() == 2), "{error:?}");
}

#[test]
fn a_listing_that_never_ends_is_cut_off() {
    let server = Server::start(|_| Reply { status: 200, body: vec![b' '; (16 << 20) + 2], ..Reply::default() });
    let error = Bench::new(&server).pull(NAME).unwrap_err();
    assert!(matches!(error, StoreError::BadListing { problem: "it is longer than 16 MiB", .. }), "{error:?}");
}

#[test]
fn offline_asks_nobody() {
    let server = Server::start(|_| Reply::status(500));
    let bench = Bench::with(&server, |places, _| places.offline = true);
    for name in [NAME, "default"] {
        assert!(matches!(bench.pull(name), Err(StoreError::Offline { .. })), "{name}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn names_that_are_not_the_hubs_are_not_pulled() {
    let server = Server::start(|_| Reply::status(500));
    let bench = Bench::new(&server);
    assert!(matches!(bench.pull("ollama:llama3"), Err(StoreError::NotPullable { .. })));
    assert!(matches!(bench.pull("llama3"), Err(StoreError::NotPullable { .. })));
    assert!(matches!(bench.pull("no/such.gguf"), Err(StoreError::NotFound { pullable: false, .. })));
    assert!(server.requests().is_empty());
}

#[test]
fn settings_that_are_no_addresses_are_named() {
    let server = Server::start(|_| Reply::status(500));
    let bench = Bench::with(&server, |places, _| places.hf_endpoint = "hub.example".into());
    assert!(matches!(bench.pull(NAME), Err(StoreError::BadAddress { setting: "hub endpoint" })));
    let bench = Bench::with(&server, |places, _| places.proxy = Some(Secret::new("not a proxy")));
    assert!(matches!(bench.pull(NAME), Err(StoreError::BadAddress { setting: "proxy" })));
}

#[test]
fn a_silent_server_is_left_after_the_read_limit() {
    // Accepts connections (the system does, up to the backlog) and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let server = Server::start(|_| Reply::status(500));
    let bench = Bench::with(&server, |places, limits| {
        places.hf_endpoint = address;
        (limits.read, limits.attempts) = (Duration::from_millis(20), 2);
    });
    assert!(matches!(bench.pull(NAME), Err(StoreError::Unreachable { .. })));
}

#[test]
fn nobody_at_the_address_is_unreachable() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start(|_| Reply::status(500));
    let bench = Bench::with(&server, |places, _| places.hf_endpoint = format!("http://{closed}"));
    assert!(matches!(bench.pull(NAME), Err(StoreError::Unreachable { .. })));
    assert_eq!(bench.waited(), Duration::from_secs(1 + 2 + 4 + 8));
}
