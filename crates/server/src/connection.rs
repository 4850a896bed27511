//! Connections: how many, for how long, what they speak, and how they end.
//!
//! ```text
//! accepting => leaving    shutdown: readiness says no, answers close their connections, new ones are still taken
//! leaving   => draining   drain_delay: the listener closes, idle connections end, answers in progress go on
//! draining  => ended      every answer is complete
//! draining  => cut        drain_timeout: answers in progress end with DRAINING, connections left after that are dropped
//! ```
//!
//! HTTP/1.1 and HTTP/2, by prior knowledge or by ALPN under TLS, are spoken on one port. A connection that does nothing ends in its time
//! (`activity.rs`), or sooner where another needs its place (`places.rs`).

mod activity;
mod listener;
mod places;
mod stall;

pub use listener::Listener;

use crate::keeper::Keeper;
use crate::reload::Watched as WatchedFiles;
use crate::routes::Routes;
use crate::state::Server;
use crate::tls::{self, PeerCertificate};
use crate::{ServedModels, ServerError, ServerOptions, ServerPhase};
use activity::IdleLimits;
use axum::body::Body;
use axum::http::{Request, Version};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use listener::Socket;
use places::{Places, Watched, WatchedBody};
use stall::StallGuard;
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest request head, and the size of a connection's buffer.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// The same, as HTTP/2 counts it.
const HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// Most requests at a time on one connection of HTTP/2.
pub const STREAMS_MAX: u32 = 128;
/// Requests of HTTP/2 that a client may take back before anybody looked at them; one more ends its connection.
/// (CVE-2023-44487)
pub const RESET_STREAMS_MAX: usize = 20;
/// Most header lines of a request: hyper's own bound, which is not changed, so that they need no allocation.
pub const HEADERS_MAX: usize = 100;
/// Failures to accept in a row before the listener is given up.
pub const ACCEPT_FAILURES_MAX: u32 = 100;
/// Pause after a failure to accept: the usual cause, too few file descriptors, needs a moment to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a full house looks for a connection that does nothing.
const ROOM_INTERVAL: Duration = Duration::from_millis(100);
/// How often a connection of HTTP/2 is asked whether its other end lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves `models` on `listener` until `shutdown` is ready, then drains.
///
/// Dropping the last handle of a runtime waits for the step in progress, and this function drops `models` at its
/// end: keep a clone of them where waiting does no harm.
///
/// # Errors
/// Options that cannot work, a first model that cannot be loaded, a listener that fails for good, connections that had
/// to be cut after draining.
pub async fn serve(
    listener: impl Into<Listener>,
    models: ServedModels,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let listener = listener.into();
    let server = Arc::new(Server::new(models, options)?);
    let _keeper = Keeper::start(&server);
    let mut background = JoinSet::new();
    background.spawn(WatchedFiles::of(&server.options).watch());
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
    server.tell(ServerPhase::Ready);
    pending().await
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

struct Connections {
    server: Arc<Server>,
    routes: Arc<Routes>,
    protocols: auto::Builder<TokioExecutor>,
    free: Arc<Semaphore>,
    places: Arc<Places>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(server: &Arc<Server>) -> Self {
        let options = &server.options;
        let limits = IdleLimits {
            header_timeout: options.header_timeout,
            idle_timeout: options.idle_timeout,
            stall_timeout: options.stall_timeout,
        };
        Self {
            server: Arc::clone(server),
            routes: Arc::new(Routes::new(server)),
            protocols: protocols(),
            free: Arc::new(Semaphore::new(options.connections_max.min(Semaphore::MAX_PERMITS))),
            places: Arc::new(Places::new(limits)),
            graceful: GracefulShutdown::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Accepts while there is a place. Returns only when the listener is broken.
    async fn accept_all(&mut self, listener: &Listener) -> Result<(), ServerError> {
        let mut n_failures = 0;
        loop {
            let place = self.place().await;
            match listener.accept().await {
                Ok((socket, address)) => {
                    n_failures = 0;
                    self.spawn(socket, address, place);
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

    /// A place for one more connection. Where there is none, the one that has done nothing for longest gives its own.
    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            let place = Arc::clone(&self.free).acquire_owned();
            if let Ok(place) = timeout(ROOM_INTERVAL, place).await {
                return place.expect("the semaphore is never closed");
            }
            self.places.make_room();
        }
    }

    /// Goes on accepting for as long as load balancers may take to hear that the server goes.
    async fn linger(&mut self, listener: &Listener) -> Result<(), ServerError> {
        let delay = self.server.options.drain_delay;
        timeout(delay, self.accept_all(listener)).await.unwrap_or(Ok(()))
    }

    fn spawn(&mut self, socket: Box<dyn Socket>, address: PeerAddress, place: OwnedSemaphorePermit) {
        while self.tasks.try_join_next().is_some() {}
        let watched = self.places.open();
        let options = &self.server.options;
        let mut peer = Peer { address, certificate: None };
        let handshake = options.tls.clone().map(|store| {
            let certificate = Arc::new(PeerCertificate::default());
            peer.certificate = store.asks_for_certificates().then(|| Arc::clone(&certificate));
            tls::Handshake { store, time: options.handshake_timeout, peer: certificate }
        });
        let socket = tls::Socket::new(socket, handshake);
        let socket = StallGuard::new(socket, options.stall_timeout).noting(Arc::clone(&watched));
        let connection =
            self.protocols.serve_connection(TokioIo::new(socket), answering(Arc::clone(&self.routes), peer, &watched));
        let connection = self.graceful.watch(connection.into_owned());
        let places = Arc::clone(&self.places);
        self.tasks.spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                },
                () = watched.wait_due() => tracing::debug!("a connection was ended that did nothing"),
            }
            places.close(&watched);
            drop(place);
        });
    }

    async fn drain(self) -> Result<(), ServerError> {
        let Self { server, graceful, mut tasks, .. } = self;
        if timeout(server.options.drain_timeout, graceful.shutdown()).await.is_ok() {
            // What is left in work has nobody who could come for it.
            server.cut();
            if timeout(server.options.cut_timeout, server.background.wait_idle()).await.is_err() {
                tracing::warn!("responses in the background were left that did not end");
            }
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

/// What is spoken, and its bounds. How long a head may take is not said here: it is watched whatever is spoken.
fn protocols() -> auto::Builder<TokioExecutor> {
    let mut protocols = auto::Builder::new(TokioExecutor::new());
    protocols.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEADER_BYTES_MAX);
    protocols
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    protocols
}

/// Who is at the other end of a connection.
struct Peer {
    address: PeerAddress,
    /// What it shows; `None` where it is not asked to.
    certificate: Option<Arc<PeerCertificate>>,
}

impl Peer {
    /// Says in a request whose it is.
    fn sign(&self, request: &mut Request<Body>) {
        request.extensions_mut().insert(self.address);
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(Arc::clone(certificate));
        }
    }
}

/// Answers requests and notes when they begin and end.
fn answering(
    routes: Arc<Routes>,
    peer: Peer,
    watched: &Arc<Watched>,
) -> impl Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Future<Output = Result<Response, Infallible>> + Send + 'static,
> + Send
+ 'static {
    let watched = Arc::clone(watched);
    service_fn(move |request: Request<Incoming>| {
        let answering = watched.begin(request.version() == Version::HTTP_2);
        let mut request = request.map(Body::new);
        peer.sign(&mut request);
        let routes = Arc::clone(&routes);
        async move { Ok(routes.answer(request).await.map(|body| Body::new(WatchedBody { body, answering }))) }
    })
}
