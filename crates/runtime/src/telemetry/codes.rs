//! The numbers by which the prior system told why an answer ended and in what way it was degraded. They are stable.

use crate::FinishReason;
use ballast_backend::ReasonCode;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum StopReason {
    /// The model or a stop string ended it.
    Completed = 0,
    /// As many tokens as were allowed.
    MaxTokens = 1,
    /// The caller ended it.
    CancelledByCaller = 2,
    /// A deadline passed.
    CancelledByTimeout = 3,
    /// The reader was too slow.
    BackpressureBufferFull = 4,
    /// The queue was full.
    BackpressureQueueFull = 5,
    /// Over the memory budget.
    MemoryBudgetExceeded = 6,
    /// Close to the memory budget.
    MemoryBudgetSoftLimit = 7,
    /// Anything else.
    Error = 99,
}

impl StopReason {
    /// Every reason, by rising code.
    pub const ALL: [Self; 9] = [
        Self::Completed,
        Self::MaxTokens,
        Self::CancelledByCaller,
        Self::CancelledByTimeout,
        Self::BackpressureBufferFull,
        Self::BackpressureQueueFull,
        Self::MemoryBudgetExceeded,
        Self::MemoryBudgetSoftLimit,
        Self::Error,
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The stop reason of an end. Ends for which the prior system has no number are [`StopReason::Error`], a shutdown
    /// and a blocked answer among them.
    #[must_use]
    pub fn of(finish_reason: FinishReason, reason: Option<ReasonCode>) -> Self {
        match (finish_reason, reason) {
            (FinishReason::Stop, _) => Self::Completed,
            (FinishReason::Length, _) => Self::MaxTokens,
            (FinishReason::Cancelled, None) => Self::CancelledByCaller,
            (FinishReason::Error, None) => Self::Error,
            (FinishReason::Cancelled | FinishReason::Error, Some(reason)) => Self::of_reason(reason),
        }
    }

    /// The last arm is for codes that do not exist yet; the lint against wildcards lists any that is missing above it.
    fn of_reason(reason: ReasonCode) -> Self {
        match reason {
            ReasonCode::CancelledByCaller => Self::CancelledByCaller,
            ReasonCode::CancelledByTimeout => Self::CancelledByTimeout,
            ReasonCode::BackpressureBufferFull => Self::BackpressureBufferFull,
            ReasonCode::BackpressureQueueFull => Self::BackpressureQueueFull,
            ReasonCode::MemoryBudgetExceeded => Self::MemoryBudgetExceeded,
            ReasonCode::MemoryBudgetSoftLimit => Self::MemoryBudgetSoftLimit,
            ReasonCode::TokenizerGgufMetadataMissing
            | ReasonCode::TokenizerVocabPartial
            | ReasonCode::TokenizerMergesMissing
            | ReasonCode::TokenizerFallbackByteBpe
            | ReasonCode::TokenizerFallbackTokenTableOnly
            | ReasonCode::TokenizerPreTokenizerUnknown
            | ReasonCode::ContextLengthExceeded
            | ReasonCode::ContextTruncated
            | ReasonCode::KvEvicted
            | ReasonCode::Draining
            | ReasonCode::EngineFailed
            | ReasonCode::EngineStalled
            | ReasonCode::EngineCrashed
            | ReasonCode::EngineUnavailable
            | ReasonCode::CircuitOpen
            | ReasonCode::FallbackEngaged
            | ReasonCode::Retried
            | ReasonCode::ParityExceeded
            | ReasonCode::SlaViolated
            | ReasonCode::PoolExhausted
            | ReasonCode::ModelNotFound
            | ReasonCode::ModelLoadFailed
            | ReasonCode::RateLimited
            | ReasonCode::PolicyBlocked
            | ReasonCode::ConstraintTooComplex
            | ReasonCode::ConstraintFailed => Self::Error,
            _ => Self::Error,
        }
    }
}

/// In what way an answer was degraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum DegradeReason {
    /// In none.
    None = 0,
    /// The file has no tokenizer metadata.
    TokenizerGgufMetadataMissing = 100,
    /// The vocabulary is incomplete.
    VocabPartial = 101,
    /// A BPE vocabulary without merges.
    MergesMissing = 102,
    /// Text was split into bytes.
    FallbackByteBpe = 103,
    /// Text was matched against the token table.
    FallbackTokenTableOnly = 104,
    /// Memory comes close to its budget.
    MemoryBudgetApproachingSoftLimit = 200,
    /// Cached keys and values were given up.
    KvCacheEviction = 300,
    /// Input was left out to fit the context.
    ContextTruncation = 301,
}

impl DegradeReason {
    /// Every reason, by rising code.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::TokenizerGgufMetadataMissing,
        Self::VocabPartial,
        Self::MergesMissing,
        Self::FallbackByteBpe,
        Self::FallbackTokenTableOnly,
        Self::MemoryBudgetApproachingSoftLimit,
        Self::KvCacheEviction,
        Self::ContextTruncation,
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The degrade reason of a reason code; `None` if the prior system has no number for it. The last arm is for codes
    /// that do not exist yet; the lint against wildcards lists any that is missing above it.
    #[must_use]
    pub fn of(reason: ReasonCode) -> Option<Self> {
        match reason {
            ReasonCode::TokenizerGgufMetadataMissing => Some(Self::TokenizerGgufMetadataMissing),
            ReasonCode::TokenizerVocabPartial => Some(Self::VocabPartial),
            ReasonCode::TokenizerMergesMissing => Some(Self::MergesMissing),
            ReasonCode::TokenizerFallbackByteBpe => Some(Self::FallbackByteBpe),
            ReasonCode::TokenizerFallbackTokenTableOnly => Some(Self::FallbackTokenTableOnly),
            ReasonCode::MemoryBudgetSoftLimit => Some(Self::MemoryBudgetApproachingSoftLimit),
            ReasonCode::KvEvicted => Some(Self::KvCacheEviction),
            ReasonCode::ContextTruncated => Some(Self::ContextTruncation),
            ReasonCode::TokenizerPreTokenizerUnknown
            | ReasonCode::CancelledByCaller
            | ReasonCode::CancelledByTimeout
            | ReasonCode::BackpressureBufferFull
            | ReasonCode::BackpressureQueueFull
            | ReasonCode::MemoryBudgetExceeded
            | ReasonCode::ContextLengthExceeded
            | ReasonCode::Draining
            | ReasonCode::EngineFailed
            | ReasonCode::EngineStalled
            | ReasonCode::EngineCrashed
            | ReasonCode::EngineUnavailable
            | ReasonCode::CircuitOpen
            | ReasonCode::FallbackEngaged
            | ReasonCode::Retried
            | ReasonCode::ParityExceeded
            | ReasonCode::SlaViolated
            | ReasonCode::PoolExhausted
            | ReasonCode::ModelNotFound
            | ReasonCode::ModelLoadFailed
            | ReasonCode::RateLimited
            | ReasonCode::PolicyBlocked
            | ReasonCode::ConstraintTooComplex
            | ReasonCode::ConstraintFailed => None,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_reasons_have_the_numbers_of_the_prior_system() {
        assert_eq!(StopReason::ALL.map(StopReason::code), [0, 1, 2, 3, 4, 5, 6, 7, 99]);
    }

    #[test]
    fn degrade_reasons_have_the_numbers_of_the_prior_system() {
        assert_eq!(DegradeReason::ALL.map(DegradeReason::code), [0, 100, 101, 102, 103, 104, 200, 300, 301]);
    }

    #[test]
    fn every_end_has_a_stop_reason() {
        use FinishReason::*;
        let cases = [
            (Stop, None, StopReason::Completed),
            (Stop, Some(ReasonCode::KvEvicted), StopReason::Completed),
            (Length, None, StopReason::MaxTokens),
            (Cancelled, None, StopReason::CancelledByCaller),
            (Cancelled, Some(ReasonCode::CancelledByCaller), StopReason::CancelledByCaller),
            (Cancelled, Some(ReasonCode::CancelledByTimeout), StopReason::CancelledByTimeout),
            (Cancelled, Some(ReasonCode::BackpressureBufferFull), StopReason::BackpressureBufferFull),
            (Error, Some(ReasonCode::BackpressureQueueFull), StopReason::BackpressureQueueFull),
            (Error, Some(ReasonCode::MemoryBudgetExceeded), StopReason::MemoryBudgetExceeded),
            (Error, Some(ReasonCode::MemoryBudgetSoftLimit), StopReason::MemoryBudgetSoftLimit),
            (Cancelled, Some(ReasonCode::Draining), StopReason::Error),
            (Error, Some(ReasonCode::EngineFailed), StopReason::Error),
            (Error, None, StopReason::Error),
        ];
        for (finish_reason, reason, expected) in cases {
            assert_eq!(StopReason::of(finish_reason, reason), expected, "{finish_reason:?} {reason:?}");
        }
    }

    #[test]
    fn every_degrade_reason_but_none_comes_from_one_reason_code() {
        let mut reached: Vec<_> = ReasonCode::ALL.iter().filter_map(|reason| DegradeReason::of(*reason)).collect();
        reached.sort();
        assert_eq!(reached, DegradeReason::ALL[1..]);
    }
}
