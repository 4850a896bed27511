//! What reaches the log: never what was asked or answered.

use crate::house::{House, KEY, Plan};
use serde_json::json;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Everything logged, at every level, by every test of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line(&mut self.0.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[tokio::test]
async fn prompts_answers_and_keys_never_reach_the_log() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let house = House::open(Plan { answer: "whispered-answer", ..Plan::default() }).await;
    let secret = "whispered-prompt";
    let user = json!([{"role": "user", "content": secret}]);
    assert_eq!(house.chat(json!({"messages": user})).await.status, 200);
    assert_eq!(house.chat(json!({"messages": user, "stream": true})).await.status, 200);
    for refused in [
        json!({"messages": [{"role": secret, "content": secret}]}),
        json!({"messages": user, "whispered-field": 1}),
        json!({"messages": user, "model": "whispered-model"}),
        json!({"messages": user, "stop": [secret.repeat(100)]}),
        json!({"messages": [{"role": "user", "content": secret.repeat(100)}]}),
    ] {
        assert!(house.chat(refused).await.status >= 400);
    }
    house.get("/v1/whispered-route").await;
    let logged = log.0.lock().unwrap().clone();
    assert!(logged.contains("request answered") && logged.contains("request ended"), "{logged}");
    for secret in ["whispered", KEY] {
        assert!(!logged.contains(secret), "{secret} is in the log");
    }
}
