//! What the service manager is told: ready, reloading, stopping, alive. (sd_notify(3): datagrams to the socket that it names)

use crate::environment;
use ballast_server::{PhaseHook, ServerPhase};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whom to tell, and how often it wants to hear that the process lives.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    #[cfg(unix)]
    to: Option<(std::os::unix::net::UnixDatagram, std::os::unix::net::SocketAddr)>,
    watchdog: Option<Duration>,
    /// Whether it was told that the server is ready.
    is_ready: AtomicBool,
}

impl Notify {
    /// As the environment says; nobody, where it says nothing.
    pub(crate) fn from_environment() -> Self {
        let watchdog = environment::variable("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        Self::to(environment::variable("NOTIFY_SOCKET").as_deref(), watchdog.map(Duration::from_micros))
    }

    #[cfg(unix)]
    fn to(path: Option<&str>, watchdog: Option<Duration>) -> Self {
        let socket = || std::os::unix::net::UnixDatagram::unbound().ok();
        let to = path.and_then(address).and_then(|address| Some((socket()?, address)));
        Self { to, watchdog: watchdog.filter(|period| !period.is_zero()), is_ready: AtomicBool::new(false) }
    }

    #[cfg(not(unix))]
    fn to(_path: Option<&str>, _watchdog: Option<Duration>) -> Self {
        Self::default()
    }

    /// Tells it. A manager that does not listen is told nothing; the server goes on without it.
    fn tell(&self, state: &str) {
        #[cfg(unix)]
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            tracing::warn!(%error, state, "the service manager could not be told");
        }
        #[cfg(not(unix))]
        let _ = state;
    }

    /// Tells of the server's life.
    pub(crate) fn hook(self: &Arc<Self>) -> PhaseHook {
        let notify = Arc::clone(self);
        Arc::new(move |phase| match phase {
            ServerPhase::Ready => {
                notify.is_ready.store(true, Ordering::Relaxed);
                notify.tell("READY=1");
            }
            ServerPhase::Leaving => notify.tell("STOPPING=1"),
        })
    }

    /// Tells that files are read again, and, when the work is done, that the server is ready again. One that is not ready
    /// yet says nothing: it will.
    pub(crate) fn while_reloading<T>(&self, work: impl FnOnce() -> T) -> T {
        let is_ready = self.is_ready.load(Ordering::Relaxed);
        if is_ready {
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
        }
        let done = work();
        if is_ready {
            self.tell("READY=1");
        }
        done
    }

    /// Says that the process lives, twice in every period that the manager waits for it. Only where sockets are served:
    /// it is these threads whose life it shows.
    pub(crate) fn keep_alive(self: &Arc<Self>) {
        let Some(period) = self.watchdog else { return };
        let notify = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                notify.tell("WATCHDOG=1");
                tokio::time::sleep(period / 2).await;
            }
        });
    }
}

/// The time that service managers go by.
#[cfg(unix)]
fn monotonic_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = u64::try_from(now.tv_sec).unwrap_or_default().saturating_mul(1_000_000);
    micros.saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default() / 1000)
}

#[cfg(not(unix))]
fn monotonic_micros() -> u64 {
    0
}

/// A path, or behind `@` a name in the abstract name space.
#[cfg(unix)]
fn address(path: &str) -> Option<std::os::unix::net::SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt;
        return std::os::unix::net::SocketAddr::from_abstract_name(name).ok();
    }
    std::os::unix::net::SocketAddr::from_pathname(path).ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let n = socket.recv(&mut buffer).expect("a word came");
        String::from_utf8(buffer[..n].to_vec()).expect("it is text")
    }

    #[test]
    fn the_manager_hears_when_the_server_is_ready_and_when_it_stops() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Arc::new(Notify::to(path.to_str(), None));
        let hook = notify.hook();
        hook(ServerPhase::Ready);
        hook(ServerPhase::Leaving);
        assert_eq!((heard(&manager), heard(&manager)), ("READY=1".to_owned(), "STOPPING=1".to_owned()));
    }

    #[test]
    fn the_manager_hears_that_files_are_read_again_once_the_server_is_ready() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Arc::new(Notify::to(path.to_str(), None));
        assert_eq!(notify.while_reloading(|| 3), 3, "nobody is told before it is ready");
        let before = monotonic_micros();
        notify.hook()(ServerPhase::Ready);
        notify.while_reloading(|| ());
        assert_eq!(heard(&manager), "READY=1");
        let reloading = heard(&manager);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").map(str::parse);
        assert!(
            micros.unwrap().is_ok_and(|micros: u64| (before..=monotonic_micros()).contains(&micros)),
            "{reloading}"
        );
        assert_eq!(heard(&manager), "READY=1");
    }

    #[tokio::test]
    async fn a_manager_that_waits_for_it_hears_again_and_again_that_the_process_lives() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Arc::new(Notify::to(path.to_str(), Some(Duration::from_millis(10))));
        notify.keep_alive();
        let hears = tokio::task::spawn_blocking(move || [heard(&manager), heard(&manager), heard(&manager)]);
        assert_eq!(hears.await.unwrap(), ["WATCHDOG=1"; 3]);
    }

    #[test]
    fn without_a_manager_nobody_is_told() {
        let nobody = Arc::new(Notify::to(None, Some(Duration::ZERO)));
        nobody.hook()(ServerPhase::Ready);
        assert!(nobody.watchdog.is_none());
        let gone = Arc::new(Notify::to(Some("/nonexistent/socket"), None));
        gone.hook()(ServerPhase::Ready);
    }
}
