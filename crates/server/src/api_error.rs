//! What a caller is told when there is no answer: status, code, headers and text. The wire formats give it its shape.

use crate::fields::ParamError;
use crate::models::StockError;
use crate::routes::RouteClass;
use crate::scope::Scope;
use crate::security::SecurityEvent;
use crate::tensors::TensorsError;
use axum::http::StatusCode;
use ballast_backend::{ErrorKind, ReasonCode};
use ballast_runtime::encoding::EncodeError;
use ballast_runtime::lifecycle::{LifecycleError, ModelId};
use ballast_runtime::{FinishReason, RuntimeError};
use ballast_tokens::{ConstraintError, PromptError, SamplingError};
use std::time::Duration;

/// When a caller who is refused is told to come back, where the runtime cannot say.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest text for a caller.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Why a request is turned away before anyone looks at what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a valid API key is needed: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")]
    Key,
    #[error("the API key has expired: ask whoever runs this server for a new one")]
    KeyExpired,
    #[error("the API key was revoked: ask whoever runs this server for a new one")]
    KeyRevoked,
    #[error("the token has expired: get a new one where it came from")]
    TokenExpired,
    #[error("the API key is not allowed this: it needs the scope `{needed}`")]
    Scope { needed: Scope },
    #[error("model: the API key is not allowed this model")]
    Model,
    #[error("there is no such route")]
    Route,
    #[error("the route does not take this method")]
    Method,
    #[error("content-type: expected application/json, or for tensors application/octet-stream")]
    ContentType,
    #[error("the request's body did not arrive in time")]
    BodyTimeout,
    #[error("the request's body broke off or is not well-formed")]
    BodyBroken,
    #[error("the request's body: expected at most {max} bytes")]
    BodyTooLong { max: usize },
}

/// Why a caller is to wait, or to ask for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Limited {
    #[error("too many requests: wait before the next")]
    Requests { retry_after: Duration },
    /// An address that sent too many keys that open nothing.
    #[error("too many wrong API keys from this address: wait before the next")]
    Logins { retry_after: Duration },
    #[error("too many tokens: wait before the next request, or ask for a shorter answer")]
    Tokens { retry_after: Duration },
    #[error("the prompt: expected at most the {limit} tokens that a minute has, got {got}")]
    TokensNever { limit: u64, got: u64 },
    #[error("too many requests at a time: expected at most {limit}")]
    AtOnce { limit: u32 },
    /// A class of routes is full.
    #[error("the server has no place for another request of this kind now")]
    Places { class: RouteClass },
    /// As many responses are in work in the background as may be.
    #[error("background: expected at most {background_max} responses in work; ask later, or wait for the answer")]
    Background { background_max: usize },
}

impl Limited {
    fn reason(self) -> ReasonCode {
        match self {
            Self::Places { .. } | Self::Background { .. } => ReasonCode::BackpressureQueueFull,
            Self::Requests { .. }
            | Self::Logins { .. }
            | Self::Tokens { .. }
            | Self::TokensNever { .. }
            | Self::AtOnce { .. } => ReasonCode::RateLimited,
        }
    }

    /// `None`: never.
    fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Requests { retry_after } | Self::Logins { retry_after } | Self::Tokens { retry_after } => {
                Some(retry_after)
            }
            Self::AtOnce { .. } | Self::Places { .. } | Self::Background { .. } => Some(RETRY_AFTER),
            Self::TokensNever { .. } => None,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error("the request's body is not valid JSON: {0}")]
    Json(serde_json::Error),
    #[error(transparent)]
    Param(#[from] ParamError),
    /// No model of this name. `served` names some that there are.
    #[error("model: expected one that is served: {served}; /v1/models lists all")]
    ModelUnknown { served: String },
    /// The model does something else.
    #[error("model: `{model}` does not {what}")]
    ModelCannot { model: String, what: &'static str },
    /// The model is to be loaded first. Whoever can wait waits for it; nobody outside is told so.
    #[error("model: `{model}` is not loaded")]
    ModelCold { model: ModelId },
    /// The request's time was over before its model was loaded.
    #[error("model: `{model}` is being loaded{}", percent(*.progress))]
    ModelLoading { model: String, progress: Option<f64> },
    /// The model is not given out.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The server does not do it, or was not asked to.
    #[error("{what}: not to be had here: {why}")]
    NotServed { what: &'static str, why: &'static str },
    /// All places are taken, and the caller would rather not wait.
    #[error("no slot is available")]
    NoSlot,
    /// A file of a slot cannot be had. Its path is not told.
    #[error("filename: the file cannot be {what}")]
    SlotFile { what: &'static str },
    #[error("{}", encode_text(.0))]
    Encode(#[from] EncodeError),
    /// A tensor model gives no answer.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// What the answer must look like cannot be enforced.
    #[error("{param}: {error}")]
    Constraint { param: &'static str, error: ConstraintError },
    /// A model does not come or go.
    #[error(transparent)]
    Stock(#[from] StockError),
    /// No response of this name is kept for the caller.
    #[error("there is no such response, or it is kept no longer")]
    ResponseUnknown,
    /// The arguments of a tool cannot be kept to its schema.
    #[error("{param}: {error}")]
    ToolSchema { param: String, error: ConstraintError },
    #[error(transparent)]
    Limited(#[from] Limited),
    /// A route that has nothing generated did not answer in its time.
    #[error("the request was not answered within {} s; ask again later", max.as_secs_f64())]
    RouteTimeout { max: Duration },
    /// The request ended without an answer.
    #[error("{}", ended_text(*.finish_reason, *.reason))]
    Ended { finish_reason: FinishReason, reason: Option<ReasonCode> },
    #[error("the server failed on this request")]
    Panicked,
}

/// A share of work that is done, where it is known.
fn percent(progress: Option<f64>) -> String {
    progress.map(|share| format!(", {:.0} % so far", share * 100.0)).unwrap_or_default()
}

/// What is said of an encoder's error: what is inside of an engine's is for the log.
fn encode_text(error: &EncodeError) -> String {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::Overloaded => error.to_string(),
        ErrorKind::Cancelled => ended_text(FinishReason::Cancelled, error.reason()).to_owned(),
        ErrorKind::Unavailable => "the engine cannot take requests now; ask again later".to_owned(),
        ErrorKind::Internal => ended_text(FinishReason::Error, None).to_owned(),
    }
}

fn ended_text(finish_reason: FinishReason, reason: Option<ReasonCode>) -> &'static str {
    match reason {
        Some(ReasonCode::CancelledByTimeout) => {
            "the request's time was over before the answer was complete; ask for fewer tokens or give it more with `timeout`"
        }
        Some(ReasonCode::Draining) => "the server is shutting down; ask again elsewhere or later",
        Some(ReasonCode::ConstraintTooComplex) => {
            "what the answer must look like takes too much work to keep to; ask for something simpler"
        }
        Some(ReasonCode::ConstraintFailed) => {
            "what the answer must look like left no token that may come next; ask for something that can be said"
        }
        _ if finish_reason == FinishReason::Cancelled => "the request was cancelled",
        _ => "the engine failed while it worked on this request",
    }
}

/// What a caller is told of an error, before a wire gives it its shape.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) kind: ErrorKind,
    pub(crate) reason: Option<ReasonCode>,
    /// May quote what the caller sent, so it is never logged.
    pub(crate) message: String,
    /// The parameter that is to blame.
    pub(crate) param: Option<String>,
    pub(crate) code: String,
    /// Tokens of a prompt that is too long, and of the context.
    pub(crate) too_long: Option<(usize, usize)>,
    /// What it is to a guard.
    pub(crate) security: Option<SecurityEvent>,
}

impl From<&ApiError> for Told {
    fn from(error: &ApiError) -> Self {
        let (status, kind, reason, code) = (error.status(), error.kind(), error.reason(), error.code());
        let (message, param, too_long) = (error.message(), error.param(), error.too_long());
        let security = SecurityEvent::of(error);
        Self { status, kind, reason, message, param, code, too_long, security }
    }
}

impl ApiError {
    /// The request's time is over.
    pub(crate) fn timed_out() -> Self {
        Self::Ended { finish_reason: FinishReason::Cancelled, reason: Some(ReasonCode::CancelledByTimeout) }
    }

    /// The server goes down.
    pub(crate) fn draining() -> Self {
        Self::Ended { finish_reason: FinishReason::Cancelled, reason: Some(ReasonCode::Draining) }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Refusal(
                Refusal::Key | Refusal::KeyExpired | Refusal::KeyRevoked | Refusal::Scope { .. } | Refusal::Model,
            ) => ErrorKind::Denied,
            Self::Refusal(_) | Self::Json(_) | Self::Param(_) => ErrorKind::Invalid,
            Self::ModelUnknown { .. } | Self::ModelCannot { .. } | Self::NotServed { .. } | Self::SlotFile { .. } => {
                ErrorKind::Invalid
            }
            Self::ModelCold { .. } | Self::ModelLoading { .. } | Self::NoSlot => ErrorKind::Unavailable,
            Self::Lifecycle(error) => error.kind(),
            Self::Prompt(error) => error.kind(),
            Self::Stock(error) => error.kind,
            Self::Runtime(error) => error.kind(),
            Self::Encode(error) => error.kind(),
            Self::Tensors(error) => error.kind(),
            Self::Constraint { error, .. } | Self::ToolSchema { error, .. } => error.kind(),
            Self::ResponseUnknown => ErrorKind::Invalid,
            Self::Limited(_) => ErrorKind::Overloaded,
            Self::Ended { reason: Some(ReasonCode::ConstraintTooComplex | ReasonCode::ConstraintFailed), .. } => {
                ErrorKind::Invalid
            }
            Self::Ended { reason: Some(ReasonCode::Draining), .. } => ErrorKind::Unavailable,
            Self::Ended { finish_reason: FinishReason::Cancelled, .. } | Self::RouteTimeout { .. } => {
                ErrorKind::Cancelled
            }
            Self::Ended { .. } | Self::Panicked => ErrorKind::Internal,
        }
    }

    /// The status. Where HTTP has a word of its own for the refusal it is that one, else the kind decides.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Refusal(Refusal::Key | Refusal::KeyExpired | Refusal::KeyRevoked | Refusal::TokenExpired) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Refusal(Refusal::Scope { .. } | Refusal::Model) => StatusCode::FORBIDDEN,
            Self::Refusal(Refusal::Route)
            | Self::ModelUnknown { .. }
            | Self::ResponseUnknown
            | Self::Tensors(TensorsError::Unknown { .. } | TensorsError::UnknownVersion { .. }) => {
                StatusCode::NOT_FOUND
            }
            Self::NotServed { .. } | Self::Tensors(TensorsError::NoStock) => StatusCode::NOT_IMPLEMENTED,
            Self::Refusal(Refusal::Method) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refusal(Refusal::ContentType) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Refusal(Refusal::BodyTimeout) => StatusCode::REQUEST_TIMEOUT,
            Self::Refusal(Refusal::BodyTooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refusal(Refusal::BodyBroken)
            | Self::Json(_)
            | Self::Param(_)
            | Self::ModelCannot { .. }
            | Self::NoSlot
            | Self::SlotFile { .. }
            | Self::ModelCold { .. }
            | Self::ModelLoading { .. }
            | Self::Lifecycle(_)
            | Self::Prompt(_)
            | Self::Stock(_)
            | Self::Runtime(_)
            | Self::Encode(_)
            | Self::Tensors(_)
            | Self::Constraint { .. }
            | Self::ToolSchema { .. }
            | Self::Limited(_)
            | Self::Ended { .. }
            | Self::RouteTimeout { .. }
            | Self::Panicked => status_of(self.kind()),
        }
    }

    pub(crate) fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Runtime(error) => error.reason(),
            Self::Lifecycle(error) => error.reason(),
            Self::ModelCold { .. } | Self::ModelLoading { .. } => Some(ReasonCode::EngineUnavailable),
            Self::Encode(error) => error.reason(),
            Self::Tensors(error) => error.reason(),
            Self::Ended { reason, .. } => *reason,
            Self::Limited(limited) => Some(limited.reason()),
            Self::RouteTimeout { .. } => Some(ReasonCode::CancelledByTimeout),
            Self::Refusal(_)
            | Self::Json(_)
            | Self::Param(_)
            | Self::ResponseUnknown
            | Self::ModelUnknown { .. }
            | Self::ModelCannot { .. }
            | Self::NotServed { .. }
            | Self::NoSlot
            | Self::SlotFile { .. }
            | Self::Prompt(_)
            | Self::Stock(_)
            | Self::Constraint { .. }
            | Self::ToolSchema { .. }
            | Self::Panicked => None,
        }
    }

    /// When the same request may succeed; `None`: never.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Runtime(error) => error.retry_after().or(Some(RETRY_AFTER)),
            Self::Lifecycle(error) => error.retry_after().or(Some(RETRY_AFTER)),
            Self::Encode(error) => error.retry_after().or(Some(RETRY_AFTER)),
            Self::Tensors(error) => error.retry_after().or(Some(RETRY_AFTER)),
            Self::Limited(limited) => limited.retry_after(),
            Self::Refusal(_)
            | Self::Json(_)
            | Self::Param(_)
            | Self::ResponseUnknown
            | Self::ModelUnknown { .. }
            | Self::ModelCannot { .. }
            | Self::NotServed { .. }
            | Self::NoSlot
            | Self::SlotFile { .. }
            | Self::ModelCold { .. }
            | Self::ModelLoading { .. }
            | Self::Prompt(_)
            | Self::Stock(_)
            | Self::Constraint { .. }
            | Self::ToolSchema { .. }
            | Self::Ended { .. }
            | Self::RouteTimeout { .. }
            | Self::Panicked => Some(RETRY_AFTER),
        }
    }

    /// The stable code: the reason in lower case where there is one.
    pub(crate) fn code(&self) -> String {
        if let Some(reason) = self.reason().filter(|_| !matches!(self, Self::ModelLoading { .. })) {
            return reason.as_str().to_ascii_lowercase();
        }
        let code = match self {
            Self::Refusal(Refusal::Key) => "invalid_api_key",
            Self::Refusal(Refusal::KeyExpired) => "api_key_expired",
            Self::Refusal(Refusal::KeyRevoked) => "api_key_revoked",
            Self::Refusal(Refusal::TokenExpired) => "token_expired",
            Self::Refusal(Refusal::Scope { .. }) => "scope_missing",
            Self::Refusal(Refusal::Model) => "model_not_allowed",
            Self::Refusal(Refusal::Route) => "route_not_found",
            Self::Refusal(Refusal::Method) => "method_not_allowed",
            Self::Refusal(Refusal::ContentType) => "content_type_not_json",
            Self::Refusal(Refusal::BodyTimeout) => "body_timeout",
            Self::Refusal(Refusal::BodyBroken) => "body_broken",
            Self::Refusal(Refusal::BodyTooLong { .. }) => "body_too_long",
            Self::Json(_) => "invalid_json",
            Self::Param(error) => error.code(),
            Self::ModelUnknown { .. } => "model_not_found",
            Self::ModelCold { .. } | Self::ModelLoading { .. } => "model_loading",
            Self::ModelCannot { .. } => "model_not_suitable",
            Self::NotServed { .. } => "not_supported",
            Self::Stock(_) => "model_not_managed",
            Self::NoSlot => "no_slot",
            Self::SlotFile { .. } => "slot_file",
            Self::Prompt(PromptError::TemplateMissing) => "chat_template_missing",
            Self::Prompt(PromptError::Template(_)) => "chat_template_failed",
            Self::Runtime(_) | Self::Lifecycle(_) => "invalid_value",
            Self::Encode(error) if error.kind() == ErrorKind::Invalid => "invalid_value",
            Self::Encode(_) => "server_error",
            Self::Tensors(error) => error.code(),
            Self::Constraint { error, .. } | Self::ToolSchema { error, .. } => constraint_code(error),
            Self::ResponseUnknown => "response_not_found",
            Self::Limited(_) => "rate_limited",
            Self::Ended { .. } | Self::RouteTimeout { .. } | Self::Panicked => "server_error",
        };
        code.to_owned()
    }

    /// The parameter that is to blame.
    pub(crate) fn param(&self) -> Option<String> {
        match self {
            Self::Param(error) => Some(error.param().to_owned()),
            Self::Refusal(Refusal::Model)
            | Self::ModelUnknown { .. }
            | Self::ModelCannot { .. }
            | Self::ModelCold { .. }
            | Self::ModelLoading { .. }
            | Self::Stock(_)
            | Self::Lifecycle(_) => Some("model".to_owned()),
            Self::Prompt(_) => Some("messages".to_owned()),
            Self::Runtime(error) => runtime_param(error).map(str::to_owned),
            Self::Encode(error) => (error.kind() == ErrorKind::Invalid).then(|| "input".to_owned()),
            Self::Constraint { param, error } => Some(constraint_param(param, error)),
            Self::SlotFile { .. } => Some("filename".to_owned()),
            Self::ResponseUnknown => Some("response_id".to_owned()),
            Self::ToolSchema { param, error } => Some(constraint_param(param, error)),
            Self::NotServed { .. } | Self::NoSlot | Self::RouteTimeout { .. } | Self::Tensors(_) => None,
            Self::Refusal(_) | Self::Json(_) | Self::Limited(_) | Self::Ended { .. } | Self::Panicked => None,
        }
    }

    /// Tokens of a prompt that is too long, and of the context.
    fn too_long(&self) -> Option<(usize, usize)> {
        let Self::Runtime(RuntimeError::ContextLengthExceeded { context_len, got }) = self else { return None };
        Some((*got, *context_len))
    }

    /// The text for the caller. It may quote what the caller sent, so it is never logged.
    pub(crate) fn message(&self) -> String {
        self.to_string().chars().take(MESSAGE_CHARS_MAX).collect()
    }
}

/// The one place where kinds of errors become statuses.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Cancelled => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The parameter of the wire that a field of the runtime's request comes from.
fn runtime_param(error: &RuntimeError) -> Option<&'static str> {
    match error {
        RuntimeError::PromptEmpty | RuntimeError::PromptToken { .. } | RuntimeError::ContextLengthExceeded { .. } => {
            Some("messages")
        }
        RuntimeError::MaxTokensZero => Some("max_tokens"),
        RuntimeError::Sampling(error) => sampling_param(error),
        RuntimeError::Stop(_) => Some("stop"),
        RuntimeError::QueueFull { .. }
        | RuntimeError::QueuedTokensFull { .. }
        | RuntimeError::Draining
        | RuntimeError::CircuitOpen { .. }
        | RuntimeError::PolicyBlocked { .. }
        | RuntimeError::NoEngine
        | RuntimeError::Engine(_)
        | RuntimeError::Stopped => None,
    }
}

/// The parameter, down to the keyword of the schema where one is to blame.
fn constraint_param(param: &str, error: &ConstraintError) -> String {
    let pointer = error.pointer().unwrap_or_default();
    let path = param.to_owned() + &pointer.replace('/', ".");
    path.chars().take(MESSAGE_CHARS_MAX).collect()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named, and what is to come, is a value that is wrong")]
fn constraint_code(error: &ConstraintError) -> &'static str {
    match error {
        ConstraintError::Keyword { .. } | ConstraintError::Unsupported { .. } => "unsupported_parameter",
        ConstraintError::Vocabulary { .. } => "server_error",
        _ => "invalid_value",
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is the engine's fault, what is to come, too")]
fn sampling_param(error: &SamplingError) -> Option<&'static str> {
    match error {
        SamplingError::OutOfRange { field, .. } | SamplingError::TooMany { field, .. } => {
            Some(if *field == "n_logprobs" { "top_logprobs" } else { field })
        }
        SamplingError::BiasOutsideVocab { .. } => Some("logit_bias"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_status() {
        let stopped = ApiError::from(RuntimeError::Stopped);
        let full = ApiError::from(RuntimeError::QueueFull { queue_max: 1, retry_after: RETRY_AFTER });
        let failed = ApiError::Ended { finish_reason: FinishReason::Error, reason: Some(ReasonCode::EngineFailed) };
        let cases = [
            (ApiError::from(Refusal::Key), 401, "invalid_api_key"),
            (ApiError::from(Refusal::BodyTooLong { max: 1 }), 413, "body_too_long"),
            (ApiError::ModelUnknown { served: "m".to_owned() }, 404, "model_not_found"),
            (ApiError::from(RuntimeError::MaxTokensZero), 400, "invalid_value"),
            (full, 429, "backpressure_queue_full"),
            (stopped, 503, "engine_crashed"),
            (failed, 500, "engine_failed"),
            (ApiError::timed_out(), 504, "cancelled_by_timeout"),
            (ApiError::RouteTimeout { max: RETRY_AFTER }, 504, "cancelled_by_timeout"),
            (Limited::Logins { retry_after: RETRY_AFTER }.into(), 429, "rate_limited"),
            (ApiError::draining(), 503, "draining"),
            (ApiError::Panicked, 500, "server_error"),
        ];
        for (error, status, code) in cases {
            assert_eq!((error.status().as_u16(), error.code().as_str()), (status, code), "{error}");
        }
    }
}
