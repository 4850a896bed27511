//! A socket that shakes hands when it is first read from or written to: in its connection's own task, not in the loop
//! that accepts.
//!
//! ```text
//! Shaking => Open     the peer has shown what it must
//! Shaking => Closed   it has not, or not in time
//! Open    => Open     whatever comes
//! ```

use super::TlsStore;
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
    Shaking { accept: Accept<S>, overdue: Pin<Box<Sleep>>, store: Arc<TlsStore> },
    Open(TlsStream<S>),
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// With TLS if there are certificates; the handshake is to be over in `time`.
    pub(crate) fn new(socket: S, tls: Option<Arc<TlsStore>>, time: Duration) -> Self {
        match tls {
            None => Self::Plain(socket),
            Some(store) => {
                let accept = TlsAcceptor::from(store.config()).accept(socket);
                Self::Tls(Box::new(Tls::Shaking { accept, overdue: Box::pin(sleep(time)), store }))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tls<S> {
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut TlsStream<S>>> {
        if let Self::Shaking { accept, overdue, store } = self {
            let shaken = match Pin::new(accept).poll(context) {
                Poll::Ready(shaken) => shaken,
                Poll::Pending => {
                    ready!(overdue.as_mut().poll(context));
                    Err(io::ErrorKind::TimedOut.into())
                }
            };
            match shaken {
                Ok(stream) => *self = Self::Open(stream),
                Err(error) => {
                    store.note_failure(&error);
                    *self = Self::Closed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match self {
            Self::Open(stream) => Ok(stream),
            Self::Shaking { .. } | Self::Closed => Err(io::ErrorKind::NotConnected.into()),
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
                Tls::Shaking { .. } | Tls::Closed => Poll::Ready(Ok(())),
            },
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(tls) => match &mut **tls {
                Tls::Open(stream) => Pin::new(stream).poll_shutdown(context),
                Tls::Shaking { .. } | Tls::Closed => Poll::Ready(Ok(())),
            },
        }
    }
}
