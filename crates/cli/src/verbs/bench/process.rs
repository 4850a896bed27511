//! Child processes whose output and peak memory are wanted.

use crate::failure::Failure;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often a child's peak memory is read.
const POLL: Duration = Duration::from_millis(5);

/// What a child printed, and the most memory it held.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) stdout: String,
    /// Resident bytes; `None` where the system does not tell.
    pub(super) peak_bytes: Option<u64>,
}

/// Runs this command line again for one round.
pub(super) fn run_ourselves() -> Result<Outcome, Failure> {
    let exe = std::env::current_exe()?;
    let mut command = Command::new(exe);
    command.args(std::env::args_os().skip(1)).arg("--one-round");
    run(command)
}

/// Runs a command to its end.
pub(super) fn run(mut command: Command) -> Result<Outcome, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| Failure::failed(format!("{name} cannot be run")).because(error.to_string()))?;
    let peak = Peak::watch(&child);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().last().unwrap_or_default().to_owned();
        return Err(Failure::failed(format!("{name} ended with {}", output.status)).because(last));
    }
    Ok(Outcome { stdout: String::from_utf8_lossy(&output.stdout).into_owned(), peak_bytes: peak.bytes() })
}

/// Reads a child's high-water mark until it is gone.
struct Peak(std::thread::JoinHandle<Option<u64>>);

impl Peak {
    fn watch(child: &Child) -> Self {
        let path = format!("/proc/{}/status", child.id());
        Self(std::thread::spawn(move || {
            let mut peak = None;
            while let Some(bytes) = std::fs::read_to_string(&path).ok().as_deref().and_then(high_water_bytes) {
                peak = Some(bytes);
                std::thread::sleep(POLL);
            }
            peak
        }))
    }

    fn bytes(self) -> Option<u64> {
        self.0.join().ok().flatten()
    }
}

/// `VmHWM` of a process; gone for one that has ended.
fn high_water_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::high_water_bytes;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        assert_eq!(high_water_bytes("Name:\tx\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(high_water_bytes("Name:\tzombie\n"), None);
    }
}
