//! `POST /v1/chat/completions`: parse, submit, then answer in one piece or as a stream.

mod answer;
mod messages;
mod request;
mod stream;
mod unsupported;
mod wire;

pub use messages::{MESSAGES_MAX, PARTS_MAX};
pub use request::{LABEL_BYTES_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX};

use crate::api_error::ApiError;
use crate::body;
use crate::state::Server;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use ballast_runtime::{Event, TokenStream};
use ballast_tokens::RenderOptions;
use request::ChatRequest;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use wire::Wire;

pub(crate) async fn chat_completions(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request).await.unwrap_or_else(ApiError::into_response)
}

async fn answer(server: Arc<Server>, request: Request) -> Result<Response, ApiError> {
    let body = body::read(request, &server.options).await?;
    // A long prompt takes milliseconds to render and tokenize: not on a thread that serves sockets.
    let asked = Arc::clone(&server);
    let submitted = tokio::task::spawn_blocking(move || submit(&asked, &body)).await;
    let Submitted { stream, wire, mode, deadline } = submitted.map_err(|_| ApiError::Panicked)??;
    let overdue = deadline.saturating_add(server.options.deadline_grace);
    let tokens = Tokens { stream, overdue: Box::pin(sleep(overdue)), cut: Box::pin(Arc::clone(&server).wait_cut()) };
    match mode {
        Mode::Whole => answer::response(tokens, wire).await,
        Mode::Streamed { include_usage } => {
            Ok(stream::response(tokens, wire, stream::Options { include_usage, keep_alive: server.options.keep_alive }))
        }
    }
}

/// How the answer is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Whole,
    Streamed { include_usage: bool },
}

/// A request that the runtime has taken.
struct Submitted {
    stream: TokenStream,
    wire: Wire,
    mode: Mode,
    deadline: Duration,
}

fn submit(server: &Server, body: &[u8]) -> Result<Submitted, ApiError> {
    let (model, options) = (&server.model, &server.options);
    let request = ChatRequest::parse(body, options)?;
    if request.model != model.id {
        return Err(ApiError::ModelUnknown { served: model.id.clone() });
    }
    let now = (options.unix_time)();
    let render = RenderOptions { add_generation_prompt: true, now: Some(now), ..RenderOptions::default() };
    let prompt = model.format.chat(&request.messages, &render)?;
    let wire = Wire::new(server, &request, now);
    let (mode, deadline) = (request.mode, request.deadline);
    let stream = model.runtime.submit(request.into_generation(prompt, (options.random)()))?;
    Ok(Submitted { stream, wire, mode, deadline })
}

/// An answer in progress. Dropping it ends the work.
struct Tokens {
    stream: TokenStream,
    /// When the runtime has failed to keep the deadline.
    overdue: Pin<Box<Sleep>>,
    /// When the server goes down.
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Tokens {
    /// The next event; not to be called after the summary. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Result<Event, ApiError> {
        tokio::select! {
            biased;
            () = &mut self.cut => Err(ApiError::draining()),
            () = &mut self.overdue => Err(ApiError::timed_out()),
            event = self.stream.recv() => event.ok_or(ApiError::Panicked),
        }
    }
}
