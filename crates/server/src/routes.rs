//! What every request passes on its way to its route.

mod table;

pub(crate) use table::route_of;
pub use table::{Route, RouteClass, RouteMethod, routes};

use crate::api_error::{ApiError, Refusal};
use crate::state::Server;
use crate::{cors, guard, leaving, request_id, security_headers, wire};
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use std::sync::Arc;

/// The whole server behind the socket. Read from the bottom: the last layer is the first to see a request.
pub(crate) fn router(server: &Arc<Server>) -> Router {
    let add = |router: Router<Arc<Server>>, route: &Route| router.route(route.path, route.handler());
    routes()
        .iter()
        .fold(Router::new(), add)
        .fallback(async || ApiError::from(Refusal::Route))
        .method_not_allowed_fallback(async || ApiError::from(Refusal::Method))
        .layer(from_fn_with_state(Arc::clone(server), guard::guard))
        .layer(from_fn_with_state(Arc::clone(server), cors::allow))
        .layer(from_fn(wire::shape_errors))
        .layer(from_fn(security_headers::add))
        .layer(from_fn_with_state(Arc::clone(server), leaving::close))
        .layer(from_fn_with_state(Arc::clone(server), request_id::name_request))
        .with_state(Arc::clone(server))
}
