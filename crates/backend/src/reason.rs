//! Reason codes: the stable words by which an outcome is told to programs.

use std::fmt;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a request ended, was refused or was served in a degraded way. The string form is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ReasonCode { $($(#[$doc])* $name,)* }

        impl ReasonCode {
            /// Every code, in declaration order.
            pub const ALL: &'static [ReasonCode] = &[$(ReasonCode::$name,)*];

            /// The stable string form.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(ReasonCode::$name => $text,)* }
            }
        }
    };
}

reason_codes! {
    /// The file carries no tokenizer metadata that can be used.
    TokenizerGgufMetadataMissing = "TOKENIZER_GGUF_METADATA_MISSING",
    /// The vocabulary is incomplete: fewer tokens than the model has, or bytes that no token covers.
    TokenizerVocabPartial = "TOKENIZER_VOCAB_PARTIAL",
    /// A BPE vocabulary without its merges.
    TokenizerMergesMissing = "TOKENIZER_MERGES_MISSING",
    /// Text is split into bytes, not into the model's own tokens.
    TokenizerFallbackByteBpe = "TOKENIZER_FALLBACK_BYTEBPE",
    /// Text is matched greedily against the token table, without merges.
    TokenizerFallbackTokenTableOnly = "TOKENIZER_FALLBACK_TOKENTABLE_ONLY",
    /// The pre-tokenizer is not known; another was used because the caller allowed it.
    TokenizerPreTokenizerUnknown = "TOKENIZER_PRETOKENIZER_UNKNOWN",
    /// The caller went away or asked for the end.
    CancelledByCaller = "CANCELLED_BY_CALLER",
    /// A deadline passed.
    CancelledByTimeout = "CANCELLED_BY_TIMEOUT",
    /// The reader was too slow and its buffer stayed full.
    BackpressureBufferFull = "BACKPRESSURE_BUFFER_FULL",
    /// The queue for the model is full.
    BackpressureQueueFull = "BACKPRESSURE_QUEUE_FULL",
    /// The plan needs more memory than the budget allows.
    MemoryBudgetExceeded = "MEMORY_BUDGET_EXCEEDED",
    /// The plan comes close to the budget, or goes over one that is only a wish.
    MemoryBudgetSoftLimit = "MEMORY_BUDGET_SOFT_LIMIT",
    /// Prompt and answer together do not fit the context.
    ContextLengthExceeded = "CONTEXT_LENGTH_EXCEEDED",
    /// Part of the input was left out to fit the context, because the caller allowed it.
    ContextTruncated = "CONTEXT_TRUNCATED",
    /// Cached keys and values of the request were given up and computed again.
    KvEvicted = "KV_EVICTED",
    /// The runtime is shutting down.
    Draining = "DRAINING",
    /// The engine answered a call with an error.
    EngineFailed = "ENGINE_FAILED",
    /// The engine gave no sign of life and was replaced.
    EngineStalled = "ENGINE_STALLED",
    /// The engine's thread or process ended and was replaced.
    EngineCrashed = "ENGINE_CRASHED",
    /// The engine is being opened, or waits to be opened again.
    EngineUnavailable = "ENGINE_UNAVAILABLE",
    /// The breaker is open: the engine fails too often to be asked.
    CircuitOpen = "CIRCUIT_OPEN",
    /// Another engine of the chain answered.
    FallbackEngaged = "FALLBACK_ENGAGED",
    /// The request was run again after an engine failed under it.
    Retried = "RETRIED",
    /// Two engines differ by more than the tolerance.
    ParityExceeded = "PARITY_EXCEEDED",
    /// An answer took longer than its service level allows.
    SlaViolated = "SLA_VIOLATED",
    /// No instance of the pool came free in time.
    PoolExhausted = "POOL_EXHAUSTED",
    /// No model of this name or reference.
    ModelNotFound = "MODEL_NOT_FOUND",
    /// The model could not be loaded.
    ModelLoadFailed = "MODEL_LOAD_FAILED",
    /// A tenant's rate is used up.
    RateLimited = "RATE_LIMITED",
    /// A policy does not allow the request or the answer.
    PolicyBlocked = "POLICY_BLOCKED",
    /// To keep to what the answer must look like would take more work or memory than a token is worth.
    ConstraintTooComplex = "CONSTRAINT_TOO_COMPLEX",
    /// What the answer must look like leaves no token that may come next.
    ConstraintFailed = "CONSTRAINT_FAILED",
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::ReasonCode;
    use std::collections::HashSet;

    #[test]
    fn codes_are_distinct_and_screaming_snake_case() {
        let texts: HashSet<_> = ReasonCode::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), ReasonCode::ALL.len());
        for text in texts {
            assert!(text.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{text}");
        }
    }
}
