//! What a request passes before its route sees it: key, scope, rate, a place in its class.
//!
//! Whether the server lives is told to everybody. Whoever asks for anything else, or for nothing there is, needs a key.

use crate::CallerLimits;
use crate::api_error::{ApiError, Limited};
use crate::caller::Visit;
use crate::keys;
use crate::limits::{Refused, Seat, Standings};
use crate::routes::{Route, RouteClass, RouteTime};
use crate::state::Server;
use crate::trail::Trail;
use crate::wire::Wire;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Headers of a usual answer, those of its limits and those that every answer has: room for them is made once.
const HEADERS_USUAL: usize = 24;

/// Lets a request through to `next`, or says why not; what it was given lasts as long as its answer.
pub(crate) async fn guard(
    server: &Server,
    (wire, route): (Wire, Option<&Route>),
    mut request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    if route.is_some_and(|route| route.scope.is_none()) {
        return next(request).await;
    }
    let mut standings = Standings::default();
    let mut response = match admit(server, route, &request, &mut standings) {
        Err(refused) => refused.into_response(),
        Ok(visit) => {
            let visit = Arc::new(visit);
            request.extensions_mut().insert(Arc::clone(&visit));
            let response = answer(server, route, &visit, next(request)).await;
            standings = visit.standings();
            response
        }
    };
    response.headers_mut().reserve(HEADERS_USUAL);
    standings.write(wire, (server.options.unix_time)(), response.headers_mut());
    response
}

/// Another request of a visit that has many: it uses up what a request of its own would, but for a place at work.
///
/// # Errors
/// If the caller has to wait.
pub(crate) fn again(server: &Server, visit: &Visit) -> Result<Seat, ApiError> {
    let limits = visit.caller.limits(server.options.caller_limits());
    let limits = CallerLimits { concurrency: None, ..limits };
    Ok(server.limits.enter(visit.caller.account(), limits).map_err(limited)?)
}

/// What a request is told that finds no room in its caller's account.
fn limited(refused: Refused) -> Limited {
    match refused {
        Refused::Until(retry_after) => Limited::Requests { retry_after },
        Refused::AtOnce { limit } => Limited::AtOnce { limit },
        Refused::Never { .. } => unreachable!("one request is never more than a bucket holds"),
    }
}

fn admit(
    server: &Server,
    route: Option<&Route>,
    request: &Request,
    standings: &mut Standings,
) -> Result<Visit, ApiError> {
    let trail = request.extensions().get::<Arc<Trail>>().cloned();
    let caller = keys::admit(server, request)?;
    if let Some(trail) = &trail {
        trail.note_caller(&caller);
    }
    if let Some(scope) = route.and_then(|route| route.scope) {
        caller.check_scope(scope)?;
    }
    let (account, mut limits) = (caller.account(), caller.limits(server.options.caller_limits()));
    if route.is_some_and(Route::is_of_kept_work) {
        limits.concurrency = None;
    }
    let seat = server.limits.enter(account.clone(), limits).map_err(|refused| {
        *standings = server.limits.standings(&account, limits);
        limited(refused)
    })?;
    Ok(Visit::new(caller, seat, trail))
}

async fn answer(
    server: &Server,
    route: Option<&Route>,
    visit: &Arc<Visit>,
    answer: impl Future<Output = Response>,
) -> Response {
    let class = route.map_or(RouteClass::Reading, |route| route.class);
    let place = match server.bulkheads.enter(class).await {
        Ok(place) => place,
        Err(refused) => return refused.into_response(),
    };
    let pass = Pass { _visit: Arc::clone(visit), _place: place };
    let time = route.map_or(RouteTime::Bounded, |route| route.time);
    let answered = in_time(server, time, answer).await;
    answered.map(|body| Body::new(Accompanied { body, _pass: pass }))
}

/// What a route answers in the time it has.
async fn in_time(server: &Server, time: RouteTime, answer: impl Future<Output = Response>) -> Response {
    match time {
        RouteTime::Own => answer.await,
        RouteTime::Bounded => {
            let max = server.options.route_timeout;
            timeout(max, answer).await.unwrap_or_else(|_| ApiError::RouteTimeout { max }.into_response())
        }
    }
}

/// What a request was given for as long as it is answered.
struct Pass {
    _visit: Arc<Visit>,
    _place: Option<OwnedSemaphorePermit>,
}

/// A body, and what is held until it has been sent or given up.
struct Accompanied {
    body: Body,
    _pass: Pass,
}

impl HttpBody for Accompanied {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
