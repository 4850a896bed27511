//! Everything that can be set, and every bound.

use crate::cors::{CORS_ORIGINS_MAX, CorsOrigin};
use crate::{
    ApiKeys, AuditLog, BulkheadOptions, CallerLimits, JwtVerifier, KeyStore, LiveLimits, ModelStock, RateLimit,
    ResponseStoreOptions, ServedTensors, ServerError, TlsStore,
};
use ballast_tokens::SamplingParams;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where random numbers come from: seeds of requests without one, and identifiers.
pub type RandomSource = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Seconds since 1970-01-01 00:00 UTC.
pub type UnixTime = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Whether a model is to think before it answers, where its chat template can ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// What the outside is told of a server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPhase {
    /// The first model is loaded: requests are answered.
    Ready,
    /// It is about to go.
    Leaving,
}

/// Is told when a phase begins. Called from async code: it is quick.
pub type PhaseHook = Arc<dyn Fn(ServerPhase) + Send + Sync>;

/// How to serve.
#[derive(Clone)]
pub struct ServerOptions {
    /// Keys that open every route but liveness; `None`: every route is open. Only the caller can know whether that is
    /// safe.
    pub keys: Option<ApiKeys>,
    /// Keys of a file, each with what it may do; they open routes next to [`Self::keys`].
    pub key_store: Option<Arc<KeyStore>>,
    /// Who issues tokens that open routes next to keys.
    pub jwt: Option<Arc<JwtVerifier>>,
    /// Pages of browsers that may read answers, by their origin; none by default.
    pub cors_origins: Vec<CorsOrigin>,
    /// Who did what; `None`: nobody writes it down.
    pub audit: Option<Arc<AuditLog>>,
    /// Certificates; `None`: connections are not encrypted.
    pub tls: Option<Arc<TlsStore>>,
    /// Longest handshake of TLS.
    pub handshake_timeout: Duration,
    /// Time from one look for changed files to the next: a key that is revoked opens nothing after it.
    pub reload_interval: Duration,
    /// Keys that open nothing which an address may present in a minute, before none of its keys is looked at for a
    /// while; `None`: any number. Behind a proxy, all clients are one address.
    pub failed_logins_per_minute: Option<NonZeroU32>,
    /// How often a key, or an address where no key is asked for, may ask; `None`: as often as it likes.
    pub rate_limit: Option<RateLimit>,
    /// Tokens a minute that a key, or an address, may use; `None`: any number.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Requests that a key, or an address, may have at work; `None`: any number.
    pub concurrency: Option<NonZeroU32>,
    /// If it is there, it says what [`Self::rate_limit`], [`Self::tokens_per_minute`] and [`Self::concurrency`] are now.
    pub live_limits: Option<Arc<LiveLimits>>,
    /// Requests of each class of routes at a time.
    pub bulkheads: BulkheadOptions,
    /// Longest request body.
    pub body_bytes_max: usize,
    /// Longest body of a request with tensors, and longest message of gRPC.
    pub tensor_body_bytes_max: usize,
    /// Tensor models; `None`: there are none.
    pub tensors: Option<ServedTensors>,
    /// Most connections at a time. When there are so many, the one that has done nothing for longest makes room for
    /// another; where all are busy, further ones wait in the system's backlog.
    pub connections_max: usize,
    /// Longest time from the first byte of a request's head to its last.
    pub header_timeout: Duration,
    /// Longest time that a connection is kept open on which nothing is asked.
    pub idle_timeout: Duration,
    /// Longest wait for a request's body.
    pub body_timeout: Duration,
    /// Longest time a client may take no byte of an answer.
    pub stall_timeout: Duration,
    /// Time a request has when it does not ask for another.
    pub request_deadline: Duration,
    /// Longest time a request may ask for.
    pub request_deadline_max: Duration,
    /// How long past its deadline a request is waited for before the server answers without the runtime.
    pub deadline_grace: Duration,
    /// Time that routes have on which nothing is generated or embedded; what they stream is not cut by it.
    pub route_timeout: Duration,
    /// Longest time that a request waits for its model to be loaded, within its own time.
    pub load_wait_max: Duration,
    /// Most tokens of an answer when the request does not say; `None`: until the context is full.
    pub max_tokens_default: Option<usize>,
    /// How tokens are drawn where a request does not say.
    pub sampling: SamplingParams,
    /// What chat templates are told of reasoning; `None`: as [`Reasoning::On`].
    pub reasoning: Option<Reasoning>,
    /// Where one model is served, a request may name any model or none, on every wire.
    pub any_model: bool,
    /// Chat answers tell the prompt that they were made from, in `__verbose`, where a request does not say.
    pub tells_prompts: bool,
    /// Whether callers may ask what the places for sequences are doing: `GET /slots`.
    pub shows_slots: bool,
    /// Where the contents of places may be saved; `None`: they cannot be.
    pub slot_dir: Option<PathBuf>,
    /// Who fetches and deletes models; `None`: callers can do neither, nor give models other names.
    pub stock: Option<Arc<dyn ModelStock>>,
    /// Longest silence in a streamed answer before a comment is sent.
    pub keep_alive: Duration,
    /// Time from the word to end until no connection is taken any more. Readiness says no at once, so that load balancers
    /// look elsewhere first.
    pub drain_delay: Duration,
    /// Time that answers in progress have after that.
    pub drain_timeout: Duration,
    /// Time that answers cut at the end of draining have to say so.
    pub cut_timeout: Duration,
    /// Told of the server's life; `None`: nobody is.
    pub on_phase: Option<PhaseHook>,
    /// How many responses are kept, how long, and in how much memory.
    pub responses: ResponseStoreOptions,
    /// Where random numbers come from.
    pub random: RandomSource,
    /// Where the date comes from.
    pub unix_time: UnixTime,
}

impl ServerOptions {
    /// Defaults, without keys.
    #[must_use]
    pub fn new(random: RandomSource, unix_time: UnixTime) -> Self {
        Self {
            keys: None,
            key_store: None,
            jwt: None,
            cors_origins: Vec::new(),
            audit: None,
            tls: None,
            handshake_timeout: Duration::from_secs(10),
            reload_interval: Duration::from_secs(5),
            failed_logins_per_minute: NonZeroU32::new(30),
            rate_limit: None,
            tokens_per_minute: None,
            concurrency: None,
            live_limits: None,
            bulkheads: BulkheadOptions::default(),
            body_bytes_max: 1 << 20,
            tensor_body_bytes_max: 64 << 20,
            tensors: None,
            connections_max: 16_384,
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(120),
            body_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            request_deadline: Duration::from_secs(300),
            request_deadline_max: Duration::from_secs(3600),
            deadline_grace: Duration::from_secs(10),
            route_timeout: Duration::from_secs(30),
            load_wait_max: Duration::MAX,
            max_tokens_default: None,
            sampling: SamplingParams::default(),
            reasoning: None,
            any_model: false,
            tells_prompts: false,
            shows_slots: true,
            slot_dir: None,
            stock: None,
            keep_alive: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            cut_timeout: Duration::from_secs(2),
            on_phase: None,
            responses: ResponseStoreOptions::default(),
            random,
            unix_time,
        }
    }

    /// What a caller may use up that has no limits of its own.
    pub(crate) fn caller_limits(&self) -> CallerLimits {
        if let Some(live) = &self.live_limits {
            return live.now();
        }
        CallerLimits {
            requests: self.rate_limit,
            tokens_per_minute: self.tokens_per_minute,
            concurrency: self.concurrency,
        }
    }

    /// Checks what no request could be served with.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        let counts = [
            ("connections_max", self.connections_max),
            ("body_bytes_max", self.body_bytes_max),
            ("tensor_body_bytes_max", self.tensor_body_bytes_max),
            ("max_tokens_default", self.max_tokens_default.unwrap_or(1)),
            ("bulkheads.generation_max", self.bulkheads.generation_max),
            ("bulkheads.embeddings_max", self.bulkheads.embeddings_max),
            ("bulkheads.predictions_max", self.bulkheads.predictions_max),
            ("bulkheads.reading_max", self.bulkheads.reading_max),
            ("bulkheads.admin_max", self.bulkheads.admin_max),
        ];
        if let Some((option, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ServerError::Option { option, expected: "at least 1" });
        }
        if self.sampling.validate().is_err() {
            return Err(ServerError::Option { option: "sampling", expected: "parameters in their ranges" });
        }
        let times = [
            ("rate_limit", self.rate_limit.map_or(Duration::MAX, |limit| limit.interval)),
            ("reload_interval", self.reload_interval),
            ("handshake_timeout", self.handshake_timeout),
            ("header_timeout", self.header_timeout),
            ("idle_timeout", self.idle_timeout),
            ("body_timeout", self.body_timeout),
            ("stall_timeout", self.stall_timeout),
            ("request_deadline", self.request_deadline),
            ("route_timeout", self.route_timeout),
            ("keep_alive", self.keep_alive),
        ];
        if let Some((option, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(ServerError::Option { option, expected: "more than no time" });
        }
        if self.cors_origins.len() > CORS_ORIGINS_MAX {
            return Err(ServerError::Option { option: "cors_origins", expected: "at most 64" });
        }
        if self.request_deadline > self.request_deadline_max {
            return Err(ServerError::Option { option: "request_deadline", expected: "at most request_deadline_max" });
        }
        Ok(())
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("keys", &self.keys)
            .field("key_store", &self.key_store)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("connections_max", &self.connections_max)
            .field("request_deadline", &self.request_deadline)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut ServerOptions)) -> Option<&'static str> {
        let mut options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
        change(&mut options);
        match options.check() {
            Err(ServerError::Option { option, .. }) => Some(option),
            _ => None,
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused_by_name() {
        assert_eq!(check(|_| {}), None);
        assert_eq!(check(|o| o.connections_max = 0), Some("connections_max"));
        assert_eq!(check(|o| o.bulkheads.admin_max = 0), Some("bulkheads.admin_max"));
        assert_eq!(check(|o| o.max_tokens_default = Some(0)), Some("max_tokens_default"));
        assert_eq!(check(|o| o.sampling.temperature = -1.0), Some("sampling"));
        assert_eq!(check(|o| o.keep_alive = Duration::ZERO), Some("keep_alive"));
        assert_eq!(check(|o| o.request_deadline_max = Duration::from_secs(1)), Some("request_deadline"));
    }
}
