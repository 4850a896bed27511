//! Embeddings and rankings over every wire, with an encoder whose vectors tell what it was given.

use crate::client::{exchange, request};
use ballast_backend::{
    CapabilityReport, CompiledMeta, ComputeUnits, Dispatch, EncoderShape, EngineError, InferenceEngine, Instance,
    IoSchema, ModelArtifact, Pooling, Predictor, PrepareOptions, Prepared, Pulse, TensorMap, encoder_output,
    encoder_texts,
};
use ballast_runtime::encoding::{Encoding, EncodingOptions, EncodingParts, TextEncoder};
use ballast_runtime::supervised::{Link, LinkModel, SupervisedEngine, SupervisedOptions, SupervisedParts};
use ballast_runtime::telemetry::Telemetry;
use ballast_server::{ModelFacts, ModelKind, ServedModel, ServedModels, ServerOptions, serve};
use ballast_testkit::{VirtualClock, tiny_word_piece};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Vectors are `[number of tokens, sum of tokens, 0, 4]`, scores the number of tokens less 6.
struct Counts(EncoderShape, IoSchema);

impl Predictor for Counts {
    fn io_schema(&self) -> &IoSchema {
        &self.1
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, _: &Pulse) -> Result<(), EngineError> {
        let texts = encoder_texts(inputs).unwrap();
        let width = self.0.width;
        let out = encoder_output(outputs, texts.len(), width).unwrap();
        for ((tokens, _), out) in texts.iter().zip(out.chunks_exact_mut(width)) {
            let (n, sum) = (tokens.len() as f32, tokens.iter().sum::<i32>() as f32);
            if width == 1 { out[0] = n - 6.0 } else { out.copy_from_slice(&[n, sum, 0.0, 4.0]) }
        }
        Ok(())
    }

    fn dispatch(&self) -> Option<Dispatch> {
        None
    }
}

impl InferenceEngine for Engine {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        Ok(Prepared {
            cache_key: "counts".to_owned(),
            artifact: artifact.clone(),
            options: options.clone(),
            io_schema: Some(self.0.io_schema()),
            sla_estimate: Duration::from_secs(3600),
            memory_bytes: 0,
        })
    }

    fn open(&self, _: &Prepared) -> Result<Instance, EngineError> {
        Ok(Instance::Predictor(Box::new(Counts(self.0, self.0.io_schema()))))
    }

    fn capabilities(&self, _: &Prepared) -> CapabilityReport {
        CapabilityReport {
            device_class: "none".to_owned(),
            supported_dtypes: Vec::new(),
            max_batch_size: 8,
            compute_units_requested: ComputeUnits::CpuOnly,
            compute_units_actual: ComputeUnits::CpuOnly,
            ane_op_coverage_pct: None,
            compile_p99: None,
            infer_p99: None,
        }
    }
}

struct Engine(EncoderShape);

pub(crate) fn model(id: &str, pooling: Pooling) -> ServedModel {
    let vocabulary = tiny_word_piece();
    let shape = EncoderShape {
        vocab_size: vocabulary.vocab_size(),
        context_len: 8,
        pooling,
        width: if pooling == Pooling::Rank { 1 } else { 4 },
        max_batch_tokens: 64,
        max_batch_texts: 8,
    };
    let meta = CompiledMeta { platform: "any".to_owned(), engine_version: "1".to_owned(), backend: "any".to_owned() };
    let artifact = ModelArtifact::Compiled { path: PathBuf::from("counts"), meta };
    let link_model = LinkModel::Artifact { artifact, options: PrepareOptions::default() };
    let link = Link { engine: Arc::new(Engine(shape)), model: link_model, memory: None };
    let clock = Arc::new(VirtualClock::new());
    let parts = SupervisedParts { clock: clock.clone(), telemetry: Telemetry::default() };
    let engine = SupervisedEngine::open(vec![link], parts, SupervisedOptions::default()).unwrap();
    let parts = EncodingParts { engine, shape, clock, telemetry: Telemetry::default() };
    let encoding = Encoding::start(parts, EncodingOptions::default()).unwrap();
    ServedModel {
        id: id.to_owned(),
        aliases: Vec::new(),
        kind: ModelKind::Encoder(TextEncoder::new(encoding, Arc::new(vocabulary))),
        fingerprint: String::new(),
        created: 17,
        facts: ModelFacts::default(),
    }
}

struct House {
    address: SocketAddr,
    /// Dropped where blocking is allowed.
    _models: Vec<ServedModel>,
}

impl House {
    async fn open() -> Self {
        let models =
            tokio::task::spawn_blocking(|| vec![model("embedder", Pooling::Mean), model("ranker", Pooling::Rank)]);
        let models = models.await.unwrap();
        let options = ServerOptions::new(Arc::new(|| 1), Arc::new(|| 1_700_000_000));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = ServedModels::loaded(models.clone(), Arc::new(VirtualClock::new())).unwrap();
        tokio::spawn(serve(listener, served, options, std::future::pending()));
        Self { address, _models: models }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let headers = [("content-type", "application/json")];
        let answer = exchange(self.address, &request("POST", path, &headers, &body.to_string())).await;
        (answer.status, answer.json())
    }
}

fn unit(vector: &[f64]) -> Vec<f64> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

fn assert_near(got: &Value, expected: &[f64]) {
    let got: Vec<f64> = got.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {expected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_embeddings_are_of_unit_length_in_the_order_of_the_texts() {
    let house = House::open().await;
    let (status, answer) = house.post("/v1/embeddings", json!({ "model": "embedder", "input": ["a", "cat"] })).await;
    assert_eq!((status, answer["object"].as_str(), answer["data"].as_array().unwrap().len()), (200, Some("list"), 2));
    assert_eq!(answer["data"][1]["index"], 1);
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 6, "total_tokens": 6 }));
    // [CLS] is 2, [SEP] is 3, and tokens are taken as they are sent.
    let (_, answer) = house.post("/v1/embeddings", json!({ "model": "embedder", "input": [[2, 3], [7]] })).await;
    assert_near(&answer["data"][0]["embedding"], &unit(&[2.0, 5.0, 0.0, 4.0]));
    assert_near(&answer["data"][1]["embedding"], &unit(&[1.0, 7.0, 0.0, 4.0]));
    let body = json!({ "model": "embedder", "input": [2, 3], "dimensions": 2, "user": "me" });
    let (_, answer) = house.post("/v1/embeddings", body).await;
    assert_near(&answer["data"][0]["embedding"], &unit(&[2.0, 5.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_embeddings_come_in_base64_where_that_is_asked_for() {
    let house = House::open().await;
    let body = json!({ "model": "embedder", "input": [0, 0], "dimensions": 1, "encoding_format": "base64" });
    let (_, answer) = house.post("/v1/embeddings", body).await;
    assert_eq!(answer["data"][0]["embedding"], "AACAPw==", "1.0, little-endian");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_too_long_is_refused_with_the_counts_or_cut() {
    let house = House::open().await;
    let body = json!({ "model": "embedder", "input": ["a", "a a a a a a a"] });
    let (status, answer) = house.post("/v1/embeddings", body.clone()).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (400, Some("context_length_exceeded")), "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("text 1") && message.contains('8') && message.contains('9'), "{message}");
    for (tokens, expected) in [(-1, 3 + 8), (4, 3 + 4)] {
        let mut body = body.clone();
        body["truncate_prompt_tokens"] = json!(tokens);
        let (status, answer) = house.post("/v1/embeddings", body).await;
        assert_eq!((status, answer["usage"]["total_tokens"].as_u64()), (200, Some(expected)), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ollamas_routes_answer_in_their_words() {
    let house = House::open().await;
    let (status, answer) = house.post("/api/embed", json!({ "model": "embedder", "input": "a a a a a a a" })).await;
    assert_eq!((status, answer["prompt_eval_count"].as_u64()), (200, Some(8)), "it is cut: {answer}");
    let body = json!({ "model": "embedder", "input": ["a a a a a a a"], "truncate": false, "keep_alive": "5m" });
    let (status, answer) = house.post("/api/embed", body).await;
    assert_eq!((status, answer["error"].is_string()), (400, true));
    let (_, answer) = house.post("/api/embeddings", json!({ "model": "embedder", "prompt": "" })).await;
    assert!(answer["error"].is_string());
    let (_, answer) = house.post("/api/embeddings", json!({ "model": "embedder", "prompt": "!" })).await;
    let vector = answer["embedding"].as_array().unwrap();
    assert_eq!((vector[0].as_f64(), vector[3].as_f64()), (Some(3.0), Some(4.0)), "as the model gives it");
}

#[tokio::test(flavor = "multi_thread")]
async fn llamacpps_routes_answer_with_lists_of_vectors() {
    let house = House::open().await;
    for path in ["/embedding", "/embeddings"] {
        let body = json!({ "content": "a", "embd_normalize": -1 });
        let (status, answer) = house.post(path, body).await;
        assert_eq!((status, answer[0]["embedding"][0][0].as_f64()), (200, Some(3.0)), "{answer}");
        let (_, answer) = house.post(path, json!({ "input": [[2, 3]] })).await;
        assert_near(&answer[0]["embedding"][0], &unit(&[2.0, 5.0, 0.0, 4.0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_ranked_best_first() {
    let house = House::open().await;
    for path in ["/v1/rerank", "/v2/rerank", "/rerank"] {
        let documents = json!(["a", { "text": "a a a" }, "a a"]);
        let body =
            json!({ "model": "ranker", "query": "a", "documents": documents, "top_n": 2, "return_documents": true });
        let (status, answer) = house.post(path, body).await;
        assert_eq!(status, 200, "{answer}");
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.iter().map(|r| r["index"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(results[0]["document"]["text"], "a a a");
        // [CLS] a [SEP] a a a [SEP] are seven tokens.
        let expected = 1.0 / (1.0 + (-1.0_f64).exp());
        assert!((results[0]["relevance_score"].as_f64().unwrap() - expected).abs() < 1e-6);
        assert_eq!(answer["usage"]["total_tokens"], 5 + 7 + 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_asked_for_what_it_does_not_do_says_so() {
    let house = House::open().await;
    let chat = json!({ "model": "embedder", "messages": [{ "role": "user", "content": "hi" }] });
    let cases = [
        ("/v1/chat/completions", chat),
        ("/v1/embeddings", json!({ "model": "ranker", "input": "a" })),
        ("/v1/rerank", json!({ "model": "embedder", "query": "a", "documents": ["a"] })),
    ];
    for (path, body) in cases {
        let (status, answer) = house.post(path, body).await;
        assert_eq!((status, answer["error"]["code"].as_str()), (400, Some("model_not_suitable")), "{path}: {answer}");
    }
    let (status, _) = house.post("/v1/embeddings", json!({ "model": "none", "input": "a" })).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_request_is_named() {
    let house = House::open().await;
    let cases = [
        (json!({ "model": "embedder" }), "input"),
        (json!({ "model": "embedder", "input": [] }), "input"),
        (json!({ "model": "embedder", "input": "" }), "input[0]"),
        (json!({ "model": "embedder", "input": "a", "dimensions": 5 }), "dimensions"),
        (json!({ "model": "embedder", "input": "a", "encoding_format": "hex" }), "encoding_format"),
        (json!({ "model": "embedder", "input": [4_000_000] }), "input"),
        (json!({ "model": "embedder", "input": "a", "truncate_prompt_tokens": 0 }), "truncate_prompt_tokens"),
        (json!({ "model": "embedder", "input": "a", "frobnicate": 1 }), "frobnicate"),
    ];
    for (body, param) in cases {
        let (status, answer) = house.post("/v1/embeddings", body.clone()).await;
        assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(param)), "{body}: {answer}");
    }
}
