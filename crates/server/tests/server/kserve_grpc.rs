//! The Open Inference Protocol by gRPC, asked by tonic's client on the port of HTTP.

// The client speaks in the same messages; that their numbers are the protocol's is shown with others' clients
// (oracles/kserve_client.py).
#[path = "../../src/kserve/grpc/messages.rs"]
mod messages;

use crate::house::{KEY, bearer};
use crate::tensors::{Recipe, Shop, Tensors};
use ballast_backend::{DType, Dim};
use ballast_server::{ApiKeys, RateLimit, ServerOptions};
use ballast_testkit::{Fault, FaultPlan, Hang, PATIENCE};
use futures_util::StreamExt;
use futures_util::stream::iter;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use messages as m;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_prost::ProstCodec;

const OPEN: [Dim; 2] = [Dim::Any, Dim::Any];

struct Client {
    grpc: Grpc<Channel>,
    key: Option<String>,
}

impl Client {
    async fn to(server: &Tensors) -> Self {
        let channel = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
        Self { grpc: Grpc::new(channel), key: Some(bearer(KEY)) }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            request.metadata_mut().insert("authorization", key.parse().unwrap());
        }
        request
    }

    async fn ask<Q, A>(&mut self, method: &str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let request = self.request(message);
        self.grpc.ready().await.unwrap();
        let path = format!("/inference.GRPCInferenceService/{method}").parse().unwrap();
        Ok(self.grpc.unary(request, path, ProstCodec::<Q, A>::default()).await?.into_inner())
    }

    async fn infer(&mut self, request: m::ModelInferRequest) -> Result<m::ModelInferResponse, Status> {
        self.ask("ModelInfer", request).await
    }
}

fn tensor(datatype: &str) -> m::InferTensor {
    let shape = vec![1, 2];
    m::InferTensor { name: "x".to_owned(), datatype: datatype.to_owned(), shape, ..Default::default() }
}

fn raw(model: &str, datatype: &str, bytes: &[u8]) -> m::ModelInferRequest {
    m::ModelInferRequest {
        model_name: model.to_owned(),
        id: "7".to_owned(),
        inputs: vec![tensor(datatype)],
        raw_input_contents: vec![bytes.to_vec().into()],
        ..Default::default()
    }
}

fn two_floats() -> m::ModelInferRequest {
    raw("m", "FP32", &[0, 0, 128, 63, 0, 0, 0, 64])
}

fn named(name: &str) -> m::ModelRequest {
    m::ModelRequest { name: name.to_owned(), version: String::new() }
}

/// A datatype, its name, two values in contents, where there is a field for them, and their bytes.
fn datatypes() -> Vec<(DType, &'static str, Option<m::InferTensorContents>, Vec<u8>)> {
    let none = m::InferTensorContents::default;
    let int = |values: [i32; 2]| Some(m::InferTensorContents { int_contents: values.to_vec(), ..none() });
    let uint = |values: [u32; 2]| Some(m::InferTensorContents { uint_contents: values.to_vec(), ..none() });
    let texts = vec![hyper::body::Bytes::from_static("ä".as_bytes()), hyper::body::Bytes::new()];
    vec![
        (DType::Bool, "BOOL", Some(m::InferTensorContents { bool_contents: vec![true, false], ..none() }), vec![1, 0]),
        (DType::U8, "UINT8", uint([1, 255]), vec![1, 255]),
        (DType::U16, "UINT16", uint([1, 65535]), vec![1, 0, 255, 255]),
        (DType::U32, "UINT32", uint([1, 2]), vec![1, 0, 0, 0, 2, 0, 0, 0]),
        (
            DType::U64,
            "UINT64",
            Some(m::InferTensorContents { uint64_contents: vec![1, u64::MAX], ..none() }),
            [1_u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat(),
        ),
        (DType::I8, "INT8", int([1, -1]), vec![1, 255]),
        (DType::I16, "INT16", int([1, -1]), vec![1, 0, 255, 255]),
        (DType::I32, "INT32", int([1, -1]), vec![1, 0, 0, 0, 255, 255, 255, 255]),
        (
            DType::I64,
            "INT64",
            Some(m::InferTensorContents { int64_contents: vec![1, -1], ..none() }),
            [1_i64.to_le_bytes(), (-1_i64).to_le_bytes()].concat(),
        ),
        (DType::F16, "FP16", None, vec![0, 60, 0, 192]),
        (DType::Bf16, "BF16", None, vec![128, 63, 0, 192]),
        (
            DType::F32,
            "FP32",
            Some(m::InferTensorContents { fp32_contents: vec![0.1, -2.5], ..none() }),
            [0.1_f32.to_le_bytes(), (-2.5_f32).to_le_bytes()].concat(),
        ),
        (
            DType::F64,
            "FP64",
            Some(m::InferTensorContents { fp64_contents: vec![0.1, 1e300], ..none() }),
            [0.1_f64.to_le_bytes(), 1e300_f64.to_le_bytes()].concat(),
        ),
        (
            DType::Str,
            "BYTES",
            Some(m::InferTensorContents { bytes_contents: texts, ..none() }),
            vec![2, 0, 0, 0, 195, 164, 0, 0, 0, 0],
        ),
    ]
}

#[tokio::test]
async fn every_datatype_comes_raw_and_typed() {
    let models = datatypes().into_iter().map(|(dtype, name, ..)| Recipe::of(dtype, &OPEN).model(name, 1)).collect();
    let server = Tensors::open(models).await;
    let mut client = Client::to(&server).await;
    for (_, name, contents, bytes) in datatypes() {
        let answer = client.infer(raw(name, name, &bytes)).await.unwrap();
        assert_eq!((answer.id.as_str(), answer.model_name.as_str(), answer.model_version.as_str()), ("7", name, "1"));
        let output = m::InferTensor { name: "y".to_owned(), ..tensor(name) };
        assert_eq!((&answer.outputs, &answer.raw_output_contents[..]), (&vec![output], &[bytes.into()][..]), "{name}");
        if contents.is_some() {
            let inputs = vec![m::InferTensor { contents, ..tensor(name) }];
            let typed = m::ModelInferRequest { inputs, raw_input_contents: Vec::new(), ..raw(name, name, &[]) };
            assert_eq!(client.infer(typed).await.unwrap(), answer, "{name}");
        }
    }
}

#[tokio::test]
async fn every_method_answers() {
    let recipe = Recipe::of(DType::F32, &[Dim::Any, Dim::Fixed(2)]);
    let shop = Shop(Mutex::new(BTreeMap::from([("other", vec![(5, recipe.clone())])])));
    let server = Tensors::open_with(vec![recipe.model("m", 1)], Some(Arc::new(shop)), |_| {}).await;
    let mut client = Client::to(&server).await;
    let nothing = m::Nothing {};
    assert!(client.ask::<_, m::ServerLiveResponse>("ServerLive", nothing).await.unwrap().live);
    assert!(client.ask::<_, m::ReadyResponse>("ServerReady", nothing).await.unwrap().ready);
    assert!(client.ask::<_, m::ReadyResponse>("ModelReady", named("m")).await.unwrap().ready);
    let about: m::ServerMetadataResponse = client.ask("ServerMetadata", nothing).await.unwrap();
    assert_eq!((about.name.as_str(), about.extensions.is_empty()), ("ballast", false));
    let metadata: m::ModelMetadataResponse = client.ask("ModelMetadata", named("m")).await.unwrap();
    let told = |name: &str| m::TensorMetadata { name: name.into(), datatype: "FP32".into(), shape: vec![-1, 2] };
    assert_eq!((&metadata.versions[..], metadata.platform.as_str()), (&["1".to_owned()][..], "test"));
    assert_eq!((metadata.inputs, metadata.outputs), (vec![told("x")], vec![told("y")]));
    let config: m::ModelConfigResponse = client.ask("ModelConfig", named("m")).await.unwrap();
    let input = m::ModelInput { name: "x".into(), data_type: 11, dims: vec![-1, 2] };
    assert_eq!(config.config.unwrap().input, [input]);
    client.infer(two_floats()).await.unwrap();
    let counted: m::ModelStatisticsResponse = client.ask("ModelStatistics", named("")).await.unwrap();
    assert_eq!((counted.model_stats.len(), counted.model_stats[0].inference_count), (1, 1));
    assert_eq!(counted.model_stats[0].inference_stats.unwrap().success.unwrap().count, 1);
    let managed = |name: &str| m::RepositoryModelRequest { model_name: name.into(), ..Default::default() };
    let _: m::Nothing = client.ask("RepositoryModelLoad", managed("other")).await.unwrap();
    let ready = m::RepositoryIndexRequest { ready: true, ..Default::default() };
    let index: m::RepositoryIndexResponse = client.ask("RepositoryIndex", ready.clone()).await.unwrap();
    let rows: Vec<_> = index.models.iter().map(|row| (row.name.as_str(), row.version.as_str())).collect();
    assert_eq!(rows, [("m", "1"), ("other", "5")]);
    let _: m::Nothing = client.ask("RepositoryModelUnload", managed("other")).await.unwrap();
    let index: m::RepositoryIndexResponse = client.ask("RepositoryIndex", ready).await.unwrap();
    assert_eq!(index.models.len(), 1);
    for name in ["other", "none"] {
        assert!(!client.ask::<_, m::ReadyResponse>("ModelReady", named(name)).await.unwrap().ready, "{name}");
    }
}

#[tokio::test]
async fn errors_have_the_codes_of_grpc() {
    let recipe = Recipe { plan: FaultPlan::list([Fault::Fail]), ..Recipe::of(DType::F32, &OPEN) };
    let bound = |options: &mut ServerOptions| options.tensor_body_bytes_max = 20_000;
    let server = Tensors::open_with(vec![recipe.model("m", 1)], None, bound).await;
    let mut client = Client::to(&server).await;
    let code = |answer: Result<m::ModelInferResponse, Status>| answer.unwrap_err().code();
    assert_eq!(code(client.infer(two_floats()).await), Code::Internal, "the engine fails once");
    assert!(client.infer(two_floats()).await.is_ok());
    assert_eq!(code(client.infer(raw("none", "FP32", &[0; 8])).await), Code::NotFound);
    let version = m::ModelInferRequest { model_version: "9".to_owned(), ..two_floats() };
    assert_eq!(code(client.infer(version).await), Code::NotFound);
    let lies = [
        raw("m", "FP32", &[0; 7]),
        raw("m", "INT8", &[0; 2]),
        raw("m", "FP8", &[0; 2]),
        m::ModelInferRequest { inputs: vec![m::InferTensor { shape: vec![-1, 2], ..tensor("FP32") }], ..two_floats() },
        m::ModelInferRequest { inputs: Vec::new(), ..two_floats() },
        m::ModelInferRequest { raw_input_contents: Vec::new(), ..two_floats() },
        m::ModelInferRequest {
            inputs: vec![m::InferTensor { contents: Some(Default::default()), ..tensor("FP32") }],
            ..two_floats()
        },
        m::ModelInferRequest { inputs: vec![tensor("FP32"); 300], ..two_floats() },
    ];
    for lie in lies {
        let told = format!("{lie:?}");
        assert_eq!(code(client.infer(lie).await), Code::InvalidArgument, "{told}");
    }
    assert_eq!(code(client.infer(raw("m", "FP32", &[0; 30_000])).await), Code::OutOfRange, "it is too long");
    for method in ["SystemSharedMemoryStatus", "CudaSharedMemoryRegister", "TraceSetting", "LogSettings", "Nothing"] {
        let refused = client.ask::<_, m::Nothing>(method, m::Nothing {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{method}");
    }
    assert!(client.infer(two_floats()).await.is_ok());
}

#[tokio::test]
async fn calls_pass_the_guard() {
    let hourly = |options: &mut ServerOptions| {
        let keys = vec![KEY.to_owned(), "another-key-of-some-length".to_owned()];
        options.keys = Some(ApiKeys::new(keys).unwrap());
        options.failed_logins_per_minute = None;
        options.rate_limit =
            Some(RateLimit { interval: Duration::from_secs(3600), burst: NonZeroU32::new(4).unwrap() });
    };
    let server = Tensors::open_with(vec![Recipe::of(DType::F32, &OPEN).model("m", 1)], None, hourly).await;
    let mut client = Client::to(&server).await;
    for wrong in [None, Some("Bearer wrong".to_owned()), Some("Basic x".to_owned())] {
        client.key = wrong;
        for route in ballast_server::grpc_routes().iter().filter(|route| route.path.starts_with("/inference.")) {
            let method = route.path.rsplit('/').next().unwrap().replace(['{', '}'], "");
            let answer = client.ask::<_, m::Nothing>(&method, m::Nothing {}).await;
            let code = answer.err().map(|status| status.code());
            assert_eq!(code, route.scope.map(|_| Code::Unauthenticated), "{route:?}");
        }
    }
    client.key = Some(bearer(KEY));
    for n in 0..5 {
        let code = client.infer(two_floats()).await.err().map(|status| status.code());
        assert_eq!(code, (n == 4).then_some(Code::ResourceExhausted), "{n}");
    }
    // A stream is no way around.
    client.key = Some(bearer("another-key-of-some-length"));
    let answers = streamed(&mut client, vec![two_floats(); 5]).await;
    let errors: Vec<bool> = answers.iter().map(|answer| answer.error_message.contains("too many requests")).collect();
    assert_eq!(errors, [false, false, false, false, true]);
}

async fn streamed(client: &mut Client, requests: Vec<m::ModelInferRequest>) -> Vec<m::ModelStreamInferResponse> {
    let request = client.request(iter(requests));
    client.grpc.ready().await.unwrap();
    let path = "/inference.GRPCInferenceService/ModelStreamInfer".parse().unwrap();
    let codec = ProstCodec::<m::ModelInferRequest, m::ModelStreamInferResponse>::default();
    let answers = client.grpc.streaming(request, path, codec).await.unwrap().into_inner();
    let all = tokio::time::timeout(PATIENCE, answers.collect::<Vec<_>>()).await.expect("the stream ends");
    all.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_stream_answers_in_order_and_goes_on_after_an_error() {
    let server = Tensors::open(vec![Recipe::of(DType::F32, &OPEN).model("m", 1)]).await;
    let mut client = Client::to(&server).await;
    let with_id = |id: &str, request: m::ModelInferRequest| m::ModelInferRequest { id: id.to_owned(), ..request };
    let requests =
        vec![with_id("a", two_floats()), with_id("b", raw("none", "FP32", &[0; 8])), with_id("c", two_floats())];
    let answers = streamed(&mut client, requests).await;
    let ids: Vec<_> = answers.iter().map(|answer| answer.infer_response.as_ref().unwrap().id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let failed: Vec<bool> = answers.iter().map(|answer| !answer.error_message.is_empty()).collect();
    assert_eq!(failed, [false, true, false]);
}

#[tokio::test]
async fn a_calls_own_time_ends_it() {
    let recipe = Recipe { plan: FaultPlan::list([Fault::Hang(Hang::Cooperative)]), ..Recipe::of(DType::F32, &OPEN) };
    let server = Tensors::open(vec![recipe.model("m", 1)]).await;
    // By hand, since tonic's client would end it itself.
    let socket = TcpStream::connect(server.address).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let message = prost::Message::encode_to_vec(&two_floats());
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &length, &message].concat();
    let request = hyper::Request::post("http://test/inference.GRPCInferenceService/ModelInfer")
        .header("authorization", bearer(KEY))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "20m")
        .body(Full::new(hyper::body::Bytes::from(body)))
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap();
    let deadline_exceeded = "4";
    assert_eq!(answer.headers()["grpc-status"], deadline_exceeded);
    drop(answer.into_body().collect().await);
    recipe.control.release();
}

#[tokio::test]
async fn health_is_told_to_everybody_and_watched_with_a_key() {
    let server = Tensors::open(vec![Recipe::of(DType::F32, &OPEN).model("m", 1)]).await;
    let channel = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    for (service, expected) in [
        ("", Ok(ServingStatus::Serving)),
        ("inference.GRPCInferenceService", Ok(ServingStatus::Serving)),
        ("nothing", Err(Code::NotFound)),
    ] {
        let checked = health.check(HealthCheckRequest { service: service.to_owned() }).await;
        let checked = checked.map(|answer| answer.into_inner().status()).map_err(|status| status.code());
        assert_eq!(checked, expected, "{service}");
    }
    let watch = || Request::new(HealthCheckRequest { service: String::new() });
    assert_eq!(health.watch(watch()).await.unwrap_err().code(), Code::Unauthenticated);
    let mut with_key = watch();
    with_key.metadata_mut().insert("authorization", bearer(KEY).parse().unwrap());
    let mut watched = health.watch(with_key).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn reflection_tells_of_every_service() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let server = Tensors::open(vec![Recipe::of(DType::F32, &OPEN).model("m", 1)]).await;
    let channel = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut reflection = ServerReflectionClient::new(channel);
    let ask = |message_request| tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asked = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("inference.GRPCInferenceService".to_owned())),
    ];
    let mut request = Request::new(iter(asked));
    request.metadata_mut().insert("authorization", bearer(KEY).parse().unwrap());
    let answers = reflection.server_reflection_info(request).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().message_response.unwrap()).collect().await;
    let MessageResponse::ListServicesResponse(services) = &answers[0] else { panic!("{answers:?}") };
    let names: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(matches!(answers[1], MessageResponse::FileDescriptorResponse(_)), "{answers:?}");
}
