//! The way of a request for inference, whatever wire it came by.

use super::question::Question;
use crate::api_error::ApiError;
use crate::incoming::Asker;
use crate::state::Server;
use crate::tensors::{Run, Tally, TensorsError, Times};
use ballast_backend::{IoSchema, TensorMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// What is shorter than this is read and written where sockets are served: to hand it to another thread costs more.
const SLIGHT_BYTES_MAX: usize = 64 * 1024;

/// Which model is asked, by whom, for how long at most.
pub(super) struct Call<'a> {
    pub(super) server: &'a Arc<Server>,
    pub(super) asker: &'a Asker,
    pub(super) model: &'a str,
    /// As the path or the message says it; empty: the latest.
    pub(super) version: &'a str,
    /// What the caller's transport allows; `None`: it says nothing.
    pub(super) time: Option<Duration>,
    /// Bytes of the request.
    pub(super) n_bytes: usize,
}

/// How a wire reads a question of what was sent, and makes an answer of a model's outputs.
pub(super) trait Words: Clone + Send + Sync + 'static {
    type Reply: Send + 'static;

    fn question(&self, schema: &IoSchema, timeout_max: Duration) -> Result<Question, ApiError>;

    fn reply(
        &self,
        model: &crate::tensors::Served,
        question: &Question,
        outputs: TensorMap,
    ) -> Result<Self::Reply, ApiError>;
}

/// Asks a model and counts what became of it.
///
/// # Errors
/// If the caller may not, the model is not there, what was sent is wrong, or the engine fails.
pub(super) async fn infer<W: Words>(call: Call<'_>, words: W) -> Result<W::Reply, ApiError> {
    if let Some(visit) = &call.asker.visit {
        visit.caller.check_model(call.model)?;
        visit.note_model(call.model);
    }
    let tensors = call.server.tensors(call.model)?;
    let model = tensors.find(call.model, version(call.model, call.version)?)?;
    let tally = Arc::new(model.begin((call.server.options.unix_time)()));
    let asked = ask(&call, &tally, words).await;
    // Nobody else holds it any more: what is read and written has ended.
    let Some(tally) = Arc::into_inner(tally) else { return asked.map(|(reply, ..)| reply) };
    match asked {
        Ok((reply, times, n_items)) => {
            tally.succeed(times, n_items);
            Ok(reply)
        }
        Err(error) => {
            tally.fail(failure(&error));
            Err(error)
        }
    }
}

async fn ask<W: Words>(call: &Call<'_>, tally: &Arc<Tally>, words: W) -> Result<(W::Reply, Times, usize), ApiError> {
    let options = &call.server.options;
    let began = tally.now();
    let timeout_max = options.request_deadline_max;
    let (reader, schema) = (words.clone(), Arc::clone(tally));
    let read = move || reader.question(&schema.model().schema, timeout_max);
    let mut question = by_size(call.n_bytes, read).await?;
    let read_in = tally.now().saturating_sub(began);
    let asked = question.asks.timeout.unwrap_or(options.request_deadline);
    let deadline = call.time.map_or(asked, |time| time.min(asked)).saturating_sub(read_in);
    let run = Run {
        deadline,
        priority: question.asks.priority.unwrap_or(call.asker.priority),
        tenant: call.asker.tenant.clone(),
        correlation: call.asker.correlation.clone(),
    };
    let inputs = std::mem::take(&mut question.inputs);
    let ran = tokio::select! {
        ran = tally.run(inputs, run) => ran?,
        () = tokio::time::sleep(deadline.saturating_add(options.deadline_grace)) => return Err(TensorsError::TimedOut.into()),
        () = Arc::clone(call.server).wait_cut() => return Err(ApiError::draining()),
    };
    let ended = tally.now();
    let n_bytes = ran.outputs.values().map(ballast_backend::Tensor::size_bytes).sum();
    let (outputs, model) = (ran.outputs, Arc::clone(tally));
    let reply = by_size(n_bytes, move || words.reply(model.model(), &question, outputs)).await?;
    let mut times = ran.times;
    times.input = times.input.saturating_add(read_in);
    times.output = times.output.saturating_add(tally.now().saturating_sub(ended));
    Ok((reply, times, ran.n_items))
}

/// Does work of so many bytes, where sockets are served only if it is slight.
async fn by_size<T: Send + 'static>(
    n_bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if n_bytes <= SLIGHT_BYTES_MAX {
        return work();
    }
    spawn_blocking(work).await.unwrap_or(Err(ApiError::Panicked))
}

/// A version as it is written; empty: none is named.
///
/// # Errors
/// If it is no number: no model has such a version.
pub(super) fn version(model: &str, version: &str) -> Result<Option<u64>, ApiError> {
    if version.is_empty() {
        return Ok(None);
    }
    let unknown = || crate::fields::ParamError::Wrong {
        param: "version".to_owned(),
        expected: format!("a version of `{model}`: a whole number of 1 or more"),
        got: "something else".to_owned(),
    };
    Ok(Some(version.parse().map_err(|_| unknown())?))
}

/// Why it failed, in Triton's words for its metrics.
fn failure(error: &ApiError) -> &'static str {
    use ballast_backend::ErrorKind;
    match (error, error.kind()) {
        (ApiError::Tensors(error), _) => error.failure(),
        (_, ErrorKind::Cancelled) => "CANCELED",
        (_, ErrorKind::Overloaded | ErrorKind::Denied) => "REJECTED",
        (_, ErrorKind::Invalid | ErrorKind::Unavailable | ErrorKind::Internal) => "OTHER",
    }
}
