//! Names to files: which of the places on this machine has a model, what is there, and what may be removed.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::name::{HubName, ModelName, OllamaName};
use crate::own::Own;
use crate::places::{Clock, Limits, Places};
use crate::{hf_cache, ollama, quant};

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its files, in shard order; never empty.
    pub files: Vec<ModelFile>,
    /// Where it was found.
    pub source: Source,
}

impl Located {
    /// The file to open: the model, or its first shard.
    pub fn path(&self) -> &Path {
        &self.files[0].path
    }

    /// The digest, where one is known and the model is one file.
    pub fn digest(&self) -> Option<Digest> {
        if let [file] = &self.files[..] { file.digest } else { None }
    }

    /// Its size on disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 as its store states it: verified by us for our own files, claimed by the others for theirs.
    pub digest: Option<Digest>,
}

/// Where a model comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A path that was given.
    Path,
    /// Our own directory, downloaded from the hub.
    Hub,
    /// Our own directory, unpacked from a Python package.
    PythonPackage,
    /// The Hugging Face tools' cache.
    HfCache,
    /// Ollama's store.
    Ollama,
}

impl Source {
    /// A stable word for programs: `path`, `hub`, `python-package`, `hf-cache`, `ollama`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Hub => "hub",
            Self::PythonPackage => "python-package",
            Self::HfCache => "hf-cache",
            Self::Ollama => "ollama",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "the file system",
            Self::Hub | Self::PythonPackage => "Ballast",
            Self::HfCache => "the Hugging Face cache",
            Self::Ollama => "Ollama",
        })
    }
}

/// A line of `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A name that resolves to it, if no earlier place has the same name.
    pub name: String,
    /// The model.
    pub model: Located,
}

/// The models on this machine, and the way to get more (see `pull`).
#[derive(Debug)]
pub struct Store {
    pub(crate) places: Places,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) own: Own,
}

impl Store {
    /// A store over `places`. Touches nothing yet.
    pub fn new(places: Places, clock: Clock) -> Self {
        Self::with_limits(places, clock, Limits::default())
    }

    /// A store with other bounds on its downloads.
    pub fn with_limits(places: Places, clock: Clock, limits: Limits) -> Self {
        let own = Own::new(&places.data_dir);
        Self { places, clock, limits, own }
    }

    /// Finds a model on this machine; no network. Our own directory comes first, then the Hugging Face cache, then
    /// Ollama's store.
    ///
    /// # Errors
    /// `NotFound` where no place has it, `Ambiguous` where one has several that fit, `BadManifest` for a manifest in
    /// Ollama's store that cannot be used.
    pub fn resolve(&self, name: &ModelName) -> Result<Located, StoreError> {
        let found = match name {
            ModelName::Path(path) => located_path(path)?,
            ModelName::Alias(pinned) => self.find_hub(&pinned.hub_name())?,
            ModelName::Hub(hub) => self.find_hub(hub)?,
            ModelName::Ollama(ollama) => self.find_ollama(ollama)?,
            ModelName::Plain(plain) => match located_path(Path::new(&plain_file(plain)))? {
                Some(located) => Some(located),
                None => self.find_ollama(plain)?,
            },
        };
        found.ok_or_else(|| self.not_found(name))
    }

    /// Every model in every place, under names that `resolve` takes.
    pub fn list(&self) -> Vec<Entry> {
        let mut entries = self.own.list();
        entries.extend(self.places.hf_cache.iter().flat_map(|root| hf_cache::list(root)));
        entries.extend(self.places.ollama_models.iter().flat_map(|root| ollama::list(root)));
        entries
    }

    /// Deletes a model from our own directory and says what was deleted.
    ///
    /// # Errors
    /// `NotOurs` for a model that lies elsewhere; `NotFound`, `Ambiguous` as for `resolve`; `Io`.
    pub fn remove(&self, name: &ModelName) -> Result<Located, StoreError> {
        let ours = match name {
            ModelName::Alias(pinned) => self.own.find(&pinned.hub_name())?,
            ModelName::Hub(hub) => self.own.find(hub)?,
            ModelName::Path(_) | ModelName::Ollama(_) | ModelName::Plain(_) => None,
        };
        let Some(model) = ours else {
            let other = self.resolve(name)?;
            let (owner, path) = (other.source, other.path().to_owned());
            return Err(StoreError::NotOurs { name: name.to_string(), owner, path });
        };
        self.own.remove(&model)?;
        Ok(model)
    }

    pub(crate) fn find_hub(&self, name: &HubName) -> Result<Option<Located>, StoreError> {
        if let Some(ours) = self.own.find(name)? {
            return Ok(Some(ours));
        }
        self.places.hf_cache.as_deref().map_or(Ok(None), |root| hf_cache::find(root, name))
    }

    fn find_ollama(&self, name: &OllamaName) -> Result<Option<Located>, StoreError> {
        self.places.ollama_models.as_deref().map_or(Ok(None), |root| ollama::find(root, name))
    }

    pub(crate) fn not_found(&self, name: &ModelName) -> StoreError {
        let (hf_cache, ollama) = (self.places.hf_cache.iter().cloned(), self.places.ollama_models.iter().cloned());
        let (looked_in, pullable) = match name {
            ModelName::Path(path) => (vec![path.clone()], false),
            ModelName::Alias(_) | ModelName::Hub(_) => {
                (std::iter::once(self.own.models_dir()).chain(hf_cache).collect(), true)
            }
            ModelName::Ollama(_) => (ollama.collect(), false),
            ModelName::Plain(plain) => (std::iter::once(plain_file(plain).into()).chain(ollama).collect(), false),
        };
        StoreError::NotFound { name: name.to_string(), looked_in, pullable }
    }
}

/// A plain word as a file name: the tag was filled in by the parser unless it was typed.
fn plain_file(plain: &OllamaName) -> String {
    if plain.tag == "latest" { plain.model.clone() } else { format!("{}:{}", plain.model, plain.tag) }
}

/// The file at `path`, with the other shards of its model where it is one of several.
fn located_path(path: &Path) -> Result<Option<Located>, StoreError> {
    if !path.is_file() {
        return Ok(None);
    }
    let (Some(dir), Some(file)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Some(located_files([path.to_owned()])));
    };
    let siblings = quant::shard_names(file);
    let there: Vec<&str> = siblings.iter().map(String::as_str).filter(|name| dir.join(name).is_file()).collect();
    if there.len() < siblings.len() {
        let (have, want) = (there.len(), siblings.len());
        return Err(StoreError::MissingShards { file: path.display().to_string(), have, want });
    }
    let files =
        if siblings.is_empty() { vec![path.to_owned()] } else { there.iter().map(|name| dir.join(name)).collect() };
    Ok(Some(located_files(files)))
}

fn located_files(paths: impl IntoIterator<Item = PathBuf>) -> Located {
    let file = |path: PathBuf| {
        let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        ModelFile { path, bytes, digest: None }
    };
    Located { files: paths.into_iter().map(file).collect(), source: Source::Path }
}
