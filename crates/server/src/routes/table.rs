//! Every route there is, by HTTP and by gRPC: method, path, the scope a caller needs, the class it shares its places with.
//!
//! The router is built from this table and from nothing else, so a route without a row does not exist, and what walks
//! the table walks the router.

use crate::kserve::grpc;
use crate::scope::Scope;
use crate::state::Server;
use crate::{anthropic, health, kserve, llamacpp, metrics, ollama, openai, openapi, rerank};
use RouteMethod::{Delete, Get, Post};
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use std::fmt;
use std::sync::Arc;

/// A method that some route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteMethod {
    /// `GET`, and `HEAD` with it.
    Get,
    /// `POST`.
    Post,
    /// `DELETE`.
    Delete,
}

impl RouteMethod {
    /// As a request line has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    fn takes(self, method: &Method) -> bool {
        method.as_str() == self.as_str() || (self == Self::Get && *method == Method::HEAD)
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Routes that share their places: a class that is full keeps no other waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteClass {
    /// A model generates.
    Generation,
    /// A model reads texts and gives numbers.
    Embeddings,
    /// A tensor model runs.
    Predictions,
    /// Nothing runs on a model.
    Reading,
    /// Operators and their scrapers.
    Admin,
    /// Whether the server lives: never held up by anything.
    Liveness,
}

/// How long a route may take to begin its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTime {
    /// As long as every route that does no long work.
    Bounded,
    /// What it does has a bound of its own, or lasts as long as the caller waits.
    Own,
}

/// One row.
#[derive(Clone, Copy)]
pub struct Route {
    /// What a request line begins with.
    pub method: RouteMethod,
    /// With `{name}` for a part and `{*name}` for a rest of the path.
    pub path: &'static str,
    /// What a caller needs to be allowed; `None`: it is liveness, and open.
    pub scope: Option<Scope>,
    /// Whom it shares its places with.
    pub class: RouteClass,
    /// How long it may take.
    pub time: RouteTime,
    to: fn(MethodFilter) -> MethodRouter<Arc<Server>>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?}, {:?})", self.method.as_str(), self.path, self.scope, self.class)
    }
}

impl Route {
    /// Whether it looks at work that goes on without its caller, or ends it: who has as much of that as may be must be
    /// able to.
    pub(crate) fn is_of_kept_work(&self) -> bool {
        self.class == RouteClass::Reading && self.scope == Some(Scope::Generate)
    }

    /// Whom its requests go to.
    pub(super) fn handler(&self) -> MethodRouter<Arc<Server>> {
        (self.to)(self.method.filter())
    }
}

/// Every route of HTTP there is.
#[must_use]
pub fn routes() -> &'static [Route] {
    ROUTES
}

/// Every method of gRPC there is: a path that is posted to.
#[must_use]
pub fn grpc_routes() -> &'static [Route] {
    GRPC
}

/// The row of a request: `path` as the router matched it.
pub(crate) fn route_of(method: &Method, path: &str) -> Option<&'static Route> {
    ROUTES.iter().chain(GRPC).find(|route| route.path == path && route.method.takes(method))
}

/// A handler as a row has it.
type To = fn(MethodFilter) -> MethodRouter<Arc<Server>>;

const fn generation(method: RouteMethod, path: &'static str, to: To) -> Route {
    Route { method, path, scope: Some(Scope::Generate), class: RouteClass::Generation, time: RouteTime::Own, to }
}

const fn embedding(path: &'static str, to: To) -> Route {
    Route { method: Post, path, scope: Some(Scope::Embed), class: RouteClass::Embeddings, time: RouteTime::Own, to }
}

const fn predicting(path: &'static str, to: To) -> Route {
    Route { method: Post, path, scope: Some(Scope::Predict), class: RouteClass::Predictions, time: RouteTime::Own, to }
}

const fn reading(method: RouteMethod, path: &'static str, to: To) -> Route {
    Route { method, path, scope: Some(Scope::Read), class: RouteClass::Reading, time: RouteTime::Bounded, to }
}

/// What was generated before: nothing runs on a model, and nobody may see it who may not have it generated.
const fn kept(method: RouteMethod, path: &'static str, to: To) -> Route {
    Route { method, path, scope: Some(Scope::Generate), class: RouteClass::Reading, time: RouteTime::Bounded, to }
}

const fn counting(method: RouteMethod, path: &'static str, to: To) -> Route {
    Route { method, path, scope: Some(Scope::Metrics), class: RouteClass::Admin, time: RouteTime::Bounded, to }
}

const fn operating(method: RouteMethod, path: &'static str, to: To) -> Route {
    Route { method, path, scope: Some(Scope::Admin), class: RouteClass::Admin, time: RouteTime::Bounded, to }
}

/// Models come and go: a file takes as long as its way here.
const fn stocking(method: RouteMethod, path: &'static str, to: To) -> Route {
    Route { time: RouteTime::Own, ..operating(method, path, to) }
}

const fn liveness(path: &'static str, to: To) -> Route {
    Route { method: Get, path, scope: None, class: RouteClass::Liveness, time: RouteTime::Own, to }
}

static ROUTES: &[Route] = &[
    generation(Post, "/v1/chat/completions", |m| on(m, openai::chat_completions)),
    generation(Post, "/v1/completions", |m| on(m, openai::completions)),
    generation(Post, "/v1/responses", |m| on(m, openai::create_response)),
    generation(Post, "/responses", |m| on(m, openai::create_response)),
    kept(Get, "/v1/responses/{id}", |m| on(m, openai::retrieve_response)),
    kept(Delete, "/v1/responses/{id}", |m| on(m, openai::delete_response)),
    kept(Post, "/v1/responses/{id}/cancel", |m| on(m, openai::cancel_response)),
    kept(Get, "/v1/responses/{id}/input_items", |m| on(m, openai::input_items)),
    reading(Get, "/v1/models", |m| on(m, openai::list_models)),
    reading(Get, "/models", |m| on(m, openai::list_models)),
    reading(Get, "/v1/models/{*id}", |m| on(m, openai::show_model)),
    reading(Get, "/openapi.json", |m| on(m, openapi::serve)),
    generation(Post, "/v1/messages", |m| on(m, anthropic::messages)),
    reading(Post, "/v1/messages/count_tokens", |m| on(m, anthropic::count_tokens)),
    generation(Post, "/completion", |m| on(m, llamacpp::completion)),
    generation(Post, "/completions", |m| on(m, llamacpp::completion)),
    generation(Post, "/chat/completions", |m| on(m, openai::chat_completions)),
    reading(Post, "/chat/completions/input_tokens", |m| on(m, openai::count_tokens)),
    reading(Post, "/v1/chat/completions/input_tokens", |m| on(m, openai::count_tokens)),
    generation(Post, "/infill", |m| on(m, llamacpp::infill)),
    reading(Get, "/slots", |m| on(m, llamacpp::slots)),
    generation(Post, "/slots/{id_slot}", |m| on(m, llamacpp::act_on_slot)),
    reading(Post, "/tokenize", |m| on(m, llamacpp::tokenize)),
    reading(Post, "/detokenize", |m| on(m, llamacpp::detokenize)),
    reading(Post, "/apply-template", |m| on(m, llamacpp::apply_template)),
    reading(Get, "/props", |m| on(m, llamacpp::props)),
    generation(Post, "/api/chat", |m| on(m, ollama::chat)),
    generation(Post, "/api/generate", |m| on(m, ollama::generate)),
    reading(Get, "/api/tags", |m| on(m, ollama::list)),
    reading(Get, "/api/ps", |m| on(m, ollama::running)),
    reading(Post, "/api/show", |m| on(m, ollama::show)),
    reading(Get, "/api/version", |m| on(m, ollama::version)),
    stocking(Post, "/api/pull", |m| on(m, ollama::pull)),
    operating(Post, "/api/copy", |m| on(m, ollama::copy)),
    stocking(Delete, "/api/delete", |m| on(m, ollama::delete)),
    operating(Post, "/models/load", |m| on(m, llamacpp::load)),
    operating(Post, "/models/unload", |m| on(m, llamacpp::unload)),
    embedding("/v1/embeddings", |m| on(m, openai::embeddings)),
    embedding("/embedding", |m| on(m, llamacpp::embedding)),
    embedding("/embeddings", |m| on(m, llamacpp::embedding)),
    embedding("/api/embed", |m| on(m, ollama::embed)),
    embedding("/api/embeddings", |m| on(m, ollama::embeddings)),
    embedding("/v1/rerank", |m| on(m, rerank::rerank)),
    embedding("/v2/rerank", |m| on(m, rerank::rerank)),
    embedding("/rerank", |m| on(m, rerank::rerank)),
    reading(Get, "/v2", |m| on(m, kserve::server)),
    liveness("/v2/health/live", |m| on(m, kserve::live)),
    liveness("/v2/health/ready", |m| on(m, kserve::ready)),
    reading(Get, "/v2/models/stats", |m| on(m, kserve::all_statistics)),
    reading(Get, "/v2/models/{model}", |m| on(m, kserve::metadata::<String>)),
    reading(Get, "/v2/models/{model}/ready", |m| on(m, kserve::model_ready::<String>)),
    reading(Get, "/v2/models/{model}/config", |m| on(m, kserve::config::<String>)),
    reading(Get, "/v2/models/{model}/stats", |m| on(m, kserve::statistics::<String>)),
    predicting("/v2/models/{model}/infer", |m| on(m, kserve::inference::<String>)),
    reading(Get, "/v2/models/{model}/versions/{version}", |m| on(m, kserve::metadata::<(String, String)>)),
    reading(Get, "/v2/models/{model}/versions/{version}/ready", |m| on(m, kserve::model_ready::<(String, String)>)),
    reading(Get, "/v2/models/{model}/versions/{version}/config", |m| on(m, kserve::config::<(String, String)>)),
    reading(Get, "/v2/models/{model}/versions/{version}/stats", |m| on(m, kserve::statistics::<(String, String)>)),
    predicting("/v2/models/{model}/versions/{version}/infer", |m| on(m, kserve::inference::<(String, String)>)),
    reading(Post, "/v2/repository/index", |m| on(m, kserve::index)),
    stocking(Post, "/v2/repository/models/{model}/load", |m| on(m, kserve::load)),
    stocking(Post, "/v2/repository/models/{model}/unload", |m| on(m, kserve::unload)),
    operating(Get, "/v2/systemsharedmemory/{*rest}", |m| on(m, kserve::shared_memory)),
    operating(Post, "/v2/systemsharedmemory/{*rest}", |m| on(m, kserve::shared_memory)),
    operating(Get, "/v2/cudasharedmemory/{*rest}", |m| on(m, kserve::shared_memory)),
    operating(Post, "/v2/cudasharedmemory/{*rest}", |m| on(m, kserve::shared_memory)),
    operating(Get, "/v2/trace/setting", |m| on(m, kserve::tracing)),
    operating(Post, "/v2/trace/setting", |m| on(m, kserve::tracing)),
    operating(Get, "/v2/models/{model}/trace/setting", |m| on(m, kserve::tracing)),
    operating(Post, "/v2/models/{model}/trace/setting", |m| on(m, kserve::tracing)),
    operating(Get, "/v2/logging", |m| on(m, kserve::logging)),
    operating(Post, "/v2/logging", |m| on(m, kserve::logging)),
    counting(Get, "/metrics", |m| on(m, metrics::metrics)),
    counting(Get, "/health/metrics", |m| on(m, metrics::metrics)),
    liveness("/health", |m| on(m, health::health)),
    liveness("/health/live", |m| on(m, health::live)),
    liveness("/health/ready", |m| on(m, health::ready)),
    liveness("/healthz", |m| on(m, health::live)),
    liveness("/livez", |m| on(m, health::live)),
    liveness("/readyz", |m| on(m, health::ready)),
];

/// Whether the server lives, by gRPC.
const fn alive(path: &'static str, to: To) -> Route {
    Route { method: Post, ..liveness(path, to) }
}

/// What is told again and again, as long as the caller listens.
const fn telling(path: &'static str, to: To) -> Route {
    Route { time: RouteTime::Own, ..reading(Post, path, to) }
}

static GRPC: &[Route] = &[
    alive("/inference.GRPCInferenceService/ServerLive", |m| on(m, grpc::server_live)),
    alive("/inference.GRPCInferenceService/ServerReady", |m| on(m, grpc::server_ready)),
    reading(Post, "/inference.GRPCInferenceService/ModelReady", |m| on(m, grpc::model_ready)),
    reading(Post, "/inference.GRPCInferenceService/ServerMetadata", |m| on(m, grpc::server_metadata)),
    reading(Post, "/inference.GRPCInferenceService/ModelMetadata", |m| on(m, grpc::model_metadata)),
    reading(Post, "/inference.GRPCInferenceService/ModelConfig", |m| on(m, grpc::model_config)),
    reading(Post, "/inference.GRPCInferenceService/ModelStatistics", |m| on(m, grpc::model_statistics)),
    reading(Post, "/inference.GRPCInferenceService/RepositoryIndex", |m| on(m, grpc::repository_index)),
    predicting("/inference.GRPCInferenceService/ModelInfer", |m| on(m, grpc::model_infer)),
    predicting("/inference.GRPCInferenceService/ModelStreamInfer", |m| on(m, grpc::model_stream_infer)),
    stocking(Post, "/inference.GRPCInferenceService/RepositoryModelLoad", |m| on(m, grpc::repository_load)),
    stocking(Post, "/inference.GRPCInferenceService/RepositoryModelUnload", |m| on(m, grpc::repository_unload)),
    reading(Post, "/inference.GRPCInferenceService/{method}", |m| on(m, grpc::not_served)),
    alive("/grpc.health.v1.Health/Check", |m| on(m, grpc::health)),
    telling("/grpc.health.v1.Health/Watch", |m| on(m, grpc::health)),
    telling("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", |m| on(m, grpc::reflection)),
    telling("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", |m| on(m, grpc::reflection_alpha)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_liveness_is_open() {
        for route in ROUTES {
            assert_eq!(route.scope.is_none(), route.class == RouteClass::Liveness, "{route:?}");
            let is_health = ["/health", "/healthz", "/livez", "/readyz"].contains(&route.path)
                || ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"].contains(&route.path);
            assert_eq!(route.scope.is_none(), is_health, "{route:?}");
        }
        let open = GRPC.iter().filter(|route| route.scope.is_none()).map(|route| route.path.rsplit('/').next());
        assert!(open.eq([Some("ServerLive"), Some("ServerReady"), Some("Check")]));
    }

    #[test]
    fn every_row_is_found_by_its_method_and_path() {
        for (idx, route) in ROUTES.iter().enumerate() {
            let method = route.method.as_str().parse().unwrap();
            let found = route_of(&method, route.path).unwrap();
            assert!(std::ptr::eq(found, &raw const ROUTES[idx]), "{route:?} stands twice");
        }
        assert_eq!(route_of(&Method::HEAD, "/metrics").unwrap().path, "/metrics");
        assert!(route_of(&Method::POST, "/metrics").is_none() && route_of(&Method::GET, "/nothing").is_none());
    }
}
