//! Keys that are made, listed and revoked: a file of records, and the table that requests are looked up in.
//!
//! A key is `sk-<id>-<secret>`. The identifier, which is no secret, finds the record; the SHA-256 digest of the whole
//! key is then compared with the record's in constant time. Secrets are 256 random bits, so that a fast digest is
//! enough and the file tells nobody how to make a key.

mod certificate;
mod file;
mod record;

pub use certificate::{CERTIFICATE_NAME_BYTES_MAX, CertificateName, CertificateNameError};
pub use file::{KEY_FILE_BYTES_MAX, KeyFile};
pub use record::{
    KEY_ID_BYTES, KEY_NAME_BYTES_MAX, KEY_RECORDS_MAX, KEY_SECRET_BYTES, KeyRecord, KeyTerms, MODELS_PER_KEY_MAX,
    NewKey,
};

use crate::api_error::Refusal;
use crate::digest::KeyDigest;
use crate::reload::{Stamp, stamp};
use record::id_of;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What is wrong with a file of keys. Never shows a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("key file: {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// It is longer than any real one.
    #[error("key file: expected at most {KEY_FILE_BYTES_MAX} bytes, got {got}")]
    Length {
        /// Bytes of the file.
        got: u64,
    },
    /// Others than its owner may write to it.
    #[error("key file: expected a file that its owner alone may write to, got mode {mode:o}")]
    Mode {
        /// The file's permissions.
        mode: u32,
    },
    /// It is no JSON of the expected form.
    #[error("key file: {0}")]
    Json(serde_json::Error),
    /// A record has a value that cannot be.
    #[error("key file: key {id}: {field}: expected {expected}")]
    Field {
        /// Which record.
        id: String,
        /// Which of its fields.
        field: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// There are more keys than a server takes.
    #[error("key file: expected at most {KEY_RECORDS_MAX} keys, got {got}")]
    Count {
        /// How many there are.
        got: usize,
    },
    /// Nothing has this identifier.
    #[error("there is no key {id}")]
    Unknown {
        /// What was asked for.
        id: String,
    },
}

impl KeyFileError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ballast_backend::ErrorKind {
        use ballast_backend::ErrorKind;
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Mode { .. } => ErrorKind::Denied,
            Self::Length { .. } | Self::Json(_) | Self::Field { .. } | Self::Count { .. } | Self::Unknown { .. } => {
                ErrorKind::Invalid
            }
        }
    }
}

/// The keys of a file, as they are now. Revoking a key in the file takes effect with the next [`Self::reload`].
pub struct KeyStore {
    file: KeyFile,
    table: RwLock<Arc<Table>>,
    /// When the file was changed last, as far as it has been looked at.
    seen: Mutex<Option<Stamp>>,
}

/// The records, and how they are found.
#[derive(Default)]
struct Table {
    by_id: BTreeMap<String, Arc<KeyRecord>>,
    by_certificate: BTreeMap<CertificateName, Arc<KeyRecord>>,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys of {:?}", self.n_keys(), self.file.path())
    }
}

impl KeyStore {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read or is not a file of keys.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let file = KeyFile::new(path);
        let seen = stamp(file.path());
        let table = table_of(file.read()?);
        Ok(Self { file, table: RwLock::new(table), seen: Mutex::new(seen) })
    }

    /// Where the keys are kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Number of records, revoked and expired ones too.
    #[must_use]
    pub fn n_keys(&self) -> usize {
        self.table().by_id.len()
    }

    /// Reads the file again; requests that come later see its keys only.
    ///
    /// # Errors
    /// If it cannot be read or is not a file of keys: the keys stay as they were.
    pub fn reload(&self) -> Result<(), KeyFileError> {
        let seen = stamp(self.file.path());
        // Whatever comes of it, the same file is not tried again until it changes.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        let table = table_of(self.file.read()?);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }

    /// [`Self::reload`], if the file has changed. Says whether it had.
    ///
    /// # Errors
    /// As [`Self::reload`].
    pub fn reload_if_changed(&self) -> Result<bool, KeyFileError> {
        if stamp(self.file.path()) == *self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// The record of the key that was `presented`, if it opens anything at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// If it is no key, or one that has expired or was revoked.
    pub(crate) fn find(&self, presented: &str, now: i64) -> Result<Arc<KeyRecord>, Refusal> {
        // A key that is not known is compared, too: the time it takes tells nothing.
        let table = self.table();
        let record = id_of(presented).and_then(|id| table.by_id.get(id));
        let expected = record.map_or(KeyDigest::NOBODYS, |record| record.sha256);
        let is_same = expected == KeyDigest::of(presented);
        good(record.filter(|_| is_same), now)
    }

    /// The record that a client's certificate opens, known by the first of `names` that has one.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) fn find_certificate(&self, names: &[CertificateName], now: i64) -> Result<Arc<KeyRecord>, Refusal> {
        let table = self.table();
        good(names.iter().find_map(|name| table.by_certificate.get(name)), now)
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn table_of(records: Vec<KeyRecord>) -> Arc<Table> {
    let mut table = Table::default();
    for record in records.into_iter().map(Arc::new) {
        table.by_id.insert(record.id.clone(), Arc::clone(&record));
        let Some(name) = record.certificate.clone() else { continue };
        // Of several records that a certificate had, the one that is not revoked counts.
        if record.revoked.is_none() || !table.by_certificate.contains_key(&name) {
            table.by_certificate.insert(name, record);
        }
    }
    Arc::new(table)
}

/// The record, if it opens anything at `now`.
fn good(record: Option<&Arc<KeyRecord>>, now: i64) -> Result<Arc<KeyRecord>, Refusal> {
    let record = record.ok_or(Refusal::Key)?;
    if record.revoked.is_some() {
        return Err(Refusal::KeyRevoked);
    }
    if record.terms.expires.is_some_and(|expires| expires <= now) {
        return Err(Refusal::KeyExpired);
    }
    Ok(Arc::clone(record))
}

#[cfg(test)]
mod tests;
