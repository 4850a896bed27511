//! One operation of the document: a route, what it takes, what it gives.

use super::schema::{Field, any, at_least, string};
use super::{anthropic, embeddings, health, kserve, llamacpp, ollama, openai, responses};
use crate::routes::{Route, RouteMethod};
use crate::wire::Wire;
use serde_json::{Map, Value, json};

/// What a route takes and gives.
#[derive(Debug)]
pub(super) struct Operation {
    method: RouteMethod,
    path: &'static str,
    summary: &'static str,
    body: Option<Value>,
    /// A request without a body is one, too.
    body_may_lack: bool,
    parameters: Vec<Value>,
    /// Media types of a good answer, with what it looks like where it is JSON.
    answers: Vec<(&'static str, Option<Value>)>,
    /// Other statuses and what they mean, beside those that every route has.
    statuses: Vec<(u16, &'static str)>,
    /// What an answer of another status looks like, where it is no error of the wire.
    otherwise: Option<Value>,
}

impl Operation {
    pub(super) fn get(path: &'static str, summary: &'static str, answer: Value) -> Self {
        Self::of(RouteMethod::Get, path, summary, Some(answer))
    }

    pub(super) fn post(path: &'static str, summary: &'static str, (body, answer): (Value, Value)) -> Self {
        let post = Self { body: Some(body), ..Self::of(RouteMethod::Post, path, summary, Some(answer)) };
        post.fails(400, "What was sent cannot be obeyed: the error names it.")
            .fails(404, "There is no such model.")
            .fails(408, "The body did not arrive in time.")
            .fails(413, "The body is too long.")
            .fails(415, "The body is not JSON.")
    }

    /// The same by `DELETE`.
    pub(super) fn deletes(mut self) -> Self {
        self.method = RouteMethod::Delete;
        self
    }

    /// The body may be left out.
    pub(super) fn may_lack_body(mut self) -> Self {
        self.body_may_lack = true;
        self
    }

    /// A route that is told all by its path.
    pub(super) fn bare(method: RouteMethod, path: &'static str, summary: &'static str, answer: Value) -> Self {
        Self::of(method, path, summary, Some(answer))
    }

    fn of(method: RouteMethod, path: &'static str, summary: &'static str, answer: Option<Value>) -> Self {
        let answers = vec![("application/json", answer)];
        let (parameters, statuses) = (Vec::new(), Vec::new());
        Self { method, path, summary, body: None, body_may_lack: false, parameters, answers, statuses, otherwise: None }
    }

    /// A route that a model works for: it may be busy, late, or gone.
    pub(super) fn works(self) -> Self {
        self.fails(500, "The engine failed.")
            .fails(503, "The server cannot take it now.")
            .fails(504, "The request's time was over.")
    }

    pub(super) fn fails(mut self, status: u16, when: &'static str) -> Self {
        self.statuses.push((status, when));
        self
    }

    /// Other statuses look like this.
    pub(super) fn otherwise(mut self, schema: Value) -> Self {
        self.otherwise = Some(schema);
        self
    }

    /// An answer may also be of another type.
    pub(super) fn also(mut self, media_type: &'static str) -> Self {
        self.answers.push((media_type, None));
        self
    }

    /// The answer is of this type only.
    pub(super) fn text_only(mut self, media_type: &'static str) -> Self {
        self.answers = vec![(media_type, None)];
        self
    }

    pub(super) fn query(mut self, (name, schema): Field) -> Self {
        self.parameters.push(json!({ "name": name, "in": "query", "required": false, "schema": schema }));
        self
    }

    pub(super) fn answers(&self, route: &Route) -> bool {
        self.method == route.method && self.path == route.path
    }

    /// As the document has it.
    pub(super) fn described(&self) -> Value {
        let content = |answers: &[(&str, Option<Value>)]| -> Map<String, Value> {
            let schema = |schema: &Option<Value>| schema.clone().unwrap_or_else(any);
            answers
                .iter()
                .map(|(media_type, answer)| ((*media_type).to_owned(), json!({ "schema": schema(answer) })))
                .collect()
        };
        let mut responses = Map::new();
        responses.insert("200".into(), json!({ "description": "The answer.", "content": content(&self.answers) }));
        for (status, when) in &self.statuses {
            responses.insert(status.to_string(), self.error(when));
        }
        responses
            .insert("429".into(), self.error("Too many requests, or too many at a time: wait as `Retry-After` says."));
        let named = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let named = named.map(|name| name.trim_start_matches('*'));
        let in_path = named.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": string() }));
        let parameters: Vec<Value> = in_path.chain(self.parameters.iter().cloned()).collect();
        let name = self.path.trim_matches('/').replace(['/', '-', '.'], "_").replace(['{', '}', '*'], "");
        let mut described = json!({
            "operationId": format!("{}_{name}", self.method.as_str().to_lowercase()),
            "summary": self.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if let Some(body) = &self.body {
            described["requestBody"] =
                json!({ "required": !self.body_may_lack, "content": { "application/json": { "schema": body } } });
        }
        described
    }

    /// An error in the words of the route's wire.
    pub(super) fn error(&self, when: &str) -> Value {
        let schema = match (&self.otherwise, Wire::of(self.path)) {
            (Some(schema), _) => schema.clone(),
            (None, Wire::OpenAi | Wire::LlamaCpp) => openai::error(),
            (None, Wire::Anthropic) => anthropic::error(),
            (None, Wire::Ollama) => ollama::error(),
            (None, Wire::KServe | Wire::Grpc) => kserve::error(),
        };
        json!({ "description": when, "content": { "application/json": { "schema": schema } } })
    }
}

/// What is served, as far as requests are bounded by it.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    /// Names that requests may name; empty: not known.
    pub(super) names: Vec<String>,
    /// Tokens that every model has.
    pub(super) vocab_size: Option<usize>,
    /// Positions that every model has.
    pub(super) context_len: Option<usize>,
    /// Most seconds that a request may ask for.
    pub(super) deadline_max: Option<f64>,
}

impl Served {
    pub(super) fn model(&self) -> Value {
        if self.names.is_empty() { string() } else { json!({ "enum": self.names }) }
    }

    pub(super) fn token(&self) -> Value {
        below(0, self.vocab_size.map(|size| size.saturating_sub(1)))
    }

    pub(super) fn timeout(&self) -> Value {
        let mut schema = json!({ "type": "number", "exclusiveMinimum": 0, "description": "Seconds." });
        if let Some(max) = self.deadline_max {
            schema["maximum"] = max.into();
        }
        schema
    }

    pub(super) fn context_len(&self) -> Value {
        below(1, self.context_len)
    }
}

/// A whole number from `min` to `max`, where there is one.
fn below(min: i64, max: Option<usize>) -> Value {
    let mut schema = at_least(min);
    if let Some(max) = max {
        schema["maximum"] = max.into();
    }
    schema
}

/// All operations.
pub(super) fn operations(served: &Served) -> Vec<Operation> {
    let wires = [
        openai::operations(served),
        responses::operations(served),
        anthropic::operations(served),
        ollama::operations(served),
        llamacpp::operations(served),
        embeddings::operations(served),
        kserve::operations(),
        health::operations(),
    ];
    wires.into_iter().flatten().collect()
}
