//! How the server goes down: the first signal asks, the second insists.

use crate::options::seconds;
use crate::output;
use ballast_server::ServerOptions;
use clap::Args as ClapArgs;
use std::time::Duration;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a process that a second signal ended, as shells give it for SIGTERM.
const EXIT_INSISTED: i32 = 143;

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct DrainArgs {
    /// Seconds from a signal to stop until no connection is taken any more; readiness says no at once, so that load
    /// balancers look elsewhere first [default: none].
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Bounds")]
    drain_delay: Option<Duration>,
    /// Most seconds after that for answers in progress; then they are cut.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30", help_heading = "Bounds")]
    drain_timeout: Duration,
}

impl DrainArgs {
    /// Puts them where the server obeys them.
    pub(crate) fn set(self, options: &mut ServerOptions) {
        options.drain_delay = self.drain_delay.unwrap_or_default();
        options.drain_timeout = self.drain_timeout;
    }
}

/// Resolves at the first SIGINT or SIGTERM, or when the terminal goes at which the server was started; from then on another ends the process at once.
pub(crate) async fn asked_to_stop() {
    let mut signals = Signals::listen();
    signals.next().await;
    output::note("stopping: running answers may finish; another signal ends them");
    tokio::spawn(async move {
        signals.next().await;
        end_at_once();
    });
}

#[expect(clippy::exit, reason = "whoever signals twice wants no orderly end")]
fn end_at_once() -> ! {
    std::process::exit(EXIT_INSISTED)
}

/// What asks a process to end.
struct Signals {
    #[cfg(unix)]
    terminate: Option<Signal>,
    /// Where no terminal can go, the signal asks for something else.
    #[cfg(unix)]
    hangup: Option<Signal>,
}

impl Signals {
    fn listen() -> Self {
        Self {
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate()).ok(),
            #[cfg(unix)]
            hangup: crate::environment::is_at_terminal().then(|| signal(SignalKind::hangup()).ok()).flatten(),
        }
    }

    async fn next(&mut self) {
        let interrupt = tokio::signal::ctrl_c();
        #[cfg(unix)]
        tokio::select! {
            _ = interrupt => {}
            () = comes(&mut self.terminate) => {}
            () = comes(&mut self.hangup) => {}
        }
        #[cfg(not(unix))]
        drop(interrupt.await);
    }
}

/// Waits for a signal; for ever where it cannot be heard.
#[cfg(unix)]
async fn comes(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
