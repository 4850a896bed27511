//! What every request passes on its way to its route.

mod table;

pub(crate) use table::route_of;
pub use table::{Route, RouteClass, RouteMethod, routes};

use crate::api_error::{ApiError, Refusal};
use crate::state::Server;
use crate::wire::Wire;
use crate::{cors, guard, leaving, request_id, security_headers};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use std::sync::Arc;

/// The whole server behind the socket.
pub(crate) fn router(server: &Arc<Server>) -> Router {
    let add = |router: Router<Arc<Server>>, route: &Route| router.route(route.path, route.handler());
    routes()
        .iter()
        .fold(Router::new(), add)
        .fallback(async || ApiError::from(Refusal::Route))
        .method_not_allowed_fallback(async || ApiError::from(Refusal::Method))
        .layer(from_fn_with_state(Arc::clone(server), pass))
        .with_state(Arc::clone(server))
}

/// Everything that a request passes, in one layer: each layer of a router's costs every request a copy of those below it.
async fn pass(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    let (wire, version) = (Wire::of(request.uri().path()), request.version());
    let path = request.extensions().get::<MatchedPath>();
    let route = path.and_then(|path| route_of(request.method(), path.as_str()));
    let named = request_id::name(&server, route, &mut request);
    let guarded = async |request| wire.shape_errors(guard::guard(&server, (wire, route), request, next).await);
    let mut response = cors::allow(&server, request, guarded).await;
    security_headers::add(response.headers_mut());
    leaving::close(&server, version, response.headers_mut());
    named.tell(&server, response)
}
