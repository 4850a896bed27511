//! What HTTP costs by itself: axum, one route, an answer that is there already.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A server on threads of its own, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _threads: Runtime,
}

impl Server {
    /// A server that gives the body of `answer`, which has its head before it.
    ///
    /// # Panics
    /// If there is no loopback port.
    pub(crate) fn start(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer has a head");
        let body = Bytes::copy_from_slice(&answer[end + 4..]);
        let threads = crate::ours::threads("bare");
        let listener = threads.block_on(TcpListener::bind("127.0.0.1:0")).expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        // The body is read, so that the connection can go on.
        let handler = async move |_request: Bytes| ([(CONTENT_TYPE, "application/json")], body);
        let router = Router::new().route("/v1/chat/completions", post(handler));
        threads.spawn(async move { axum::serve(listener, router).await });
        Self { address, _threads: threads }
    }
}
