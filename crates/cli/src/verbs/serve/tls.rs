//! Certificates: the server's own, and whose clients must show one.

use crate::failure::{Exit, Failure};
use ballast_server::{TlsFiles, TlsStore};
use clap::Args as ClapArgs;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct TlsArgs {
    /// Encrypt with this certificate, in PEM, those between it and its root after it. Read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let in only clients whose certificate comes from one of these roots, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// Whether connections are encrypted.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// The certificates, if there are to be any.
    pub(crate) fn resolve(&self) -> Result<Option<Arc<TlsStore>>, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let (certificate, key, client_ca) = (certificate.clone(), key.clone(), self.tls_client_ca.clone());
        let store = TlsStore::open(TlsFiles { certificate, key, client_ca });
        let failed = |error: ballast_server::TlsError| Failure::new(Exit::of_kind(error.kind()), error.to_string());
        Ok(Some(Arc::new(store.map_err(failed)?)))
    }
}
