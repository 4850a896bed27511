//! Texts to vectors: requests wait in a bounded queue, several run in one call of an encoder.
//!
//! ```text
//! submit -> check -> admission's place -> queue -> batch -> supervised engine -> each request's own vectors
//!                                           |  asker gone, deadline over: dropped
//! ```
//!
//! An [`Encoding`] stands before a [`SupervisedEngine`] that opens an encoder, which brings breaker, watchdog, retries
//! and fallback. Here are the bounds of the queue, whose turn it is, and the batch. One thread serves the queue. A
//! request's vectors do not depend on its company, so a call that failed with several requests is run again with each
//! of them alone: one that no engine survives does not take others with it.

mod error;
mod queue;
mod text;

pub use error::EncodeError;
pub use text::{Overlong, TextEncoder, normalize, shorten};

use crate::admission::{Admission, AdmissionOptions, QueuePermit};
use crate::events::{RequestAdmitted, RequestEnded, RequestRefused, RequestStarted};
use crate::supervised::{PredictError, PredictFault, PredictOptions, Prediction, SupervisedEngine};
use crate::telemetry::{CorrelationId, Ids, Telemetry, TenantId};
use crate::{FinishReason, Priority};
use ballast_backend::{Clock, EncoderShape, EncoderText, ErrorKind, TokenId, encoder_inputs, encoder_output_name};
use queue::{Entry, Queue, Share};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// Bounds of an encoder's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodingOptions {
    /// Bounds of the queue.
    pub admission: AdmissionOptions,
    /// Most texts of one request. Default 2048.
    pub texts_max: usize,
    /// Longest time one call of the engine may take, with its retries. Default 60 s.
    pub call_max: Duration,
    /// Waiting so long raises a request by one priority. Default 500 ms.
    pub age_step: Duration,
}

impl Default for EncodingOptions {
    fn default() -> Self {
        Self {
            admission: AdmissionOptions::default(),
            texts_max: 2048,
            call_max: Duration::from_secs(60),
            age_step: Duration::from_millis(500),
        }
    }
}

/// How often, and how long each time, requests wait for an engine that was lost and is being replaced.
const RESTARTS_AWAITED_MAX: u32 = 20;
const RESTART_WAIT_MIN: Duration = Duration::from_millis(10);
const RESTART_WAIT_MAX: Duration = Duration::from_secs(1);

/// What comes from outside.
#[derive(Clone)]
pub struct EncodingParts {
    /// What runs the texts.
    pub engine: SupervisedEngine,
    /// What it can do.
    pub shape: EncoderShape,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub telemetry: Telemetry,
}

impl fmt::Debug for EncodingParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodingParts").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// One text, in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTokens {
    /// All of them, those that frame the text, too.
    pub tokens: Vec<TokenId>,
    /// How many of them have the first token type.
    pub n_first: usize,
}

/// Texts to be turned into vectors.
#[derive(Clone, Debug, Default)]
pub struct EncodeRequest {
    /// The texts, at least one.
    pub texts: Vec<TextTokens>,
    /// Longest time until the answer; past it the request ends with `CANCELLED_BY_TIMEOUT`.
    pub deadline: Option<Duration>,
    /// Who asks: the engine's time is shared fairly between tenants.
    pub tenant: TenantId,
    /// How soon its turn comes.
    pub priority: Priority,
    /// What the caller calls it in events and logs; `None`: a number.
    pub correlation: Option<CorrelationId>,
}

/// The vectors of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// For each text its vectors, one after another: a single one, or one for each token where the encoder does not
    /// pool. Not normalised.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub n_tokens: usize,
    /// From submission until the first text ran.
    pub queue: Duration,
    /// From submission until the end.
    pub total: Duration,
}

/// An answer on its way. Dropping it cancels the request: texts that did not run yet never do.
#[derive(Debug)]
pub struct EncodeReply(oneshot::Receiver<Result<Encoded, EncodeError>>);

impl EncodeReply {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn recv(self) -> Result<Encoded, EncodeError> {
        self.0.await.unwrap_or(Err(EncodeError::Stopped))
    }

    /// Waits for the answer on this thread.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Panics
    /// If called from async code.
    pub fn wait(self) -> Result<Encoded, EncodeError> {
        self.0.blocking_recv().unwrap_or(Err(EncodeError::Stopped))
    }
}

/// The entrance to an encoder. Clones share it; with the last one its thread ends, and what waits is dropped.
#[derive(Clone)]
pub struct Encoding(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    parts: EncodingParts,
    options: EncodingOptions,
    admission: Admission,
    n_requests: AtomicU64,
    state: Mutex<State>,
    /// Somebody came, or the last entrance has gone.
    changed: Condvar,
}

struct State {
    queue: Queue,
    jobs: BTreeMap<u64, Job>,
    is_closed: bool,
}

/// A request that was taken in.
struct Job {
    texts: Vec<TextTokens>,
    vectors: Vec<Vec<f32>>,
    n_left: usize,
    reply: oneshot::Sender<Result<Encoded, EncodeError>>,
    /// Until its first text runs.
    permit: Option<QueuePermit>,
    submitted: Duration,
    queue: Duration,
    deadline: Option<Duration>,
    tenant: TenantId,
    correlation: CorrelationId,
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoding").field("shape", &self.0.shared.parts.shape).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.is_closed = true;
            state.jobs.clear();
        }
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It ends when its last call does, whose deadline is bounded. A panic was logged where it happened.
            drop(thread.join());
        }
    }
}

impl Encoding {
    /// Begins to serve.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(parts: EncodingParts, options: EncodingOptions) -> Result<Self, EncodeError> {
        let queue = Queue::new(options.age_step, (parts.shape.max_batch_tokens, parts.shape.max_batch_texts));
        let shared = Arc::new(Shared {
            parts,
            options,
            admission: Admission::new(options.admission),
            n_requests: AtomicU64::new(0),
            state: Mutex::new(State { queue, jobs: BTreeMap::new(), is_closed: false }),
            changed: Condvar::new(),
        });
        let at = Arc::clone(&shared);
        let thread = Builder::new().name("ballast-encoding".to_owned()).spawn(move || at.serve());
        let thread = thread.map_err(|_| EncodeError::ThreadRefused)?;
        Ok(Self(Arc::new(Handle { shared, thread: Some(thread) })))
    }

    /// What the encoder can do.
    #[must_use]
    pub fn shape(&self) -> &EncoderShape {
        &self.0.shared.parts.shape
    }

    /// The engine behind the queue.
    #[must_use]
    pub fn engine(&self) -> &SupervisedEngine {
        &self.0.shared.parts.engine
    }

    /// Requests that wait for their first text to run.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        self.0.shared.admission.n_waiting()
    }

    /// Takes nothing more; what was taken in is answered.
    pub fn drain(&self) {
        self.0.shared.admission.close();
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// If it is not what the encoder takes, or there is no room.
    pub fn submit(&self, request: EncodeRequest) -> Result<EncodeReply, EncodeError> {
        self.0.shared.submit(request)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, request: EncodeRequest) -> Result<EncodeReply, EncodeError> {
        let number = self.n_requests.fetch_add(1, Ordering::Relaxed);
        let correlation = request.correlation.clone().unwrap_or_else(|| CorrelationId::from_number(number));
        let tenant = request.tenant.clone();
        let ids = Ids::new(&correlation, &tenant);
        let taken = self.check(&request).and_then(|n_tokens| Ok(self.admission.place(n_tokens)?));
        let permit = taken.inspect_err(|error| {
            let refused = RequestRefused { kind: error.kind(), reason: error.reason() };
            self.parts.telemetry.emit_for(ids, &refused);
        })?;
        self.parts.telemetry.emit_for(ids, &RequestAdmitted);
        let now = self.parts.clock.now();
        let (reply, receiver) = oneshot::channel();
        let EncodeRequest { texts, deadline, tenant, priority, .. } = request;
        let n_tokens = texts.iter().map(|text| text.tokens.len()).collect();
        let entry =
            Entry { job: number, first: 0, n_tokens, tenant: tenant.clone(), priority, arrived: now, is_alone: false };
        let job = Job {
            vectors: vec![Vec::new(); texts.len()],
            n_left: texts.len(),
            texts,
            reply,
            permit: Some(permit),
            submitted: now,
            queue: Duration::ZERO,
            deadline: deadline.map(|deadline| now.saturating_add(deadline)),
            tenant,
            correlation,
        };
        let mut state = self.lock();
        state.queue.push(entry);
        state.jobs.insert(number, job);
        drop(state);
        self.changed.notify_one();
        Ok(EncodeReply(receiver))
    }

    /// The request's tokens, if it is one that the encoder takes.
    fn check(&self, request: &EncodeRequest) -> Result<usize, EncodeError> {
        let (shape, texts_max) = (&self.parts.shape, self.options.texts_max);
        let n_texts = request.texts.len();
        if !(1..=texts_max).contains(&n_texts) {
            return Err(EncodeError::Texts { texts_max, got: n_texts });
        }
        for (idx, TextTokens { tokens, .. }) in request.texts.iter().enumerate() {
            if !(1..=shape.context_len).contains(&tokens.len()) {
                return Err(EncodeError::TextLength { idx, tokens_max: shape.context_len, got: tokens.len() });
            }
            if let Some(token) = tokens.iter().find(|token| token.index() >= shape.vocab_size) {
                return Err(EncodeError::Token { idx, vocab_size: shape.vocab_size, got: token.0 });
            }
        }
        Ok(request.texts.iter().map(|text| text.tokens.len()).sum())
    }

    /// The thread: batch after batch, until the last entrance has gone.
    fn serve(&self) {
        while let Some((shares, texts)) = self.next_batch() {
            let texts: Vec<_> =
                texts.iter().map(|text| EncoderText { tokens: &text.tokens, n_first: text.n_first }).collect();
            let mut outcome = self.call(&texts);
            for _ in 0..RESTARTS_AWAITED_MAX {
                let Err(EncodeError::Engine(PredictError { fault: PredictFault::AllLost, retry_after, .. })) = &outcome
                else {
                    break;
                };
                self.pause(retry_after.unwrap_or_default().clamp(RESTART_WAIT_MIN, RESTART_WAIT_MAX));
                outcome = self.call(&texts);
            }
            let outcome = outcome.map_err(Arc::new);
            self.settle(&shares, outcome);
        }
    }

    fn call(&self, texts: &[EncoderText<'_>]) -> Result<Prediction, EncodeError> {
        let inputs = encoder_inputs(texts).map_err(EncodeError::Inputs)?;
        let options = PredictOptions { deadline: self.options.call_max, ..PredictOptions::default() };
        Ok(self.parts.engine.predict_blocking(inputs, options)?)
    }

    /// Waits for an engine that is being replaced, or for the last entrance to go.
    fn pause(&self, time: Duration) {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, time, |state| !state.is_closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The next batch and its texts, as soon as there is one; `None`: nobody can ask any more.
    fn next_batch(&self) -> Option<(Vec<Share>, Vec<TextTokens>)> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            let now = self.parts.clock.now();
            self.drop_ended(&mut state, now);
            let shares = state.queue.batch(now);
            if !shares.is_empty() {
                let mut texts = Vec::new();
                for share in &shares {
                    let job = state.jobs.get_mut(&share.job).expect("what waits has its job");
                    self.begin(job, now);
                    texts.extend_from_slice(&job.texts[share.texts.clone()]);
                }
                return Some((shares, texts));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn begin(&self, job: &mut Job, now: Duration) {
        if let Some(permit) = job.permit.take() {
            permit.serve(now);
            job.queue = now.saturating_sub(job.submitted);
            let ids = Ids::new(&job.correlation, &job.tenant);
            self.parts.telemetry.emit_for(ids, &RequestStarted { queue_time: job.queue });
        }
    }

    /// Ends jobs that nobody waits for, and those whose time is over.
    fn drop_ended(&self, state: &mut State, now: Duration) {
        let is_over = |job: &Job| job.deadline.is_some_and(|deadline| now >= deadline);
        let ended = state.jobs.iter().filter(|(_, job)| job.reply.is_closed() || is_over(job));
        for id in ended.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end(state, id, Err(EncodeError::Deadline));
        }
    }

    /// Gives the vectors of a call to those who asked for them.
    fn settle(&self, shares: &[Share], outcome: Result<Prediction, Arc<EncodeError>>) {
        let mut state = self.lock();
        let now = self.parts.clock.now();
        match outcome.and_then(|prediction| self.vectors(shares, &prediction)) {
            Ok(vectors) => {
                for (share, vectors) in shares.iter().zip(vectors) {
                    // Its asker may have gone meanwhile.
                    let Some(job) = state.jobs.get_mut(&share.job) else { continue };
                    job.n_left -= vectors.len();
                    job.vectors[share.texts.clone()].iter_mut().zip(vectors).for_each(|(place, own)| *place = own);
                    let is_late = job.deadline.is_some_and(|deadline| now >= deadline);
                    if job.n_left == 0 || is_late {
                        self.end(&mut state, share.job, if is_late { Err(EncodeError::Deadline) } else { Ok(now) });
                    }
                }
            }
            Err(error) if shares.len() > 1 && error.may_be_anothers() => {
                shares.iter().for_each(|share| state.queue.again_alone(share));
            }
            Err(error) => {
                shares
                    .iter()
                    .for_each(|share| self.end(&mut state, share.job, Err(EncodeError::Shared(Arc::clone(&error)))));
            }
        }
    }

    /// For each share the vectors of its texts.
    fn vectors(&self, shares: &[Share], prediction: &Prediction) -> Result<Vec<Vec<Vec<f32>>>, Arc<EncodeError>> {
        let shape = &self.parts.shape;
        let n_entries = |len: &usize| shape.n_vectors(*len) * shape.width;
        let mut rest = prediction.outputs.get(encoder_output_name()).and_then(|tensor| tensor.as_f32()).unwrap_or(&[]);
        let expected: usize = shares.iter().flat_map(|share| &share.n_tokens).map(n_entries).sum();
        if rest.len() != expected {
            return Err(Arc::new(EncodeError::Output { expected, got: rest.len() }));
        }
        let mut take = |len: &usize| {
            let (own, others) = rest.split_at(n_entries(len));
            rest = others;
            own.to_vec()
        };
        Ok(shares.iter().map(|share| share.n_tokens.iter().map(&mut take).collect()).collect())
    }

    /// Ends a job: takes it out of the queue, tells its asker, tells the world.
    fn end(&self, state: &mut State, id: u64, how: Result<Duration, EncodeError>) {
        state.queue.remove(id);
        let Some(job) = state.jobs.remove(&id) else { return };
        let now = self.parts.clock.now();
        let n_tokens: usize = job.texts.iter().map(|text| text.tokens.len()).sum();
        let total = now.saturating_sub(job.submitted);
        let (finish_reason, reason) = match &how {
            Ok(_) => (FinishReason::Stop, None),
            Err(error) if error.kind() == ErrorKind::Cancelled => (FinishReason::Cancelled, error.reason()),
            Err(error) => (FinishReason::Error, error.reason()),
        };
        let ended = RequestEnded {
            finish_reason,
            reason,
            prompt_tokens: n_tokens,
            completion_tokens: 0,
            cached_tokens: 0,
            total,
        };
        self.parts.telemetry.emit_for(Ids::new(&job.correlation, &job.tenant), &ended);
        let Job { vectors, queue, reply, .. } = job;
        // Whoever has gone needs no answer.
        drop(reply.send(how.map(|_| Encoded { vectors, n_tokens, queue, total })));
    }
}
