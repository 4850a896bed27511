//! Keys of a file: what each may do, and how it ends.

use crate::client::{Answer, exchange, request};
use crate::house::{House, KEY, MODEL, Plan, bearer, chat_body};
use crate::routes::path_of;
use ballast_server::{
    CallerLimits, KEY_ID_BYTES, KEY_SECRET_BYTES, KeyFile, KeyStore, KeyTerms, NewKey, Scope, routes,
};
use serde_json::json;
use std::sync::Arc;

/// What the server's date says.
const NOW: i64 = 1_700_000_000;

pub(crate) fn terms(scopes: &[Scope]) -> KeyTerms {
    KeyTerms {
        name: "test".to_owned(),
        tenant: "team".parse().unwrap(),
        scopes: scopes.iter().copied().collect(),
        models: None,
        expires: None,
        limits: CallerLimits::default(),
    }
}

/// A server with a file of keys.
pub(crate) struct Keyed {
    pub(crate) house: House,
    pub(crate) store: Arc<KeyStore>,
    pub(crate) file: KeyFile,
    secrets: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Keyed {
    /// Opens with a key for each of `terms`.
    pub(crate) async fn open(plan: Plan, terms: &[KeyTerms]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(folder.path().join("keys.json"));
        let make = |(n, terms): (u8, &KeyTerms)| {
            let key = NewKey::new(([n; KEY_ID_BYTES], [n; KEY_SECRET_BYTES]), terms.clone(), NOW).unwrap();
            file.add(&key).unwrap();
            key.secret
        };
        let secrets = (1..).zip(terms).map(make).collect();
        let store = Arc::new(KeyStore::open(file.path()).unwrap());
        let given = Arc::clone(&store);
        let house = House::open_with(plan, |o| o.key_store = Some(given)).await;
        Self { house, store, file, secrets, _folder: folder }
    }

    /// What the owner of the key number `idx` sends.
    pub(crate) fn secret(&self, idx: usize) -> &str {
        &self.secrets[idx]
    }

    /// Asks with the key number `idx`.
    pub(crate) async fn ask(&self, idx: usize, method: &str, path: &str, body: &str) -> Answer {
        let key = bearer(&self.secrets[idx]);
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        exchange(self.house.address, &request(method, path, &headers, body)).await
    }
}

#[tokio::test]
async fn a_key_without_the_routes_scope_is_refused_on_every_route() {
    let all_but = |scope: Scope| Scope::ALL.into_iter().filter(|other| *other != scope).collect::<Vec<_>>();
    let terms = Scope::ALL.map(|scope| terms(&all_but(scope)));
    let keyed = Keyed::open(Plan::default(), &terms).await;
    for route in routes() {
        for (idx, scope) in Scope::ALL.into_iter().enumerate() {
            let answer = keyed.ask(idx, route.method.as_str(), &path_of(route), "{}").await;
            let is_refused = answer.status == 403;
            assert_eq!(is_refused, route.scope == Some(scope), "{route:?} without {scope}: {}", answer.status);
            if is_refused {
                assert!(answer.body.contains(&format!("needs the scope `{scope}`")), "{}", answer.body);
            }
        }
    }
}

#[tokio::test]
async fn a_key_opens_the_models_it_names() {
    let named = |model: &str| KeyTerms { models: Some(vec![model.to_owned()]), ..terms(&[Scope::Generate]) };
    let keyed = Keyed::open(Plan::default(), &[named(MODEL), named("another")]).await;
    let body = chat_body(json!({}));
    assert_eq!(keyed.ask(0, "POST", "/v1/chat/completions", &body).await.status, 200);
    let refused = keyed.ask(1, "POST", "/v1/chat/completions", &body).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (403, "model_not_allowed"));
    let body = json!({"model": MODEL, "max_tokens": 3, "messages": [{"role": "user", "content": "hello"}]}).to_string();
    let refused = keyed.ask(1, "POST", "/v1/messages", &body).await;
    assert_eq!((refused.status, refused.error("type").as_str()), (403, "permission_error"));
}

#[tokio::test]
async fn a_key_that_has_ended_says_how_on_every_wire() {
    let ended = KeyTerms { expires: Some(NOW), ..terms(&Scope::ALL) };
    let keyed = Keyed::open(Plan::default(), &[ended, terms(&Scope::ALL)]).await;
    assert_eq!(keyed.ask(1, "GET", "/v1/models", "").await.status, 200);
    let revoked = keyed.file.read().unwrap()[1].id.clone();
    keyed.file.revoke(&revoked, NOW).unwrap();
    keyed.store.reload().unwrap();
    for (idx, word, code) in [(0, "expired", "api_key_expired"), (1, "revoked", "api_key_revoked")] {
        let openai = keyed.ask(idx, "GET", "/v1/models", "").await;
        assert_eq!((openai.status, openai.error("code").as_str()), (401, code));
        let anthropic = keyed.ask(idx, "POST", "/v1/messages", "{}").await;
        assert_eq!((anthropic.status, anthropic.error("type").as_str()), (401, "authentication_error"));
        let ollama = keyed.ask(idx, "GET", "/api/tags", "").await;
        assert_eq!(ollama.status, 401);
        for answer in [openai, anthropic, ollama] {
            assert!(answer.body.contains(word), "{}", answer.body);
        }
    }
    assert_eq!(keyed.house.get("/v1/models").await.status, 200, "{KEY} is no key of the file");
}

#[tokio::test]
async fn a_key_that_is_revoked_in_the_file_opens_nothing_any_more() {
    let plan = Plan { options: |o| o.reload_interval = std::time::Duration::from_millis(2), ..Plan::default() };
    let keyed = Keyed::open(plan, &[terms(&Scope::ALL)]).await;
    assert_eq!(keyed.ask(0, "GET", "/v1/models", "").await.status, 200);
    keyed.file.revoke(&keyed.file.read().unwrap()[0].id, NOW).unwrap();
    let closed = async { while keyed.ask(0, "GET", "/v1/models", "").await.status != 401 {} };
    tokio::time::timeout(ballast_testkit::PATIENCE, closed).await.expect("the file is looked at");
}
