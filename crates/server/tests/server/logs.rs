//! What reaches the log: never what was asked or answered.

use crate::client::{exchange, request};
use crate::house::{House, KEY, Plan, bearer, chat_body};
use crate::keys::{Keyed, terms};
use ballast_server::{AuditLog, Scope};
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

/// A canary for each thing that must not be told: if one is found, so would be the real thing.
#[tokio::test]
async fn prompts_answers_and_keys_never_reach_the_log() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Arc::new(AuditLog::open(&path).unwrap());
    let mut plan_of_keys =
        Keyed::open(Plan { answer: "whispered-answer", ..Plan::default() }, &[terms(&[Scope::Read])]).await;
    let house = House::open_with(Plan { answer: "whispered-answer", ..Plan::default() }, |o| {
        o.audit = Some(audit);
        o.key_store = Some(Arc::clone(&plan_of_keys.store));
    })
    .await;
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
    let made = plan_of_keys.secret(0).to_owned();
    let keys =
        [bearer(&made), bearer("sk-whispered-key"), bearer("whispered.bearer.token"), "whispered-scheme x".to_owned()];
    for key in &keys {
        let headers = [("authorization", key.as_str()), ("content-type", "application/json"), ("traceparent", secret)];
        let text =
            request("POST", "/v1/chat/completions?whispered-query", &headers, &chat_body(json!({"messages": user})));
        assert!([401, 403].contains(&exchange(house.address, &text).await.status), "{key}");
    }
    plan_of_keys.house.shut_down();
    drop(house);
    let logged = log.0.lock().unwrap().clone();
    assert!(logged.contains("request answered") && logged.contains("request ended"), "{logged}");
    assert!(logged.contains("auth_failed") && logged.contains("scope_refused"), "{logged}");
    let written = async {
        while std::fs::read_to_string(&path).unwrap().lines().count() < 12 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(ballast_testkit::PATIENCE, written).await.expect("each request has its line");
    let audited = std::fs::read_to_string(&path).unwrap();
    for secret in ["whispered", KEY, &made, &made[20..]] {
        assert!(!logged.contains(secret), "{secret} is in the log");
        assert!(!audited.contains(secret), "{secret} is in the audit log");
    }
}
