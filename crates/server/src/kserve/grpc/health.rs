//! `grpc.health.v1.Health`: whether to send requests for tensor models here, for those who ask by gRPC.

use crate::state::Server;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Services that there are; the empty name is all of them.
const KNOWN: [&str; 2] = ["", "inference.GRPCInferenceService"];
/// How soon who watches hears of a change.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Answers for a server.
#[derive(Debug)]
pub(super) struct OfServer(pub(super) Arc<Server>);

fn now(server: &Server) -> ServingStatus {
    if server.is_ready_for_tensors() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for OfServer {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !KNOWN.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("there is no such service"));
        }
        Ok(Response::new(response(now(&self.0))))
    }

    /// Ends when answers in progress do.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let is_known = KNOWN.contains(&request.get_ref().service.as_str());
        let server = Arc::clone(&self.0);
        let changes = unfold(None, move |last: Option<ServingStatus>| {
            let server = Arc::clone(&server);
            async move {
                loop {
                    let status = if is_known { now(&server) } else { ServingStatus::ServiceUnknown };
                    if last != Some(status) {
                        return Some((Ok(response(status)), Some(status)));
                    }
                    tokio::select! {
                        () = tokio::time::sleep(WATCH_INTERVAL) => {}
                        () = Arc::clone(&server).wait_cut() => return None,
                    }
                }
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}
