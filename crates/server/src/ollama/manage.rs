//! Models that come, go, and get other names: `POST /api/pull` and `/api/copy`, `DELETE /api/delete`. Only where whoever
//! started the server allows it.

use super::error_body;
use crate::api_error::{ApiError, Limited};
use crate::body;
use crate::fields::{Fields, ParamError};
use crate::models::{KnownModel, ModelStock, PullStep, PullWatch, StockError};
use crate::routes::RouteClass;
use crate::state::Server;
use crate::stream::{LINES, streamed};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Most pulls at a time.
pub const PULLS_MAX: usize = 1;

/// `POST /api/copy`: another name for a model.
pub(crate) async fn copy(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    stock(&server)?;
    let mut fields = read(&server, request).await?;
    let source = fields.needed_string("source", "the name of a model")?;
    let destination = fields.needed_string("destination", "another name for it")?;
    fields.finish()?;
    server.models.copy(&source, &destination)?;
    Ok(Json(done()))
}

/// `DELETE /api/delete`: forgets a name, and with its last name a model. Its answers in progress go on to their end, which is
/// waited for; then its file goes, if it is the stock's own.
pub(crate) async fn delete(State(server): State<Arc<Server>>, request: Request) -> Result<Json<Value>, ApiError> {
    let stock = stock(&server)?;
    let mut fields = read(&server, request).await?;
    let name = model(&mut fields)?;
    fields.finish()?;
    let Some(id) = server.models.delete(&name).await? else { return Ok(Json(done())) };
    let deleted = tokio::task::spawn_blocking(move || stock.delete(&id)).await;
    deleted.map_err(|_| ApiError::Panicked)??;
    Ok(Json(done()))
}

/// `POST /api/pull`: brings a model here and makes it known. Leaving ends the work; a later pull goes on from there.
pub(crate) async fn pull(State(server): State<Arc<Server>>, request: Request) -> Result<Response, ApiError> {
    let stock = stock(&server)?;
    let mut fields = read(&server, request).await?;
    let name = model(&mut fields)?;
    let is_streamed = fields.bool("stream")?.unwrap_or(true);
    fields.refuse(&[("insecure", |value| *value == false, "digests are always checked")])?;
    fields.finish()?;
    if server.models.card(&name).is_ok() {
        return Ok(Json(done()).into_response());
    }
    let mut pulling = Pulling::begin(&server, stock, name)?;
    if is_streamed {
        let lines = futures_util::stream::unfold(pulling, async |mut pulling| {
            let line = pulling.next().await?;
            Some((Ok::<_, Infallible>(Bytes::from(format!("{line}\n"))), pulling))
        });
        return Ok(streamed(LINES, lines));
    }
    pulling.end().await?;
    Ok(Json(done()).into_response())
}

fn done() -> Value {
    json!({ "status": "success" })
}

fn stock(server: &Server) -> Result<Arc<dyn ModelStock>, ApiError> {
    let why = "the server was started without --manage-models";
    server.options.stock.clone().ok_or(ApiError::NotServed { what: "pulling, copying and deleting models", why })
}

async fn read(server: &Server, request: Request) -> Result<Fields, ApiError> {
    Fields::of_body(&body::read(request, &server.options).await?)
}

/// The name of a model. Older clients call it by its older name.
fn model(fields: &mut Fields) -> Result<String, ParamError> {
    match fields.string("name")? {
        Some(name) => Ok(name),
        None => fields.needed_string("model", "the name of a model"),
    }
}

/// A pull in work. Dropping it cancels it.
struct Pulling {
    server: Arc<Server>,
    watch: Arc<PullWatch>,
    /// `None`: it has ended.
    work: Option<JoinHandle<Result<KnownModel, StockError>>>,
    /// The first line has not been said.
    is_new: bool,
}

impl Drop for Pulling {
    fn drop(&mut self) {
        self.watch.cancel();
    }
}

impl Pulling {
    fn begin(server: &Arc<Server>, stock: Arc<dyn ModelStock>, name: String) -> Result<Self, ApiError> {
        let place = Arc::clone(&server.pulls).try_acquire_owned();
        let place = place.map_err(|_| Limited::Places { class: RouteClass::Admin })?;
        let watch = Arc::new(PullWatch::default());
        let watched = Arc::clone(&watch);
        let work = tokio::task::spawn_blocking(move || {
            let pulled = stock.pull(&name, &watched);
            // The place is free when the work has ended, whoever waits for it.
            drop(place);
            pulled
        });
        Ok(Self { server: Arc::clone(server), watch, work: Some(work), is_new: true })
    }

    /// The next line; `None` after the last.
    async fn next(&mut self) -> Option<Value> {
        if std::mem::take(&mut self.is_new) {
            return Some(json!({ "status": "pulling manifest" }));
        }
        let work = self.work.as_mut()?;
        tokio::select! {
            biased;
            PullStep { label, done, total } = self.watch.step() => {
                Some(json!({ "status": format!("pulling {label}"), "digest": label, "completed": done, "total": total }))
            }
            pulled = work => {
                self.work = None;
                let known = pulled.map_err(|_| ApiError::Panicked).and_then(|pulled| Ok(pulled?));
                Some(match known.and_then(|known| self.declare(known)) {
                    Ok(()) => done(),
                    Err(error) => error_body(&(&error).into()),
                })
            }
        }
    }

    /// Waits for the end.
    async fn end(&mut self) -> Result<(), ApiError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let known = work.await.map_err(|_| ApiError::Panicked)??;
        self.declare(known)
    }

    fn declare(&self, known: KnownModel) -> Result<(), ApiError> {
        let no_room = |_| ParamError::wrong("model".to_owned(), "a server with room for another model", &Value::Null);
        Ok(self.server.models.declare(known).map_err(no_room)?)
    }
}
