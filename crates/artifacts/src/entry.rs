//! An entry that was found intact, and what is looked at before it is one.

use crate::digest::digest_open_file;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::tree::walk;
use crate::{CacheError, CacheKey, Until};
use ballast_backend::{CompiledMeta, ModelArtifact, Sha256};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// How much of an entry is compared with its manifest when it is opened. Version, key, list of files and their lengths
/// always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verification {
    /// All content, each time.
    Always,
    /// All content when the cache opens the entry for the first time; not again after that, nor after it built the
    /// entry, as long as every file has the length, date and place on the disk that it had then.
    #[default]
    FirstOpen,
    /// All content, unless every file has the length, date and place on the disk that it had when this or another
    /// process built or compared it, of which a note is kept beside it. Opening takes no longer for a large entry; what
    /// was altered without changing the date is used.
    OnceOnDisk,
    /// No content. Opening takes no longer for a large entry; what was altered without changing its length is used.
    LengthsOnly,
}

/// Why what is found in an entry's place is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Written by another version of the cache.
    Version,
    /// The manifest is missing, damaged, too large, or contradicts itself.
    Manifest,
    /// The entry is of another key.
    ForeignKey,
    /// Files are missing or too many, or something is no plain file.
    Files,
    /// A file is longer or shorter than the manifest says.
    Length,
    /// A file's digest is another than the manifest says.
    Content,
    /// What lies there is no directory, or has no lock.
    NotAnEntry,
}

impl Rejection {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::Version, Self::Manifest, Self::ForeignKey, Self::Files, Self::Length, Self::Content, Self::NotAnEntry];

    /// A stable word for logs and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Manifest => "manifest",
            Self::ForeignKey => "foreign_key",
            Self::Files => "files",
            Self::Length => "length",
            Self::Content => "content",
            Self::NotAnEntry => "not_an_entry",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Hit,
    /// Another thread or process built it while this one waited.
    Waited,
    /// It was not there and was built.
    Built,
    /// What was there could not be loaded, so it was built again.
    Rebuilt(Rejection),
}

/// An intact entry. As long as it is held, eviction leaves it alone, in this process and in others. One that is damaged
/// while it is held is moved away by whoever finds that out and builds it again: its opened files stay, its path does
/// not.
#[derive(Debug)]
pub struct Entry {
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) origin: Origin,
    /// Shared with other holders.
    pub(crate) _lock: File,
}

/// An entry as it is listed; it may be gone by the time it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// The whole key.
    pub key: String,
    /// The directory that the build filled.
    pub path: PathBuf,
    /// Bytes of the build's files.
    pub bytes: u64,
}

impl Entry {
    /// The directory that the build filled.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// The whole key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.manifest.key
    }

    /// What prepared it.
    #[must_use]
    pub fn meta(&self) -> &CompiledMeta {
        &self.manifest.meta
    }

    /// The bundle, for `backend::Prepared`. Whoever uses it keeps the entry.
    #[must_use]
    pub fn artifact(&self) -> ModelArtifact {
        ModelArtifact::Compiled { path: self.path(), meta: self.manifest.meta.clone() }
    }

    /// Bytes of the build's files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.tree.bytes
    }

    /// Digest of the build's files, as [`crate::digest_tree`] computes it.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.manifest.tree.sha256
    }

    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

/// Why an entry is not loaded: it is not intact, or that cannot be found out.
#[derive(Debug)]
pub(crate) enum Fault {
    Rejected(Rejection),
    Failed(CacheError),
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<CacheError> for Fault {
    fn from(error: CacheError) -> Self {
        Self::Failed(error)
    }
}

/// A fault of the system; what is missing is the entry's fault.
fn io_fault(missing: Rejection, path: &Path, error: io::Error) -> Fault {
    if error.kind() == io::ErrorKind::NotFound {
        return missing.into();
    }
    CacheError::io("read", path, error).into()
}

/// Reads the manifest of the entry at `dir`, and how long it is.
pub(crate) fn read_manifest(dir: &Path) -> Result<(Manifest, u64), Fault> {
    let path = dir.join("manifest");
    let fault = |error| io_fault(Rejection::Manifest, &path, error);
    let metadata = fs::symlink_metadata(&path).map_err(fault)?;
    if !metadata.is_file() {
        return Err(Rejection::Manifest.into());
    }
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(fault)?;
    file.take(MANIFEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(fault)?;
    Ok((Manifest::parse(&bytes)?, bytes.len() as u64))
}

/// Name of the note in an entry that says what fingerprint its files had when their content was last compared.
const COMPARED: &str = "compared";

/// The fingerprint noted in the entry at `dir`.
pub(crate) fn read_compared(dir: &Path) -> Option<Sha256> {
    let mut text = String::new();
    let path = dir.join(COMPARED);
    if !fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    File::open(path).ok()?.take(64 + 1).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

/// Notes a fingerprint in the entry at `dir`. A disk that refuses only costs that content is compared again.
pub(crate) fn write_compared(dir: &Path, fingerprint: Sha256) {
    let path = dir.join(COMPARED);
    let write = || {
        // A new file: what is there could be a link that leads out of the entry.
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path)?;
        }
        File::create_new(&path)?.write_all(fingerprint.to_string().as_bytes())
    };
    if let Err(error) = write() {
        tracing::debug!(%error, "compile cache: what was compared is not noted");
    }
}

/// What of an entry is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Content,
    Lengths,
}

/// Compares the entry at `dir` with `key` and with its own manifest; `depth` says from its files' fingerprint how deep to
/// look. Returns the fingerprint, too.
pub(crate) fn verify(
    dir: &Path,
    key: &CacheKey,
    until: &Until<'_>,
    depth: impl FnOnce(Sha256) -> Depth,
) -> Result<(Manifest, Sha256), Fault> {
    let (manifest, _) = read_manifest(dir)?;
    if manifest.key != key.as_str() {
        return Err(Rejection::ForeignKey.into());
    }
    let known = |name: &io::Result<fs::DirEntry>| match name {
        Ok(item) => ["files", "lock", "manifest", COMPARED].iter().any(|known| item.file_name() == *known),
        Err(_) => true,
    };
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let mut names = fs::read_dir(dir).map_err(|e| io_fault(Rejection::NotAnEntry, dir, e))?;
    let files = dir.join("files");
    if !names.all(|name| known(&name)) || !is_dir(&files) {
        return Err(Rejection::Files.into());
    }
    let found = walk(&files, until).map_err(of_entry)?;
    if !found.files.iter().map(|file| &file.path).eq(manifest.files.iter().map(|(path, _)| path)) {
        return Err(Rejection::Files.into());
    }
    if found.files.iter().zip(&manifest.files).any(|(file, (_, digest))| file.bytes != digest.bytes) {
        return Err(Rejection::Length.into());
    }
    let fingerprint = found.fingerprint();
    if depth(fingerprint) == Depth::Content {
        for (path, digest) in &manifest.files {
            let path = files.join(path);
            let file = File::open(&path).map_err(|e| io_fault(Rejection::Files, &path, e))?;
            if digest_open_file(&file, &path, until).map_err(of_entry)? != *digest {
                return Err(Rejection::Content.into());
            }
        }
    }
    Ok((manifest, fingerprint))
}

/// Whether an error tells of the entry or of the system.
fn of_entry(error: CacheError) -> Fault {
    match error {
        CacheError::Tree(_) => Rejection::Files.into(),
        CacheError::ChangedWhileRead { .. } => Rejection::Length.into(),
        CacheError::Io { ref source, .. } if source.kind() == io::ErrorKind::NotFound => Rejection::Files.into(),
        CacheError::Io { .. }
        | CacheError::DiskFull { .. }
        | CacheError::PermissionDenied { .. }
        | CacheError::NotADirectory { .. }
        | CacheError::EntryTooLarge { .. }
        | CacheError::Busy { .. }
        | CacheError::DeadlinePassed
        | CacheError::Interrupted(_) => Fault::Failed(error),
    }
}
