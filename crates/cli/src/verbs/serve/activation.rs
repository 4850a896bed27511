//! A socket that the service manager has opened for the server. (sd_listen_fds(3): LISTEN_FDS and LISTEN_PID)
//!
//! The manager may listen on a port that the server may not open, and keeps what comes in while the server restarts.

use crate::environment;
use crate::failure::Failure;
use ballast_server::Listener;
use listenfd::ListenFd;
use std::net::{IpAddr, Ipv4Addr};

/// A socket that was handed over.
#[derive(Debug)]
pub(crate) enum Given {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The socket that this process was given; `None`: it is to open its own.
///
/// # Errors
/// If there are several, or it is no listening socket of TCP or of the file system.
pub(crate) fn take() -> Result<Option<Given>, Failure> {
    // Variables of a manager that started something else, which started us, mean nothing to us.
    if environment::variable("LISTEN_PID") != Some(std::process::id().to_string()) {
        return Ok(None);
    }
    let mut given = ListenFd::from_env();
    match given.len() {
        0 => return Ok(None),
        1 => {}
        n => return Err(Failure::failed(format!("LISTEN_FDS: expected one socket, got {n}"))),
    }
    let unfit = |error: std::io::Error| {
        Failure::failed("the socket of LISTEN_FDS cannot be listened on")
            .because(error.to_string())
            .try_this("a stream socket that listens, of TCP or in the file system")
    };
    if let Ok(Some(listener)) = given.take_unix_listener(0) {
        return Ok(Some(Given::Unix(listener)));
    }
    Ok(given.take_tcp_listener(0).map_err(unfit)?.map(Given::Tcp))
}

impl Given {
    /// The address that clients reach it by.
    pub(crate) fn host(&self) -> Result<IpAddr, Failure> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.ip()),
            Self::Unix(_) => Ok(Ipv4Addr::LOCALHOST.into()),
        }
    }

    /// Where it listens, as a server's place is told: `127.0.0.1:8080`, or `unix:` and a path.
    pub(crate) fn place(&self) -> Result<String, Failure> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().map(|path| path.display().to_string());
                Ok(format!("unix:{}", path.unwrap_or_else(|| "(without a name)".to_owned())))
            }
        }
    }

    /// Ready to be served, by the threads of the runtime that this is called in.
    pub(crate) fn into_listener(self) -> Result<Listener, Failure> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(tokio::net::TcpListener::from_std(listener)?.into())
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Ok(tokio::net::UnixListener::from_std(listener)?.into())
            }
        }
    }
}
