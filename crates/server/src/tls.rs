//! TLS: certificates of files, read again when they change, and handshakes that keep nobody waiting.

mod peer;
mod socket;

pub(crate) use peer::PeerCertificate;
pub(crate) use socket::{Handshake, Socket};

use crate::reload::{Stamp, stamp};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Longest file of certificates or keys.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// The server's certificate, and those between it and its root.
    Certificate,
    /// The certificate's private key.
    Key,
    /// Certificates that clients' certificates must come from.
    ClientCa,
    /// A client's own.
    ClientCertificate,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
            Self::ClientCa => "clients' authority",
            Self::ClientCertificate => "client's certificate",
        })
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file}: {source}")]
    Io {
        /// Which.
        file: TlsFile,
        /// Why.
        source: io::Error,
    },
    /// A file is longer than any real one.
    #[error("{file}: expected at most {PEM_BYTES_MAX} bytes")]
    Length {
        /// Which.
        file: TlsFile,
    },
    /// A file has no PEM of the kind that is needed.
    #[error("{file}: expected PEM of it")]
    Pem {
        /// Which.
        file: TlsFile,
    },
    /// What the files hold does not fit together.
    #[error("TLS: {0}")]
    Unfit(String),
}

impl TlsError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ballast_backend::ErrorKind {
        use ballast_backend::ErrorKind;
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Length { .. } | Self::Pem { .. } | Self::Unfit(_) => ErrorKind::Invalid,
        }
    }
}

/// Where certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate in PEM, those between it and its root after it.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// Roots in PEM that a client's certificate must come from; `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Certificates as they are now. A connection keeps those it began with.
pub struct TlsStore {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Vec<Option<Stamp>>>,
    n_failed: AtomicU64,
}

impl fmt::Debug for TlsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl TlsStore {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, or they do not fit together.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let seen = Mutex::new(files.stamps());
        let config = RwLock::new(Arc::new(files.config()?));
        Ok(Self { files, config, seen, n_failed: AtomicU64::new(0) })
    }

    /// Reads the files again; connections that come later see what they hold.
    ///
    /// # Errors
    /// As [`Self::open`]: what was read before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.files.stamps();
        let config = Arc::new(self.files.config()?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// [`Self::reload`], if a file has changed. Says whether one had.
    ///
    /// # Errors
    /// As [`Self::reload`].
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        if self.files.stamps() == *self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Whether clients show a certificate.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Handshakes that came to nothing.
    #[must_use]
    pub fn n_failed(&self) -> u64 {
        self.n_failed.load(Ordering::Relaxed)
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn note_failure(&self, error: &io::Error) {
        self.n_failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(event = "tls_failed", kind = ?error.kind(), "security");
    }
}

impl TlsFiles {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()]
            .map(|path| path.and_then(|path| stamp(path)))
            .to_vec()
    }

    fn config(&self) -> Result<ServerConfig, TlsError> {
        let unfit = |error: &dyn fmt::Display| TlsError::Unfit(error.to_string());
        let chain = certificates(TlsFile::Certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read(TlsFile::Key, &self.key)?)
            .map_err(|_| TlsError::Pem { file: TlsFile::Key })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(TlsFile::ClientCa, path)? {
                    roots.add(root).map_err(|error| unfit(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| unfit(&error))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unfit(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The certificates of a file, at least one.
pub(crate) fn certificates(file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file, path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty()).ok_or(TlsError::Pem { file })
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Io { file, source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PEM_BYTES_MAX { Err(TlsError::Length { file }) } else { Ok(bytes) }
}
