//! Which keys open the server.

use crate::failure::{Exit, Failure};
use crate::options::read_text;
use crate::output;
use crate::verbs::key::failure;
use ballast_server::{ApiKeys, KeyStore};
use clap::Args as ClapArgs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Random bytes in a key that we make.
const KEY_BYTES: usize = 24;

#[derive(Debug, ClapArgs)]
#[group(multiple = false)]
pub(crate) struct KeyArgs {
    /// A key that clients must send [default: a new one, printed at the start].
    #[arg(long, env = "BALLAST_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// A file with one key on each line.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A file of keys, each with what it may do: see `ballast key`.
    #[arg(long, env = "BALLAST_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Ask for no key; only on a loopback address.
    #[arg(long)]
    no_auth: bool,
}

/// Keys, and whether the person has yet to learn the one we made.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) api_keys: Option<ApiKeys>,
    pub(crate) store: Option<Arc<KeyStore>>,
    made: Option<String>,
    /// The file that `api_keys` are from.
    pub(crate) file: Option<PathBuf>,
}

impl KeyArgs {
    pub(crate) fn resolve(&self, host: IpAddr) -> Result<Keys, Failure> {
        if self.no_auth {
            if !host.is_loopback() {
                let what = format!("--no-auth is for loopback addresses; {host} can be reached by others");
                return Err(Failure::new(Exit::Refused, what).try_this("--api-key-file FILE"));
            }
            return Ok(Keys::default());
        }
        if let Some(file) = &self.key_file {
            let store = KeyStore::open(file)
                .map_err(|error| failure(&error).try_this("ballast key create NAME --key-file FILE"))?;
            return Ok(Keys { store: Some(Arc::new(store)), ..Keys::default() });
        }
        let given: Vec<String> = match (&self.api_key, &self.api_key_file) {
            (Some(key), _) => vec![key.clone()],
            (None, Some(file)) => read_keys(file)?,
            (None, None) => Vec::new(),
        };
        let made = if given.is_empty() { Some(new_key()?) } else { None };
        let keys = made.iter().cloned().chain(given).collect();
        let api_keys = ApiKeys::new(keys).map_err(|error| Failure::usage(error.to_string()))?;
        // A key that was made here is in no file: what the file holds later does not take its place.
        let file = self.api_key_file.clone().filter(|_| made.is_none());
        Ok(Keys { api_keys: Some(api_keys), store: None, made, file })
    }
}

impl Keys {
    /// Whether clients need a key.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.api_keys.is_some() || self.store.is_some()
    }

    /// Tells a key that nobody knows yet.
    pub(crate) fn tell(&self) {
        match &self.made {
            Some(key) => output::note(&format!("clients need this key: {key}")),
            None if self.is_asked_for() => {}
            None => output::note("anybody on this machine can use it: no key is asked for"),
        }
    }
}

/// The keys of a file with one on each line.
pub(crate) fn read_keys(file: &PathBuf) -> Result<Vec<String>, Failure> {
    let text = read_text(file)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// A key from the system's randomness.
pub(crate) fn new_key() -> Result<String, Failure> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed("no randomness for a key").because(error.to_string()))?;
    Ok(bytes.iter().fold("sk-".to_owned(), |key, byte| key + &format!("{byte:02x}")))
}
