//! The file of keys: read whole, changed under a lock, replaced at once.

use super::KeyFileError;
use super::record::{KEY_RECORDS_MAX, KeyRecord, Line, NewKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Longest file.
pub const KEY_FILE_BYTES_MAX: u64 = 4 << 20;

/// The form of the file.
const VERSION: u32 = 1;

/// A file of keys, which need not exist yet.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    keys: Vec<Line>,
}

impl KeyFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys, in the order they were made.
    ///
    /// # Errors
    /// If the file cannot be read, is too long, can be written to by others, or is no file of keys.
    pub fn read(&self) -> Result<Vec<KeyRecord>, KeyFileError> {
        let file = File::open(&self.path).map_err(|source| KeyFileError::Io { action: "opening it", source })?;
        let facts = file.metadata().map_err(|source| KeyFileError::Io { action: "looking at it", source })?;
        check_mode(&facts)?;
        if facts.len() > KEY_FILE_BYTES_MAX {
            return Err(KeyFileError::Length { got: facts.len() });
        }
        let mut text = String::new();
        let read = file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|source| KeyFileError::Io { action: "reading it", source })?;
        parse(&text)
    }

    /// Adds a key, and makes the file where there is none.
    ///
    /// # Errors
    /// If the file cannot be read or written, or has no place for another key.
    pub fn add(&self, key: &NewKey) -> Result<(), KeyFileError> {
        self.change(|records| {
            records.push(key.record.clone());
            Ok(())
        })
    }

    /// Takes its power from the key `id` at `now`, in seconds since 1970. A key that was revoked before stays as it is.
    ///
    /// # Errors
    /// If the file cannot be read or written, or there is no such key.
    pub fn revoke(&self, id: &str, now: i64) -> Result<(), KeyFileError> {
        self.change(|records| {
            let record = records.iter_mut().find(|record| record.id == id);
            let record = record.ok_or_else(|| KeyFileError::Unknown { id: id.to_owned() })?;
            record.revoked.get_or_insert(now);
            Ok(())
        })
    }

    /// Reads, changes and writes, while nobody else does.
    fn change(&self, change: impl FnOnce(&mut Vec<KeyRecord>) -> Result<(), KeyFileError>) -> Result<(), KeyFileError> {
        let failed = |action| move |source| KeyFileError::Io { action, source };
        let lock = private(OpenOptions::new().create(true).truncate(false), &self.beside("lock"));
        let lock = lock.map_err(failed("opening its lock"))?;
        lock.lock().map_err(failed("locking it"))?;
        let mut records = if self.path.exists() { self.read()? } else { Vec::new() };
        change(&mut records)?;
        check_names(&records)?;
        if records.len() > KEY_RECORDS_MAX {
            return Err(KeyFileError::Count { got: records.len() });
        }
        let content = Content { version: VERSION, keys: records.iter().map(KeyRecord::line).collect() };
        let text = serde_json::to_string_pretty(&content).map_err(KeyFileError::Json)?;
        self.replace(text.as_bytes()).map_err(failed("writing it"))
    }

    /// The file is the old one or the new one, also when the machine stops in between.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.beside("new");
        // One that was left by a process that was killed may have other permissions.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = private(OpenOptions::new().create_new(true), &new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        sync_folder(&self.path)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

fn parse(text: &str) -> Result<Vec<KeyRecord>, KeyFileError> {
    let content: Content = serde_json::from_str(text).map_err(KeyFileError::Json)?;
    let file = |field, expected| Err(KeyFileError::Field { id: "of any name".to_owned(), field, expected });
    if content.version != VERSION {
        return file("version", "1");
    }
    if content.keys.len() > KEY_RECORDS_MAX {
        return Err(KeyFileError::Count { got: content.keys.len() });
    }
    let records = content.keys.into_iter().map(KeyRecord::parse).collect::<Result<Vec<_>, _>>()?;
    check_names(&records)?;
    Ok(records)
}

/// A key's identifier, and a certificate that opens something, belong to one record.
fn check_names(records: &[KeyRecord]) -> Result<(), KeyFileError> {
    let (mut ids, mut certificates) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        let twice = |field| KeyFileError::Field { id: record.id.clone(), field, expected: "one record of it" };
        if !ids.insert(&record.id) {
            return Err(twice("id"));
        }
        let certificate = record.certificate.as_ref().filter(|_| record.revoked.is_none());
        if certificate.is_some_and(|certificate| !certificates.insert(certificate)) {
            return Err(twice("certificate"));
        }
    }
    Ok(())
}

/// Opens a file that its owner alone may read and write.
fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn check_mode(facts: &std::fs::Metadata) -> Result<(), KeyFileError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&facts.permissions()) & 0o777;
    if mode & 0o022 == 0 { Ok(()) } else { Err(KeyFileError::Mode { mode }) }
}

#[cfg(not(unix))]
fn check_mode(_facts: &std::fs::Metadata) -> Result<(), KeyFileError> {
    Ok(())
}

/// A new name in a folder is safe once the folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
