//! Why there is no server. What is wrong with a request is in `api_error`.

use ballast_backend::ErrorKind;

/// Errors of [`crate::serve`].
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An option has a value that cannot work.
    #[error("{option}: expected {expected}")]
    Option {
        /// Name of the field of [`crate::ServerOptions`] or [`crate::ServedModel`].
        option: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// The first model could not be loaded. The log says why.
    #[error("model {id}: it could not be loaded")]
    Model {
        /// Its name.
        id: String,
    },
    /// The listening socket fails again and again.
    #[error("listening socket: failed {n_failures} times in a row, last with: {source}")]
    Accept {
        /// Failures in a row.
        n_failures: u32,
        /// The last.
        source: std::io::Error,
    },
    /// Connections were open when the time for draining was over, and were cut.
    #[error("drain: expected no connections when the time was over, cut {n_connections}")]
    DrainTimedOut {
        /// Connections that were cut.
        n_connections: usize,
    },
}

impl ServerError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Option { .. } => ErrorKind::Invalid,
            Self::Accept { .. } | Self::Model { .. } => ErrorKind::Unavailable,
            Self::DrainTimedOut { .. } => ErrorKind::Cancelled,
        }
    }
}

/// What is wrong with a list of keys. Never shows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// None, or too many.
    #[error("keys: expected 1 to {max}, got {got}", max = crate::KEYS_MAX)]
    Count {
        /// How many were given.
        got: usize,
    },
    /// One is too short to be hard to guess, or too long for a header.
    #[error("key {idx}: expected {min} to {max} bytes, got {got}", min = crate::KEY_BYTES_MIN, max = crate::KEY_BYTES_MAX)]
    Length {
        /// Which one.
        idx: usize,
        /// Its length in bytes.
        got: usize,
    },
    /// One has a character that a header cannot carry.
    #[error("key {idx}: expected visible ASCII characters only")]
    Character {
        /// Which one.
        idx: usize,
    },
}

impl ApiKeyError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
