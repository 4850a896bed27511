//! Servers at work on this machine, for this user: each has a file that says where it is.
//!
//! The file is locked for as long as its server lives: who finds it unlocked has found a server that is gone, whatever
//! process has its number now. `ballast ps` reads these files, `ballast stop` signals whom they name. (ADR 13)

use crate::environment;
use crate::failure::Failure;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 4096;
/// Most servers that are looked at.
const SERVERS_MAX: usize = 256;

/// The file of a server that runs in this process; removed with it.
#[derive(Debug)]
pub(crate) struct RunningFile {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Drop for RunningFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// A server that was found at work.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// `http://127.0.0.1:8080`, or `unix:` and a path.
    pub(crate) place: String,
    path: PathBuf,
}

/// Says that this process serves at `place`.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn announce(place: &str) -> io::Result<RunningFile> {
    announce_in(&folder(), std::process::id(), place)
}

fn announce_in(folder: &Path, pid: u32, place: &str) -> io::Result<RunningFile> {
    make_private(folder)?;
    let path = folder.join(format!("{pid}.json"));
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path)?;
    // Locked before it says anything: who reads it reads a server that lives. Others look for a moment only.
    file.lock()?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(json!({ "pid": pid, "place": place }).to_string().as_bytes())?;
    Ok(RunningFile { path, _file: file })
}

/// The servers at work, by the numbers of their processes. Files of those that are gone are removed.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn servers() -> Result<Vec<Running>, Failure> {
    Ok(servers_in(&folder())?)
}

fn servers_in(folder: &Path) -> io::Result<Vec<Running>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut servers: Vec<Running> = paths.take(SERVERS_MAX).filter_map(|path| look(&path)).collect();
    servers.sort_by_key(|server| server.pid);
    Ok(servers)
}

/// The server of a file, if it lives.
fn look(path: &Path) -> Option<Running> {
    let pid: u32 = path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()?;
    if !is_held(path) {
        drop(fs::remove_file(path));
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let told: Value = serde_json::from_str(&text).ok()?;
    let place = told["place"].as_str().filter(|_| told["pid"] == pid)?.to_owned();
    Some(Running { pid, place, path: path.to_owned() })
}

/// Whether somebody holds the file's lock. A shared lock is tried, so that two who look do not see each other.
fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl Running {
    /// Whether it is still there.
    pub(crate) fn is_alive(&self) -> bool {
        is_held(&self.path)
    }

    /// Asks the server to end as an operator's SIGTERM does: it drains.
    ///
    /// # Errors
    /// If it may not be signalled. A server that has gone meanwhile is no failure.
    #[cfg(target_os = "linux")]
    pub(crate) fn ask_to_stop(&self) -> Result<(), Failure> {
        use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
        let Some(process) = number(self.pid) else { return Ok(()) };
        let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return self.ask_by_number() };
        // What was opened stays the same process; that it is the server is known from the lock being held after that.
        if !self.is_alive() {
            return Ok(());
        }
        told(pidfd_send_signal(process, Signal::TERM))
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    pub(crate) fn ask_to_stop(&self) -> Result<(), Failure> {
        self.ask_by_number()
    }

    /// Where processes have no better name than their number.
    #[cfg(unix)]
    fn ask_by_number(&self) -> Result<(), Failure> {
        let Some(process) = number(self.pid).filter(|_| self.is_alive()) else { return Ok(()) };
        told(rustix::process::kill_process(process, rustix::process::Signal::TERM))
    }

    #[cfg(not(unix))]
    pub(crate) fn ask_to_stop(&self) -> Result<(), Failure> {
        Err(Failure::failed("servers cannot be signalled on this system"))
    }
}

#[cfg(unix)]
fn number(pid: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(unix)]
fn told(signalled: rustix::io::Result<()>) -> Result<(), Failure> {
    match signalled {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(Failure::failed("the server cannot be signalled").because(error.to_string())),
    }
}

fn folder() -> PathBuf {
    environment::data_dir().join("run")
}

/// A folder that this user alone may look into.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_while_it_lives_and_its_file_goes_with_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("run");
        assert!(servers_in(&folder).unwrap().is_empty());
        let (second, first) =
            (announce_in(&folder, 20, "unix:/s").unwrap(), announce_in(&folder, 3, "http://a").unwrap());
        let found = servers_in(&folder).unwrap();
        let told: Vec<_> = found.iter().map(|server| (server.pid, server.place.as_str())).collect();
        assert_eq!(told, [(3, "http://a"), (20, "unix:/s")]);
        drop(first);
        assert_eq!(servers_in(&folder).unwrap().len(), 1);
        assert!(!found[0].is_alive() && found[1].is_alive());
        drop(second);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn files_of_servers_that_are_gone_name_nobody() {
        let home = tempfile::tempdir().unwrap();
        // Our own number is a process that lives: without the lock it would be taken for the server.
        let pid = std::process::id();
        let path = home.path().join(format!("{pid}.json"));
        fs::write(&path, json!({ "pid": pid, "place": "http://a" }).to_string()).unwrap();
        fs::write(home.path().join("notes.txt"), "mine").unwrap();
        assert!(servers_in(home.path()).unwrap().is_empty());
        assert!(!path.exists() && home.path().join("notes.txt").exists());
        let held = announce_in(home.path(), 7, "http://a").unwrap();
        fs::write(home.path().join("7.json"), json!({ "pid": 1, "place": "http://a" }).to_string()).unwrap();
        assert!(servers_in(home.path()).unwrap().is_empty(), "a file that names another process is not believed");
        drop(held);
    }
}
