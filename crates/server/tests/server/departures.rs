//! Clients that leave, in every phase of a request: blocks, places, seats and tokens come back. Those that read slowly,
//! and more of them than there is place for.

use crate::client::{read_answer, read_until, request};
use crate::house::{House, KEY, MODEL, Plan, bearer, chat_request, over};
use ballast_testkit::{ASSISTANT_TURN, PATIENCE, Script, SplitMix};
use serde_json::{Value, json};
use std::num::{NonZeroU32, NonZeroU64};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Requests that there is place for; each test leaves as many.
const PLACES: u32 = 2;

fn held(mut script: Script) -> Script {
    script.held = true;
    script
}

fn one_at_a_time(mut script: Script) -> Script {
    script.held = true;
    script.shape.max_batch_sequences = 1;
    script
}

/// A server with a place for each request of a test and for no more, of every kind of place there is.
async fn tight(script: fn(Script) -> Script) -> House {
    let options = |o: &mut ballast_server::ServerOptions| {
        o.bulkheads.generation_max = PLACES as usize;
        o.concurrency = NonZeroU32::new(PLACES);
        o.keep_alive = std::time::Duration::from_millis(5);
    };
    House::open(Plan { answer: "a long answer that nobody will read to its end", script, options, ..Plan::default() })
        .await
}

async fn send(house: &House, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

/// A sample of the metrics; those of engines of all labels.
fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")));
    let line = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until nothing is held for anybody, allowing one step after the other; then takes every place there is.
async fn all_comes_back(house: &House, phase: &str) {
    let idle = async {
        loop {
            let metrics = house.get("/metrics").await.body;
            let held = ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"];
            let held = held.map(|name| sample(&metrics, name));
            if held.iter().all(|n| *n == 0.0) && sample(&metrics, "ballast_queue_tokens") == 0.0 {
                return;
            }
            house.control.allow(1);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, idle).await.unwrap_or_else(|_| panic!("{phase}: something is held"));
    house.control.release();
    // A seat is left with the end of its answer, which the client may see a moment before.
    let all_places = async {
        loop {
            let both = tokio::join!(house.chat(json!({"max_tokens": 1})), house.chat(json!({"max_tokens": 1})));
            let refused = [both.0, both.1].into_iter().find(|answer| answer.status != 200);
            let Some(refused) = refused else { return };
            assert_eq!(refused.status, 429, "{phase}: {}", refused.body);
        }
    };
    tokio::time::timeout(PATIENCE, all_places).await.unwrap_or_else(|_| panic!("{phase}: a place is gone"));
}

#[tokio::test]
async fn who_leaves_the_queue_leaves_nothing_behind() {
    let house = tight(one_at_a_time).await;
    let at_work = send(&house, &chat_request(json!({}))).await;
    house.wait_health(1, 0).await;
    let waiting = send(&house, &chat_request(json!({"stream": true}))).await;
    house.wait_health(1, 1).await;
    drop(waiting);
    house.control.allow(1);
    house.wait_health(1, 0).await;
    drop(at_work);
    all_comes_back(&house, "queued").await;
}

#[tokio::test]
async fn who_leaves_while_the_prompt_is_read_leaves_nothing_behind() {
    let house = tight(held).await;
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(300)}]});
    let sockets = [send(&house, &chat_request(long.clone())).await, send(&house, &chat_request(long)).await];
    house.wait_taken(2).await;
    house.control.allow(1);
    house.control.wait_begun(2);
    assert!(house.control.steps().iter().flatten().all(|share| share.tokens.len() > 1), "a part of the prompt each");
    drop(sockets);
    all_comes_back(&house, "prefill").await;
}

#[tokio::test]
async fn who_leaves_between_two_frames_leaves_nothing_behind() {
    let house = tight(held).await;
    let mut sockets = Vec::new();
    for _ in 0..PLACES {
        sockets.push(send(&house, &chat_request(json!({"stream": true, "n": 1}))).await);
    }
    house.wait_taken(PLACES.into()).await;
    house.control.allow(5);
    for socket in &mut sockets {
        read_until(socket, "\"content\":\"a\"").await;
    }
    assert!(house.control.steps().len() <= 6, "it is not at its end");
    drop(sockets);
    all_comes_back(&house, "decode").await;
}

#[tokio::test]
async fn who_leaves_in_a_silence_leaves_nothing_behind() {
    let house = tight(held).await;
    let mut sockets = Vec::new();
    for n in 1..=PLACES {
        let mut socket = send(&house, &chat_request(json!({"stream": true, "n": n}))).await;
        read_until(&mut socket, ": ping\n\n").await;
        sockets.push(socket);
    }
    drop(sockets);
    all_comes_back(&house, "between frames").await;
}

/// The mask of the first token is made while the engine computes, and the engine is held.
#[tokio::test]
async fn who_leaves_while_a_mask_is_made_leaves_nothing_behind() {
    let house = tight(held).await;
    let schema = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}});
    let constrained = json!({
        "stream": true,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    });
    let sockets =
        [send(&house, &chat_request(constrained.clone())).await, send(&house, &chat_request(constrained)).await];
    house.wait_taken(2).await;
    house.control.wait_begun(1);
    drop(sockets);
    all_comes_back(&house, "mask").await;
}

/// Whatever is done at that moment: read, parsed, rendered, tokenized, compiled, queued, answered.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_at_any_moment_leaves_nothing_behind() {
    let house = tight(|script| script).await;
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "array"}}});
    let turn = json!({"role": "user", "content": "many words ".repeat(30)});
    let extras = [
        json!({"stream": true, "messages": vec![turn; 1]}),
        json!({"tools": tools}),
        json!({"stream": true, "response_format": schema}),
    ];
    let mut random = SplitMix::new(7);
    for n in 0..90 {
        let text = chat_request(extras[n % extras.len()].clone());
        let cut = if n % 5 == 0 { usize::from(random.next_u8()) % text.len() } else { text.len() };
        let mut socket = TcpStream::connect(house.address).await.unwrap();
        socket.write_all(&text.as_bytes()[..cut]).await.unwrap();
        for _ in 0..random.next_u8() % 64 {
            tokio::task::yield_now().await;
        }
    }
    all_comes_back(&house, "any").await;
}

#[tokio::test]
async fn tokens_that_were_set_aside_for_who_leaves_come_back() {
    let house = House::open_with(Plan { script: held, ..Plan::default() }, |o| {
        o.tokens_per_minute = NonZeroU64::new(1000);
    })
    .await;
    // Two set nearly all aside; by themselves, as many come back in more time than is waited here.
    let most = json!({"max_tokens": 420});
    let sockets = [send(&house, &chat_request(most.clone())).await, send(&house, &chat_request(most.clone())).await];
    house.wait_taken(2).await;
    assert_eq!(house.chat(most.clone()).await.status, 429);
    drop(sockets);
    let idle = async {
        while house.health().await["active_sequences"] != 0 || house.health().await["waiting_requests"] != 0 {
            house.control.allow(1);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, idle).await.expect("the work ends");
    house.control.release();
    let again = async { while house.chat(most.clone()).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("the tokens are there again");
}

/// On every wire, whole and streamed.
#[tokio::test]
async fn who_leaves_any_wire_leaves_nothing_behind() {
    let message = json!([{"role": "user", "content": "hello"}]);
    let bodies = [
        ("/v1/chat/completions", json!({"model": MODEL, "messages": message})),
        ("/v1/completions", json!({"model": MODEL, "prompt": ASSISTANT_TURN, "max_tokens": 40})),
        ("/v1/responses", json!({"model": MODEL, "input": "hello"})),
        ("/v1/messages", json!({"model": MODEL, "max_tokens": 40, "messages": message})),
        ("/api/chat", json!({"model": MODEL, "messages": message})),
        ("/api/generate", json!({"model": MODEL, "prompt": "hello"})),
        ("/completion", json!({"prompt": ASSISTANT_TURN})),
    ];
    for (path, body) in bodies {
        let house = tight(held).await;
        let key = bearer(KEY);
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        let mut sockets = Vec::new();
        for is_streamed in [false, true] {
            let body = over(body.clone(), json!({"stream": is_streamed})).to_string();
            sockets.push(send(&house, &request("POST", path, &headers, &body)).await);
        }
        house.wait_taken(2).await;
        drop(sockets);
        all_comes_back(&house, path).await;
    }
}

#[tokio::test]
async fn a_response_in_the_background_goes_on_without_its_client_and_ends_when_it_is_cancelled() {
    let house = tight(held).await;
    let body = |extra: Value| over(json!({"model": MODEL, "input": "hello", "background": true}), extra);
    let made = house.post("/v1/responses", &body(json!({}))).await.json();
    let key = bearer(KEY);
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let mut listener =
        send(&house, &request("POST", "/v1/responses", &headers, &body(json!({"stream": true})).to_string())).await;
    let head = read_until(&mut listener, "response.created").await;
    let id = head.split("\"id\":\"resp_").nth(1).unwrap().split('"').next().unwrap();
    house.wait_taken(2).await;
    drop(listener);
    house.control.allow(2);
    house.control.wait_begun(3);
    house.wait_health(2, 0).await;
    for id in [made["id"].as_str().unwrap(), &format!("resp_{id}")] {
        let path = format!("/v1/responses/{id}/cancel");
        // It answers when the work has ended, which it does at the end of a step.
        let nothing = json!({});
        let cancelled = house.post(&path, &nothing);
        let cancelled = async {
            tokio::select! {
                answer = cancelled => answer,
                never = async { loop { house.control.allow(1); tokio::task::yield_now().await } } => never,
            }
        };
        let answer = tokio::time::timeout(PATIENCE, cancelled).await.expect("it is cancelled");
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("cancelled")));
    }
    all_comes_back(&house, "background").await;
}

/// So many positions that what the sockets hold between them is less than the answer.
fn endless(mut script: Script) -> Script {
    script.shape.context_len = 20_000;
    script.shape.n_blocks = 4000;
    let next = std::sync::Arc::clone(&script.next);
    // Who is asked to shout goes on until its positions are used up.
    script.next = std::sync::Arc::new(move |tokens| {
        let shouts = tokens.windows(3).any(|three| three.iter().all(|token| token.0 == u32::from(b'!')));
        if shouts { ballast_backend::TokenId(u32::from(b'a')) } else { next(tokens) }
    });
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_byte_at_a_time_slows_nobody_and_is_waited_for_in_bounded_memory() {
    let house = House::open(Plan { script: endless, ..Plan::default() }).await;
    let shout = json!([{"role": "user", "content": "!!!"}]);
    let endless =
        json!({"stream": true, "messages": shout, "logprobs": true, "top_logprobs": 20, "max_tokens": 19_000});
    let text = chat_request(endless);
    let mut slow = Vec::new();
    for _ in 0..2 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut socket = socket.connect(house.address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        slow.push(socket);
    }
    house.wait_health(2, 0).await;
    let n_tokens = || house.control.steps().iter().map(Vec::len).sum::<usize>();
    for _ in 0..12 {
        for socket in &mut slow {
            tokio::io::AsyncReadExt::read_u8(socket).await.unwrap();
        }
        let fast = house.chat(json!({})).await;
        assert_eq!((fast.status, fast.json()["choices"][0]["message"]["content"].as_str()), (200, Some("Hi there!")));
    }
    // Both are stuck: only those that are read get any further.
    let stuck = async {
        let mut before = 0;
        while n_tokens() != before {
            before = n_tokens();
            // Nothing tells that nothing comes: a pause that is too short asks once more.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, stuck).await.expect("they stop when nobody reads");
    assert!(n_tokens() < 2 * 18_000, "{} tokens were made for nobody", n_tokens());
    house.wait_health(2, 0).await;
    drop(slow);
    house.wait_health(0, 0).await;
}

/// Four times as many requests as there is place for, round after round.
#[tokio::test(flavor = "multi_thread")]
async fn under_four_times_the_load_those_who_are_taken_are_answered_and_others_told_when_to_come_back() {
    const AT_WORK: usize = 4;
    const QUEUED: usize = 8;
    let script = |mut script: Script| {
        script.held = true;
        script.shape.max_batch_sequences = AT_WORK;
        script
    };
    const SURPLUS: usize = 3 * (AT_WORK + QUEUED);
    let answer = "a long answer, so that none ends before all are at work";
    for round in 0..3 {
        let house = House::open(Plan { answer, queue_max: QUEUED, script, ..Plan::default() }).await;
        let (address, mut asked) = (house.address, tokio::task::JoinSet::new());
        let ask = |n: usize, asked: &mut tokio::task::JoinSet<_>| {
            let text = chat_request(json!({"stream": n % 2 == 0}));
            asked.spawn(async move {
                let mut socket = TcpStream::connect(address).await.unwrap();
                socket.write_all(text.as_bytes()).await.unwrap();
                read_answer(&mut socket).await
            });
        };
        (0..AT_WORK).for_each(|n| ask(n, &mut asked));
        house.wait_taken(AT_WORK as u64).await;
        house.control.allow(3);
        house.control.wait_begun(4);
        house.wait_health(AT_WORK as u64, 0).await;
        (0..QUEUED + SURPLUS).for_each(|n| ask(n, &mut asked));
        let (mut n_answered, mut n_refused) = (0, 0);
        while let Some(answer) = asked.join_next().await {
            let answer = answer.unwrap();
            if answer.status == 200 {
                n_answered += 1;
                assert!(answer.body.contains("\"stop\"") && !answer.body.contains("\"error\""), "{}", answer.body);
                continue;
            }
            n_refused += 1;
            assert!([429, 503].contains(&answer.status), "{}", answer.status);
            assert_eq!(answer.header("x-ballast-reason"), Some("BACKPRESSURE_QUEUE_FULL"));
            assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
            if n_refused == SURPLUS {
                house.control.release();
            }
        }
        assert_eq!((n_answered, n_refused), (AT_WORK + QUEUED, SURPLUS), "round {round}");
        house.wait_health(0, 0).await;
        let metrics = house.get("/metrics").await.body;
        assert_eq!(sample(&metrics, "vllm:kv_cache_usage_perc"), 0.0, "round {round}");
    }
}
