//! A folder of tensor models in Triton's layout: what is there, and how it is to be served. Builds no engine.
//!
//! ```text
//! DIR/NAME/config.pbtxt       how it is served; may be missing
//! DIR/NAME/labels.txt         names of an output's classes, where the configuration says so
//! DIR/NAME/VERSION/model.onnx or model.mlpackage, model.mlmodelc
//! ```

mod config;
mod text;

pub use config::{ConfigDynamicBatching, ConfigError, ConfigInput, ConfigOutput, RepositoryConfig, VersionPolicy};

use ballast_backend::ErrorKind;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Most models of a repository.
pub const REPOSITORY_MODELS_MAX: usize = 256;
/// Longest `config.pbtxt` and longest file of labels.
pub const REPOSITORY_FILE_BYTES_MAX: u64 = 1 << 20;
/// Names that a model's file or folder may have in the folder of its version.
const MODEL_FILES: [&str; 4] = ["model.onnx", "model.mlpackage", "model.mlmodelc", "model.mlmodel"];
const CONFIG: &str = "config.pbtxt";

/// A folder of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRepository {
    dir: PathBuf,
}

/// A model of a repository.
#[derive(Clone, Debug, PartialEq)]
pub struct RepositoryModel {
    /// Its name: that of its folder.
    pub name: String,
    /// Files of the versions that are to be served, by version.
    pub versions: BTreeMap<u64, PathBuf>,
    /// How it is served.
    pub config: RepositoryConfig,
    /// Names of classes, by output.
    pub labels: BTreeMap<String, Vec<String>>,
}

/// Why a model of a repository cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// A folder or a file cannot be read.
    #[error("{}: it cannot be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such model.
    #[error("model {name}: there is no folder of this name in the repository")]
    NoModel {
        /// Its name.
        name: String,
    },
    /// Too many models.
    #[error("repository: expected at most {REPOSITORY_MODELS_MAX} models, got {got}")]
    TooMany {
        /// How many.
        got: usize,
    },
    /// A file is too long.
    #[error("{}: expected at most {REPOSITORY_FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// The configuration is wrong, or asks for what is not done.
    #[error("model {name}: {CONFIG}: {source}")]
    Config {
        /// The model.
        name: String,
        /// What.
        source: ConfigError,
    },
    /// No version is there that is to be served.
    #[error("model {name}: expected a folder with a version's number, and in it model.onnx or model.mlpackage")]
    NoVersions {
        /// The model.
        name: String,
    },
    /// A version has no model.
    #[error("model {name}, version {version}: expected {expected}")]
    NoFile {
        /// The model.
        name: String,
        /// Its version.
        version: u64,
        /// The file's name, or names.
        expected: String,
    },
}

impl RepositoryError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } => ErrorKind::Unavailable,
            Self::NoModel { .. }
            | Self::TooMany { .. }
            | Self::TooLong { .. }
            | Self::Config { .. }
            | Self::NoVersions { .. }
            | Self::NoFile { .. } => ErrorKind::Invalid,
        }
    }
}

impl ModelRepository {
    /// The repository in this folder, of which nothing is read yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Names of all models, sorted: those of the folders that do not begin with a dot.
    ///
    /// # Errors
    /// If the folder cannot be read, or there are more than [`REPOSITORY_MODELS_MAX`].
    pub fn names(&self) -> Result<Vec<String>, RepositoryError> {
        let mut names = folders(&self.dir)?;
        names.sort_unstable();
        if names.len() > REPOSITORY_MODELS_MAX {
            return Err(RepositoryError::TooMany { got: names.len() });
        }
        Ok(names)
    }

    /// The model of this name.
    ///
    /// # Errors
    /// If there is none, its configuration cannot be obeyed, or a file is missing.
    pub fn model(&self, name: &str) -> Result<RepositoryModel, RepositoryError> {
        // A name is one of the folder's, never a way out of it.
        if !self.names()?.iter().any(|known| known == name) {
            return Err(RepositoryError::NoModel { name: name.to_owned() });
        }
        let dir = self.dir.join(name);
        let wrong = |source| RepositoryError::Config { name: name.to_owned(), source };
        let config = match read(&dir.join(CONFIG)) {
            Ok(text) => RepositoryConfig::parse(&text).map_err(wrong)?,
            Err(RepositoryError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                RepositoryConfig::default()
            }
            Err(error) => return Err(error),
        };
        if let Some(other) = config.name.as_ref().filter(|other| *other != name) {
            return Err(wrong(ConfigError::Name { expected: name.to_owned(), got: other.clone() }));
        }
        let numbers = folders(&dir)?.into_iter().filter_map(|folder| version_of(&folder)).collect();
        let mut versions = BTreeMap::new();
        for version in config.version_policy.of(numbers) {
            versions.insert(version, file_of(&dir, name, version, config.default_model_filename.as_deref())?);
        }
        if versions.is_empty() {
            return Err(RepositoryError::NoVersions { name: name.to_owned() });
        }
        let mut labels = BTreeMap::new();
        for output in &config.output {
            if let Some(file) = &output.label_filename {
                let lines = read(&dir.join(file))?;
                labels.insert(output.name.clone(), lines.lines().map(|line| line.trim().to_owned()).collect());
            }
        }
        Ok(RepositoryModel { name: name.to_owned(), versions, config, labels })
    }
}

/// A version's number; `None`: the folder is none's.
fn version_of(folder: &str) -> Option<u64> {
    folder.parse().ok().filter(|version| *version > 0 && !folder.starts_with(['0', '+']))
}

fn file_of(dir: &Path, name: &str, version: u64, file: Option<&str>) -> Result<PathBuf, RepositoryError> {
    let dir = dir.join(version.to_string());
    let found = match file {
        Some(file) => Some(dir.join(file)).filter(|path| path.exists()),
        None => MODEL_FILES.into_iter().map(|file| dir.join(file)).find(|path| path.exists()),
    };
    let expected = || file.map_or_else(|| MODEL_FILES.join(" or "), str::to_owned);
    found.ok_or_else(|| RepositoryError::NoFile { name: name.to_owned(), version, expected: expected() })
}

fn folders(dir: &Path) -> Result<Vec<String>, RepositoryError> {
    let failed = |source| RepositoryError::Read { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_folder = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir());
        match entry.file_name().into_string() {
            Ok(name) if is_folder && !name.starts_with('.') => names.push(name),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(names)
}

fn read(path: &Path) -> Result<String, RepositoryError> {
    let failed = |source| RepositoryError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > REPOSITORY_FILE_BYTES_MAX {
        return Err(RepositoryError::TooLong { path: path.to_owned() });
    }
    fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay_out(files: &[(&str, &str)]) -> (tempfile::TempDir, ModelRepository) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let repository = ModelRepository::new(dir.path());
        (dir, repository)
    }

    #[test]
    fn models_are_found_with_their_latest_version() {
        let (dir, repository) = lay_out(&[
            ("b/1/model.onnx", ""),
            ("b/3/model.onnx", ""),
            ("b/03/model.onnx", ""),
            ("b/notes/model.onnx", ""),
            ("a/1/net.onnx", ""),
            ("a/config.pbtxt", "default_model_filename: \"net.onnx\" version_policy: { all {} }"),
            (".git/1/model.onnx", ""),
            ("file", ""),
        ]);
        assert_eq!(repository.names().unwrap(), ["a", "b"]);
        let b = repository.model("b").unwrap();
        assert_eq!(b.versions, BTreeMap::from([(3, dir.path().join("b/3/model.onnx"))]));
        assert_eq!(b.config, RepositoryConfig::default());
        let a = repository.model("a").unwrap();
        assert_eq!(a.versions, BTreeMap::from([(1, dir.path().join("a/1/net.onnx"))]));
        assert!(matches!(repository.model("../b"), Err(RepositoryError::NoModel { .. })));
    }

    #[test]
    fn labels_are_read_line_by_line() {
        let config = "output { name: \"y\" data_type: TYPE_FP32 dims: [2] label_filename: \"labels.txt\" }";
        let (_dir, repository) =
            lay_out(&[("m/config.pbtxt", config), ("m/labels.txt", "cat\r\ndog\n"), ("m/1/model.onnx", "")]);
        assert_eq!(repository.model("m").unwrap().labels["y"], ["cat", "dog"]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let (_dir, repository) = lay_out(&[
            ("empty/config.pbtxt", ""),
            ("file/1/readme", ""),
            ("name/1/model.onnx", ""),
            ("name/config.pbtxt", "name: \"other\""),
            ("unknown/1/model.onnx", ""),
            ("unknown/config.pbtxt", "colour: 1"),
        ]);
        let error = |name| repository.model(name).unwrap_err().to_string();
        assert!(error("empty").contains("a version's number"));
        assert!(error("file").contains("model.onnx or model.mlpackage"));
        assert!(error("name").contains("expected name \"name\", got \"other\""));
        assert!(error("unknown").contains("line 1: colour: there is no such field, or it is not obeyed here"));
    }
}
