//! `ballast stop`: asks servers of this user, on this machine, to drain and end.

use crate::failure::{Exit, Failure};
use crate::options::seconds;
use crate::output;
use crate::running::{self, Running};
use clap::Args as ClapArgs;
use std::time::Duration;

/// Time from one look at whether a server has ended to the next.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "A server that is stopped takes no more connections, finishes its answers, and cuts those that\n\
    take longer than its --drain-timeout."
)]
pub(crate) struct Args {
    /// The process of a server, as `ballast ps` prints it [default: the only one].
    #[arg(conflicts_with = "all")]
    pid: Option<u32>,
    /// Stop every server of this user.
    #[arg(long)]
    all: bool,
    /// Most seconds to wait for the end.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    wait: Duration,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let servers = self.chosen(running::servers()?)?;
        for server in &servers {
            server.ask_to_stop()?;
        }
        let mut waited = Duration::ZERO;
        for server in servers {
            while server.is_alive() {
                if waited >= self.wait {
                    return Err(Failure::failed(format!("server {} is still at work", server.pid))
                        .because("it was asked to stop, and finishes its answers")
                        .try_this("a longer --wait"));
                }
                std::thread::sleep(LOOK_EVERY);
                waited += LOOK_EVERY;
            }
            output::note(&format!("server {} has stopped: {}", server.pid, server.place));
        }
        Ok(())
    }

    fn chosen(&self, servers: Vec<Running>) -> Result<Vec<Running>, Failure> {
        if let Some(pid) = self.pid {
            let found: Vec<Running> = servers.into_iter().filter(|server| server.pid == pid).collect();
            let none = || Failure::failed(format!("{pid} is no server of this user")).try_this("ballast ps");
            return if found.is_empty() { Err(none()) } else { Ok(found) };
        }
        match servers.len() {
            0 => Err(Failure::failed("no server of this user runs on this machine")),
            n if n > 1 && !self.all => Err(Failure::new(Exit::Usage, format!("{n} servers run: which one?"))
                .try_this("ballast stop PID, or --all; ballast ps lists them")),
            _ => Ok(servers),
        }
    }
}
