//! The Hugging Face tools' own cache, read in place: `models--user--repo/refs/main` names a commit,
//! `snapshots/<commit>/` has links into `blobs/`, and a large file's blob is named by its SHA-256.

use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::StoreError;
use crate::name::{HubName, Pick, RepoId, has_gguf_extension};
use crate::{Entry, Located, ModelFile, Source, own, quant};

/// A commit is 40 hex digits and perhaps a line end.
const REF_BYTES_MAX: u64 = 64;

/// The model that `name` means in the cache at `root`.
pub(crate) fn find(root: &Path, name: &HubName) -> Result<Option<Located>, StoreError> {
    let Some(snapshot) = snapshot(&repo_dir(root, name.repo())) else { return Ok(None) };
    let files = usable_files(root, &snapshot);
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    match quant::choose(&paths, name.pick()) {
        Ok(chosen) => {
            let files = chosen.into_iter().map(|idx| files[idx].1.clone()).collect();
            Ok(Some(Located { files, source: Source::HfCache }))
        }
        Err(no) => own::local_choice_error(no, name, &snapshot),
    }
}

/// Every GGUF model in the cache.
pub(crate) fn list(root: &Path) -> Vec<Entry> {
    let Ok(dirs) = std::fs::read_dir(root) else { return Vec::new() };
    let repos = dirs.flatten().filter_map(|dir| repo_of(&dir.file_name().into_string().ok()?));
    let mut entries: Vec<Entry> = repos.flat_map(|repo| entries_of(root, &repo)).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn entries_of(root: &Path, repo: &RepoId) -> Vec<Entry> {
    let Some(snapshot) = snapshot(&repo_dir(root, repo)) else { return Vec::new() };
    let entry = |(path, file): (String, ModelFile)| {
        let name = HubName { repo: repo.clone(), pick: Pick::File(path) };
        let model = find(root, &name).ok()??;
        (model.path() == file.path).then(|| Entry { name: name.to_string(), model })
    };
    usable_files(root, &snapshot).into_iter().filter_map(entry).collect()
}

fn repo_dir(root: &Path, repo: &RepoId) -> PathBuf {
    root.join(format!("models--{}--{}", repo.user(), repo.name()))
}

fn repo_of(dir: &str) -> Option<RepoId> {
    let (user, name) = dir.strip_prefix("models--")?.split_once("--")?;
    RepoId::new(user, name)
}

/// The snapshot of `main`; without such a reference, the only snapshot there is.
fn snapshot(repo_dir: &Path) -> Option<PathBuf> {
    let snapshots = repo_dir.join("snapshots");
    if let Some(text) = disk::read_small(&repo_dir.join("refs/main"), REF_BYTES_MAX) {
        let commit = text.trim();
        let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        return is_commit.then(|| snapshots.join(commit)).filter(|dir| dir.is_dir());
    }
    let mut dirs = std::fs::read_dir(snapshots).ok()?.flatten();
    let only = dirs.next()?;
    dirs.next().is_none().then(|| only.path()).filter(|dir| dir.is_dir())
}

/// GGUF files of a snapshot whose content is there and lies inside the cache; a link that leads out is left out.
fn usable_files(root: &Path, snapshot: &Path) -> Vec<(String, ModelFile)> {
    let file = |found: disk::Found| {
        let path = snapshot.join(&found.path);
        let real = disk::real_file_inside(root, &path)?;
        let digest = real.file_name()?.to_str()?.parse().ok();
        Some((found.path, ModelFile { path, bytes: found.bytes, digest }))
    };
    let ggufs = disk::files_below(snapshot).into_iter().filter(|found| has_gguf_extension(&found.path));
    ggufs.filter_map(file).collect()
}
