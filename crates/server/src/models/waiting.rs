//! Requests that wait for their model.

use super::ModelUse;
use crate::api_error::ApiError;
use crate::state::Server;
use ballast_runtime::lifecycle::ModelId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How often a request waits whose model is gone again when it is its turn.
const WAITS_MAX: usize = 4;

/// Calls `work` on a thread that serves no sockets. Where that asks for a model that is not loaded, waits for it, at most
/// for as long as `patience` says of the request, and calls it again. `work` is told how long the request has waited.
///
/// # Errors
/// What `work` fails with; or that the model is not there in time, or cannot be.
pub(crate) async fn with_models<T: Send + 'static>(
    server: &Arc<Server>,
    patience: impl FnOnce() -> Result<Duration, ApiError>,
    work: impl Fn(&Arc<Server>, Duration) -> Result<T, ApiError> + Clone + Send + 'static,
) -> Result<T, ApiError> {
    let began = server.models.now();
    let call = async || {
        let (server, work) = (Arc::clone(server), work.clone());
        let waited = server.models.now().saturating_sub(began);
        tokio::task::spawn_blocking(move || work(&server, waited)).await.map_err(|_| ApiError::Panicked)?
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
