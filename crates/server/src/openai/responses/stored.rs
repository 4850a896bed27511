//! Responses that are kept: `GET` and `DELETE /v1/responses/{id}`, `POST .../cancel`, `GET .../input_items`.

use super::background::follow;
use super::item::Item;
use super::log::Read;
use super::request::include;
use super::store::Stored;
use crate::api_error::ApiError;
use crate::caller::Visit;
use crate::fields::{Fields, ParamError};
use crate::state::Server;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ballast_runtime::TenantId;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Most items of a page; the bound and the default are OpenAI's.
const PAGE_ITEMS_MAX: usize = 100;
const PAGE_ITEMS: usize = 20;

/// Whose response is meant, where somebody guards.
type Asker = Option<Extension<Arc<Visit>>>;
type Pairs = Query<Vec<(String, String)>>;

/// A response, as it stands; or with `stream=true` its events, of one that was begun in the background as a stream.
pub(crate) async fn retrieve(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    asker: Asker,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let mut fields = fields(pairs)?;
    include(&mut fields)?;
    let is_streamed = fields.bool("stream")?.unwrap_or(false);
    let after = fields.count("starting_after")?;
    fields.refuse(&[("include_obfuscation", |value| *value == false, "events are sent as they are")])?;
    fields.finish()?;
    let stored = find(&server, asker, &id)?;
    if !is_streamed {
        return match after {
            None => Ok(Json(&*stored.response).into_response()),
            Some(n) => Err(ParamError::wrong("starting_after".to_owned(), "it only with `stream`", &n.into()).into()),
        };
    }
    let Some(work) = stored.work.filter(|work| work.is_streamed) else {
        let supported = "only a response that was made with `background` and `stream` can be heard again";
        return Err(ParamError::Unsupported { param: "stream".to_owned(), supported }.into());
    };
    let next = after.map_or(0, |after| after.saturating_add(1));
    if let Read::Gone(first) = work.read(next) {
        let expected = format!("{} or more, since the events before are kept no longer", first.saturating_sub(1));
        return Err(ParamError::wrong("starting_after".to_owned(), expected, &after.into()).into());
    }
    Ok(follow(work, next, server.options.keep_alive))
}

/// Deletes a response. Work on it ends.
pub(crate) async fn delete(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    asker: Asker,
) -> Result<Json<Value>, ApiError> {
    let now = (server.options.unix_time)();
    let stored = server.responses.remove(&of(asker), &id, now).ok_or(ApiError::ResponseUnknown)?;
    if let Some(work) = &stored.work {
        work.cancel();
    }
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })))
}

/// Ends the work on a response in the background; one that has ended stays as it is.
pub(crate) async fn cancel(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    asker: Asker,
) -> Result<Response, ApiError> {
    let stored = find(&server, asker.clone(), &id)?;
    let Some(work) = stored.work else {
        let supported = "only a response in the background can be cancelled; leave the others";
        return Err(ParamError::Unsupported { param: "response_id".to_owned(), supported }.into());
    };
    work.cancel();
    work.wait_ended().await;
    let stored = find(&server, asker, &id)?;
    Ok(Json(&*stored.response).into_response())
}

/// Everything the response answers, the conversation before it included.
pub(crate) async fn input_items(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    asker: Asker,
    Query(pairs): Pairs,
) -> Result<Json<Value>, ApiError> {
    let mut fields = fields(pairs)?;
    include(&mut fields)?;
    let page = Page::parse(&mut fields)?;
    fields.finish()?;
    let stored = find(&server, asker, &id)?;
    Ok(Json(page.of(&stored)?))
}

/// Which items are asked for.
struct Page {
    limit: usize,
    is_newest_first: bool,
    after: Option<String>,
}

impl Page {
    fn parse(fields: &mut Fields) -> Result<Self, ParamError> {
        let limit = fields.count("limit")?.unwrap_or(PAGE_ITEMS);
        if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Err(ParamError::wrong("limit".to_owned(), format!("1 to {PAGE_ITEMS_MAX}"), &limit.into()));
        }
        let is_newest_first = match fields.string("order")?.as_deref() {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(other) => return Err(ParamError::wrong("order".to_owned(), "asc or desc", &other.into())),
        };
        Ok(Self { limit, is_newest_first, after: fields.string("after")? })
    }

    fn of(&self, stored: &Stored) -> Result<Value, ParamError> {
        let past = stored.past.iter().flat_map(|turn| turn.input.iter().chain(&turn.output));
        let mut items: Vec<&Item> = past.chain(&stored.turn.input).collect();
        if self.is_newest_first {
            items.reverse();
        }
        let first = match &self.after {
            None => 0,
            Some(after) => {
                let at = items.iter().position(|item| item.id == *after);
                let wrong = || ParamError::wrong("after".to_owned(), "an item of the list", &after.as_str().into());
                at.ok_or_else(wrong)? + 1
            }
        };
        let rest = &items[first..];
        let page = &rest[..rest.len().min(self.limit)];
        Ok(json!({
            "object": "list",
            "data": page.iter().map(|item| item.json()).collect::<Vec<_>>(),
            "first_id": page.first().map(|item| &item.id),
            "last_id": page.last().map(|item| &item.id),
            "has_more": rest.len() > page.len(),
        }))
    }
}

fn of(asker: Asker) -> TenantId {
    asker.map(|Extension(visit)| visit.caller.tenant.clone()).unwrap_or_default()
}

fn find(server: &Server, asker: Asker, id: &str) -> Result<Stored, ApiError> {
    let now = (server.options.unix_time)();
    server.responses.find(&of(asker), id, now).ok_or(ApiError::ResponseUnknown)
}

/// A query's pairs as the fields they would be in a body. A name that is there several times, or with `[]`, is a list.
fn fields(pairs: Vec<(String, String)>) -> Result<Fields, ParamError> {
    let mut fields = Map::new();
    for (name, text) in pairs {
        let value = match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            _ => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
        };
        let name = name.strip_suffix("[]").map_or_else(|| name.clone(), str::to_owned);
        match fields.get_mut(&name) {
            None if name == "include" => drop(fields.insert(name, json!([value]))),
            None => drop(fields.insert(name, value)),
            Some(Value::Array(values)) => values.push(value),
            Some(_) => return Err(ParamError::wrong(name, "one value", &json!([]))),
        }
    }
    Fields::new(String::new(), Value::Object(fields))
}
