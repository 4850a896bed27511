//! Files that are read again when they change, while the server runs.

use crate::{JwtVerifier, KeyStore, ServerOptions, TlsStore};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What a file's change is seen by.
pub(crate) type Stamp = (SystemTime, u64);

/// `None` where there is no file.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

/// What is looked at, and how often.
pub(crate) struct Watched {
    key_store: Option<Arc<KeyStore>>,
    tls: Option<Arc<TlsStore>>,
    jwt: Option<Arc<JwtVerifier>>,
    interval: Duration,
}

impl Watched {
    pub(crate) fn of(options: &ServerOptions) -> Self {
        Self {
            key_store: options.key_store.clone(),
            tls: options.tls.clone(),
            jwt: options.jwt.clone(),
            interval: options.reload_interval,
        }
    }

    /// Looks again and again, and never ends. A file that cannot be used leaves everything as it was.
    pub(crate) async fn watch(self) {
        let files = Arc::new(self);
        loop {
            tokio::time::sleep(files.interval).await;
            let looked = Arc::clone(&files);
            if tokio::task::spawn_blocking(move || looked.look()).await.is_err() {
                tracing::error!("looking for changed files failed");
            }
        }
    }

    fn look(&self) {
        if let Some(store) = &self.key_store {
            tell("keys", store.reload_if_changed());
        }
        if let Some(tls) = &self.tls {
            tell("certificates", tls.reload_if_changed());
        }
        if let Some(jwt) = &self.jwt {
            tell("keys of tokens", jwt.reload_if_changed());
        }
    }
}

fn tell<E: fmt::Display>(what: &'static str, read: Result<bool, E>) {
    match read {
        Ok(false) => {}
        Ok(true) => tracing::info!(what, "a file has changed and was read again"),
        Err(error) => tracing::warn!(what, %error, "a file has changed and cannot be used: what was read before stays"),
    }
}
