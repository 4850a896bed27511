//! A socket that shakes hands when it is first read from or written to: in its connection's own task, not in the loop
//! that accepts.
//!
//! ```text
//! Shaking => Open     the peer has shown what it must
//! Shaking => Closed   it has not, or not in time
//! Open    => Open     whatever comes
//! ```

use super::{PeerCertificate, TlsStore};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// A socket, with TLS or without.
pub(crate) enum Socket<S> {
    Plain(S),
    Tls(Box<Tls<S>>),
}

pub(crate) enum Tls<S> {
    Shaking(Shaking<S>),
    Open(TlsStream<S>),
    Closed,
}

/// A handshake on its way.
pub(crate) struct Shaking<S> {
    accept: Accept<S>,
    overdue: Pin<Box<Sleep>>,
    store: Arc<TlsStore>,
    /// Told of what the peer has shown.
    peer: Arc<PeerCertificate>,
}

/// What a handshake needs.
pub(crate) struct Handshake {
    pub(crate) store: Arc<TlsStore>,
    /// It is to be over in this time.
    pub(crate) time: Duration,
    /// Told of the certificate that the peer has shown.
    pub(crate) peer: Arc<PeerCertificate>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// With TLS if there is to be a handshake.
    pub(crate) fn new(socket: S, handshake: Option<Handshake>) -> Self {
        match handshake {
            None => Self::Plain(socket),
            Some(Handshake { store, time, peer }) => {
                let accept = TlsAcceptor::from(store.config()).accept(socket);
                Self::Tls(Box::new(Tls::Shaking(Shaking { accept, overdue: Box::pin(sleep(time)), store, peer })))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tls<S> {
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut TlsStream<S>>> {
        if let Self::Shaking(Shaking { accept, overdue, store, peer }) = self {
            let shaken = match Pin::new(accept).poll(context) {
                Poll::Ready(shaken) => shaken,
                Poll::Pending => {
                    ready!(overdue.as_mut().poll(context));
                    Err(io::ErrorKind::TimedOut.into())
                }
            };
            match shaken {
                Ok(stream) => {
                    let shown = stream.get_ref().1.peer_certificates();
                    shown.and_then(<[_]>::first).into_iter().for_each(|certificate| peer.note(certificate));
                    *self = Self::Open(stream);
                }
                Err(error) => {
                    store.note_failure(&error);
                    *self = Self::Closed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match self {
            Self::Open(stream) => Ok(stream),
            Self::Shaking(_) | Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buf),
            Self::Tls(tls) => Pin::new(ready!(tls.poll_open(context))?).poll_read(context, buf),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(ready!(tls.poll_open(context))?).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(tls) => Pin::new(ready!(tls.poll_open(context))?).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            // What TLS streams answer, whatever lies under them.
            Self::Tls(_) => true,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            // A handshake is moved on by whoever reads: what was not begun has nothing to flush.
            Self::Tls(tls) => match &mut **tls {
                Tls::Open(stream) => Pin::new(stream).poll_flush(context),
                Tls::Shaking(_) | Tls::Closed => Poll::Ready(Ok(())),
            },
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(tls) => match &mut **tls {
                Tls::Open(stream) => Pin::new(stream).poll_shutdown(context),
                Tls::Shaking(_) | Tls::Closed => Poll::Ready(Ok(())),
            },
        }
    }
}
