//! Files that are read again when they change, while the server runs.

use crate::{KeyStore, ServerOptions, TlsStore};
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
    interval: Duration,
}

impl Watched {
    pub(crate) fn of(options: &ServerOptions) -> Self {
        Self { key_store: options.key_store.clone(), tls: options.tls.clone(), interval: options.reload_interval }
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
            match store.reload_if_changed() {
                Ok(false) => {}
                Ok(true) => tracing::info!(n_keys = store.n_keys(), "keys were read again"),
                Err(error) => tracing::warn!(%error, "keys could not be read again: the old ones stay"),
            }
        }
        if let Some(tls) = &self.tls {
            match tls.reload_if_changed() {
                Ok(false) => {}
                Ok(true) => tracing::info!("certificates were read again"),
                Err(error) => tracing::warn!(%error, "certificates could not be read again: the old ones stay"),
            }
        }
    }
}
