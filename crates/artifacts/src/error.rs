//! Why an entry cannot be had.

use crate::TreeError;
use ballast_backend::{ErrorKind, Interrupted, ReasonCode};
use std::io;
use std::path::{Path, PathBuf};

/// Errors of the compile cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk, or a quota on it, is full.
    #[error("{action} {path}: expected room on the disk, got none")]
    DiskFull {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not allow it.
    #[error("{action} {path}: expected permission, got none")]
    PermissionDenied {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another fault of the disk.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A place of the cache that is not a directory of its own; following a link out of the root is refused.
    #[error("{path}: expected a directory, got something else")]
    NotADirectory {
        /// The place.
        path: PathBuf,
    },
    /// A tree that is not a bundle of plain files.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file that changed while it was read.
    #[error("{path}: expected {expected} bytes, read {got}: it changed while it was read")]
    ChangedWhileRead {
        /// The file.
        path: PathBuf,
        /// Its length when it was opened.
        expected: u64,
        /// What was read.
        got: u64,
    },
    /// A built entry that is larger than the whole cache may be.
    #[error("entry: expected at most {bytes_max} bytes, the bound of the cache, got {bytes}")]
    EntryTooLarge {
        /// Bytes of the entry.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The lock over the cache's directories was not granted: its holder stands still.
    #[error("{path}: expected a lock that is held briefly, but its holder keeps it")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// The deadline passed.
    #[error("the deadline passed before the entry was ready")]
    DeadlinePassed,
    /// The caller asked for the end.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl CacheError {
    /// Sorts a fault of the system.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let kind = source.kind();
        if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Self::DiskFull { action, path, source }
        } else if matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
            Self::PermissionDenied { action, path, source }
        } else {
            Self::Io { action, path, source }
        }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::DiskFull { .. } | Self::Io { .. } | Self::NotADirectory { .. } | Self::Busy { .. } => {
                ErrorKind::Unavailable
            }
            Self::PermissionDenied { .. } | Self::EntryTooLarge { .. } => ErrorKind::Denied,
            Self::Tree(_) | Self::ChangedWhileRead { .. } => ErrorKind::Invalid,
            Self::DeadlinePassed | Self::Interrupted(_) => ErrorKind::Cancelled,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::DeadlinePassed => Some(ReasonCode::CancelledByTimeout),
            Self::Interrupted(_) => Some(ReasonCode::CancelledByCaller),
            Self::DiskFull { .. }
            | Self::PermissionDenied { .. }
            | Self::Io { .. }
            | Self::NotADirectory { .. }
            | Self::Tree(_)
            | Self::ChangedWhileRead { .. }
            | Self::EntryTooLarge { .. }
            | Self::Busy { .. } => None,
        }
    }
}

/// Why [`crate::ArtifactCache::get_or_build`] gives no entry: the build failed, or the cache did.
#[derive(Debug, thiserror::Error)]
pub enum GetError<E: std::error::Error> {
    /// The build's own error.
    #[error(transparent)]
    Build(E),
    /// The cache's.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_disk_are_told_apart() {
        let kind = |kind: io::ErrorKind| CacheError::io("write", Path::new("x"), kind.into());
        assert!(matches!(kind(io::ErrorKind::StorageFull), CacheError::DiskFull { .. }));
        assert!(matches!(kind(io::ErrorKind::QuotaExceeded), CacheError::DiskFull { .. }));
        assert!(matches!(kind(io::ErrorKind::PermissionDenied), CacheError::PermissionDenied { .. }));
        assert!(matches!(kind(io::ErrorKind::ReadOnlyFilesystem), CacheError::PermissionDenied { .. }));
        assert!(matches!(kind(io::ErrorKind::Other), CacheError::Io { .. }));
    }
}
