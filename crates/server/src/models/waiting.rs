//! Requests that wait for their model.

use super::ModelUse;
use crate::api_error::ApiError;
use crate::state::Server;
use ballast_runtime::lifecycle::ModelId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How often a request waits whose model is gone again when it is its turn.
const WAITS_MAX: usize = 4;

/// Longest body whose request is taken where sockets are served: to hand it to another thread costs more.
const SLIGHT_BYTES_MAX: usize = 2048;
/// What a body says that asks for more than its length lets one think: a constraint, which takes milliseconds to compile,
/// or a conversation that is kept. Names can hide behind escapes of characters.
const LABORIOUS: [&str; 8] =
    ["tools\"", "format\"", "grammar\"", "schema\"", "guided_", "structured_outputs", "previous_response_id", "\\u"];

/// How long it may take to parse, render, tokenize and submit a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Tens of microseconds.
    Slight,
    /// Nobody knows.
    Unknown,
}

impl Effort {
    /// What a request with this body takes.
    pub(crate) fn of(body: &[u8]) -> Self {
        let is_slight = body.len() <= SLIGHT_BYTES_MAX
            && std::str::from_utf8(body).is_ok_and(|text| !LABORIOUS.iter().any(|word| text.contains(word)));
        if is_slight { Self::Slight } else { Self::Unknown }
    }
}

/// Calls `work`, on a thread that serves no sockets unless it is slight. Where that asks for a model that is not loaded, waits for it, at most
/// for as long as `patience` says of the request, and calls it again. `work` is told how long the request has waited.
///
/// # Errors
/// What `work` fails with; or that the model is not there in time, or cannot be.
pub(crate) async fn with_models<T: Send + 'static>(
    (server, effort): (&Arc<Server>, Effort),
    patience: impl FnOnce() -> Result<Duration, ApiError>,
    work: impl Fn(&Arc<Server>, Duration) -> Result<T, ApiError> + Clone + Send + 'static,
) -> Result<T, ApiError> {
    let began = server.models.now();
    let call = async || {
        let (server, work) = (Arc::clone(server), work.clone());
        let waited = server.models.now().saturating_sub(began);
        match effort {
            Effort::Slight => {
                catch_unwind(AssertUnwindSafe(|| work(&server, waited))).map_err(|_| ApiError::Panicked)?
            }
            Effort::Unknown => {
                tokio::task::spawn_blocking(move || work(&server, waited)).await.map_err(|_| ApiError::Panicked)?
            }
        }
    };
    let mut outcome = call().await;
    if !matches!(outcome, Err(ApiError::ModelCold { .. })) {
        return outcome;
    }
    let patience = patience()?.min(server.options.load_wait_max);
    let waits = async {
        for _ in 0..WAITS_MAX {
            let Err(ApiError::ModelCold { model }) = &outcome else { break };
            // Held until the work has a use of its own: the model cannot be gone again in between.
            let _held = wait(server, model).await?;
            outcome = call().await;
        }
        Ok(())
    };
    let waited: Result<Result<(), ApiError>, _> = timeout(patience, waits).await;
    match waited {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) => outcome.map_err(|error| told(server, error)),
        Err(_) => Err(match outcome {
            Err(error) => told(server, error),
            Ok(_) => ApiError::Panicked,
        }),
    }
}

async fn wait(server: &Arc<Server>, model: &ModelId) -> Result<ModelUse, ApiError> {
    tokio::select! {
        model = server.models.wait(model) => model,
        () = Arc::clone(server).wait_cut() => Err(ApiError::draining()),
    }
}

/// A model that is still not there is being loaded, so far.
fn told(server: &Server, error: ApiError) -> ApiError {
    let ApiError::ModelCold { model } = error else { return error };
    let progress = server.models.progress(&model);
    ApiError::ModelLoading { model: model.to_string(), progress }
}

#[cfg(test)]
mod tests {
    use super::Effort;

    #[test]
    fn only_small_bodies_that_ask_for_nothing_else_are_slight() {
        let small = br#"{"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":16}"#;
        assert_eq!(Effort::of(small), Effort::Slight);
        let laborious: [&[u8]; 10] = [
            br#"{"tools":[]}"#,
            br#"{"response_format":{"type":"json_object"}}"#,
            br#"{"format":"json"}"#,
            br#"{"grammar":"root ::= \"a\""}"#,
            br#"{"json_schema":{}}"#,
            br#"{"guided_regex":"a"}"#,
            br#"{"structured_outputs":{}}"#,
            br#"{"previous_response_id":"resp_1"}"#,
            br#"{"\u0074ools":[]}"#,
            b"\xff",
        ];
        for body in laborious {
            assert_eq!(Effort::of(body), Effort::Unknown, "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(Effort::of(&[b' '; 2048]), Effort::Slight);
        assert_eq!(Effort::of(&[b' '; 2049]), Effort::Unknown);
    }
}
