//! `/v1/responses`: answers that are kept, continued, fetched and made in the background.

mod background;
mod draft;
mod format;
mod input;
mod item;
mod log;
mod request;
mod shelf;
mod store;
mod stored;
mod stream;
mod tools;
mod unsupported;
mod writing;

pub use background::BACKGROUND_MAX;
pub(crate) use background::Background;
pub use log::RESPONSE_EVENTS_BYTES_MAX;
pub(crate) use request::INCLUDABLE;
pub use shelf::ResponseStoreOptions;
pub(crate) use store::ResponseStore;
pub(crate) use stored::{cancel, delete, input_items, retrieve};

use crate::RandomSource;
use crate::api_error::ApiError;
use crate::fields::ParamError;
use crate::generation::{Taken, Tokens, begin, complete};
use crate::incoming::{Asker, Incoming};
use crate::models::GeneratorUse;
use crate::openai::chat::MESSAGES_MAX;
use crate::openai::objects::{TokenWords, named};
use crate::progress::Reporter;
use crate::state::Server;
use crate::stream::response;
use crate::thinking::ChatPrompt;
use crate::tools::Said;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use background::Work;
use ballast_runtime::{Event, TenantId};
use request::{Mode, ResponseRequest};
use serde_json::{Value, json};
use std::sync::Arc;
use store::{Place, Turn};
use stream::Events;
use tokio::sync::OwnedSemaphorePermit;
use writing::{Audience, Pen, Writing};

pub(crate) async fn create(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request).await.unwrap_or_else(ApiError::into_response)
}

async fn answer(server: Arc<Server>, request: Request) -> Result<Response, ApiError> {
    let keep_alive = server.options.keep_alive;
    let (tokens, begun) = begin(Arc::clone(&server), request, take).await?;
    let Begun { writing, tenant, past, request, permit } = begun;
    let work = match request.mode {
        Mode::Whole | Mode::Streamed => None,
        Mode::Background { is_streamed } => Some(Arc::new(Work::new(is_streamed))),
    };
    let place = Place { server, tenant, past, input: request.input, work: work.clone(), is_stored: request.is_stored };
    match (request.mode, work, permit) {
        (Mode::Background { is_streamed }, Some(work), Some(permit)) => {
            let mut writing = writing;
            writing.queue();
            place.open(&writing);
            let queued = Json(writing.response()).into_response();
            tokio::spawn(background::run(tokens, writing, place, Arc::clone(&work), permit));
            Ok(if is_streamed { background::follow(work, 0, keep_alive) } else { queued })
        }
        (Mode::Streamed, ..) => Ok(response(tokens, Events { writing, place }, keep_alive)),
        (Mode::Whole | Mode::Background { .. }, ..) => whole(tokens, writing, place).await,
    }
}

/// Waits for the whole answer. The future holds the token stream, so a client that leaves ends the work.
async fn whole(mut tokens: Tokens, mut writing: Writing, mut place: Place) -> Result<Response, ApiError> {
    while let Some((_, event)) = tokens.next().await? {
        match event {
            Event::Token(event) => writing.token(&event),
            Event::Progress(_) => {}
            Event::Done(summary) => writing.end(&complete(summary)?, place.now()),
        }
    }
    place.close(&writing);
    Ok(Json(writing.response()).into_response())
}

/// A response whose tokens are on their way.
struct Begun {
    writing: Writing,
    tenant: TenantId,
    past: Vec<Arc<Turn>>,
    request: ResponseRequest,
    /// Of a response in the background.
    permit: Option<OwnedSemaphorePermit>,
}

fn take(server: &Arc<Server>, incoming: &Incoming) -> Result<Taken<Begun>, ApiError> {
    let mut request = ResponseRequest::parse(&incoming.body, &server.options)?;
    let model = server.generator(Some(&request.model))?;
    let tenant = incoming.asker.tenant.clone();
    let past = past(server, &tenant, request.previous.as_deref())?;
    let n_past: usize = past.iter().map(|turn| turn.input.len() + turn.output.len()).sum();
    if n_past + request.input.len() > MESSAGES_MAX {
        let expected = format!("at most {MESSAGES_MAX} items with those before");
        return Err(ParamError::wrong("input".to_owned(), expected, &n_past.into()).into());
    }
    let before = || past.iter().flat_map(|turn| turn.input.iter().chain(&turn.output));
    input::check_answers(before(), &request.input)?;
    let calls = request.tools.constrain(&model, &mut request.generation)?;
    let messages = item::messages(request.instructions.as_deref(), before().chain(&request.input));
    let rendering = server.rendering(true, request.tools.told());
    let prompt = ChatPrompt::render(server, &model, &messages, rendering, &request.thinking)?;
    let thoughts = prompt.think(&request.thinking, &model, &mut request.generation);
    let said = Said::new(thoughts, calls, Arc::clone(model.runtime().tokenizer()));
    let permit = match request.mode {
        Mode::Whole | Mode::Streamed => None,
        Mode::Background { .. } => Some(server.background.take_place()?),
    };
    let writing = written(server, &model, &request, said);
    let asker: &Asker = &incoming.asker;
    let streams = request.generation.submit(&model, (server, asker), &[prompt.tokens], 1)?;
    let (model, deadline) = (model.into_model(), request.generation.deadline);
    Ok(Taken { streams, model, deadline, wire: Begun { writing, tenant, past, request, permit } })
}

/// What was said before: the conversation of the response that is continued.
fn past(server: &Server, tenant: &TenantId, previous: Option<&str>) -> Result<Vec<Arc<Turn>>, ApiError> {
    let Some(id) = previous else { return Ok(Vec::new()) };
    let wrong = |expected: &str| ParamError::wrong("previous_response_id".to_owned(), expected, &id.into());
    let now = (server.options.unix_time)();
    let stored = server.responses.find(tenant, id, now);
    let stored = stored.ok_or_else(|| wrong("a response of yours that is still kept"))?;
    match stored.status() {
        "completed" | "incomplete" => Ok(stored.past.iter().cloned().chain([stored.turn]).collect()),
        _ => Err(wrong("a response that is complete, or incomplete").into()),
    }
}

/// A response of which nothing is written yet.
fn written(server: &Server, model: &GeneratorUse, request: &ResponseRequest, said: Said) -> Writing {
    let mut object = json!({
        "id": named(&server.options.random, "resp"),
        "object": "response",
        "created_at": (server.options.unix_time)(),
        "model": model.id,
        "system_fingerprint": model.fingerprint,
    });
    if let (Value::Object(object), Value::Object(echo)) = (&mut object, request.echo.clone()) {
        object.extend(echo);
    }
    let audience = match request.mode {
        Mode::Streamed | Mode::Background { is_streamed: true } => Audience::Listening,
        Mode::Whole | Mode::Background { is_streamed: false } => Audience::Absent,
    };
    let words = TokenWords::new(model, &request.generation);
    let reporter = Reporter::new(request.generation.telling, 1);
    Writing::new(object, Pen { said, words, random: RandomSource::clone(&server.options.random), audience, reporter })
}
