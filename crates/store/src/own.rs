//! Our own data directory: `models/hf/<user>/<repo>/<path in the repository>` with a record beside each file, and
//! `partial/` for what is not finished. A file under `models/` is whole and verified: it got its name by a rename.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk;
use crate::error::StoreError;
use crate::name::{HubName, Pick, RepoId};
use crate::quant::{self, NoChoice};
use crate::{Entry, Located, ModelFile, Source};

/// Longest record read back.
const RECORD_BYTES_MAX: u64 = 4096;
const RECORD_SUFFIX: &str = ".json";

/// What is remembered of a downloaded file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    pub(crate) origin: Origin,
    pub(crate) revision: String,
}

/// Where a file of ours came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    Hub,
    PythonPackage,
}

/// The layout of the data directory.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    data_dir: PathBuf,
}

impl Own {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }

    pub(crate) fn models_dir(&self) -> PathBuf {
        self.data_dir.join("models")
    }

    pub(crate) fn partial_dir(&self) -> PathBuf {
        self.data_dir.join("partial")
    }

    pub(crate) fn repo_dir(&self, repo: &RepoId) -> PathBuf {
        self.models_dir().join("hf").join(repo.user()).join(repo.name())
    }

    /// Where a repository's file belongs; `file` was checked to be a safe relative path.
    pub(crate) fn target(&self, repo: &RepoId, file: &str) -> PathBuf {
        self.repo_dir(repo).join(file)
    }

    /// The model that `name` means among the files that are here.
    pub(crate) fn find(&self, name: &HubName) -> Result<Option<Located>, StoreError> {
        let dir = self.repo_dir(name.repo());
        let files = disk::files_below(&dir);
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        match quant::choose(&paths, name.pick()) {
            Ok(chosen) => Ok(Some(located(chosen.into_iter().map(|idx| dir.join(paths[idx]))))),
            Err(no) => local_choice_error(no, name, &dir),
        }
    }

    /// Every model that is here, under a name that resolves to it.
    pub(crate) fn list(&self) -> Vec<Entry> {
        let root = self.models_dir().join("hf");
        let files = disk::files_below(&root);
        let entries = files.iter().filter_map(|file| {
            let name = hub_name_of(&file.path)?;
            let model = self.find(&name).ok()??;
            let first = model.path() == root.join(&file.path);
            first.then(|| Entry { name: name.to_string(), model })
        });
        entries.collect()
    }

    /// Deletes a model's files, their records, and the directories that are empty then.
    pub(crate) fn remove(&self, model: &Located) -> Result<(), StoreError> {
        for file in &model.files {
            disk::remove_file(&file.path)?;
            disk::remove_file(&record_path(&file.path))?;
            let root = self.models_dir();
            let above = file.path.ancestors().skip(1).take_while(|dir| dir.starts_with(&root) && *dir != root);
            for dir in above {
                if std::fs::remove_dir(dir).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// `user/repo/path.gguf` as a hub name.
fn hub_name_of(path: &str) -> Option<HubName> {
    let mut parts = path.splitn(3, '/');
    let repo = RepoId::new(parts.next()?, parts.next()?)?;
    let file = parts.next().filter(|file| crate::name::has_gguf_extension(file))?;
    Some(HubName { repo, pick: Pick::File(file.to_owned()) })
}

/// A local place that lacks the model, or has only some of its parts, is simply not where it is; one that has several
/// that fit is reported.
pub(crate) fn local_choice_error(no: NoChoice, name: &HubName, dir: &Path) -> Result<Option<Located>, StoreError> {
    match no {
        NoChoice::None { .. } | NoChoice::MissingShards { .. } => Ok(None),
        NoChoice::Several { candidates } => {
            Err(StoreError::Ambiguous { name: name.to_string(), place: dir.display().to_string(), candidates })
        }
    }
}

fn located(paths: impl Iterator<Item = PathBuf>) -> Located {
    let mut source = Source::Hub;
    let file = |path: PathBuf| {
        let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let record = read_record(&path).filter(|record| record.bytes == bytes);
        if record.as_ref().is_some_and(|record| record.origin == Origin::PythonPackage) {
            source = Source::PythonPackage;
        }
        let digest = record.and_then(|record| record.sha256.parse::<Digest>().ok());
        ModelFile { path, bytes, digest }
    };
    let files = paths.map(file).collect();
    Located { files, source }
}

pub(crate) fn record_path(file: &Path) -> PathBuf {
    disk::with_suffix(file, RECORD_SUFFIX)
}

fn read_record(file: &Path) -> Option<Record> {
    serde_json::from_str(&disk::read_small(&record_path(file), RECORD_BYTES_MAX)?).ok()
}

pub(crate) fn write_record(file: &Path, record: &Record) -> Result<(), StoreError> {
    let json = serde_json::to_vec(record).expect("a record has only strings and numbers");
    disk::write_whole(&record_path(file), &json)
}
