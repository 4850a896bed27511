//! A loaded encoder: texts to vectors, and documents by how well they answer a question.

use crate::{Error, Finding, MemoryBudget, SystemClock, machine::Machine};
use ballast_backend::{Clock, EncoderShape, Pooling, PrepareOptions};
use ballast_gguf::Gguf;
use ballast_llm::{EncoderConfig, EncoderCpu, EncoderOptions, STEP_SLA};
use ballast_runtime::encoding::{
    EncodeReply, EncodeRequest, Encoding, EncodingOptions, EncodingParts, Overlong, TextEncoder, normalize,
};
use ballast_runtime::events;
use ballast_runtime::instance_pool::PoolOptions;
use ballast_runtime::supervised::{Link, LinkModel, SupervisedEngine, SupervisedOptions, SupervisedParts};
use ballast_runtime::telemetry::Telemetry;
use ballast_tokens::WordPiece;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

/// How to load an encoder.
#[derive(Clone, Debug)]
pub struct EncoderLoadOptions {
    /// How token vectors become one; `None`: as the file says.
    pub pooling: Option<Pooling>,
    /// Most tokens of one call of the engine; as many as one text may have, at least.
    pub max_batch_tokens: usize,
    /// Most texts of one call of the engine.
    pub max_batch_texts: usize,
    /// Compute threads; `None`: the CPUs this process may use.
    pub n_threads: Option<usize>,
    /// Kernel set by name; `None`: the best this CPU has.
    pub kernels: Option<String>,
    /// What the model may take.
    pub memory: MemoryBudget,
    /// The bounds of the queue.
    pub encoding: EncodingOptions,
    /// Where events go.
    pub telemetry: Telemetry,
}

impl Default for EncoderLoadOptions {
    fn default() -> Self {
        let EncoderOptions { max_batch_tokens, max_batch_texts, .. } = EncoderOptions::default();
        Self {
            pooling: None,
            max_batch_tokens,
            max_batch_texts,
            n_threads: None,
            kernels: None,
            memory: MemoryBudget::default(),
            encoding: EncodingOptions::default(),
            telemetry: Telemetry::default(),
        }
    }
}

/// What loading an encoder found out.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderReport {
    /// `general.name`, where the file has one.
    pub name: Option<String>,
    /// What it can do.
    pub shape: EncoderShape,
    /// Entries of a token's vector.
    pub embed_dim: usize,
    /// Bytes it was planned to take.
    pub memory_bytes: u64,
    /// What may be of interest.
    pub findings: Vec<Finding>,
}

/// A text's vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Its entries; of unit length, unless asked for otherwise. Where the encoder does not pool, those of all tokens,
    /// one after another, each of unit length.
    pub vector: Vec<f32>,
}

/// A document's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Which of the documents.
    pub idx: usize,
    /// The classifier's score, as it is.
    pub score: f32,
}

impl Ranked {
    /// The score between 0 and 1.
    #[must_use]
    pub fn relevance(&self) -> f32 {
        1.0 / (1.0 + (-self.score).exp())
    }
}

/// A loaded encoder. Send + Sync; clones share the model and its batch.
#[derive(Clone, Debug)]
pub struct Encoder {
    texts: TextEncoder,
    report: Arc<EncoderReport>,
}

impl Encoder {
    /// Whether a file is one that this opens.
    #[must_use]
    pub fn is_in(gguf: &Gguf) -> bool {
        EncoderConfig::is_in(gguf.metadata())
    }

    /// Opens the GGUF encoder at `path` and starts its engine.
    ///
    /// # Errors
    /// If the file is not an encoder that can be run, or it does not fit the memory budget.
    pub fn open(path: &Path, options: &EncoderLoadOptions) -> Result<Self, Error> {
        let gguf = Gguf::open(path)?;
        let config = EncoderConfig::check(&gguf)?;
        let vocabulary = WordPiece::from_gguf(gguf.metadata())?;
        let engine_options = engine_options(options)?;
        let shape = engine_options.shape(&config)?;
        let plan = engine_options.plan(&gguf)?;
        let limit = options.memory.bytes.or_else(|| Machine::read().memory_bytes());
        let checked = limit.map_or(Ok(None), |limit| options.memory.check(&plan, limit));
        if let Some(reason) = checked.as_ref().err().and_then(Error::reason) {
            options.telemetry.emit(&events::MemoryBudget { reason });
        }
        let findings = Vec::from_iter(checked?);
        let memory_bytes = plan.total_bytes();
        let name = gguf.metadata().string("general.name")?.map(str::to_owned);
        drop(gguf);

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let engine = EncoderCpu::new(engine_options, Arc::clone(&clock), STEP_SLA);
        let artifact = engine.artifact(path)?;
        let model = LinkModel::Artifact { artifact, options: PrepareOptions::default() };
        let link = Link { engine: Arc::new(engine), model, memory: None };
        let telemetry = options.telemetry.clone();
        let parts = SupervisedParts { clock: Arc::clone(&clock), telemetry: telemetry.clone() };
        // One instance uses all threads; more would stand in each other's way.
        let pool = PoolOptions { n_instances: 1, ..PoolOptions::default() };
        let engine =
            SupervisedEngine::open(vec![link], parts, SupervisedOptions { pool, ..SupervisedOptions::default() })?;
        let encoding = Encoding::start(EncodingParts { engine, shape, clock, telemetry }, options.encoding)?;
        let report = EncoderReport { name, shape, embed_dim: config.embed_dim, memory_bytes, findings };
        Ok(Self { texts: TextEncoder::new(encoding, Arc::new(vocabulary)), report: Arc::new(report) })
    }

    /// What loading found out.
    #[must_use]
    pub fn report(&self) -> &EncoderReport {
        &self.report
    }

    /// The encoder with its vocabulary: what a server is given.
    #[must_use]
    pub fn texts(&self) -> &TextEncoder {
        &self.texts
    }

    /// The texts' vectors, of unit length, in the order of the texts. A text that is too long is refused.
    ///
    /// # Errors
    /// If a text is too long, the queue is full, the engine fails, or the model gives scores instead of vectors.
    ///
    /// # Panics
    /// If called from async code.
    pub fn embed<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Embedding>, Error> {
        let texts = texts.iter().map(|text| self.texts.text(text.as_ref(), Overlong::Refuse)).collect();
        let mut embeddings = self.embed_raw(EncodeRequest { texts, ..EncodeRequest::default() })?;
        let dim = self.report.embed_dim;
        embeddings.iter_mut().flat_map(|embedding| embedding.vector.chunks_exact_mut(dim)).for_each(normalize);
        Ok(embeddings)
    }

    /// The vectors of a request as the model gives them.
    ///
    /// # Errors
    /// As [`Encoder::embed`].
    ///
    /// # Panics
    /// If called from async code.
    pub fn embed_raw(&self, request: EncodeRequest) -> Result<Vec<Embedding>, Error> {
        if self.report.shape.pooling == Pooling::Rank {
            return Err(Error::NotAnEmbedder);
        }
        let encoded = self.submit(request)?.wait()?;
        Ok(encoded.vectors.into_iter().map(|vector| Embedding { vector }).collect())
    }

    /// The documents by how well they answer `query`, best first. Documents that are too long are cut.
    ///
    /// # Errors
    /// If the model has no classifier of one label, the queue is full, or the engine fails.
    ///
    /// # Panics
    /// If called from async code.
    pub fn rerank<T: AsRef<str>>(&self, query: &str, documents: &[T]) -> Result<Vec<Ranked>, Error> {
        let EncoderShape { pooling, width, .. } = self.report.shape;
        if pooling != Pooling::Rank || width != 1 {
            return Err(Error::NotAReranker);
        }
        let overlong = Overlong::Truncate { tokens_max: None };
        let texts = documents.iter().map(|document| self.texts.pair(query, document.as_ref(), overlong)).collect();
        let encoded = self.submit(EncodeRequest { texts, ..EncodeRequest::default() })?.wait()?;
        let scores = encoded.vectors.iter().enumerate();
        let mut ranked: Vec<Ranked> = scores.map(|(idx, vector)| Ranked { idx, score: vector[0] }).collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(ranked)
    }

    /// Takes a request in; dropping the reply cancels it.
    ///
    /// # Errors
    /// If it is not what the encoder takes, or there is no room.
    pub fn submit(&self, request: EncodeRequest) -> Result<EncodeReply, Error> {
        Ok(self.texts.encoding().submit(request)?)
    }
}

fn engine_options(options: &EncoderLoadOptions) -> Result<EncoderOptions, Error> {
    let load = crate::LoadOptions {
        n_threads: options.n_threads,
        kernels: options.kernels.clone(),
        max_batch_tokens: options.max_batch_tokens,
        n_parallel: options.max_batch_texts,
        ..crate::LoadOptions::default()
    };
    let checked = crate::wiring::engine_options(&load)?;
    let n_threads: NonZeroUsize = checked.n_threads;
    Ok(EncoderOptions {
        kernels: checked.kernels,
        n_threads,
        pooling: options.pooling,
        max_batch_tokens: options.max_batch_tokens,
        max_batch_texts: options.max_batch_texts,
    })
}
