//! The Open Inference Protocol, version 2, as KServe, Triton and MLServer speak it: tensors by HTTP and by gRPC.
//!
//! ```text
//! outline.rs      a request's JSON, its values left as text
//! values.rs       tensors as JSON
//! raw.rs          tensors as bytes
//! packed.rs       bodies that are packed
//! body.rs         a body of HTTP as a question
//! question.rs     what is asked of a model, whatever it came as
//! infer.rs        its way through the model
//! reply.rs        outputs as an answer of HTTP
//! classes.rs      the classification extension
//! describe.rs     metadata, configuration, statistics
//! grpc.rs         the same by gRPC
//! ```
//!
//! Extensions: binary tensor data, classification, schedule policy, model configuration, statistics, model repository.
//! Those of shared memory, tracing and logging are refused by name.

mod body;
mod classes;
mod datatype;
mod describe;
mod error;
pub(crate) mod grpc;
mod infer;
mod outline;
mod packed;
mod question;
mod raw;
mod reply;
mod values;

pub(crate) use error::{error_body, error_status};
pub(crate) use grpc::only as grpc_error;

use crate::api_error::ApiError;
use crate::body::{read, read_tensors};
use crate::caller::Visit;
use crate::fields::{Fields, never};
use crate::incoming::Asker;
use crate::state::Server;
use crate::tensors::{IndexRow, Served, VersionState};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ballast_backend::{IoSchema, TensorMap};
use infer::{Call, Words, infer, version};
use packed::Packing;
use question::Question;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// `GET /v2`.
pub(crate) async fn server() -> Json<Value> {
    Json(describe::server())
}

/// `GET /v2/health/live`.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`.
pub(crate) async fn ready(State(server): State<Arc<Server>>) -> (StatusCode, Json<Value>) {
    let is_ready = server.is_ready_for_tensors();
    let status = if is_ready { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    (status, Json(json!({ "ready": is_ready })))
}

/// A model in a path: its name, and perhaps a version.
#[derive(Debug)]
pub(crate) struct Named {
    model: String,
    version: String,
}

impl From<String> for Named {
    fn from(model: String) -> Self {
        Self { model, version: String::new() }
    }
}

impl From<(String, String)> for Named {
    fn from((model, version): (String, String)) -> Self {
        Self { model, version }
    }
}

/// `GET /v2/models/{model}` and `../versions/{version}`.
pub(crate) async fn metadata<N: Into<Named> + DeserializeOwned + Send>(
    State(server): State<Arc<Server>>,
    Path(named): Path<N>,
    request: Request,
) -> Response {
    let metadata = |served: &Served| {
        let versions = server.tensors(&served.model.name)?.versions(&served.model.name);
        Ok(describe::metadata(served, &versions))
    };
    told(&server, &request, named.into(), metadata)
}

/// `GET ../ready`.
pub(crate) async fn model_ready<N: Into<Named> + DeserializeOwned + Send>(
    State(server): State<Arc<Server>>,
    Path(named): Path<N>,
    request: Request,
) -> Response {
    told(&server, &request, named.into(), |served| {
        let ready = json!({ "name": served.model.name, "ready": true });
        if served.is_ready() { Ok(ready) } else { Err(not_ready(served)) }
    })
}

fn not_ready(served: &Served) -> ApiError {
    let reason = "its engine cannot be asked now".to_owned();
    crate::tensors::TensorsError::NotReady { name: served.model.name.clone(), reason }.into()
}

/// `GET ../config`.
pub(crate) async fn config<N: Into<Named> + DeserializeOwned + Send>(
    State(server): State<Arc<Server>>,
    Path(named): Path<N>,
    request: Request,
) -> Response {
    told(&server, &request, named.into(), |served| Ok(describe::config(served)))
}

/// `GET ../stats`.
pub(crate) async fn statistics<N: Into<Named> + DeserializeOwned + Send>(
    State(server): State<Arc<Server>>,
    Path(named): Path<N>,
    request: Request,
) -> Response {
    told(&server, &request, named.into(), |served| Ok(describe::statistics(&[(served, served.figures())])))
}

/// `GET /v2/models/stats`.
pub(crate) async fn all_statistics(State(server): State<Arc<Server>>, request: Request) -> Json<Value> {
    let all = visible(&server, request.extensions().get::<Arc<Visit>>());
    let all: Vec<_> = all.iter().map(|served| (&**served, served.figures())).collect();
    Json(describe::statistics(&all))
}

/// Every version that is ready and that the caller may use.
fn visible(server: &Server, visit: Option<&Arc<Visit>>) -> Vec<Arc<Served>> {
    let mut all = server.options.tensors.as_ref().map(crate::ServedTensors::all).unwrap_or_default();
    all.retain(|served| visit.is_none_or(|visit| visit.caller.check_model(&served.model.name).is_ok()));
    all
}

/// What is told of one version.
fn told(
    server: &Server,
    request: &Request,
    Named { model, version: number }: Named,
    tell: impl FnOnce(&Served) -> Result<Value, ApiError>,
) -> Response {
    let told = || {
        if let Some(visit) = request.extensions().get::<Arc<Visit>>() {
            visit.caller.check_model(&model)?;
        }
        let served = server.tensors(&model)?.find(&model, version(&model, &number)?)?;
        tell(&served)
    };
    told().map_or_else(ApiError::into_response, |told| Json(told).into_response())
}

/// `POST ../infer`.
pub(crate) async fn inference<N: Into<Named> + DeserializeOwned + Send>(
    State(server): State<Arc<Server>>,
    Path(named): Path<N>,
    request: Request,
) -> Response {
    match answer(&server, named.into(), request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn answer(server: &Arc<Server>, named: Named, request: Request) -> Result<Response, ApiError> {
    let asker = Asker::of(&request)?;
    let headers = request.headers().clone();
    let (packing, packed) = (Packing::wanted(&headers), Packing::of(&headers)?);
    let mut body = read_tensors(request, &server.options).await?;
    if let Some(packing) = packed {
        let max = server.options.tensor_body_bytes_max;
        // A few packed bytes may be many: they are never unpacked where sockets are served.
        let unpacked = tokio::task::spawn_blocking(move || packing.unpack(&body, max)).await;
        body = unpacked.unwrap_or(Err(ApiError::Panicked))?;
    }
    let json_length = body::json_length(&headers, body.len())?;
    let (model, version, n_bytes) = (named.model.as_str(), named.version.as_str(), body.len());
    let call = Call { server, asker: &asker, model, version, time: None, n_bytes };
    infer(call, ByHttp { body, json_length, packing }).await
}

/// A body, and the length of its JSON.
#[derive(Clone)]
struct ByHttp {
    body: Bytes,
    json_length: Option<usize>,
    /// How the answer is to be packed.
    packing: Option<Packing>,
}

impl Words for ByHttp {
    type Reply = Response;

    fn question(&self, schema: &IoSchema, timeout_max: Duration) -> Result<Question, ApiError> {
        body::question(&self.body, self.json_length, schema, timeout_max)
    }

    fn reply(&self, model: &Served, question: &Question, outputs: TensorMap) -> Result<Response, ApiError> {
        reply::reply(model, question, outputs, self.packing)
    }
}

/// `POST /v2/repository/index`.
pub(crate) async fn index(State(server): State<Arc<Server>>, request: Request) -> Response {
    match indexed(&server, request).await {
        Ok(rows) => Json(rows.iter().map(index_row).collect::<Vec<_>>()).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn indexed(server: &Arc<Server>, request: Request) -> Result<Vec<IndexRow>, ApiError> {
    let visit = request.extensions().get::<Arc<Visit>>().cloned();
    let body = read(request, &server.options).await?;
    let mut only_ready = false;
    if !body.is_empty() {
        let mut fields = Fields::of_body(&body)?;
        only_ready = fields.bool("ready")?.unwrap_or(false);
        fields.finish()?;
    }
    index_rows(server, visit.as_ref(), only_ready).await
}

/// Rows of models that the caller may use.
async fn index_rows(server: &Server, visit: Option<&Arc<Visit>>, only_ready: bool) -> Result<Vec<IndexRow>, ApiError> {
    let Some(tensors) = &server.options.tensors else { return Ok(Vec::new()) };
    let mut rows = tensors.index().await?;
    rows.retain(|row| {
        let may = visit.is_none_or(|visit| visit.caller.check_model(&row.name).is_ok());
        may && (!only_ready || row.state == Some(VersionState::Ready))
    });
    Ok(rows)
}

fn index_row(row: &IndexRow) -> Value {
    let mut told = json!({ "name": row.name });
    if let Some(version) = row.version {
        told["version"] = version.to_string().into();
    }
    if let Some(state) = row.state {
        told["state"] = state.as_str().into();
        told["reason"] = row.reason.as_str().into();
    }
    told
}

/// `POST /v2/repository/models/{model}/load`.
pub(crate) async fn load(
    State(server): State<Arc<Server>>,
    Path(model): Path<String>,
    request: Request,
) -> Result<(), ApiError> {
    let refused = "models are loaded as they are in the repository";
    managed(&server, &model, request, refused).await?;
    Ok(server.tensors(&model)?.load_now(&model).await?)
}

/// `POST /v2/repository/models/{model}/unload`.
pub(crate) async fn unload(
    State(server): State<Arc<Server>>,
    Path(model): Path<String>,
    request: Request,
) -> Result<(), ApiError> {
    managed(&server, &model, request, "no model has dependents").await?;
    Ok(server.tensors(&model)?.unload(&model).await?)
}

/// Whether the caller may have the model, and asks for nothing else.
async fn managed(server: &Server, model: &str, request: Request, refused: &'static str) -> Result<(), ApiError> {
    if let Some(visit) = request.extensions().get::<Arc<Visit>>() {
        visit.caller.check_model(model)?;
        visit.note_model(model);
    }
    let body = read(request, &server.options).await?;
    if body.is_empty() {
        return Ok(());
    }
    let mut fields = Fields::of_body(&body)?;
    let parameters = fields.take("parameters");
    fields.finish()?;
    Ok(check_management(parameters, refused)?)
}

/// Parameters of loads and unloads: a configuration, or files, in place of the repository's are not taken.
fn check_management(parameters: Option<Value>, refused: &'static str) -> Result<(), crate::fields::ParamError> {
    let Some(parameters) = parameters else { return Ok(()) };
    let mut fields = Fields::new("parameters".to_owned(), parameters)?;
    fields.refuse(&[("config", never, refused), ("unload_dependents", |v| v.as_bool() == Some(false), refused)])?;
    fields.finish()
}

/// Extensions that are known and not served.
pub(crate) async fn shared_memory() -> ApiError {
    ApiError::NotServed { what: "shared memory", why: "send tensors in requests, as JSON or behind it as bytes" }
}

/// As [`shared_memory`].
pub(crate) async fn tracing() -> ApiError {
    ApiError::NotServed { what: "trace settings", why: "requests are traced by the header `traceparent`" }
}

/// As [`shared_memory`].
pub(crate) async fn logging() -> ApiError {
    ApiError::NotServed { what: "log settings", why: "they are given when the server is started" }
}
