//! The process's environment, read in one place: where models live, whether to use colour, keys.

#![expect(clippy::disallowed_methods, reason = "this is where the environment enters the program")]

use ballast_store::{Clock, Places, Secret, Store};
use std::env::{var, var_os, vars_os};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::SystemTime;

/// Colour and progress only for a person at a terminal who has not asked for none. (no-color.org)
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The model store of this user.
pub(crate) fn store(offline: bool) -> Store {
    let clock = Clock { now: Box::new(SystemTime::now), sleep: Box::new(std::thread::sleep) };
    Store::new(places(offline), clock)
}

/// Where models live for this user.
pub(crate) fn places(offline: bool) -> Places {
    let mut places = Places::new(data_dir());
    places.hf_cache = path("HF_HUB_CACHE")
        .or_else(|| path("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| home().map(|home| home.join(".cache/huggingface/hub")));
    if let Some(endpoint) = text("HF_ENDPOINT") {
        places.hf_endpoint = endpoint;
    }
    places.hf_token = text("HF_TOKEN").map(Secret::new);
    places.ollama_models = path("OLLAMA_MODELS").or_else(|| home().map(|home| home.join(".ollama/models")));
    places.proxy = text("HTTPS_PROXY").or_else(|| text("https_proxy")).map(Secret::new);
    places.offline = offline || text("HF_HUB_OFFLINE").is_some_and(|v| v != "0");
    if let Some(python) = path("BALLAST_PYTHON") {
        places.python = python;
    }
    places
}

/// Our own models and state.
pub(crate) fn data_dir() -> PathBuf {
    path("BALLAST_HOME")
        .or_else(|| path("XDG_DATA_HOME").map(|dir| dir.join("ballast")))
        .or_else(|| home().map(|home| home.join(".local/share/ballast")))
        .unwrap_or_else(|| PathBuf::from(".ballast"))
}

/// Where packed models are kept, unless the command line says otherwise. They can be made again, so they are with the
/// caches of the user; a home of our own has everything in it.
pub(crate) fn compile_cache_dir() -> Option<PathBuf> {
    path("BALLAST_COMPILE_CACHE")
        .or_else(|| path("BALLAST_HOME").map(|dir| dir.join("compiled")))
        .or_else(|| path("XDG_CACHE_HOME").map(|dir| dir.join("ballast/compiled")))
        .or_else(|| home().map(|home| home.join(".cache/ballast/compiled")))
}

/// Whether packed weights are used where they lie in the compile cache, though the command line does not say so.
pub(crate) fn map_weights() -> bool {
    text("BALLAST_MAP_WEIGHTS").is_some_and(|value| value != "0")
}

/// Files of settings in their usual places, the weakest first, whether they exist or not.
pub(crate) fn config_files() -> Vec<PathBuf> {
    let of_user = path("XDG_CONFIG_HOME").or_else(|| home().map(|home| home.join(".config")));
    let dirs = [Some(PathBuf::from("/etc")), of_user];
    dirs.into_iter().flatten().map(|dir| dir.join("ballast/config.toml")).collect()
}

/// Lets this process have as many files open as it is allowed to: the bound that a shell sets by default is for
/// programs that keep a set of a fixed size.
#[cfg(unix)]
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the bound of open files stays as it is");
    }
}

#[cfg(not(unix))]
pub(crate) fn raise_open_files() {}

/// The line that this process was started with.
pub(crate) fn command_line() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// Whether a person's terminal is at standard input.
pub(crate) fn is_at_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Files that this process may have open at a time; `None` where the system does not say.
pub(crate) fn open_files_max() -> Option<usize> {
    open_files_of(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// The soft limit; one that is no number is none.
fn open_files_of(limits: &str) -> Option<usize> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

/// One variable, if it is set to something.
pub(crate) fn variable(name: &str) -> Option<String> {
    text(name)
}

/// Every variable whose name begins so, sorted by name. One that is no text is passed over.
pub(crate) fn variables_with(prefix: &str) -> Vec<(String, String)> {
    let pairs = vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut pairs: Vec<_> = pairs.filter(|(name, _)| name.starts_with(prefix)).collect();
    pairs.sort_unstable();
    pairs
}

fn home() -> Option<PathBuf> {
    path("HOME")
}

fn path(name: &str) -> Option<PathBuf> {
    var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn text(name: &str) -> Option<String> {
    var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::open_files_of;

    #[test]
    fn the_bound_of_open_files_is_read() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(open_files_of(limits), Some(1024));
        assert_eq!(open_files_of("Max open files            unlimited            unlimited            files"), None);
        assert_eq!(open_files_of(""), None);
    }
}
