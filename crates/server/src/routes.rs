//! What every request passes on its way to its route.

mod table;

pub use table::{Route, RouteClass, RouteMethod, routes};

use crate::api_error::{ApiError, Refusal};
use crate::state::Server;
use crate::{keys, leaving, limits, request_id, security_headers, wire};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The whole server behind the socket. Read from the bottom: the last layer is the first to see a request.
pub(crate) fn router(server: &Arc<Server>) -> Router {
    let add = |router: Router<Arc<Server>>, route: &Route| router.route(route.path, route.handler());
    routes()
        .iter()
        .fold(Router::new(), add)
        .fallback(async || ApiError::from(Refusal::Route))
        .method_not_allowed_fallback(async || ApiError::from(Refusal::Method))
        .layer(from_fn_with_state(Arc::clone(server), guard))
        .layer(from_fn(wire::shape_errors))
        .layer(from_fn(security_headers::add))
        .layer(from_fn_with_state(Arc::clone(server), leaving::close))
        .layer(from_fn_with_state(Arc::clone(server), request_id::name_request))
        .with_state(Arc::clone(server))
}

/// Whether the server lives is told to everybody; whoever asks for anything else, or for nothing there is, needs a key
/// and has a rate.
async fn guard(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.and_then(|path| table::route_of(request.method(), path.as_str()));
    if route.is_some_and(|route| route.scope.is_none()) {
        return next.run(request).await;
    }
    if let Err(refused) = keys::admit(&server, &mut request) {
        return refused.into_response();
    }
    limits::take_one(&server, request, next).await
}
