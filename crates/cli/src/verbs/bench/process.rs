//! Child processes whose output and peak memory are wanted.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often a child's peak memory is read.
const POLL: Duration = Duration::from_millis(5);

/// Most characters of a child's last words that are shown.
const LAST_WORDS_MAX: usize = 160;

/// What a child printed, and the most memory it held.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) stdout: String,
    /// Resident bytes; `None` where the system does not tell.
    pub(super) peak_bytes: Option<u64>,
}

/// Runs a command to its end.
///
/// # Errors
/// Why there is no output: it cannot be run, or it ended with a failure.
pub(super) fn run(command: &mut Command) -> Result<Outcome, String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| format!("{} cannot be run: {error}", program_name(command)))?;
    let peak = Peak::watch(&child);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let words = last_words(&String::from_utf8_lossy(&output.stderr));
        return Err(format!("{} ended with {}{words}", program_name(command), output.status));
    }
    Ok(Outcome { stdout: String::from_utf8_lossy(&output.stdout).into_owned(), peak_bytes: peak.bytes() })
}

/// The file name of a command's program.
pub(super) fn program_name(command: &Command) -> String {
    let path = std::path::Path::new(command.get_program());
    path.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()
}

/// The end of what a failed program said.
fn last_words(stderr: &str) -> String {
    match stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        None => String::new(),
        Some(line) => format!(": {}", line.trim().chars().take(LAST_WORDS_MAX).collect::<String>()),
    }
}

/// Reads a child's high-water mark until it is gone.
struct Peak(std::thread::JoinHandle<Option<u64>>);

impl Peak {
    fn watch(child: &Child) -> Self {
        let id = child.id();
        Self(std::thread::spawn(move || {
            let mut peak = None;
            while let Some(bytes) = peak_bytes(id) {
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

/// The most memory that a process has held, in bytes; `None` when it is gone or the system does not tell.
pub(super) fn peak_bytes(id: u32) -> Option<u64> {
    high_water_bytes(&std::fs::read_to_string(format!("/proc/{id}/status")).ok()?)
}

/// The memory that a process holds now, in bytes; `None` when it is gone or the system does not tell.
pub(super) fn resident_bytes(id: u32) -> Option<u64> {
    field_bytes(&std::fs::read_to_string(format!("/proc/{id}/status")).ok()?, "VmRSS:")
}

/// `VmHWM` of a process; a process that has ended has none.
fn high_water_bytes(status: &str) -> Option<u64> {
    field_bytes(status, "VmHWM:")
}

fn field_bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{high_water_bytes, last_words, run};
    use std::process::Command;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        assert_eq!(high_water_bytes("Name:\tx\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(high_water_bytes("Name:\tzombie\n"), None);
    }

    #[test]
    fn last_words_are_the_last_line_with_words() {
        assert_eq!(last_words("loading\nout of memory\n\n"), ": out of memory");
        assert_eq!(last_words("\n"), "");
        assert_eq!(last_words(&"x".repeat(1_000)).len(), 162);
    }

    #[test]
    #[cfg(unix)]
    fn a_failure_tells_program_status_and_last_words() {
        let told = run(Command::new("sh").args(["-c", "echo begin >&2; echo end >&2; exit 3"])).unwrap_err();
        assert_eq!(told, "sh ended with exit status: 3: end");
        let crashed = run(Command::new("sh").args(["-c", "kill -ILL $$"])).unwrap_err();
        assert!(crashed.starts_with("sh ended with signal: 4"), "{crashed}");
        assert!(run(&mut Command::new("/nowhere/at-all")).unwrap_err().starts_with("at-all cannot be run"));
        assert_eq!(run(Command::new("sh").args(["-c", "echo out"])).unwrap().stdout, "out\n");
    }
}
