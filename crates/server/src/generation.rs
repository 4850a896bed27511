//! Requests that the runtime has taken, whatever wire they came by, and their answers in progress.

use crate::api_error::ApiError;
use crate::body;
use crate::caller::Work;
use crate::fields::Fields;
use crate::incoming::{Asker, Incoming};
use crate::models::{Effort, Held, with_models};
use crate::params;
use crate::state::Server;
use axum::extract::Request;
use ballast_backend::TokenId;
use ballast_runtime::{Event, FinishReason, Summary, TokenEvent, TokenStream};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// A request that was parsed and taken.
pub(crate) struct Taken<W> {
    /// One for each answer that was asked for.
    pub(crate) streams: Submitted,
    /// Whose answers they are.
    pub(crate) model: Held,
    /// How long the answers may take.
    pub(crate) deadline: Duration,
    /// What its wire has to remember.
    pub(crate) wire: W,
}

/// Answers that the runtime works on, and the tokens that were set aside for them.
#[derive(Default)]
pub(crate) struct Submitted {
    pub(crate) streams: Vec<TokenStream>,
    /// `None` where nobody guards.
    pub(crate) work: Option<Work>,
}

/// Parses a body and has the runtime take what it asks for.
pub(crate) type Take<W> = fn(&Arc<Server>, &Incoming) -> Result<Taken<W>, ApiError>;

/// Reads a request's body and has `take` parse and submit it.
///
/// # Errors
/// Whatever keeps the request from being taken.
pub(crate) async fn begin<W: Send + 'static>(
    server: Arc<Server>,
    request: Request,
    take: Take<W>,
) -> Result<(Tokens, W), ApiError> {
    let asker = Asker::of(&request)?;
    let body = body::read(request, &server.options).await?;
    let patience = || Ok(params::deadline(&mut Fields::of_body(&body)?, &server.options)?);
    let effort = Effort::of(&body);
    let incoming = Incoming { body: body.clone(), asker };
    let call = move |server: &Arc<Server>, waited: Duration| {
        let asker = Asker { waited, ..incoming.asker.clone() };
        let visit = asker.visit.clone();
        let taken = take(server, &Incoming { body: incoming.body.clone(), asker });
        if let (Err(ApiError::ModelCold { model }), Some(visit)) = (&taken, visit) {
            // Nobody has a model loaded that they may not ask.
            visit.caller.check_model(model.as_str())?;
        }
        Ok((taken?, waited))
    };
    let (taken, waited) = with_models((&server, effort), patience, call).await?;
    let Taken { streams, model, deadline, wire } = taken;
    let overdue = deadline.saturating_sub(waited).saturating_add(server.options.deadline_grace);
    let Submitted { streams, work } = streams;
    let streams = streams.into_iter().map(Some).collect();
    let (overdue, cut) = (Box::pin(sleep(overdue)), Box::pin(server.wait_cut()));
    Ok((Tokens { streams, turn: 0, overdue, cut, work, _model: model }, wire))
}

/// Answers in progress. Dropping them ends the work.
pub(crate) struct Tokens {
    /// `None`: it has ended.
    streams: Vec<Option<TokenStream>>,
    /// Whose turn it is to be looked at first.
    turn: usize,
    /// When the runtime has failed to keep the deadline.
    overdue: Pin<Box<Sleep>>,
    /// When the server goes down.
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    work: Option<Work>,
    /// The model stays as long as it answers. Dropped after the streams.
    _model: Held,
}

impl Tokens {
    /// The next event, and the index of the answer it belongs to; `None` once all have ended. Nothing is lost when the
    /// future is dropped.
    ///
    /// # Errors
    /// If the server goes down, the time is over, or the runtime is gone.
    pub(crate) async fn next(&mut self) -> Result<Option<(usize, Event)>, ApiError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<(usize, Event)>, ApiError>> {
        if self.streams.iter().all(Option::is_none) {
            return Poll::Ready(Ok(None));
        }
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(ApiError::draining()));
        }
        if self.overdue.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(ApiError::timed_out()));
        }
        let n = self.streams.len();
        for idx in (self.turn..n).chain(0..self.turn) {
            let place = &mut self.streams[idx];
            let Some(stream) = place else { continue };
            let Poll::Ready(event) = stream.poll_recv(context) else { continue };
            let Some(event) = event else { return Poll::Ready(Err(ApiError::Panicked)) };
            if matches!(event, Event::Done(_)) {
                *place = None;
            }
            if let Some(work) = &mut self.work {
                work.note(&event);
            }
            self.turn = (idx + 1) % n;
            return Poll::Ready(Ok(Some((idx, event))));
        }
        Poll::Pending
    }

    /// Waits for all answers; `each` sees every token, with the index of its answer.
    ///
    /// # Errors
    /// If one of them is not complete.
    pub(crate) async fn whole(mut self, mut each: impl FnMut(usize, &TokenEvent)) -> Result<Vec<Whole>, ApiError> {
        let mut texts = vec![String::new(); self.streams.len()];
        let mut summaries: Vec<Option<Summary>> = vec![None; self.streams.len()];
        let mut last = vec![None; self.streams.len()];
        while let Some((idx, event)) = self.next().await? {
            match event {
                Event::Token(event) => {
                    texts[idx] += &event.text;
                    last[idx] = Some(event.token);
                    each(idx, &event);
                }
                Event::Progress(_) => {}
                Event::Done(summary) => {
                    let summary = complete(summary)?;
                    texts[idx] += &summary.tail;
                    summaries[idx] = Some(summary);
                }
            }
        }
        let answers = texts.into_iter().zip(last).zip(summaries);
        Ok(answers.filter_map(|((text, last), summary)| Some(Whole { text, last, summary: summary? })).collect())
    }
}

/// An answer in one piece.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) text: String,
    /// Its last token.
    pub(crate) last: Option<TokenId>,
    pub(crate) summary: Summary,
}

/// The summary of an answer that is complete.
///
/// # Errors
/// If the request ended before it was.
pub(crate) fn complete(summary: Summary) -> Result<Summary, ApiError> {
    match summary.finish_reason {
        FinishReason::Stop | FinishReason::Length => Ok(summary),
        finish_reason @ (FinishReason::Cancelled | FinishReason::Error) => {
            Err(ApiError::Ended { finish_reason, reason: summary.reason })
        }
    }
}
