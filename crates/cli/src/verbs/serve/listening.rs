//! Where the server listens: on a socket that the service manager gave it, on one in the file system, or on a port.

#[cfg(unix)]
use super::activation::{self, Given};
#[cfg(unix)]
use super::socket;
use super::{Args, listen};
use crate::failure::Failure;
use ballast_server::Listener;
use std::net::{IpAddr, SocketAddr};

/// Where the server listens.
pub(super) struct Listening {
    pub(super) listener: Listener,
    /// Of its place, for programs and people: `http://127.0.0.1:8080`, or `unix:` and a path.
    pub(super) place: String,
    /// Removed in the end.
    #[cfg(unix)]
    pub(super) file: Option<socket::SocketFile>,
}

impl Listening {
    /// The place as clients are told it.
    pub(super) fn told(&self) -> String {
        if self.place.starts_with("unix:") { self.place.clone() } else { format!("{}/v1", self.place) }
    }
}

/// Where the server is to listen, before it does.
pub(super) struct Door {
    /// The address that clients are to come to, which decides whether it may be open without a key.
    pub(super) host: IpAddr,
    #[cfg(unix)]
    given: Option<Given>,
}

impl Door {
    /// # Errors
    /// If the service manager has given something else than one socket to listen on.
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        #[cfg(unix)]
        {
            let given = activation::take()?;
            let host = given.as_ref().map_or(Ok(args.host), Given::host)?;
            Ok(Self { host, given })
        }
        #[cfg(not(unix))]
        Ok(Self { host: args.host })
    }

    pub(super) async fn open(self, args: &Args) -> Result<Listening, Failure> {
        let scheme = if args.tls.is_asked_for() { "https" } else { "http" };
        #[cfg(unix)]
        if let Some(given) = self.given {
            let place = given.place()?;
            let place = if place.starts_with("unix:") { place } else { format!("{scheme}://{place}") };
            return Ok(Listening { listener: given.into_listener()?, place, file: None });
        }
        #[cfg(unix)]
        if let Some(path) = &args.socket {
            let (listener, file) = socket::listen(path)?;
            let place = format!("unix:{}", std::path::absolute(path).unwrap_or_else(|_| path.clone()).display());
            return Ok(Listening { listener: listener.into(), place, file: Some(file) });
        }
        let listener = listen(SocketAddr::new(args.host, args.port)).await?;
        let place = format!("{scheme}://{}", listener.local_addr()?);
        Ok(Listening {
            listener: listener.into(),
            place,
            #[cfg(unix)]
            file: None,
        })
    }
}
