//! A server of tensor models, and the hands a test has on it.

use crate::house::{KEY, bearer};
use ballast_backend::{
    CapabilityReport, Clock, CompiledMeta, ComputeUnits, DType, Dim, EngineError, ErrorKind, InferenceEngine, Instance,
    IoSchema, ModelArtifact, PrepareOptions, Prepared, TensorMap, TensorSpec,
};
use ballast_runtime::supervised::{Link, LinkModel, SupervisedEngine, SupervisedOptions, SupervisedParts};
use ballast_runtime::telemetry::Telemetry;
use ballast_server::{
    ApiKeys, Batching, HouseOptions, ServedModels, ServedTensors, ServerOptions, StockError, TensorHouseOptions,
    TensorModel, TensorStock, serve,
};
use ballast_testkit::{FaultControl, FaultPlan, FaultyPredictor, Function, PATIENCE};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A clock that moves a little with each look: times are never nothing.
#[derive(Debug, Default)]
pub(crate) struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// An engine that computes a function.
struct Functional {
    schema: IoSchema,
    function: Arc<Function>,
    plan: FaultPlan,
    control: FaultControl,
}

impl InferenceEngine for Functional {
    fn name(&self) -> &'static str {
        "functional"
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        Ok(Prepared {
            cache_key: String::new(),
            artifact: artifact.clone(),
            options: options.clone(),
            io_schema: Some(self.schema.clone()),
            sla_estimate: Duration::from_secs(3600),
            memory_bytes: 0,
        })
    }

    fn open(&self, _prepared: &Prepared) -> Result<Instance, EngineError> {
        let (function, control) = (Arc::clone(&self.function), self.control.clone());
        let predictor = FaultyPredictor::new(self.schema.clone(), function, self.plan.clone(), control);
        Ok(Instance::Predictor(Box::new(predictor)))
    }

    fn capabilities(&self, _prepared: &Prepared) -> CapabilityReport {
        CapabilityReport {
            device_class: String::new(),
            supported_dtypes: vec![DType::F32],
            max_batch_size: 1,
            compute_units_requested: ComputeUnits::All,
            compute_units_actual: ComputeUnits::CpuOnly,
            ane_op_coverage_pct: None,
            compile_p99: None,
            infer_p99: None,
        }
    }
}

/// A model, as a test wants it.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<Dim>,
    pub(crate) batching: Batching,
    pub(crate) plan: FaultPlan,
    pub(crate) control: FaultControl,
    /// Sees the inputs of each run.
    pub(crate) seen: Arc<Mutex<Vec<TensorMap>>>,
}

impl Recipe {
    pub(crate) fn of(dtype: DType, shape: &[Dim]) -> Self {
        let (batching, control) = (Batching::default(), FaultControl::default());
        Self { dtype, shape: shape.to_vec(), batching, plan: FaultPlan::healthy(), control, seen: Arc::default() }
    }

    /// A model that gives `y`, which is `x`, on one instance.
    pub(crate) fn model(&self, name: &str, version: u64) -> TensorModel {
        let spec = |name: &str| TensorSpec {
            name: name.to_owned(),
            dtype: self.dtype,
            shape: self.shape.clone(),
            batch_capable: true,
        };
        let schema = IoSchema { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        let seen = Arc::clone(&self.seen);
        let function = Arc::new(move |inputs: &TensorMap| {
            seen.lock().unwrap().push(inputs.clone());
            TensorMap::from([("y".to_owned(), inputs["x"].clone())])
        });
        let engine = Functional { schema, function, plan: self.plan.clone(), control: self.control.clone() };
        let meta = CompiledMeta { platform: String::new(), engine_version: String::new(), backend: String::new() };
        let artifact = ModelArtifact::Compiled { path: std::path::PathBuf::new(), meta };
        let model = LinkModel::Artifact { artifact, options: PrepareOptions::default() };
        let link = Link { engine: Arc::new(engine), model, memory: None };
        let parts = SupervisedParts { clock: Arc::new(Ticking::default()), telemetry: Telemetry::default() };
        let mut options = SupervisedOptions::default();
        options.pool.n_instances = 1;
        options.retry.attempts_max = 1;
        let engine = SupervisedEngine::open(vec![link], parts, options).unwrap();
        TensorModel {
            name: name.to_owned(),
            version,
            engine,
            platform: "test".to_owned(),
            batching: self.batching.clone(),
            labels: BTreeMap::from([("y".to_owned(), vec!["cat".to_owned(), "dog".to_owned(), "fox".to_owned()])]),
        }
    }
}

/// Brings models by their recipes.
pub(crate) struct Shop(pub(crate) Mutex<BTreeMap<&'static str, Vec<(u64, Recipe)>>>);

impl TensorStock for Shop {
    fn list(&self) -> Result<Vec<String>, StockError> {
        Ok(self.0.lock().unwrap().keys().map(|name| (*name).to_owned()).collect())
    }

    fn load(&self, name: &str) -> Result<Vec<TensorModel>, StockError> {
        let shop = self.0.lock().unwrap();
        let none = || StockError { kind: ErrorKind::Invalid, message: format!("there is no model {name}") };
        let recipes = shop.get(name).ok_or_else(none)?;
        Ok(recipes.iter().map(|(version, recipe)| recipe.model(name, *version)).collect())
    }

    fn unloaded(&self, _name: &str) {}
}

/// The server.
pub(crate) struct Tensors {
    pub(crate) address: SocketAddr,
    pub(crate) served: ServedTensors,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tensors {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Back {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Back {
    pub(crate) fn json(&self) -> Value {
        let text = || String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", text()))
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {}", self.json())).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Tensors {
    /// A server of these models and no others.
    pub(crate) async fn open(models: Vec<TensorModel>) -> Self {
        Self::open_with(models, None, |_| {}).await
    }

    pub(crate) async fn open_with(
        models: Vec<TensorModel>,
        stock: Option<Arc<dyn TensorStock>>,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Ticking::default());
        let house = TensorHouseOptions { drain: PATIENCE };
        let served = ServedTensors::new(house, Arc::clone(&clock), stock);
        models.into_iter().for_each(|model| served.add(model).unwrap());
        let mut options = ServerOptions::new(Arc::new(|| 4), Arc::new(|| 1_700_000_000));
        options.keys = Some(ApiKeys::new(vec![KEY.to_owned()]).unwrap());
        options.tensors = Some(served.clone());
        change(&mut options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let none = ServedModels::new(&HouseOptions::new(0), clock);
        let task = tokio::spawn(async move {
            drop(serve(listener, none, options, std::future::pending()).await);
        });
        let tensors = Self { address, served, task };
        tensors.wait_ready().await;
        tensors
    }

    async fn wait_ready(&self) {
        let ready = async { while self.get("/v2/health/ready").await.status != 200 {} };
        tokio::time::timeout(PATIENCE, ready).await.expect("the server gets ready");
    }

    pub(crate) async fn get(&self, path: &str) -> Back {
        self.ask("GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Back {
        self.ask("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    }

    /// Posts JSON with bytes behind it.
    pub(crate) async fn post_bytes(&self, path: &str, body: &Value, bytes: &[u8]) -> Back {
        let json = body.to_string().into_bytes();
        let length = json.len().to_string();
        let headers =
            [("content-type", "application/octet-stream"), ("inference-header-content-length", length.as_str())];
        self.ask("POST", path, &headers, &[&json, bytes].concat()).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Back {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\nauthorization: {}\r\ncontent-length: {}\r\n",
            bearer(KEY),
            body.len()
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(&[head.as_bytes(), b"\r\n", body].concat()).await.unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.unwrap();
        let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Back { status, head, body: bytes[at + 4..].to_vec() }
    }
}
