//! What SIGHUP has a running server read again: keys, tokens' keys, certificates, and the settings that can change.
//!
//! Files of keys and certificates are watched anyway; the signal does not wait for the next look, and reads them though
//! they look the same. Of the settings, those change that say how much each client may ask ([`RELOADABLE`]); others
//! are told, and take effect with the next start.

use super::Args;
use super::key::read_keys;
use super::notify::Notify;
use crate::configuration::{self, Settings, SourceArgs, key::Keys};
use crate::environment;
use crate::failure::Failure;
use crate::output;
use crate::verbs::Verb;
use ballast_server::{ApiKeys, JwtVerifier, KeyStore, LiveLimits, TlsStore};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Settings that a running server takes over.
pub(crate) const RELOADABLE: [&str; 4] =
    ["server.rate_limit", "server.rate_burst", "server.tokens_per_minute", "server.concurrency"];

/// What is read again.
pub(crate) struct Reload {
    pub(crate) key_store: Option<Arc<KeyStore>>,
    /// Keys of a file of lines.
    pub(crate) key_lines: Option<(ApiKeys, PathBuf)>,
    pub(crate) tls: Option<Arc<TlsStore>>,
    pub(crate) jwt: Option<Arc<JwtVerifier>>,
    pub(crate) limits: Arc<LiveLimits>,
    /// Whether clients need a key.
    pub(crate) is_keyed: bool,
    /// The settings as they were read last.
    pub(crate) settings: Mutex<BTreeMap<String, String>>,
}

/// Every setting by its name, as it is in the sources now.
pub(crate) fn settings_now(sources: &SourceArgs) -> Result<BTreeMap<String, String>, Failure> {
    let keys = Keys::of_serve();
    let settings = Settings::read(sources, &keys)?;
    let named = |path: &str, value: &dyn fmt::Debug| (path.to_owned(), format!("{value:?}"));
    Ok(keys.iter().filter_map(|key| settings.of(key).map(|set| named(&key.path, &set.value))).collect())
}

impl Reload {
    /// Reads everything again. What cannot be used leaves what was there before.
    pub(crate) fn all(&self) {
        if let Some(store) = &self.key_store {
            tell("the file of keys", store.reload());
        }
        if let Some((keys, path)) = &self.key_lines {
            let replaced = read_keys(path).map_err(|failure| failure.what);
            tell("the keys", replaced.and_then(|lines| keys.replace(&lines).map_err(|error| error.to_string())));
        }
        if let Some(tls) = &self.tls {
            tell("the certificates", tls.reload());
        }
        if let Some(jwt) = &self.jwt {
            tell("the keys of tokens", jwt.reload());
        }
        tell("the settings", self.settings().map_err(|failure| failure.what));
    }

    fn settings(&self) -> Result<(), Failure> {
        let args = read_again()?;
        let new = settings_now(&args.sources)?;
        let mut old = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        for path in changed(&old, &new) {
            if !RELOADABLE.contains(&path) {
                output::note(&format!("{path} has changed: it takes effect with the next start"));
            }
        }
        self.limits.set(args.rate.limits(self.is_keyed));
        *old = new;
        Ok(())
    }
}

/// The line that the server was started with, completed by the other sources as they are now.
fn read_again() -> Result<Box<Args>, Failure> {
    let read = configuration::read(environment::command_line()).map_err(|unread| match unread {
        configuration::Unread::Line(error) => Failure::usage(error.to_string()),
        configuration::Unread::Source(failure) => failure,
    })?;
    let Verb::Serve(args) = read.verb else { return Err(Failure::usage("the line does not serve any more")) };
    Ok(args)
}

/// The names that are in one of them only, or have another value.
fn changed<'a>(old: &'a BTreeMap<String, String>, new: &'a BTreeMap<String, String>) -> Vec<&'a str> {
    let mut names: Vec<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| old.get(*name) != new.get(*name));
    names
}

fn tell<E: fmt::Display>(what: &str, read: Result<(), E>) {
    match read {
        Ok(()) => tracing::info!(what, "read again"),
        Err(error) => output::note(&format!("{what}: {error}; what was read before stays")),
    }
}

/// Reads everything again whenever the process is sent SIGHUP. Where a terminal is at standard input, the signal says
/// that it has gone, and keeps its meaning: [`super::drain::asked_to_stop`] hears it.
#[cfg(unix)]
pub(crate) fn on_hangup(reload: Reload, notify: &Arc<Notify>) {
    use tokio::signal::unix::{SignalKind, signal};
    if environment::is_at_terminal() {
        return;
    }
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return tracing::warn!(%error, "SIGHUP cannot be handled"),
    };
    let (reload, notify) = (Arc::new(reload), Arc::clone(notify));
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let (reload, notify) = (Arc::clone(&reload), Arc::clone(&notify));
            let done = tokio::task::spawn_blocking(move || notify.while_reloading(|| reload.all())).await;
            match done {
                Ok(()) => output::note("keys, certificates and settings were read again"),
                Err(error) => tracing::error!(%error, "reading files again failed"),
            }
        }
    });
}

#[cfg(not(unix))]
pub(crate) fn on_hangup(_reload: Reload, _notify: &Arc<Notify>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_reloaded_exist_and_changes_are_seen() {
        let keys = Keys::of_serve();
        for path in RELOADABLE {
            assert!(keys.by_path(path).is_some(), "{path}");
        }
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let (old, new) = (map(&[("a", "1"), ("b", "2"), ("c", "3")]), map(&[("b", "2"), ("c", "4"), ("d", "5")]));
        assert_eq!(changed(&old, &new), ["a", "c", "d"]);
    }
}
