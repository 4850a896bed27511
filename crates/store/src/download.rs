//! One file from the hub to the disk: ranged, resumable, verified, atomic.
//!
//! What has come so far lies in `partial/<key>.part`; `partial/<key>.json` says what it is a part of. A part is
//! continued only if the digest, the size and the server's tag are still the same, and it gets its name only after
//! size, digest and header are right.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use ureq::http::Uri;

use crate::digest::{Digest, Hasher};
use crate::error::StoreError;
use crate::http::{self, Answer, Client};
use crate::own::{self, Own, Record};
use crate::places::{Clock, Limits, Progress};
use crate::retry::{self, Retry};
use crate::{disk, header, lock};

/// Bytes read at once: large enough for a fast line, small enough to see a cancellation soon.
const CHUNK_BYTES: usize = 256 << 10;
/// Longest note read back.
const NOTE_BYTES_MAX: u64 = 4096;

/// What every piece of a pull works with.
pub(crate) struct Job<'a> {
    pub(crate) own: &'a Own,
    pub(crate) clock: &'a Clock,
    pub(crate) limits: &'a Limits,
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) progress: &'a mut dyn Progress,
}

/// A file to download.
pub(crate) struct Wanted {
    pub(crate) address: Uri,
    /// The file's name, for messages and the progress bar.
    pub(crate) label: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: Digest,
    pub(crate) target: PathBuf,
    pub(crate) record: Record,
}

/// The files in `partial/` that belong to one target.
pub(crate) struct Partial {
    pub(crate) part: PathBuf,
    pub(crate) note: PathBuf,
    pub(crate) lock: PathBuf,
    /// Where a package is unpacked.
    pub(crate) package: PathBuf,
}

impl Partial {
    pub(crate) fn of(own: &Own, target: &Path) -> Self {
        let key = Digest::of(target.as_os_str().as_encoded_bytes()).to_string();
        let file = |suffix| own.partial_dir().join(format!("{}.{suffix}", &key[..32]));
        Self { part: file("part"), note: file("json"), lock: file("lock"), package: file("package") }
    }

    /// Deletes what was begun.
    pub(crate) fn discard(&self) -> Result<(), StoreError> {
        disk::remove_file(&self.part)?;
        disk::remove_file(&self.note)
    }
}

/// Says what a part is a part of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    sha256: String,
    bytes: u64,
    etag: Option<String>,
}

/// A part that grows.
struct Part<'a> {
    files: &'a Partial,
    file: File,
    hasher: Hasher,
    got: u64,
    etag: Option<String>,
    /// True while it holds bytes from an earlier run, which a crash may have damaged.
    is_resumed: bool,
}

/// Brings `wanted` to its place; returns at once if it is there. The caller holds its lock.
pub(crate) fn fetch(job: &mut Job<'_>, client: &Client, wanted: &Wanted, attempts: u32) -> Result<(), StoreError> {
    let files = Partial::of(job.own, &wanted.target);
    job.progress.start(&wanted.label, Some(wanted.bytes));
    let result = fetch_verified(job, client, wanted, &files, attempts);
    job.progress.finish();
    result?;
    header::check(&files.part, &wanted.label).inspect_err(|_| drop(files.discard()))?;
    disk::create_dir(wanted.target.parent().expect("a target lies in a repository's directory"))?;
    own::write_record(&wanted.target, &wanted.record)?;
    disk::publish(&files.part, &wanted.target)?;
    disk::remove_file(&files.note)
}

/// Takes the lock of `target`, and tells whether another process finished it meanwhile.
pub(crate) fn claim(job: &Job<'_>, target: &Path, label: &str) -> Result<Option<lock::Held>, StoreError> {
    disk::create_dir(&job.own.partial_dir())?;
    let held = lock::acquire(&Partial::of(job.own, target).lock, label, job.clock, job.limits, job.cancel)?;
    Ok((!target.is_file()).then_some(held))
}

/// Downloads until size and digest are right. A part from an earlier run that turns out damaged is fetched anew, once.
fn fetch_verified(
    job: &mut Job<'_>,
    client: &Client,
    wanted: &Wanted,
    files: &Partial,
    attempts: u32,
) -> Result<(), StoreError> {
    let mut part = Part::open(files, wanted, job)?;
    loop {
        disk::check_room(&job.own.partial_dir(), wanted.bytes - part.got, job.limits.spare_bytes)?;
        transfer(job, client, wanted, &mut part, attempts)?;
        let got = part.hasher.clone().finish();
        if got == wanted.sha256 {
            return Ok(());
        }
        if !part.is_resumed {
            files.discard()?;
            return Err(StoreError::DigestMismatch { file: wanted.label.clone(), expected: wanted.sha256, got });
        }
        part.restart()?;
    }
}

fn transfer(
    job: &mut Job<'_>,
    client: &Client,
    wanted: &Wanted,
    part: &mut Part<'_>,
    attempts: u32,
) -> Result<(), StoreError> {
    let mut retry = Retry::new(job.clock, job.limits, job.cancel).at_most(attempts);
    while part.got < wanted.bytes {
        retry::check(job.cancel)?;
        let before = part.got;
        let result = attempt(job, client, wanted, part);
        if part.got >= before.saturating_add(job.limits.progress_bytes) {
            retry.progressed();
        }
        if let Err(error) = result {
            retry.wait_after(error)?;
        }
    }
    Ok(())
}

/// One request and its body. `Ok` means the file is complete.
fn attempt(job: &mut Job<'_>, client: &Client, wanted: &Wanted, part: &mut Part<'_>) -> Result<(), StoreError> {
    let mut answer = client.get(&wanted.label, &wanted.address, part.got)?;
    part.accept(&answer, wanted)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    while part.got < wanted.bytes {
        retry::check(job.cancel)?;
        let left = usize::try_from(wanted.bytes - part.got).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        match answer.body.read(&mut chunk[..left]) {
            Ok(0) => return Err(interrupted(part, wanted, "the server closed the connection early")),
            Ok(count) => part.append(&chunk[..count], wanted)?,
            Err(error) => return Err(interrupted(part, wanted, &error.to_string())),
        }
        job.progress.advance_to(part.got);
    }
    Ok(())
}

fn interrupted(part: &Part<'_>, wanted: &Wanted, cause: &str) -> StoreError {
    let (file, cause) = (wanted.label.clone(), cause.to_owned());
    StoreError::Interrupted { file, got_bytes: part.got, expected_bytes: wanted.bytes, cause }
}

impl<'a> Part<'a> {
    /// Opens the part that is there if it belongs to `wanted`, else an empty one.
    fn open(files: &'a Partial, wanted: &Wanted, job: &mut Job<'_>) -> Result<Self, StoreError> {
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&files.part);
        let file = open.map_err(StoreError::io("open", &files.part))?;
        let note =
            disk::read_small(&files.note, NOTE_BYTES_MAX).and_then(|text| serde_json::from_str::<Note>(&text).ok());
        let mut part = Self { files, file, hasher: Hasher::default(), got: 0, etag: None, is_resumed: false };
        match note {
            Some(note) if note.sha256 == wanted.sha256.to_string() && note.bytes == wanted.bytes => {
                part.etag = note.etag;
                part.take_up(wanted, job)?;
            }
            Some(_) | None => part.restart()?,
        }
        Ok(part)
    }

    /// Hashes what is there, so that the digest covers the whole file.
    fn take_up(&mut self, wanted: &Wanted, job: &mut Job<'_>) -> Result<(), StoreError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            retry::check(job.cancel)?;
            let count = self.file.read(&mut chunk).map_err(StoreError::io("read", &self.files.part))?;
            if count == 0 {
                break;
            }
            self.hasher.update(&chunk[..count]);
            self.got += u64::try_from(count).expect("a chunk is small");
            job.progress.advance_to(self.got);
        }
        self.is_resumed = self.got > 0;
        if self.got > wanted.bytes { self.restart() } else { Ok(()) }
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(StoreError::io("write", &self.files.part))?;
        (self.hasher, self.got, self.etag, self.is_resumed) = (Hasher::default(), 0, None, false);
        Ok(())
    }

    /// Checks that the answer continues this part, or starts over where it does not.
    fn accept(&mut self, answer: &Answer, wanted: &Wanted) -> Result<(), StoreError> {
        if answer.status == 416 {
            self.restart()?;
            return Err(interrupted(self, wanted, "the server refused to continue the file"));
        }
        let has_changed = self.etag.is_some() && answer.etag.is_some() && self.etag != answer.etag;
        let range = http::text(&answer.headers, "content-range").as_deref().and_then(content_range);
        let (start, total) = match (answer.status, range) {
            (206, None) => return Err(interrupted(self, wanted, "the server did not say which part it sends")),
            (206, Some(range)) => range,
            _ => (0, http::text(&answer.headers, "content-length").and_then(|text| text.parse().ok())),
        };
        if let Some(got_bytes) = total.filter(|total| *total != wanted.bytes) {
            let (file, expected_bytes) = (wanted.label.clone(), wanted.bytes);
            return Err(StoreError::WrongSize { file, got_bytes, expected_bytes });
        }
        if start == 0 && self.got > 0 {
            self.restart()?;
        }
        if start != self.got || (has_changed && start > 0) {
            self.restart()?;
            return Err(interrupted(self, wanted, "the server sent a part of another file"));
        }
        self.etag.clone_from(&answer.etag);
        let note = Note { sha256: wanted.sha256.to_string(), bytes: wanted.bytes, etag: self.etag.clone() };
        let json = serde_json::to_vec(&note).expect("a note has only strings and numbers");
        disk::write_whole(&self.files.note, &json)
    }

    fn append(&mut self, bytes: &[u8], wanted: &Wanted) -> Result<(), StoreError> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| write_error(error, &self.files.part, wanted.bytes - self.got))?;
        self.hasher.update(bytes);
        self.got += u64::try_from(bytes.len()).expect("a chunk is small");
        Ok(())
    }
}

/// A full disk is its own error, wherever it shows.
pub(crate) fn write_error(error: std::io::Error, path: &Path, needed_bytes: u64) -> StoreError {
    if error.kind() != std::io::ErrorKind::StorageFull {
        return StoreError::io("write", path)(error);
    }
    let dir = path.parent().expect("a part lies in a directory").to_owned();
    let available_bytes = disk::free_bytes(&dir);
    StoreError::NoSpace { dir, needed_bytes, available_bytes }
}

/// Start and total of `bytes START-END/TOTAL`; a total of `*` is none.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_content_ranges_strictly() {
        let cases = [
            ("bytes 0-9/10", Some((0, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes 5-10/10", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("items 0-9/10", None),
            ("bytes -1-9/10", None),
            ("bytes 0-9", None),
        ];
        for (text, want) in cases {
            assert_eq!(content_range(text), want, "{text}");
        }
    }
}
