//! Models that come, go and get other names, with a stock that a test holds.

use crate::client::{exchange, request};
use crate::house::{ALIAS, House, KEY, MODEL, Plan, bearer};
use ballast_backend::{EngineError, ErrorKind};
use ballast_server::{KnownModel, ModelFacts, ModelStock, PullStep, PullWatch, StockError};
use ballast_testkit::PATIENCE;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A stock that gives what is asked for, but for `none`, and waits for ever with `slow`.
#[derive(Default)]
struct Stock {
    deleted: Mutex<Vec<String>>,
    was_cancelled: AtomicBool,
}

impl ModelStock for Stock {
    fn pull(&self, name: &str, watch: &PullWatch) -> Result<KnownModel, StockError> {
        let failed = |message: &str| Err(StockError { kind: ErrorKind::Invalid, message: message.to_owned() });
        watch.tell(PullStep { label: "x.gguf".to_owned(), done: 1, total: Some(2) });
        if name == "slow" {
            while !watch.cancelled().load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            self.was_cancelled.store(true, Ordering::Relaxed);
        }
        if name == "none" || name == "slow" {
            return failed("model: there is no such model to be had");
        }
        let load = |_: &_, _: &_| Err(EngineError::new(ErrorKind::Internal, std::io::Error::other("never")));
        let (facts, load) = (ModelFacts::default(), Arc::new(load));
        let id = name.to_owned();
        Ok(KnownModel { id, aliases: vec![], bytes: 0, created: 0, facts, context_len: None, encodes: false, load })
    }

    fn delete(&self, id: &str) -> Result<(), StockError> {
        self.deleted.lock().unwrap().push(id.to_owned());
        Ok(())
    }
}

async fn house() -> (House, Arc<Stock>) {
    let stock = Arc::new(Stock::default());
    let given = Arc::clone(&stock);
    (House::open_with(Plan::default(), |options| options.stock = Some(given)).await, stock)
}

async fn delete(house: &House, name: &str) -> u16 {
    let key = bearer(KEY);
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let body = json!({ "model": name }).to_string();
    exchange(house.address, &request("DELETE", "/api/delete", &headers, &body)).await.status
}

async fn names(house: &House) -> Vec<String> {
    let listed = house.get("/api/tags").await.json();
    listed["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn nobody_manages_models_unless_it_is_allowed() {
    let house = House::open(Plan::default()).await;
    assert_eq!(house.post("/api/pull", &json!({"model": "x"})).await.status, 501);
    assert_eq!(house.post("/api/copy", &json!({"source": MODEL, "destination": "x"})).await.status, 501);
    assert_eq!(delete(&house, MODEL).await, 501);
}

#[tokio::test]
async fn a_model_is_pulled_line_by_line_and_goes_with_its_last_name() {
    let (house, stock) = house().await;
    let pulled = house.post("/api/pull", &json!({"model": "hf:a/b"})).await;
    let lines: Vec<Value> = pulled.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"status": "pulling manifest"}));
    let step = json!({"status": "pulling x.gguf", "digest": "x.gguf", "completed": 1, "total": 2});
    assert_eq!(lines[1..], [step, json!({"status": "success"})]);
    assert_eq!(names(&house).await, [MODEL, ALIAS, "hf:a/b"]);
    let again = house.post("/api/pull", &json!({"model": "hf:a/b", "stream": false})).await;
    assert_eq!((again.status, again.json()), (200, json!({"status": "success"})));
    for (source, destination, status) in [("hf:a/b", "c", 200), ("none", "d", 404), ("hf:a/b", MODEL, 400)] {
        let copied = house.post("/api/copy", &json!({"source": source, "destination": destination})).await;
        assert_eq!(copied.status, status, "{}", copied.body);
    }
    assert_eq!(names(&house).await, [MODEL, ALIAS, "hf:a/b", "c"], "copies are listed");
    assert_eq!(house.post("/api/show", &json!({"model": "c"})).await.status, 200);
    assert_eq!(delete(&house, "hf:a/b").await, 200);
    assert_eq!(names(&house).await, [MODEL, ALIAS, "c"]);
    assert!(stock.deleted.lock().unwrap().is_empty(), "it has a name yet");
    assert_eq!((delete(&house, "c").await, delete(&house, "c").await), (200, 404));
    assert_eq!(*stock.deleted.lock().unwrap(), ["hf:a/b"]);
}

#[tokio::test]
async fn what_cannot_be_pulled_is_told_and_one_is_pulled_at_a_time() {
    let (house, stock) = house().await;
    let refused = house.post("/api/pull", &json!({"model": "none", "stream": false})).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let told = house.post("/api/pull", &json!({"model": "none"})).await;
    assert!(told.body.lines().last().unwrap().contains("no such model"), "{}", told.body);
    assert_eq!(house.post("/api/pull", &json!({"model": "x", "insecure": true})).await.status, 400);
    // Who leaves ends the work, and until it has ended there is no place for another.
    let key = bearer(KEY);
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    let asked = request("POST", "/api/pull", &headers, &json!({"model": "slow"}).to_string());
    socket.write_all(asked.as_bytes()).await.unwrap();
    let mut come = Vec::new();
    while !String::from_utf8_lossy(&come).contains("x.gguf") {
        assert!(socket.read_buf(&mut come).await.unwrap() > 0, "the pull goes on");
    }
    assert_ne!(house.post("/api/pull", &json!({"model": "hf:a/b"})).await.status, 200);
    drop(socket);
    let ended = async {
        while !stock.was_cancelled.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        while house.post("/api/pull", &json!({"model": "hf:a/b", "stream": false})).await.status != 200 {}
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the work ends");
}

#[tokio::test]
async fn a_pull_takes_as_long_as_its_file_takes() {
    let stock: Arc<dyn ModelStock> = Arc::new(Stock::default());
    let house = House::open_with(Plan::default(), |options| {
        options.stock = Some(stock);
        options.route_timeout = Duration::from_nanos(1);
    });
    let house = house.await;
    let pulled = house.post("/api/pull", &json!({"model": "hf:a/b", "stream": false})).await;
    assert_eq!(pulled.status, 200, "{}", pulled.body);
    assert_eq!(delete(&house, "hf:a/b").await, 200);
}
