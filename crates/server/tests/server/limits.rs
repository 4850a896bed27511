//! What one caller may use up, as its client sees it.

use crate::client::{exchange, read_answer};
use crate::house::{House, MODEL, Plan, chat_request};
use crate::keys::{Keyed, terms};
use ballast_server::{CallerLimits, KeyTerms, Scope, ServerOptions};
use serde_json::json;
use std::num::{NonZeroU32, NonZeroU64};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn number(answer: &crate::client::Answer, header: &str) -> u64 {
    answer.header(header).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{header}: {answer:?}"))
}

#[tokio::test]
async fn tokens_are_reserved_for_the_longest_answer_and_what_was_not_used_comes_back() {
    let few = |o: &mut ServerOptions| o.tokens_per_minute = NonZeroU64::new(10_000);
    let house = House::open(Plan { options: few, ..Plan::default() }).await;
    let answer = house.chat(json!({"max_tokens": 200})).await;
    let used = answer.json()["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(number(&answer, "x-ratelimit-limit-tokens"), 10_000);
    let remaining = number(&answer, "x-ratelimit-remaining-tokens");
    assert!((10_000 - used..=10_000 - used + 100).contains(&remaining), "{remaining} left after {used}");
    assert!(answer.header("x-ratelimit-reset-tokens").is_some());
    let body = json!({"model": MODEL, "max_tokens": 3, "messages": [{"role": "user", "content": "hello"}]});
    let anthropic = house.post("/v1/messages", &body).await;
    assert_eq!(number(&anthropic, "anthropic-ratelimit-tokens-limit"), 10_000);
    assert!(anthropic.header("anthropic-ratelimit-tokens-reset").unwrap().starts_with("2023-11-14T22:13:2"));
    assert_eq!(anthropic.header("x-ratelimit-limit-tokens"), None);
}

#[tokio::test]
async fn tokens_that_are_used_up_are_waited_for_and_prompts_beyond_a_minute_are_not() {
    let own = |n| CallerLimits { tokens_per_minute: NonZeroU64::new(n), ..CallerLimits::default() };
    let key = |n| KeyTerms { limits: own(n), ..terms(&[Scope::Generate]) };
    let keyed = Keyed::open(Plan::default(), &[key(60), key(5)]).await;
    let body = crate::house::chat_body(json!({"max_tokens": 2}));
    let ask = async |idx: usize| keyed.ask(idx, "POST", "/v1/chat/completions", &body).await;
    assert_eq!(ask(0).await.status, 200);
    let mut refused = ask(0).await;
    for _ in 0..10 {
        if refused.status == 429 {
            break;
        }
        refused = ask(0).await;
    }
    assert_eq!((refused.status, refused.error("code").as_str()), (429, "rate_limited"));
    assert!(refused.body.contains("too many tokens"), "{}", refused.body);
    assert!((1..=60).contains(&number(&refused, "retry-after")) && number(&refused, "retry-after-ms") > 0);
    assert_eq!(refused.header("x-should-retry"), None);
    let never = ask(1).await;
    assert_eq!((never.status, never.header("x-should-retry"), never.header("retry-after")), (429, Some("false"), None));
}

#[tokio::test]
async fn as_many_requests_of_a_caller_are_at_work_as_may_be() {
    let plan = Plan {
        script: |mut script| {
            script.held = true;
            script
        },
        options: |o| o.concurrency = NonZeroU32::new(1),
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let mut first = TcpStream::connect(house.address).await.unwrap();
    first.write_all(chat_request(json!({})).as_bytes()).await.unwrap();
    house.wait_health(1, 0).await;
    let refused = exchange(house.address, &chat_request(json!({}))).await;
    assert_eq!((refused.status, refused.header("x-ballast-reason")), (429, Some("RATE_LIMITED")));
    assert!(refused.body.contains("at most 1"), "{}", refused.body);
    house.control.release();
    assert_eq!(read_answer(&mut first).await.status, 200);
    assert_eq!(house.chat(json!({})).await.status, 200, "the first has left");
}

#[tokio::test]
async fn generation_that_is_full_keeps_neither_readers_nor_scrapers_waiting() {
    let plan = Plan {
        script: |mut script| {
            script.held = true;
            script
        },
        options: |o| {
            o.bulkheads.generation_max = 1;
            o.bulkheads.wait = std::time::Duration::from_millis(5);
        },
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let mut first = TcpStream::connect(house.address).await.unwrap();
    first.write_all(chat_request(json!({"stream": true})).as_bytes()).await.unwrap();
    house.wait_health(1, 0).await;
    let refused = house.chat(json!({})).await;
    assert_eq!((refused.status, refused.header("x-ballast-reason")), (429, Some("BACKPRESSURE_QUEUE_FULL")));
    assert_eq!((house.get("/v1/models").await.status, house.get("/metrics").await.status), (200, 200));
    house.control.release();
    assert_eq!(read_answer(&mut first).await.status, 200);
    assert_eq!(house.chat(json!({})).await.status, 200);
}

/// Sends all at once and counts the answers by status.
async fn at_once(house: &House, n: usize, text: String) -> std::collections::BTreeMap<u16, usize> {
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..n {
        let (address, text) = (house.address, text.clone());
        asked.spawn(async move { exchange(address, &text).await.status });
    }
    let mut counts = std::collections::BTreeMap::new();
    while let Some(status) = asked.join_next().await {
        *counts.entry(status.unwrap()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_requests_that_come_at_once() {
    let hour = std::time::Duration::from_secs(3600);
    let burst = ballast_server::RateLimit { interval: hour, burst: NonZeroU32::new(5).unwrap() };
    let house = House::open_with(Plan::default(), |o| o.rate_limit = Some(burst)).await;
    assert_eq!(at_once(&house, 40, chat_request(json!({}))).await, [(200, 5), (429, 35)].into());
    // Each reserves nearly half of a minute's tokens, of which too few come back meanwhile for a third.
    let house = House::open_with(Plan { script: held, ..Plan::default() }, |o| {
        o.tokens_per_minute = NonZeroU64::new(1000);
    })
    .await;
    let asked = at_once(&house, 20, chat_request(json!({"max_tokens": 420})));
    let (counts, ()) = tokio::join!(asked, async {
        house.wait_taken(2).await;
        let refused = async { while security_events(&house, "rate_limited").await < 18 {} };
        tokio::time::timeout(ballast_testkit::PATIENCE, refused).await.expect("the others are refused");
        house.control.release();
    });
    assert_eq!(counts, [(200, 2), (429, 18)].into());
    // Keys of one tenant each have their own; the server's own key sees how many were refused.
    let three = CallerLimits { concurrency: NonZeroU32::new(3), ..CallerLimits::default() };
    let key = KeyTerms { limits: three, ..terms(&[Scope::Generate]) };
    let keyed = Keyed::open(Plan { script: held, ..Plan::default() }, &[key]).await;
    let (house, key) = (&keyed.house, crate::house::bearer(keyed.secret(0)));
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let body = crate::house::chat_body(json!({}));
    let asked = at_once(house, 20, crate::client::request("POST", "/v1/chat/completions", &headers, &body));
    let (counts, ()) = tokio::join!(asked, async {
        let refused = async { while security_events(house, "rate_limited").await < 17 {} };
        tokio::time::timeout(ballast_testkit::PATIENCE, refused).await.expect("the others are refused");
        house.control.release();
    });
    assert_eq!(counts, [(200, 3), (429, 17)].into());
}

fn held(mut script: ballast_testkit::Script) -> ballast_testkit::Script {
    script.held = true;
    script
}

/// How often it has happened.
async fn security_events(house: &House, event: &str) -> u64 {
    let text = house.get("/metrics").await.body;
    let line = format!("ballast_security_events_total{{event=\"{event}\"}} ");
    text.lines().find_map(|metric| metric.strip_prefix(&line)).map_or(0, |n| n.parse().unwrap())
}

#[tokio::test]
async fn limits_that_are_changed_hold_from_then_on() {
    let limits = std::sync::Arc::new(ballast_server::LiveLimits::new(CallerLimits::default()));
    let given = std::sync::Arc::clone(&limits);
    let house = House::open_with(Plan::default(), |o| o.live_limits = Some(given)).await;
    for _ in 0..3 {
        assert_eq!(house.get("/v1/models").await.status, 200);
    }
    let interval = std::time::Duration::from_secs(3600);
    let requests = Some(ballast_server::RateLimit { interval, burst: NonZeroU32::new(2).unwrap() });
    limits.set(CallerLimits { requests, ..CallerLimits::default() });
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(house.get("/v1/models").await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    limits.set(CallerLimits::default());
    assert_eq!(house.get("/v1/models").await.status, 200);
}
