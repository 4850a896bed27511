//! The audit log: who did what, one JSON object a line, never what was asked or answered.
//!
//! Requests do not wait for the disk: a line goes through a bounded channel to a thread of its own. When the channel
//! is full a line is lost, and counted: in `/metrics`, and in the log itself, as a line of its own.

use serde_json::{Value, json};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Lines on their way to the file.
pub const AUDIT_QUEUE_MAX: usize = 4096;

/// A file that lines are appended to.
pub struct AuditLog {
    /// `None` only while it is dropped.
    lines: Option<SyncSender<String>>,
    lost: Arc<Lost>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Lines that are in no file.
#[derive(Debug, Default)]
struct Lost {
    total: AtomicU64,
    /// That the file does not tell of yet.
    untold: AtomicU64,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "audit log, {} lines lost", self.n_lost())
    }
}

impl AuditLog {
    /// Appends to the file at `path`, which is made where there is none, for its owner alone.
    ///
    /// # Errors
    /// If the file cannot be opened, or there is no thread to write it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Self::to(options.open(path)?, AUDIT_QUEUE_MAX)
    }

    fn to(mut file: impl Write + Send + 'static, queue_max: usize) -> io::Result<Self> {
        let (lines, queue) = sync_channel(queue_max);
        let lost = Arc::new(Lost::default());
        let counted = Arc::clone(&lost);
        let writer = std::thread::Builder::new().name("audit".to_owned());
        let writer = writer.spawn(move || write_all(&queue, &mut file, &counted))?;
        Ok(Self { lines: Some(lines), lost, writer: Mutex::new(Some(writer)) })
    }

    /// Lines that are in no file: the channel was full, or the disk failed.
    #[must_use]
    pub fn n_lost(&self) -> u64 {
        self.lost.total.load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self, entry: &Value) {
        let sent = self.lines.as_ref().is_some_and(|lines| lines.try_send(format!("{entry}\n")).is_ok());
        if !sent {
            self.lost.add(1);
        }
    }
}

impl Lost {
    fn add(&self, n: u64) {
        self.total.fetch_add(n, Ordering::Relaxed);
        self.untold.fetch_add(n, Ordering::Relaxed);
    }
}

impl Drop for AuditLog {
    /// What is on its way reaches the file.
    fn drop(&mut self) {
        self.lines = None;
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(writer.join());
        }
    }
}

fn write_all(queue: &Receiver<String>, file: &mut impl Write, lost: &Lost) {
    while let Ok(first) = queue.recv() {
        let (mut text, mut n_lines) = (first, 1);
        for line in queue.try_iter().take(AUDIT_QUEUE_MAX) {
            text += &line;
            n_lines += 1;
        }
        let n_untold = lost.untold.swap(0, Ordering::Relaxed);
        if n_untold > 0 {
            text += &format!("{}\n", json!({ "event": "lines_lost", "n_lines": n_untold }));
        }
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.flush()) {
            lost.add(n_lines);
            lost.untold.fetch_add(n_untold, Ordering::Relaxed);
            tracing::error!(%error, n_lines, "audit log: lines were lost");
        }
    }
}

/// All lines of a file.
#[cfg(test)]
fn read_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that waits for the test before each write, and tells what it was given.
    struct Held {
        go: Receiver<io::Result<()>>,
        written: SyncSender<String>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.go.recv().unwrap_or(Ok(()))?;
            drop(self.written.send(String::from_utf8(bytes.to_vec()).unwrap()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_reach_the_file_before_the_log_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for n in 0..2 {
            let log = AuditLog::open(&path).unwrap();
            (0..100).for_each(|_| log.write(&json!({ "n": n })));
            assert_eq!(log.n_lost(), 0);
        }
        let lines = read_lines(&path);
        assert_eq!((lines.len(), &lines[199]["n"]), (200, &json!(1)));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_does_not_fit_is_lost_and_told() {
        let (go, held) = sync_channel(9);
        let (written, lines) = sync_channel(99);
        let log = AuditLog::to(Held { go: held, written }, 2).unwrap();
        log.write(&json!("first"));
        go.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        while log.n_lost() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(log.n_lost(), 1, "the disk was full");
        // The writer takes one, or none, or both: at least five of eight are lost.
        (0..8).for_each(|n| log.write(&json!(n)));
        let n_lost = log.n_lost();
        assert!((5..=7).contains(&(n_lost - 1)), "{n_lost}");
        drop(go);
        drop(log);
        let text: String = lines.iter().collect();
        let told = |line: &str| serde_json::from_str::<Value>(line).unwrap()["n_lines"].as_u64();
        assert_eq!(text.lines().filter_map(told).sum::<u64>(), n_lost, "{text}");
    }
}
