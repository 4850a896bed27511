//! One end of a socket that carries frames. Belongs to one thread.

use crate::frame::{FrameDecoder, encode};
use crate::{FrameError, LinkError};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Bytes taken from the socket at a time.
const PIECE_BYTES: usize = 4096;

/// Longest wait for room in the socket's buffer. There always is, unless the other side has stopped reading.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// A socket and the frames on it.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    decoder: FrameDecoder,
    outgoing: Vec<u8>,
}

impl Link {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_MAX))?;
        Ok(Self { stream, decoder: FrameDecoder::default(), outgoing: Vec::new() })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] before anything is sent; all others leave the link of no use.
    pub(crate) fn send<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        self.outgoing.clear();
        encode(message, &mut self.outgoing)?;
        Ok(self.stream.write_all(&self.outgoing)?)
    }

    /// The next message among what was taken from the socket.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        self.decoder.next()
    }

    /// Takes a piece from the socket; waits if there is none.
    pub(crate) fn fill(&mut self) -> Result<(), LinkError> {
        let mut piece = [0; PIECE_BYTES];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(LinkError::Closed),
            Ok(n_bytes) => {
                self.decoder.push(&piece[..n_bytes]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the next message.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(message);
            }
            self.fill()?;
        }
    }
}

/// Which of two links has something to take, its end included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready {
    pub(crate) first: bool,
    pub(crate) second: bool,
}

/// Waits until one of two links has something to take, at most for `max`.
pub(crate) fn wait_either(first: &Link, second: &Link, max: Duration) -> io::Result<Ready> {
    let max = Timespec { tv_sec: 0, tv_nsec: max.subsec_nanos().into() };
    let mut fds = [PollFd::new(&first.stream, PollFlags::IN), PollFd::new(&second.stream, PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&max)) {
        Ok(_) => Ok(Ready { first: !fds[0].revents().is_empty(), second: !fds[1].revents().is_empty() }),
        Err(rustix::io::Errno::INTR) => Ok(Ready::default()),
        Err(error) => Err(error.into()),
    }
}
