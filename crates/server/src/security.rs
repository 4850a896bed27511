//! What a guard of the house looks for: refusals by kind, logged under stable names and counted.

use crate::api_error::{ApiError, Limited, Refusal};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! security_events {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that an attacker may have done. The words are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum SecurityEvent { $($(#[$doc])* $name,)* }

        impl SecurityEvent {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

security_events! {
    /// No key, or none that is known.
    AuthFailed = "auth_failed",
    /// An address that sent too many wrong keys: none of its keys is looked at for now.
    LoginThrottled = "login_throttled",
    /// A key or token that was good once.
    AuthEnded = "auth_ended",
    /// A key without the scope that the route needs.
    ScopeRefused = "scope_refused",
    /// A key that may not use the model.
    ModelRefused = "model_refused",
    /// A caller that has used up what it may.
    RateLimited = "rate_limited",
    /// A body longer than bodies may be.
    BodyTooLong = "body_too_long",
    /// A body that did not come in time.
    BodyTooSlow = "body_too_slow",
    /// JSON that is nested too deep, or has a field twice.
    JsonRefused = "json_refused",
}

impl SecurityEvent {
    /// What an error is, to a guard.
    pub(crate) fn of(error: &ApiError) -> Option<Self> {
        match error {
            ApiError::Refusal(refusal) => Self::of_refusal(*refusal),
            ApiError::Limited(Limited::Logins { .. }) => Some(Self::LoginThrottled),
            ApiError::Limited(Limited::Places { .. } | Limited::Background { .. }) => None,
            ApiError::Limited(
                Limited::Requests { .. }
                | Limited::Tokens { .. }
                | Limited::TokensNever { .. }
                | Limited::AtOnce { .. },
            ) => Some(Self::RateLimited),
            ApiError::Json(error) => error.is_data().then_some(Self::JsonRefused),
            ApiError::Param(_)
            | ApiError::ModelUnknown { .. }
            | ApiError::ModelCannot { .. }
            | ApiError::ModelCold { .. }
            | ApiError::ModelLoading { .. }
            | ApiError::Lifecycle(_)
            | ApiError::Constraint { .. }
            | ApiError::ToolSchema { .. }
            | ApiError::ResponseUnknown
            | ApiError::Prompt(_)
            | ApiError::Runtime(_)
            | ApiError::Encode(_)
            | ApiError::Tensors(_)
            | ApiError::NotServed { .. }
            | ApiError::Stock(_)
            | ApiError::NoSlot
            | ApiError::SlotFile { .. }
            | ApiError::Ended { .. }
            | ApiError::RouteTimeout { .. }
            | ApiError::Panicked => None,
        }
    }

    fn of_refusal(refusal: Refusal) -> Option<Self> {
        match refusal {
            Refusal::Key => Some(Self::AuthFailed),
            Refusal::KeyExpired | Refusal::KeyRevoked | Refusal::TokenExpired => Some(Self::AuthEnded),
            Refusal::Scope { .. } => Some(Self::ScopeRefused),
            Refusal::Model => Some(Self::ModelRefused),
            Refusal::BodyTooLong { .. } => Some(Self::BodyTooLong),
            Refusal::BodyTimeout => Some(Self::BodyTooSlow),
            Refusal::Route | Refusal::Method | Refusal::ContentType | Refusal::BodyBroken => None,
        }
    }
}

/// How often each has happened.
#[derive(Debug)]
pub(crate) struct SecurityCounts(Vec<AtomicU64>);

impl SecurityCounts {
    pub(crate) fn new() -> Self {
        Self(SecurityEvent::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn add(&self, event: SecurityEvent) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// In the order of [`SecurityEvent::ALL`].
    pub(crate) fn all(&self) -> impl Iterator<Item = (SecurityEvent, u64)> {
        SecurityEvent::ALL.iter().zip(&self.0).map(|(event, n)| (*event, n.load(Ordering::Relaxed)))
    }
}
