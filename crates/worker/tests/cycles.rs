//! A hundred workers, one after the other, leave nothing behind. Alone in its executable: it counts what the process
//! has.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "life/probe.rs"]
mod probe;
#[path = "life/support.rs"]
#[expect(dead_code, reason = "made for more tests than this one")]
mod support;

use ballast_backend::{ErrorKind, Pulse};
use ballast_worker::{SharedPlace, WorkerSpec};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::path::Path;
use support::{spawn, spec, step};

/// Growth of resident memory that 100 workers may cause: the allocator's own, far below one page for each.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

fn n_entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// One worker that steps, and then ends by being killed, by being dropped, or by killing itself in a step.
fn cycle(idx: u32, dir: &Path) {
    let payload = if idx % 3 == 2 { "abort" } else { "successor" };
    let spec = WorkerSpec { shared: SharedPlace::Directory(dir.to_owned()), ..spec(payload) };
    let mut worker = spawn(&spec).unwrap().into_generator().unwrap();
    let stepped = step(&mut worker, &[1, 2], &Pulse::new());
    assert_eq!(stepped.is_ok(), payload == "successor");
    if idx % 3 == 1 {
        kill_process(Pid::from_raw(i32::try_from(worker.pid()).unwrap()).unwrap(), Signal::KILL).unwrap();
        assert_eq!(step(&mut worker, &[1], &Pulse::new()).unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[test]
fn a_hundred_workers_leave_no_descriptor_no_child_no_file_and_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let fds = Path::new("/proc/self/fd");
    (0..6).for_each(|idx| cycle(idx, dir.path()));
    let (n_fds, bytes) = (n_entries(fds), resident_bytes());
    (0..100).for_each(|idx| cycle(idx, dir.path()));
    assert_eq!(n_entries(fds), n_fds);
    assert_eq!(n_entries(dir.path()), 0);
    assert!(wait(WaitOptions::NOHANG).is_err(), "there is a child left");
    let grown = resident_bytes().saturating_sub(bytes);
    assert!(grown <= GROWTH_BYTES_MAX, "grown by {grown} bytes");
}
