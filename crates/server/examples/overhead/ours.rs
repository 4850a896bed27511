//! The whole server: key, rate limit, metrics, the runtime and its threads, in front of an engine that costs nothing.

use crate::SystemClock;
use ballast_backend::{EngineError, Generator as Engine, GeneratorShape, Logits, Pulse, SequenceStep, TokenId};
use ballast_runtime::telemetry::{Telemetry, TracingLogger};
use ballast_runtime::{AdmissionOptions, Runtime, RuntimeOptions, RuntimeParts};
use ballast_server::{
    ApiKeys, Generator, ModelFacts, ModelKind, RateLimit, ServedModel, ServedModels, ServerOptions, serve,
};
use ballast_testkit::{IM_END, tiny_prompt_format};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

const KEY: &str = "a-key-nobody-guesses";
/// Logit of the one token the engine says.
const LOGIT: f32 = 30.0;

/// Says its end at once: an answer of one token that is no text.
struct Silent {
    shape: GeneratorShape,
    end: TokenId,
}

impl Engine for Silent {
    fn shape(&self) -> &GeneratorShape {
        &self.shape
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, _pulse: &Pulse) -> Result<(), EngineError> {
        let n_rows = batch.iter().map(SequenceStep::n_logit_rows).sum();
        logits.reset(n_rows, self.shape.vocab_size).fill(0.0);
        (0..n_rows).for_each(|row| logits.row_mut(row)[self.end.index()] = LOGIT);
        Ok(())
    }
}

/// A server on threads of its own, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    // An engine's last handle is not to be dropped where sockets are served.
    _runtime: Runtime,
    _threads: tokio::runtime::Runtime,
}

/// Two threads, as `ballast serve` has.
pub(crate) fn threads(name: &str) -> tokio::runtime::Runtime {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(2).thread_name(name).enable_all().build().expect("threads can be had")
}

/// A small question, with the key.
pub(crate) fn request() -> Vec<u8> {
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"hello"}],"temperature":0,"max_tokens":16}"#;
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\
        content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Server {
    /// # Panics
    /// If there is no loopback port.
    pub(crate) fn start(clock: SystemClock) -> Self {
        let (runtime, model) = model(clock);
        let threads = threads("ballast");
        let listener = threads.block_on(TcpListener::bind("127.0.0.1:0")).expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let random = AtomicU64::new(1);
        let random = Arc::new(move || random.fetch_add(1, Ordering::Relaxed));
        let mut options = ServerOptions::new(random, Arc::new(|| 1_700_000_000));
        options.keys = Some(ApiKeys::new(vec![KEY.to_owned()]).expect("the key is good"));
        // On, and never reached.
        options.rate_limit = Some(RateLimit { interval: Duration::from_nanos(1), burst: NonZeroU32::MAX });
        let models = ServedModels::loaded(vec![model], Arc::new(clock)).expect("it has a name");
        threads.spawn(serve(listener, models, options, std::future::pending()));
        Self { address, _runtime: runtime, _threads: threads }
    }
}

fn model(clock: SystemClock) -> (Runtime, ServedModel) {
    let format = tiny_prompt_format();
    let tokenizer = Arc::clone(format.tokenizer());
    let end = tokenizer.id_of(IM_END).expect("ChatML has an end of turn");
    let shape = GeneratorShape {
        vocab_size: tokenizer.vocab_size(),
        context_len: 512,
        block_len: 16,
        n_blocks: 4096,
        max_batch_tokens: 4096,
        max_batch_sequences: 64,
    };
    let admission = AdmissionOptions { queue_max: 256, ..AdmissionOptions::default() };
    let parts = RuntimeParts {
        options: RuntimeOptions { admission, ..RuntimeOptions::default() },
        telemetry: Telemetry { metrics: Some(Arc::default()), logger: Some(Arc::new(TracingLogger)) },
        ..RuntimeParts::new(tokenizer, Arc::new(clock))
    };
    let runtime = Runtime::start(Box::new(Silent { shape, end }), parts);
    let model = ServedModel {
        id: "tiny".to_owned(),
        aliases: Vec::new(),
        kind: ModelKind::Generator(Generator { runtime: runtime.clone(), format }),
        fingerprint: "silent".to_owned(),
        created: 0,
        facts: ModelFacts::default(),
    };
    (runtime, model)
}
