//! A server at work, and the hands a test has on it.

use crate::client::{Answer, exchange, request};
use ballast_backend::TokenId;
use ballast_runtime::telemetry::{Telemetry, TracingLogger};
use ballast_runtime::{AdmissionOptions, Attempts, Runtime, RuntimeOptions, RuntimeParts, SupervisionOptions};
use ballast_server::{
    ApiKeys, Generator, ModelFacts, ModelKind, ServedModel, ServedModels, ServerError, ServerOptions, serve,
};
use ballast_testkit::{
    ASSISTANT_TURN, IM_END, PATIENCE, Script, ScriptControl, VirtualClock, tiny_prompt_format, tiny_tokenizer,
    tokens_of,
};
use ballast_tokens::{ChatTemplate, PromptFormat};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const KEY: &str = "a-key-nobody-guesses";
pub(crate) const MODEL: &str = "hf:tiny/model";

/// A server and its engine.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) control: ScriptControl,
    pub(crate) clock: VirtualClock,
    /// Kept so that the server's end does not wait for a step that the test holds back.
    _models: Vec<ServedModel>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Drop for House {
    /// The engine's thread ends only when nothing holds its step back.
    fn drop(&mut self) {
        self.control.release();
    }
}

/// What a test wants different.
pub(crate) struct Plan {
    pub(crate) answer: &'static str,
    /// What a second model answers; `None`: there is none.
    pub(crate) other: Option<&'static str>,
    /// The chat template; `None`: ChatML.
    pub(crate) template: Option<&'static str>,
    pub(crate) queue_max: usize,
    pub(crate) script: fn(Script) -> Script,
    pub(crate) options: fn(&mut ServerOptions),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            answer: "Hi there!",
            other: None,
            template: None,
            queue_max: 8,
            script: |script| script,
            options: |_| {},
        }
    }
}

/// The name of a second model.
pub(crate) const OTHER: &str = "other";
/// Another name of the first.
pub(crate) const ALIAS: &str = "default";

impl Plan {
    /// A model that follows a script, and the hands on it.
    pub(crate) fn model(&self, id: &str, answer: &str, clock: &VirtualClock) -> (ServedModel, ScriptControl) {
        let format = match self.template {
            None => tiny_prompt_format(),
            Some(source) => PromptFormat::new(tiny_tokenizer(), Some(ChatTemplate::new(source, "", IM_END).unwrap())),
        };
        let tokenizer = Arc::clone(format.tokenizer());
        let cue = tokens_of(&tokenizer, ASSISTANT_TURN);
        let answer = answer.bytes().map(|byte| TokenId(byte.into())).collect();
        let end = tokenizer.id_of(IM_END).expect("ChatML has an end of turn");
        let script = Script::answering(tokenizer.vocab_size(), cue, answer, end);
        let (engine, control) = (self.script)(script).engine();
        let admission = AdmissionOptions { queue_max: self.queue_max, ..AdmissionOptions::default() };
        let parts = RuntimeParts {
            // A script that fails once shows what a caller sees of it.
            options: RuntimeOptions {
                admission,
                supervision: SupervisionOptions { attempts: Attempts(0), ..SupervisionOptions::default() },
                ..RuntimeOptions::default()
            },
            telemetry: Telemetry { metrics: Some(Arc::default()), logger: Some(Arc::new(TracingLogger)) },
            ..RuntimeParts::new(tokenizer, Arc::new(clock.clone()))
        };
        let runtime = Runtime::start(Box::new(engine), parts);
        let facts = ModelFacts { architecture: "llama".to_owned(), n_parameters: 1500, ..ModelFacts::default() };
        let model = ServedModel {
            id: id.to_owned(),
            aliases: if id == MODEL { vec![ALIAS.to_owned()] } else { Vec::new() },
            kind: ModelKind::Generator(Generator { runtime, format }),
            fingerprint: "fp".into(),
            created: 17,
            facts,
        };
        (model, control)
    }
}

/// What a test holds of the models that are served.
pub(crate) struct Hands {
    pub(crate) clock: VirtualClock,
    pub(crate) control: ScriptControl,
    pub(crate) kept: Vec<ServedModel>,
}

impl House {
    pub(crate) async fn open(plan: Plan) -> Self {
        Self::open_with(plan, |_| {}).await
    }

    /// As [`Self::open`], with options that are made at the time.
    pub(crate) async fn open_with(plan: Plan, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let clock = VirtualClock::new();
        let (model, control) = plan.model(MODEL, plan.answer, &clock);
        let mut models = vec![model];
        if let Some(answer) = plan.other {
            models.push(plan.model(OTHER, answer, &clock).0);
        }
        let kept = models.clone();
        let models = ServedModels::loaded(models, Arc::new(clock.clone())).unwrap();
        Self::open_of(plan, change, models, Hands { clock, control, kept }).await
    }

    /// A server of models that the test has declared.
    pub(crate) async fn open_of(
        plan: Plan,
        change: impl FnOnce(&mut ServerOptions),
        models: ServedModels,
        hands: Hands,
    ) -> Self {
        let Hands { clock, control, kept } = hands;
        let seeds = AtomicU64::new(1);
        let random = Arc::new(move || seeds.fetch_add(1, Ordering::Relaxed));
        let mut options = ServerOptions::new(random, Arc::new(|| 1_700_000_000));
        options.keys = Some(ApiKeys::new(vec![KEY.to_owned()]).unwrap());
        (plan.options)(&mut options);
        change(&mut options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { stopped.await.unwrap_or_default() };
        let task = tokio::spawn(serve(listener, models, options, shutdown));
        Self { address, control, clock, _models: kept, stop: Some(stop), task }
    }

    /// A server at another listener, and the word that ends it.
    pub(crate) async fn open_at(
        listener: impl Into<ballast_server::Listener> + Send + 'static,
    ) -> (JoinHandle<Result<(), ServerError>>, oneshot::Sender<()>) {
        let clock = VirtualClock::new();
        let (model, _) = Plan::default().model(MODEL, "Hi there!", &clock);
        let models = ServedModels::loaded(vec![model], Arc::new(clock)).unwrap();
        let options = ServerOptions::new(Arc::new(|| 4), Arc::new(|| 1_700_000_000));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { stopped.await.unwrap_or_default() };
        (tokio::spawn(serve(listener, models, options, shutdown)), stop)
    }

    /// Asks the server to stop, without waiting for it.
    pub(crate) fn shut_down(&mut self) {
        self.stop.take().expect("it is shut down once").send(()).expect("the server runs");
    }

    /// Waits for the server to end.
    pub(crate) async fn ended(&mut self) -> Result<(), ServerError> {
        (&mut self.task).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        exchange(self.address, &request("GET", path, &[("authorization", &bearer(KEY))], "")).await
    }

    /// Posts `body` to `path` with the key.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let key = bearer(KEY);
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        exchange(self.address, &request("POST", path, &headers, &body.to_string())).await
    }

    pub(crate) async fn chat(&self, extra: Value) -> Answer {
        exchange(self.address, &chat_request(extra)).await
    }

    pub(crate) async fn health(&self) -> Value {
        exchange(self.address, &request("GET", "/health", &[], "")).await.json()
    }

    /// Waits until so many requests are taken, at work or in the queue: who comes while a step is held waits for its end.
    pub(crate) async fn wait_taken(&self, n_requests: u64) {
        let reached = async {
            loop {
                let health = self.health().await;
                let number = |name: &str| health[name].as_u64().expect("a number");
                if number("active_sequences") + number("waiting_requests") == n_requests {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("health gets there");
    }

    /// Waits until health says so.
    pub(crate) async fn wait_health(&self, active_sequences: u64, waiting_requests: u64) {
        let wanted = (active_sequences, waiting_requests);
        let reached = async {
            loop {
                let health = self.health().await;
                let number = |name: &str| health[name].as_u64().expect("a number");
                if (number("active_sequences"), number("waiting_requests")) == wanted {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("health gets there");
    }
}

pub(crate) fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// A chat request with `extra` over a minimal one.
pub(crate) fn chat_body(extra: Value) -> String {
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "temperature": 0});
    over(body, extra).to_string()
}

/// `body` with the fields of `extra` over its own.
pub(crate) fn over(mut body: Value, extra: Value) -> Value {
    for (name, value) in extra.as_object().expect("extra fields are an object") {
        body[name] = value.clone();
    }
    body
}

pub(crate) fn chat_request(extra: Value) -> String {
    let headers = [("authorization", bearer(KEY)), ("content-type", "application/json".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    request("POST", "/v1/chat/completions", &headers, &chat_body(extra))
}
