//! The house as data: every text file of the repository with its path, Rust files with the facts about them.

use super::facts::RustFacts;
use std::fs;
use std::io;
use std::path::Path;

/// Folders that hold what was built or fetched, never what was written.
const SKIPPED_FOLDERS: &[&str] = &[".git", "target", "corpus", "corpus-work", "__pycache__"];

/// The same, where the name alone would take ours along.
const SKIPPED_PATHS: &[&str] = &["fuzz/artifacts"];

/// Largest file that is taken for text: the lock file is the largest there is, at some 100 kB.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Every text file of the repository.
pub(crate) struct House {
    pub(crate) files: Vec<TextFile>,
}

/// One text file.
pub(crate) struct TextFile {
    /// Relative to the root, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
    /// For Rust files: the facts, or why there are none.
    pub(crate) rust: Option<Result<RustFacts, syn::Error>>,
}

impl House {
    /// Reads the repository at `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        walk(root, root, &mut files)?;
        files.sort();
        Ok(Self::from_files(files))
    }

    /// A house of these files, each a path and its text.
    pub(crate) fn from_files(files: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { files: files.into_iter().map(|(path, text)| TextFile::new(path, text)).collect() }
    }

    /// The file at `path`, if there is one.
    pub(crate) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|f| f.path == path)
    }

    /// Whether a file or a folder with files lies at `path`.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files.iter().any(|f| f.path == path || f.path.starts_with(&folder))
    }

    /// The Rust files that parse, with their facts.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = (&TextFile, &RustFacts)> {
        self.files.iter().filter_map(|f| Some((f, f.rust.as_ref()?.as_ref().ok()?)))
    }
}

impl TextFile {
    fn new(path: String, text: String) -> Self {
        let rust = path.ends_with(".rs").then(|| RustFacts::read(&path, &text));
        Self { path, text, rust }
    }

    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(idx, line)| (idx + 1, line))
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            let is_skipped = SKIPPED_FOLDERS.iter().any(|name| entry.file_name() == *name)
                || SKIPPED_PATHS.iter().any(|skipped| path == root.join(skipped));
            if !is_skipped {
                walk(root, &path, files)?;
            }
        } else if kind.is_file()
            && entry.metadata()?.len() <= TEXT_BYTES_MAX
            && let Ok(text) = String::from_utf8(fs::read(&path)?)
        {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((relative, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::House;

    #[test]
    fn a_folder_is_there_when_a_file_lies_in_it() {
        let house = House::from_files([("a/b/c.md".to_owned(), String::new())]);
        assert!(house.has("a/b") && house.has("a/b/c.md"));
        assert!(!house.has("a/b/c") && !house.has("b"));
    }
}
