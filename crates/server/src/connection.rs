//! Connections: how many, for how long, and how they end.
//!
//! ```text
//! accepting => leaving    shutdown: readiness says no, answers close their connections, new ones are still taken
//! leaving   => draining   drain_delay: the listener closes, idle connections end, answers in progress go on
//! draining  => ended      every answer is complete
//! draining  => cut        drain_timeout: answers in progress end with DRAINING, connections left after that are dropped
//! ```

use crate::keeper::Keeper;
use crate::routes;
use crate::stall::StallGuard;
use crate::state::Server;
use crate::{ServedModels, ServerError, ServerOptions};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest request head, and the size of a connection's buffer.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Failures to accept in a row before the listener is given up.
pub const ACCEPT_FAILURES_MAX: u32 = 100;
/// Pause after a failure to accept: the usual cause, too few file descriptors, needs a moment to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `models` on `listener` until `shutdown` is ready, then drains.
///
/// Dropping the last handle of a runtime waits for the step in progress, and this function drops `models` at its
/// end: keep a clone of the runtime where waiting does no harm.
///
/// # Errors
/// Options that cannot work, a listener that fails for good, connections that had to be cut after draining.
pub async fn serve(
    listener: TcpListener,
    models: ServedModels,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let server = Arc::new(Server::new(models, options)?);
    let _keeper = Keeper::start(&server);
    let mut connections = Connections::new(&server);
    let accepted = tokio::select! {
        () = shutdown => Ok(()),
        failed = connections.accept_all(&listener) => failed,
        failed = start(&server) => failed,
    };
    server.leave();
    let accepted = match accepted {
        Ok(()) => connections.linger(&listener).await,
        failed => failed,
    };
    drop(listener);
    connections.drain().await?;
    accepted
}

/// Loads the first model. Returns only when it cannot be.
async fn start(server: &Server) -> Result<(), ServerError> {
    server.models.start().await?;
    pending().await
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

struct Connections {
    server: Arc<Server>,
    router: Router,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::clone(server),
            router: routes::router(server),
            places: Arc::new(Semaphore::new(server.options.connections_max.min(Semaphore::MAX_PERMITS))),
            graceful: GracefulShutdown::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Accepts while there is a place. Returns only when the listener is broken.
    async fn accept_all(&mut self, listener: &TcpListener) -> Result<(), ServerError> {
        let mut n_failures = 0;
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((socket, address)) => {
                    n_failures = 0;
                    self.spawn(socket, PeerAddress(address.ip()), place);
                }
                Err(source) => {
                    n_failures += 1;
                    tracing::warn!(error = %source, n_failures, "a connection was not accepted");
                    if n_failures == ACCEPT_FAILURES_MAX {
                        return Err(ServerError::Accept { n_failures, source });
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Goes on accepting for as long as load balancers may take to hear that the server goes.
    async fn linger(&mut self, listener: &TcpListener) -> Result<(), ServerError> {
        let delay = self.server.options.drain_delay;
        timeout(delay, self.accept_all(listener)).await.unwrap_or(Ok(()))
    }

    fn spawn(&mut self, socket: TcpStream, address: PeerAddress, place: OwnedSemaphorePermit) {
        while self.tasks.try_join_next().is_some() {}
        if let Err(error) = no_delay(&socket) {
            tracing::debug!(%error, "a connection was gone before it was served");
            return;
        }
        let options = &self.server.options;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(
                TokioIo::new(StallGuard::new(socket, options.stall_timeout)),
                TowerToHyperService::new(self.router.clone().layer(Extension(address))),
            );
        let connection = self.graceful.watch(connection);
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }

    async fn drain(self) -> Result<(), ServerError> {
        let Self { server, graceful, mut tasks, .. } = self;
        if timeout(server.options.drain_timeout, graceful.shutdown()).await.is_ok() {
            return Ok(());
        }
        while tasks.try_join_next().is_some() {}
        let n_connections = tasks.len();
        tracing::warn!(n_connections, "the time for draining is over: answers in progress are cut");
        server.cut();
        let ended = async { while tasks.join_next().await.is_some() {} };
        if timeout(server.options.cut_timeout, ended).await.is_err() {
            tracing::warn!("connections were left that did not take the end of their answers");
        }
        tasks.shutdown().await;
        Err(ServerError::DrainTimedOut { n_connections })
    }
}

/// Tokens go out one by one: waiting for more to fill a packet would hold each back.
fn no_delay(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)
}
