//! Models that are loaded when somebody asks, kept, evicted and unloaded.

use crate::client::{Answer, exchange, request};
use crate::house::{Hands, House, KEY, MODEL, OTHER, Plan, bearer, over};
use ballast_backend::{EngineError, ErrorKind, Pulse};
use ballast_server::{HouseOptions, KnownModel, LoadMeter, ModelFacts, ServedModels, ServerError};
use ballast_testkit::{PATIENCE, VirtualClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Loads wait for a word, and are counted.
#[derive(Default)]
struct Gate {
    loads: Mutex<BTreeMap<String, Loads>>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Loads {
    begun: usize,
    allowed: usize,
    fails: bool,
}

impl Gate {
    fn change(&self, model: &str, change: impl FnOnce(&mut Loads)) {
        change(self.loads.lock().unwrap().entry(model.to_owned()).or_default());
        self.changed.notify_all();
    }

    fn allow(&self, model: &str) {
        self.change(model, |loads| loads.allowed += 1);
    }

    fn begun(&self, model: &str) -> usize {
        self.loads.lock().unwrap().get(model).map_or(0, |loads| loads.begun)
    }

    /// Waits to be allowed; whether the load is to fail.
    fn pass(&self, model: &str) -> bool {
        self.change(model, |loads| loads.begun += 1);
        let waits = |loads: &mut BTreeMap<String, Loads>| loads[model].allowed < loads[model].begun;
        let loads = self.loads.lock().unwrap();
        let (loads, late) = self.changed.wait_timeout_while(loads, PATIENCE, waits).unwrap();
        assert!(!late.timed_out(), "nobody allowed the load of {model}");
        loads[model].fails
    }
}

/// A server of two models that are not loaded yet, of which `room` fit.
async fn house(room: u64, options: fn(&mut ballast_server::ServerOptions)) -> (House, Arc<Gate>) {
    house_of(room, Plan { options, ..Plan::default() }).await
}

/// The same, where `plan` says how the first answers.
async fn house_of(room: u64, plan: Plan) -> (House, Arc<Gate>) {
    let (clock, gate) = (VirtualClock::new(), Arc::new(Gate::default()));
    let served = ServedModels::new(&HouseOptions::new(room), Arc::new(clock.clone()));
    let (mut kept, mut first) = (Vec::new(), None);
    for (id, answer) in [(MODEL, "Hi there!"), (OTHER, "Second.")] {
        let script = if id == MODEL { plan.script } else { |script| script };
        let (model, control) = Plan { script, ..Plan::default() }.model(id, answer, &clock);
        kept.push(model.clone());
        first.get_or_insert(control);
        let gate = Arc::clone(&gate);
        let load = move |_: &Pulse, meter: &Arc<LoadMeter>| {
            meter.tell(1, 4);
            if gate.pass(&model.id) {
                return Err(EngineError::new(ErrorKind::Internal, std::io::Error::other("as the test wants it")));
            }
            Ok(model.clone())
        };
        let facts = ModelFacts { file_bytes: 7, ..ModelFacts::default() };
        let (load, aliases) = (Arc::new(load), Vec::new());
        let known = KnownModel {
            id: id.to_owned(),
            aliases,
            bytes: 1,
            created: 5,
            facts,
            context_len: None,
            encodes: false,
            load,
        };
        served.declare(known).unwrap();
    }
    let hands = Hands { clock, control: first.unwrap(), kept };
    (House::open_of(plan, |_| (), served, hands).await, gate)
}

fn body(model: &str) -> Value {
    json!({"model": model, "temperature": 0, "messages": [{"role": "user", "content": "hello"}]})
}

async fn chat(house: &House, model: &str, extra: Value) -> Answer {
    house.post("/v1/chat/completions", &over(body(model), extra)).await
}

fn said(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

/// What is loaded, in Ollama's words.
async fn running(house: &House) -> Vec<String> {
    let list = house.get("/api/ps").await.json()["models"].as_array().expect("a list").clone();
    list.iter().map(|model| model["name"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn wait_running(house: &House, names: &[&str]) {
    let there = async {
        while running(house).await != names {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.expect("the models get there");
}

async fn open_get(house: &House, path: &str) -> Answer {
    exchange(house.address, &request("GET", path, &[], "")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_opens_at_once_and_readiness_waits_for_the_first_model() {
    let (house, gate) = house(2, |_| ()).await;
    assert_eq!(open_get(&house, "/livez").await.status, 200);
    let loading = async {
        loop {
            let ready = open_get(&house, "/readyz").await;
            assert_eq!((ready.status, ready.json()["status"].clone()), (503, json!("loading")));
            if ready.json()["progress"] == json!(0.25) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, loading).await.expect("progress is told");
    assert_eq!(open_get(&house, "/health").await.status, 503);
    assert_eq!(
        house.get("/v1/models").await.json()["data"][0]["status"],
        json!({"value": "loading", "progress": 0.25})
    );
    let early = tokio::spawn({
        let key = bearer(KEY);
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        let text = request("POST", "/v1/chat/completions", &headers, &body(MODEL).to_string());
        let address = house.address;
        async move { exchange(address, &text).await }
    });
    gate.allow(MODEL);
    assert_eq!(said(&early.await.unwrap()), "Hi there!", "who asks meanwhile waits");
    wait_running(&house, &[MODEL]).await;
    assert_eq!((open_get(&house, "/readyz").await.status, open_get(&house, "/health").await.status), (200, 200));
    assert_eq!((gate.begun(MODEL), gate.begun(OTHER)), (1, 0), "one load for all who wait, none that nobody asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_wait_that_long_is_told_how_far_the_load_is() {
    let (house, gate) = house(2, |_| ()).await;
    let wires = [
        ("/v1/chat/completions", json!({"timeout": 0.05})),
        ("/v1/messages", json!({"timeout": 0.05, "max_tokens": 5})),
    ];
    for (path, extra) in wires {
        let refused = house.post(path, &over(body(OTHER), extra)).await;
        assert_eq!(refused.status, 503, "{path}: {}", refused.body);
        assert_eq!(refused.header("x-ballast-reason"), Some("ENGINE_UNAVAILABLE"));
        assert!(refused.header("retry-after").is_some() && refused.body.contains("25 %"), "{}", refused.body);
    }
    gate.allow(OTHER);
    assert_eq!(said(&chat(&house, OTHER, json!({})).await), "Second.");
    assert_eq!(gate.begun(OTHER), 1, "the load goes on when nobody waits");
    gate.allow(MODEL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_may_be_forbidden() {
    let (house, gate) = house(2, |options| options.load_wait_max = Duration::ZERO).await;
    let refused = chat(&house, OTHER, json!({})).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (503, "model_loading"));
    gate.allow(OTHER);
    wait_running(&house, &[OTHER]).await;
    assert_eq!(said(&chat(&house, OTHER, json!({})).await), "Second.");
    gate.allow(MODEL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_model_makes_room_and_one_in_use_does_not() {
    let script = |mut script: ballast_testkit::Script| {
        script.held = true;
        script
    };
    let (house, gate) = house_of(1, Plan { script, ..Plan::default() }).await;
    [MODEL, OTHER, MODEL].into_iter().for_each(|model| gate.allow(model));
    wait_running(&house, &[MODEL]).await;
    assert_eq!(said(&chat(&house, OTHER, json!({})).await), "Second.");
    assert_eq!(running(&house).await, [OTHER]);
    let text = {
        let key = bearer(KEY);
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        request("POST", "/v1/chat/completions", &headers, &body(MODEL).to_string())
    };
    let address = house.address;
    let working = tokio::spawn(async move { exchange(address, &text).await });
    house.wait_health(1, 0).await;
    let refused = chat(&house, OTHER, json!({})).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (429, "memory_budget_exceeded"), "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    house.control.release();
    assert_eq!(said(&working.await.unwrap()), "Hi there!", "what is in use is not evicted");
    gate.allow(OTHER);
    assert_eq!(said(&chat(&house, OTHER, json!({})).await), "Second.");
    let metrics = house.get("/metrics").await.body;
    for line in ["ballast_model_loads_total 4", "ballast_model_evictions_total 3"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ollama_loads_keeps_and_unloads() {
    let (house, gate) = house(2, |_| ()).await;
    gate.allow(MODEL);
    gate.allow(OTHER);
    let generate = async |extra: Value| {
        let answer = house.post("/api/generate", &over(json!({"model": OTHER, "stream": false}), extra)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    wait_running(&house, &[MODEL]).await;
    assert_eq!(generate(json!({"keep_alive": 0})).await["done_reason"], "unload");
    assert_eq!(gate.begun(OTHER), 0, "to unload what is not loaded loads nothing");
    assert_eq!(generate(json!({"keep_alive": "1h"})).await["done_reason"], "load");
    let ps = house.get("/api/ps").await.json();
    assert_eq!(ps["models"][1]["expires_at"], "2023-11-14T23:13:20Z");
    house.clock.advance(Duration::from_secs(3599));
    assert_eq!(running(&house).await, [MODEL, OTHER]);
    house.clock.advance(Duration::from_secs(1));
    wait_running(&house, &[MODEL]).await;
    gate.allow(OTHER);
    let prompt = "x<|im_start|>assistant\n";
    let answer = generate(json!({"prompt": prompt, "raw": true, "keep_alive": 0, "options": {"temperature": 0}})).await;
    assert_eq!(answer["response"], "Second.");
    wait_running(&house, &[MODEL]).await;
    gate.allow(OTHER);
    generate(json!({"keep_alive": -1})).await;
    house.clock.advance(Duration::from_secs(1 << 30));
    assert_eq!(generate(json!({"keep_alive": 0})).await["done_reason"], "unload");
    assert_eq!(running(&house).await, [MODEL]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_loaded_and_unloaded_by_name() {
    let (house, gate) = house(2, |_| ()).await;
    gate.allow(MODEL);
    let ask = async |path: &str, model: &str| house.post(path, &json!({ "model": model })).await;
    assert_eq!(ask("/models/load", OTHER).await.json(), json!({"success": true}));
    let status = async || {
        let models = house.get("/models").await.json();
        models["data"][1]["status"]["value"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(status().await, "loading");
    gate.allow(OTHER);
    wait_running(&house, &[MODEL, OTHER]).await;
    assert_eq!(status().await, "loaded");
    assert_eq!(ask("/models/unload", OTHER).await.status, 200);
    assert_eq!((status().await.as_str(), running(&house).await), ("unloaded", vec![MODEL.to_owned()]));
    for path in ["/models/load", "/models/unload"] {
        assert_eq!(ask(path, "none").await.status, 404);
    }
    assert_eq!(house.post("/models/load", &json!({})).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_fails_is_told_with_a_time_to_come_back_at() {
    let (house, gate) = house(2, |_| ()).await;
    gate.allow(MODEL);
    gate.change(OTHER, |loads| (loads.fails, loads.allowed) = (true, 1));
    let failed = chat(&house, OTHER, json!({})).await;
    assert_eq!((failed.status, failed.error("code").as_str()), (503, "model_load_failed"));
    assert!(failed.header("retry-after").is_some());
    assert_eq!(house.get("/v1/models").await.json()["data"][1]["status"]["value"], "failed");
    gate.change(OTHER, |loads| (loads.fails, loads.allowed) = (false, 2));
    assert_eq!(chat(&house, OTHER, json!({})).await.status, 503, "not before its time");
    house.clock.advance(Duration::from_secs(2));
    assert_eq!(said(&chat(&house, OTHER, json!({})).await), "Second.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_first_model_cannot_be_loaded_ends() {
    let (mut house, gate) = house(2, |_| ()).await;
    gate.change(MODEL, |loads| (loads.fails, loads.allowed) = (true, 1));
    let error = house.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::Model { ref id } if id == MODEL), "{error}");
}

#[tokio::test]
async fn a_route_that_generates_nothing_does_not_wait_for_ever() {
    let (house, gate) = house(2, |o| o.route_timeout = Duration::from_millis(30)).await;
    let late = house.post("/tokenize", &json!({"model": OTHER, "content": "hello"})).await;
    assert_eq!((late.status, late.error("code").as_str()), (504, "cancelled_by_timeout"), "{}", late.body);
    assert_eq!(late.header("x-ballast-reason"), Some("CANCELLED_BY_TIMEOUT"));
    gate.allow(MODEL);
    gate.allow(OTHER);
    let generated = chat(&house, OTHER, json!({})).await;
    assert_eq!(generated.status, 200, "where something is generated, the request's own time counts");
}
