//! Ollama's store, read in place: `manifests/<host>/<namespace>/<model>/<tag>` is a small JSON file whose layer of the
//! model's media type names `blobs/sha256-<hex>`. A manifest is not trusted: the digest is parsed before it becomes a
//! path, and the blob must be a regular file inside the store, of the size the manifest says.

use std::path::Path;

use serde::Deserialize;

use crate::digest::Digest;
use crate::disk;
use crate::error::StoreError;
use crate::name::OllamaName;
use crate::{Entry, Located, ModelFile, Source};

/// Largest manifest read; real ones have about 1 kB.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
const MODEL_LAYER: &str = "application/vnd.ollama.image.model";

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
}

/// The model that `name` means in the store at `root`; `None` where there is no such manifest.
pub(crate) fn find(root: &Path, name: &OllamaName) -> Result<Option<Located>, StoreError> {
    let manifest = root.join("manifests").join(&name.host).join(&name.namespace).join(&name.model).join(&name.tag);
    if !manifest.exists() {
        return Ok(None);
    }
    match read(root, &manifest) {
        Ok(file) => Ok(Some(Located { files: vec![file], source: Source::Ollama })),
        Err(problem) => Err(StoreError::BadManifest { path: manifest, problem }),
    }
}

fn read(root: &Path, manifest: &Path) -> Result<ModelFile, &'static str> {
    let inside = disk::real_file_inside(root, manifest).ok_or("it is no file inside the store")?;
    let text = disk::read_small(&inside, MANIFEST_BYTES_MAX).ok_or("it is too long or no text")?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|_| "it is not JSON of the known form")?;
    let mut layers = manifest.layers.into_iter().filter(|layer| layer.media_type == MODEL_LAYER);
    let layer = layers.next().ok_or("it has no model layer")?;
    if layers.next().is_some() {
        return Err("it has several model layers");
    }
    let digest: Digest = layer.digest.parse().map_err(|_| "its model layer has no valid digest")?;
    let path = root.join("blobs").join(format!("sha256-{digest}"));
    let real = disk::real_file_inside(root, &path).ok_or("its model is not in the store")?;
    let bytes = std::fs::metadata(real).map_err(|_| "its model cannot be read")?.len();
    if bytes != layer.size {
        return Err("its model has another size than it says");
    }
    Ok(ModelFile { path, bytes, digest: Some(digest) })
}

/// Every model of the store that can be used.
pub(crate) fn list(root: &Path) -> Vec<Entry> {
    let entry = |found: disk::Found| {
        let parts: Vec<&str> = found.path.split('/').collect();
        let [host, namespace, model, tag] = parts[..] else { return None };
        let name = OllamaName::new(host, namespace, model, tag)?;
        let model = find(root, &name).ok()??;
        Some(Entry { name: format!("ollama:{name}"), model })
    };
    disk::files_below(&root.join("manifests")).into_iter().filter_map(entry).collect()
}
