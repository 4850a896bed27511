//! The protocol by gRPC: the same models through the same guard, on the same port.
//!
//! ```text
//! messages.rs      the messages
//! codec.rs         bytes to messages, bounded
//! words.rs         messages to questions, outputs to messages
//! status.rs        errors, and how long a call may take
//! health.rs        grpc.health.v1
//! descriptors.rs   what reflection tells
//! ```
//!
//! Every method is a row of the routes' table, so keys, limits, places, books and figures are those of HTTP.

mod codec;
mod descriptors;
mod health;
mod messages;
mod status;
mod words;

pub(crate) use status::only;

use super::infer::{Call, Words, infer, version};
use super::question::{PRIORITY_DEFAULT, PRIORITY_LEVELS, Question, extents};
use super::{check_management, datatype, describe, index_rows, visible};
use crate::api_error::{ApiError, Told};
use crate::caller::Visit;
use crate::guard;
use crate::incoming::Asker;
use crate::state::Server;
use crate::tensors::{Counted, Figures, Served};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use ballast_backend::{IoSchema, TensorMap, TensorSpec};
use codec::{Messages, message};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use messages as m;
use serde_json::{Map, Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::codegen::Service;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Status, Streaming};
use tonic_health::pb::health_server::HealthServer;

/// A call of one message for one: what answers it.
struct Unary<F>(Option<F>);

impl<F, A, T> UnaryService<Bytes> for Unary<F>
where
    F: FnOnce(Bytes) -> T,
    T: Future<Output = Result<tonic::Response<A>, Status>>,
{
    type Response = A;
    type Future = T;

    fn call(&mut self, request: tonic::Request<Bytes>) -> T {
        let answer = self.0.take().expect("a call is made once");
        answer(request.into_inner())
    }
}

/// Answers a call. Errors are told as on every wire, so that guards and books learn of them.
async fn unary<Q, A>(server: &Server, request: Request, answer: impl AsyncFnOnce(Q) -> Result<A, ApiError>) -> Response
where
    Q: prost::Message + Default,
    A: prost::Message + 'static,
{
    let failed = OnceLock::new();
    let call = Unary(Some(async |bytes: Bytes| {
        let answered = answer(message(bytes)?).await;
        answered.map(tonic::Response::new).map_err(|error| {
            let status = status::status(&Told::from(&error));
            // The first and only one.
            drop(failed.set(error));
            status
        })
    }));
    let mut grpc = Grpc::new(Messages::<A>::default()).max_decoding_message_size(server.options.tensor_body_bytes_max);
    let response = grpc.unary(call, request).await;
    match failed.into_inner() {
        Some(error) => error.into_response(),
        None => response.map(Body::new),
    }
}

/// Whether the caller may use the model of this name.
fn check_model(visit: Option<&Arc<Visit>>, model: &str) -> Result<(), ApiError> {
    Ok(visit.map_or(Ok(()), |visit| visit.caller.check_model(model))?)
}

fn visit_of(request: &Request) -> Option<Arc<Visit>> {
    request.extensions().get::<Arc<Visit>>().cloned()
}

/// What is told of one version.
async fn told<A: prost::Message + 'static>(
    server: &Arc<Server>,
    request: Request,
    tell: impl FnOnce(&Served) -> A,
) -> Response {
    let visit = visit_of(&request);
    unary(server, request, async |named: m::ModelRequest| {
        check_model(visit.as_ref(), &named.name)?;
        let version = version(&named.name, &named.version)?;
        Ok(tell(&*server.tensors(&named.name)?.find(&named.name, version)?))
    })
    .await
}

/// `ServerLive`.
pub(crate) async fn server_live(State(server): State<Arc<Server>>, request: Request) -> Response {
    unary(&server, request, async |_: m::Nothing| Ok(m::ServerLiveResponse { live: true })).await
}

/// `ServerReady`.
pub(crate) async fn server_ready(State(server): State<Arc<Server>>, request: Request) -> Response {
    unary(&server, request, async |_: m::Nothing| Ok(m::ReadyResponse { ready: server.is_ready_for_tensors() })).await
}

/// `ModelReady`: a model that is not there is not ready, which is no error here.
pub(crate) async fn model_ready(State(server): State<Arc<Server>>, request: Request) -> Response {
    let visit = visit_of(&request);
    unary(&server, request, async |named: m::ModelRequest| {
        check_model(visit.as_ref(), &named.name)?;
        let version = version(&named.name, &named.version)?;
        let found = server.tensors(&named.name).and_then(|tensors| tensors.find(&named.name, version));
        Ok(m::ReadyResponse { ready: found.is_ok_and(|served| served.is_ready()) })
    })
    .await
}

/// `ServerMetadata`.
pub(crate) async fn server_metadata(State(server): State<Arc<Server>>, request: Request) -> Response {
    unary(&server, request, async |_: m::Nothing| {
        Ok(m::ServerMetadataResponse {
            name: describe::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: describe::EXTENSIONS.map(str::to_owned).to_vec(),
        })
    })
    .await
}

/// `ModelMetadata`.
pub(crate) async fn model_metadata(State(server): State<Arc<Server>>, request: Request) -> Response {
    told(&server, request, |served| {
        let name = served.model.name.clone();
        let versions = server.tensors(&name).map(|tensors| tensors.versions(&name)).unwrap_or_default();
        let tensor = |spec: &TensorSpec| m::TensorMetadata {
            name: spec.name.clone(),
            datatype: datatype::name(spec.dtype).to_owned(),
            shape: extents(spec),
        };
        m::ModelMetadataResponse {
            name,
            versions: versions.iter().map(u64::to_string).collect(),
            platform: served.model.platform.clone(),
            inputs: served.schema.inputs.iter().map(tensor).collect(),
            outputs: served.schema.outputs.iter().map(tensor).collect(),
        }
    })
    .await
}

/// `ModelConfig`.
pub(crate) async fn model_config(State(server): State<Arc<Server>>, request: Request) -> Response {
    told(&server, request, |served| m::ModelConfigResponse { config: Some(config(served)) }).await
}

/// The number of Triton's `KIND_CPU`.
const KIND_CPU: i32 = 2;

/// Instances that compute on the CPU.
fn instance_group(n_instances: usize) -> m::ModelInstanceGroup {
    m::ModelInstanceGroup { count: i32::try_from(n_instances).unwrap_or(i32::MAX), kind: KIND_CPU }
}

fn config(served: &Served) -> m::ModelConfig {
    let batching = &served.model.batching;
    let input = |spec: &TensorSpec| m::ModelInput {
        name: spec.name.clone(),
        data_type: datatype::config_number(spec.dtype),
        dims: describe::dims(served, spec),
    };
    let output = |spec: &TensorSpec| m::ModelOutput {
        name: spec.name.clone(),
        data_type: datatype::config_number(spec.dtype),
        dims: describe::dims(served, spec),
    };
    let int32 = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let dynamic_batching = (batching.max_batch > 0 && batching.joins).then(|| m::ModelDynamicBatching {
        preferred_batch_size: batching.preferred.iter().copied().map(int32).collect(),
        max_queue_delay_microseconds: u64::try_from(batching.max_wait.as_micros()).unwrap_or(u64::MAX),
        priority_levels: PRIORITY_LEVELS,
        default_priority_level: PRIORITY_DEFAULT,
        default_queue_policy: Some(m::ModelQueuePolicy {
            max_queue_size: u32::try_from(batching.queue_max).unwrap_or(u32::MAX),
        }),
    });
    m::ModelConfig {
        name: served.model.name.clone(),
        platform: served.model.platform.clone(),
        max_batch_size: int32(batching.max_batch),
        input: served.schema.inputs.iter().map(input).collect(),
        output: served.schema.outputs.iter().map(output).collect(),
        instance_group: served.n_instances().map(instance_group).into_iter().collect(),
        dynamic_batching,
        backend: describe::NAME.to_owned(),
    }
}

/// `ModelStatistics`; without a name, of every model.
pub(crate) async fn model_statistics(State(server): State<Arc<Server>>, request: Request) -> Response {
    let visit = visit_of(&request);
    unary(&server, request, async |named: m::ModelRequest| {
        if named.name.is_empty() {
            let all = visible(&server, visit.as_ref());
            return Ok(m::ModelStatisticsResponse { model_stats: all.iter().map(|it| statistics(it)).collect() });
        }
        check_model(visit.as_ref(), &named.name)?;
        let version = version(&named.name, &named.version)?;
        let served = server.tensors(&named.name)?.find(&named.name, version)?;
        Ok(m::ModelStatisticsResponse { model_stats: vec![statistics(&served)] })
    })
    .await
}

fn statistics(served: &Served) -> m::ModelStatistics {
    let duration = |counted: Counted| Some(m::StatisticDuration { count: counted.count, ns: counted.nanos() });
    let Figures {
        success, fail, queue, input, infer, output, n_inferences, n_executions, last_inference, batches, ..
    } = served.figures();
    let batch = |(batch_size, batch): (usize, crate::tensors::BatchFigures)| m::InferBatchStatistics {
        batch_size: batch_size as u64,
        compute_input: duration(batch.input),
        compute_infer: duration(batch.infer),
        compute_output: duration(batch.output),
    };
    m::ModelStatistics {
        name: served.model.name.clone(),
        version: served.model.version.to_string(),
        last_inference: last_inference.saturating_mul(1000),
        inference_count: n_inferences,
        execution_count: n_executions,
        inference_stats: Some(m::InferStatistics {
            success: duration(success),
            fail: duration(fail),
            queue: duration(queue),
            compute_input: duration(input),
            compute_infer: duration(infer),
            compute_output: duration(output),
            cache_hit: duration(Counted::default()),
            cache_miss: duration(Counted::default()),
        }),
        batch_stats: batches.into_iter().map(batch).collect(),
    }
}

/// `RepositoryIndex`.
pub(crate) async fn repository_index(State(server): State<Arc<Server>>, request: Request) -> Response {
    let visit = visit_of(&request);
    unary(&server, request, async |asked: m::RepositoryIndexRequest| {
        check_repository(&asked.repository_name)?;
        let rows = index_rows(&server, visit.as_ref(), asked.ready).await?;
        let row = |row: crate::tensors::IndexRow| m::ModelIndex {
            name: row.name,
            version: row.version.map(|version| version.to_string()).unwrap_or_default(),
            state: row.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
            reason: row.reason,
        };
        Ok(m::RepositoryIndexResponse { models: rows.into_iter().map(row).collect() })
    })
    .await
}

/// There is one repository, and it has no name.
fn check_repository(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Ok(());
    }
    let supported = "there is one repository, which has no name";
    Err(crate::fields::ParamError::Unsupported { param: "repository_name".to_owned(), supported }.into())
}

/// `RepositoryModelLoad`.
pub(crate) async fn repository_load(State(server): State<Arc<Server>>, request: Request) -> Response {
    let visit = visit_of(&request);
    unary(&server, request, async |asked: m::RepositoryModelRequest| {
        check_managed(visit.as_ref(), &asked, "models are loaded as they are in the repository")?;
        server.tensors(&asked.model_name)?.load_now(&asked.model_name).await?;
        Ok(m::Nothing {})
    })
    .await
}

/// `RepositoryModelUnload`.
pub(crate) async fn repository_unload(State(server): State<Arc<Server>>, request: Request) -> Response {
    let visit = visit_of(&request);
    unary(&server, request, async |asked: m::RepositoryModelRequest| {
        check_managed(visit.as_ref(), &asked, "no model has dependents")?;
        server.tensors(&asked.model_name)?.unload(&asked.model_name).await?;
        Ok(m::Nothing {})
    })
    .await
}

fn check_managed(
    visit: Option<&Arc<Visit>>,
    asked: &m::RepositoryModelRequest,
    refused: &'static str,
) -> Result<(), ApiError> {
    check_repository(&asked.repository_name)?;
    check_model(visit, &asked.model_name)?;
    visit.iter().for_each(|visit| visit.note_model(&asked.model_name));
    let value = |parameter: &m::ModelRepositoryParameter| match &parameter.choice {
        Some(m::RepositoryChoice::Bool(value)) => json!(value),
        Some(m::RepositoryChoice::Int64(value)) => json!(value),
        Some(m::RepositoryChoice::String(value)) => json!(value),
        Some(m::RepositoryChoice::Bytes(bytes)) => json!(bytes.len()),
        None => Value::Null,
    };
    let parameters: Map<String, Value> =
        asked.parameters.iter().map(|(name, parameter)| (name.clone(), value(parameter))).collect();
    Ok(check_management(Some(Value::Object(parameters)), refused)?)
}

/// A message of inference.
#[derive(Clone)]
struct ByGrpc(Arc<m::ModelInferRequest>);

impl Words for ByGrpc {
    type Reply = m::ModelInferResponse;

    fn question(&self, schema: &IoSchema, timeout_max: Duration) -> Result<Question, ApiError> {
        words::question(&self.0, schema, timeout_max)
    }

    fn reply(&self, model: &Served, question: &Question, outputs: TensorMap) -> Result<Self::Reply, ApiError> {
        words::response(model, question, outputs)
    }
}

async fn inferred(
    server: &Arc<Server>,
    asker: &Asker,
    asked: m::ModelInferRequest,
    (time, n_bytes): (Option<Duration>, usize),
) -> Result<m::ModelInferResponse, ApiError> {
    let asked = Arc::new(asked);
    let (model, version) = (asked.model_name.as_str(), asked.model_version.as_str());
    infer(Call { server, asker, model, version, time, n_bytes }, ByGrpc(Arc::clone(&asked))).await
}

/// `ModelInfer`.
pub(crate) async fn model_infer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let asker = match Asker::of(&request) {
        Ok(asker) => asker,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let time = status::timeout(request.headers());
    unary(&server, request, async |asked: m::ModelInferRequest| {
        let n_bytes = prost::Message::encoded_len(&asked);
        inferred(&server, &asker, asked, (time, n_bytes)).await
    })
    .await
}

/// What a stream of requests goes on with.
struct Stream {
    server: Arc<Server>,
    asker: Asker,
    time: Option<Duration>,
    incoming: Streaming<Bytes>,
    n_asked: u64,
}

type Answers = BoxStream<'static, Result<m::ModelStreamInferResponse, Status>>;

/// Makes a stream of answers of a stream of requests.
struct Streamed {
    server: Arc<Server>,
    asker: Asker,
    time: Option<Duration>,
}

impl StreamingService<Bytes> for Streamed {
    type Response = m::ModelStreamInferResponse;
    type ResponseStream = Answers;
    type Future = std::future::Ready<Result<tonic::Response<Answers>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let (server, asker) = (Arc::clone(&self.server), self.asker.clone());
        let stream = Stream { server, asker, time: self.time, incoming: request.into_inner(), n_asked: 0 };
        std::future::ready(Ok(tonic::Response::new(unfold(stream, Stream::next).boxed())))
    }
}

/// `ModelStreamInfer`: requests of a stream are answered one after the other; one that fails does not end the stream.
pub(crate) async fn model_stream_infer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let asker = match Asker::of(&request) {
        Ok(asker) => asker,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let time = status::timeout(request.headers());
    let max = server.options.tensor_body_bytes_max;
    let mut grpc = Grpc::new(Messages::<m::ModelStreamInferResponse>::default()).max_decoding_message_size(max);
    grpc.streaming(Streamed { server, asker, time }, request).await.map(Body::new)
}

impl Stream {
    async fn next(mut self) -> Option<(Result<m::ModelStreamInferResponse, Status>, Self)> {
        let bytes = tokio::select! {
            bytes = tokio::time::timeout(self.server.options.idle_timeout, self.incoming.next()) => bytes,
            () = Arc::clone(&self.server).wait_cut() => {
                return Some((Err(Status::unavailable("the server is shutting down")), self.ended()));
            }
        };
        let answered = match bytes {
            Err(_) => return Some((Err(Status::deadline_exceeded("nothing was asked for too long")), self.ended())),
            Ok(None) => return None,
            Ok(Some(Err(status))) => return Some((Err(status), self.ended())),
            Ok(Some(Ok(bytes))) => self.answer(bytes).await,
        };
        let response = answered
            .unwrap_or_else(|message| m::ModelStreamInferResponse { error_message: message, infer_response: None });
        Some((Ok(response), self))
    }

    /// The same, that gives nothing more.
    fn ended(mut self) -> Self {
        self.incoming = Streaming::new_empty(codec::Whole, Body::empty());
        self
    }

    async fn answer(&mut self, bytes: Bytes) -> Result<m::ModelStreamInferResponse, String> {
        // The first one is in the books already.
        self.n_asked += 1;
        let _seat = match &self.asker.visit {
            Some(visit) if self.n_asked > 1 => {
                Some(guard::again(&self.server, visit).map_err(|error| error.message())?)
            }
            Some(_) | None => None,
        };
        let n_bytes = bytes.len();
        let asked: m::ModelInferRequest = message(bytes).map_err(|status| status.message().to_owned())?;
        let id = asked.id.clone();
        let answered = inferred(&self.server, &self.asker, asked, (self.time, n_bytes)).await;
        match answered {
            Ok(response) => {
                Ok(m::ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) })
            }
            // Who asks for many at a time tells them apart by their names.
            Err(error) => Ok(m::ModelStreamInferResponse {
                error_message: error.message(),
                infer_response: Some(m::ModelInferResponse { id, ..m::ModelInferResponse::default() }),
            }),
        }
    }
}

/// Methods that are known and not served, and all that are not known.
pub(crate) async fn not_served(Path(method): Path<String>) -> ApiError {
    if method.contains("SharedMemory") {
        ApiError::NotServed { what: "shared memory", why: "send tensors in requests" }
    } else if method == "TraceSetting" {
        ApiError::NotServed { what: "trace settings", why: "requests are traced by the metadata `traceparent`" }
    } else if method == "LogSettings" {
        ApiError::NotServed { what: "log settings", why: "they are given when the server is started" }
    } else {
        ApiError::NotServed { what: "this method", why: "the service has no such method" }
    }
}

/// `grpc.health.v1.Health`.
pub(crate) async fn health(State(server): State<Arc<Server>>, request: Request) -> Response {
    let mut service = HealthServer::new(health::OfServer(server));
    let answered: Result<_, std::convert::Infallible> = service.call(request).await;
    answered.unwrap_or_else(|never| match never {}).map(Body::new)
}

/// What reflection knows of: made anew for each call, since it is seldom asked.
fn known() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_file_descriptor_set(descriptors::descriptors())
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// `grpc.reflection.v1.ServerReflection`.
pub(crate) async fn reflection(request: Request) -> Response {
    let Ok(mut service) = known().build_v1() else { return ApiError::Panicked.into_response() };
    let answered: Result<_, std::convert::Infallible> = service.call(request).await;
    answered.unwrap_or_else(|never| match never {}).map(Body::new)
}

/// `grpc.reflection.v1alpha.ServerReflection`.
pub(crate) async fn reflection_alpha(request: Request) -> Response {
    let Ok(mut service) = known().build_v1alpha() else { return ApiError::Panicked.into_response() };
    let answered: Result<_, std::convert::Infallible> = service.call(request).await;
    answered.unwrap_or_else(|never| match never {}).map(Body::new)
}
