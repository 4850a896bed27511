//! Events: one struct each, which emits log, metric and span together through [`crate::telemetry::Telemetry::emit`].
//!
//! Their fields are numbers, times, enums and words of the program; there is no field that could hold a prompt or an
//! answer. `engine` is always the engine's own name (`InferenceEngine::name`).
//!
//! ```
//! use ballast_runtime::events::{FallbackEngaged, KvLookup};
//! use ballast_runtime::telemetry::{CorrelationId, Ids, Metrics, Telemetry, TenantId};
//! use ballast_backend::ReasonCode;
//! use std::sync::Arc;
//!
//! let metrics = Arc::new(Metrics::default());
//! let telemetry = Telemetry { metrics: Some(Arc::clone(&metrics)), logger: None };
//! telemetry.emit(&FallbackEngaged { engine: "llm-cpu", reason: ReasonCode::CircuitOpen });
//! let (correlation, tenant) = (CorrelationId::from_number(1), TenantId::default());
//! telemetry.emit_for(Ids::new(&correlation, &tenant), &KvLookup { hit_tokens: 3, miss_tokens: 1 });
//! assert_eq!(metrics.snapshot().resources.kv_hit_rate, Some(0.75));
//! ```

mod engine;
mod memory;
mod model;
mod request;
mod routing;

pub use engine::{
    BREAKER_CLOSED, BreakerChanged, EngineCrashed, EngineRestarted, EngineStalled, FallbackEngaged, InferenceEnded,
    ParityMeasured, ThreadsObserved,
};
pub use memory::{BufferTaken, KvEvicted, KvLookup, MemoryBudget, MemoryObserved, PoolWait, Preempted};
pub use model::{
    CompileEnded, EngineCreated, LoadStuck, ModelLoadEnded, ModelLoadStarted, SessionCreated, SessionDisposed,
};
pub(crate) use request::kind_word;
pub use request::{
    Degraded, FirstToken, QueueDepth, RequestAdmitted, RequestEnded, RequestRefused, RequestStarted, Retried,
    TokenGenerated,
};
pub use routing::RolloutChanged;
