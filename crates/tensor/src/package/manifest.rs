//! Where a package's files are: `Manifest.json` names the model's file, which lies in the folder `Data`.

use super::PackageLimits;
use super::blob::confined;
use crate::error::GraphError;
use crate::onnx::read_file;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a manifest says that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    file_format_version: String,
    item_info_entries: BTreeMap<String, Item>,
    root_model_identifier: String,
}

/// One of its files.
#[derive(Debug, Deserialize)]
struct Item {
    path: String,
}

/// A model's file, the folder that its weights' paths begin in, and the folder that they stay in.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) model: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) root: PathBuf,
}

/// Finds the model's file of a package, or takes a file for it.
pub(super) fn find(path: &Path, limits: &PackageLimits) -> Result<Place, GraphError> {
    if !path.is_dir() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Ok(Place { model: path.to_owned(), folder: folder.to_owned(), root: folder.to_owned() });
    }
    let file = path.join("Manifest.json");
    if !file.exists() && path.join("coremldata.bin").exists() {
        let what = vec![
            "compiled Core ML models, which only Apple's systems run: open the package that it is made from".to_owned(),
        ];
        return Err(GraphError::Unsupported { what });
    }
    let bytes = read_file(&file, limits.manifest_bytes_max)?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| GraphError::malformed("manifest", "a package's", error.to_string()))?;
    if !manifest.file_format_version.starts_with("1.") {
        return Err(GraphError::malformed("manifest", "version 1", manifest.file_format_version));
    }
    let n_items = manifest.item_info_entries.len();
    if n_items > limits.files_max {
        let what = "files of a package".to_owned();
        return Err(GraphError::TooMany { what, max: limits.files_max as u64, got: n_items as u64 });
    }
    let item = manifest.item_info_entries.get(&manifest.root_model_identifier);
    let missing =
        || GraphError::malformed("manifest", "the model's file", format!("{:?}", manifest.root_model_identifier));
    let item = item.ok_or_else(missing)?;
    let outside = || GraphError::malformed("manifest", "a file in the package", format!("{:?}", item.path));
    let model = confined(&path.join("Data"), Path::new(&item.path), path).ok_or_else(outside)?;
    let folder = model.parent().ok_or_else(outside)?.to_owned();
    Ok(Place { model, folder, root: path.to_owned() })
}
