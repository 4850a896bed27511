//! What every request passes on its way to its route.

mod table;

pub(crate) use table::route_of;
pub use table::{Route, RouteClass, RouteMethod, RouteTime, grpc_routes, routes};

use crate::api_error::{ApiError, Refusal};
use crate::state::Server;
use crate::wire::Wire;
use crate::{cors, guard, leaving, request_id, security_headers};
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;

/// The whole server behind the socket: its routes, and what every request passes.
///
/// Layers of a router would do the same; each costs every request a copy of those below it.
pub(crate) struct Routes {
    server: Arc<Server>,
    router: TowerToHyperService<Router>,
    /// Paths of routes, as the router reads them.
    paths: matchit::Router<&'static str>,
}

impl Routes {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let mut paths = matchit::Router::new();
        for route in routes().iter().chain(grpc_routes()) {
            // A path is there again for each of its methods.
            if paths.insert(route.path, route.path).is_err() {
                tracing::trace!(route.path, "another method");
            }
        }
        Self { server: Arc::clone(server), router: TowerToHyperService::new(router(server)), paths }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request) -> Response {
        let (server, path, version) = (&*self.server, request.uri().path(), request.version());
        let matched = self.paths.at(path).ok().map(|matched| *matched.value);
        let (wire, route) = (Wire::of(path), matched.and_then(|path| route_of(request.method(), path)));
        let named = request_id::name(server, route, &mut request);
        let run = async |request| self.router.call(request).await.unwrap_or_else(|never| match never {});
        let guarded = async |request| wire.shape_errors(guard::guard(server, (wire, route), request, run).await);
        let mut response = cors::allow(server, request, guarded).await;
        security_headers::add(response.headers_mut());
        leaving::close(server, version, response.headers_mut());
        named.tell(server, response)
    }
}

fn router(server: &Arc<Server>) -> Router {
    let add = |router: Router<Arc<Server>>, route: &Route| router.route(route.path, route.handler());
    routes()
        .iter()
        .chain(grpc_routes())
        .fold(Router::new(), add)
        .fallback(async || ApiError::from(Refusal::Route))
        .method_not_allowed_fallback(async || ApiError::from(Refusal::Method))
        .with_state(Arc::clone(server))
}
