//! This process and its workers as the system shows them: memory, CPU time, and signals. `None` where it shows nothing.

use std::path::Path;

/// Sums of what `/proc` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// This process alone.
    Own,
    /// This process and its workers.
    WithWorkers,
}

/// Bytes of memory that are resident.
pub(super) fn resident_bytes(count: Count) -> Option<u64> {
    let own = status_bytes(Path::new("/proc/self/status"))?;
    let of = |pid: &u32| status_bytes(Path::new(&format!("/proc/{pid}/status")));
    match count {
        Count::Own => Some(own),
        Count::WithWorkers => Some(own + workers().iter().filter_map(of).sum::<u64>()),
    }
}

/// Ticks of CPU time that this process and its workers have used; a hundred make a second.
pub(super) fn cpu_ticks() -> Option<u64> {
    let own = stat_ticks(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    let of = |pid: &u32| stat_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    Some(own + workers().iter().filter_map(of).sum::<u64>())
}

/// Numbers of this process's workers that live; none where the system does not show processes.
#[must_use]
pub fn workers() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut workers: Vec<u32> = pids.filter(|pid| is_worker_of_ours(*pid)).collect();
    workers.sort_unstable();
    workers
}

fn is_worker_of_ours(pid: u32) -> bool {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&read("stat")).into_owned();
    parent_of(&stat) == Some(std::process::id())
        && read("cmdline").split(|byte| *byte == 0).nth(1) == Some(ballast_worker::MARKER.as_bytes())
}

/// What is done to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// It ends at once.
    Kill,
    /// It stands still and says nothing any more.
    Stop,
}

/// Sends the signal; whether it went.
#[cfg(unix)]
pub(super) fn strike(pid: u32, blow: Blow) -> bool {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match blow {
        Blow::Kill => Signal::KILL,
        Blow::Stop => Signal::STOP,
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Sends the signal; whether it went.
#[cfg(not(unix))]
pub(super) fn strike(_pid: u32, _blow: Blow) -> bool {
    false
}

fn status_bytes(path: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(path).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The fields of proc(5)'s `stat` after the name, which may have blanks and parentheses: state, parent, ...
fn after_the_name(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

fn parent_of(stat: &str) -> Option<u32> {
    let mut fields = after_the_name(stat)?;
    // A zombie is none that could be struck.
    if fields.next()? == "Z" { None } else { fields.next()?.parse().ok() }
}

/// utime and stime: fields 14 and 15, the state being the third.
fn stat_ticks(stat: &str) -> Option<u64> {
    let mut times = after_the_name(stat)?.skip(11).map(|field| field.parse::<u64>().ok());
    Some(times.next()?? + times.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a) b) S 7 42 42 0 -1 4194304 91 0 0 0 30 12 0 0 20 0 1 0 100 0 0";

    #[test]
    fn a_stat_line_is_read_behind_its_name() {
        assert_eq!((parent_of(STAT), stat_ticks(STAT)), (Some(7), Some(42)));
        assert_eq!(parent_of(&STAT.replace(") S", ") Z")), None);
        assert_eq!((parent_of("42 (a"), stat_ticks("42 (a) S 1")), (None, None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_and_no_worker() {
        assert!(resident_bytes(Count::WithWorkers).is_some_and(|bytes| bytes > 1 << 20));
        assert!(cpu_ticks().is_some());
        assert!(workers().is_empty());
    }
}
