//! A socket that gives up on a peer who takes nothing: an answer nobody reads must not hold its connection for ever.

use super::places::Watched;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Fails writing once the peer has taken nothing for a time.
#[derive(Debug)]
pub(super) struct StallGuard<S> {
    socket: S,
    timeout: Duration,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
    /// Told of bytes that came and went.
    watched: Option<Arc<Watched>>,
}

impl<S> StallGuard<S> {
    pub(super) fn new(socket: S, timeout: Duration) -> Self {
        Self { socket, timeout, timer: None, watched: None }
    }

    /// The same, telling what came and went.
    pub(super) fn noting(self, watched: Arc<Watched>) -> Self {
        Self { watched: Some(watched), ..self }
    }

    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        if let (Poll::Ready(Ok(1..)), Some(watched)) = (written, &self.watched) {
            watched.wrote();
        }
    }

    /// Passes `written` on, unless it has been pending for too long.
    fn guard<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n_before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buf);
        if let Some(watched) = self.watched.as_ref().filter(|_| buf.filled().len() > n_before) {
            watched.read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.note_written(&written);
        self.guard(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.note_written(&written);
        self.guard(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        self.guard(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.socket).poll_shutdown(context);
        self.guard(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_ends_the_write() {
        let (ours, _theirs) = duplex(16);
        let error = StallGuard::new(ours, TIMEOUT).write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_slow_is_waited_for() {
        let (ours, mut theirs) = duplex(16);
        let reader = tokio::spawn(async move {
            let mut got = [0; 16];
            for _ in 0..4 {
                sleep(TIMEOUT / 2).await;
                theirs.read_exact(&mut got).await.unwrap();
            }
        });
        StallGuard::new(ours, TIMEOUT).write_all(&[0; 64]).await.unwrap();
        reader.await.unwrap();
    }
}
