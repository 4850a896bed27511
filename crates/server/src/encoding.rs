//! Texts to vectors, what all wires share: what was sent becomes a request of an encoder's, and the answer is awaited
//! with the request's deadline. Dropping the answer, as when the caller leaves, cancels the request.

mod base64;
mod input;

pub use input::{INPUTS_MAX, TEXT_BYTES_MAX};
pub(crate) use input::{dimensions, inputs, truncation};

pub(crate) use base64::base64;

use crate::api_error::ApiError;
use crate::body;
use crate::caller::Work;
use crate::incoming::{Asker, Incoming};
use crate::models::{Effort, EncoderUse, ModelUse, with_models};
use crate::state::Server;
use axum::extract::Request;
use ballast_backend::Pooling;
use ballast_runtime::encoding::{EncodeReply, EncodeRequest, Encoded, TextTokens};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// A request that an encoder has taken in.
pub(crate) struct Asked<W> {
    reply: EncodeReply,
    reserved: Option<Work>,
    /// Held until the answer is there.
    model: ModelUse,
    deadline: Duration,
    wire: W,
}

/// How a wire makes a request of a body.
pub(crate) type Take<W> = fn(&Server, &Incoming) -> Result<Asked<W>, ApiError>;

/// Reads a request, has an encoder take it in, and waits for the vectors.
///
/// # Errors
/// If the request is wrong or refused, its time is over, or the engine fails.
pub(crate) async fn answer<W: Send + 'static>(
    server: Arc<Server>,
    request: Request,
    take: Take<W>,
) -> Result<(Encoded, W), ApiError> {
    let asker = Asker::of(&request)?;
    let incoming = Incoming { body: body::read(request, &server.options).await?, asker };
    let patience = || Ok(server.options.request_deadline);
    let effort = Effort::of(&incoming.body);
    let incoming = Arc::new(incoming);
    let taken = with_models((&server, effort), patience, move |server, waited| {
        let taken = take(server, &incoming);
        if let (Err(ApiError::ModelCold { model }), Some(visit)) = (&taken, &incoming.asker.visit) {
            visit.caller.check_model(model.as_str())?;
        }
        Ok((taken?, waited))
    });
    let (Asked { reply, mut reserved, model, deadline, wire }, waited) = taken.await?;
    let overdue = deadline.saturating_sub(waited).saturating_add(server.options.deadline_grace);
    let encoded = tokio::select! {
        encoded = reply.recv() => encoded?,
        () = sleep(overdue) => return Err(ApiError::timed_out()),
        () = Arc::clone(&server).wait_cut() => return Err(ApiError::draining()),
    };
    reserved.iter_mut().for_each(|reserved| reserved.note_prompt(&model.id, encoded.n_tokens as u64));
    drop(model);
    Ok((encoded, wire))
}

/// Has the model take texts in, in the name of whoever asks.
///
/// # Errors
/// If the key is not for the model or has not as many tokens, a text is too long, or there is no room.
pub(crate) fn submit<W>(
    model: EncoderUse,
    asker: &Asker,
    texts: Vec<TextTokens>,
    (deadline, wire): (Duration, W),
) -> Result<Asked<W>, ApiError> {
    let mut reserved = None;
    if let Some(visit) = &asker.visit {
        visit.caller.check_model(&model.id)?;
        reserved = Some(visit.reserve(texts.iter().map(|text| text.tokens.len() as u64).sum(), 0)?);
    }
    let request = EncodeRequest {
        texts,
        deadline: Some(deadline),
        tenant: asker.tenant.clone(),
        priority: asker.priority,
        correlation: asker.correlation.clone(),
    };
    let reply = model.encoder().encoding().submit(request)?;
    Ok(Asked { reply, reserved, model: model.into_model(), deadline, wire })
}

/// What an encoder is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One vector for each text.
    Vector,
    /// Vectors, for each text or each of its tokens.
    Vectors,
    /// A score for each pair of texts.
    Score,
}

/// Whether a model gives what is wanted.
///
/// # Errors
/// If it gives something else.
pub(crate) fn check(model: &EncoderUse, wanted: Wanted) -> Result<(), ApiError> {
    let cannot = |what| Err(ApiError::ModelCannot { model: model.id.clone(), what });
    let shape = model.encoder().shape();
    match (wanted, shape.pooling) {
        (Wanted::Score, Pooling::Rank) if shape.width == 1 => Ok(()),
        (Wanted::Score, _) => cannot("rank documents"),
        (Wanted::Vector | Wanted::Vectors, Pooling::Rank) => cannot("give embeddings: it ranks documents"),
        (Wanted::Vector, Pooling::None) => cannot("give one vector for each text: it gives one for each token"),
        (Wanted::Vector | Wanted::Vectors, _) => Ok(()),
    }
}
