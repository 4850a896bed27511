//! The manifest of an entry: what it is for and what it is made of, written last.
//!
//! One line, `ballast-artifact VERSION DIGEST`, then JSON; the digest is that of the JSON. The version is read before
//! anything else, so that entries of other versions are told from damaged ones.

use crate::digest::{FileDigest, TreeDigest, tree_digest};
use crate::tree::{FILES_MAX, is_plain_path};
use crate::{CacheKey, Rejection};
use ballast_backend::{CompiledMeta, Sha256};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Version of the format of entries.
pub const FORMAT_VERSION: u32 = 1;

/// Most bytes of a manifest.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// First word of a manifest.
const MAGIC: &str = "ballast-artifact";

/// Longest first line: the word, a number and a digest.
const HEAD_BYTES_MAX: usize = 128;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The whole key.
    pub(crate) key: String,
    /// What prepared it.
    pub(crate) meta: CompiledMeta,
    /// Every file: relative path and content, in byte order of the paths.
    pub(crate) files: Vec<(String, FileDigest)>,
    /// All files together.
    pub(crate) tree: TreeDigest,
}

/// The JSON. Digests are text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    key: String,
    meta: BodyMeta,
    files: Vec<BodyFile>,
    bytes: u64,
    tree_sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyMeta {
    platform: String,
    engine_version: String,
    backend: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyFile {
    path: String,
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// The manifest of `files`, given in byte order of their paths.
    pub(crate) fn new(key: &CacheKey, meta: &CompiledMeta, files: Vec<(String, FileDigest)>) -> Self {
        let tree = tree_digest(files.iter().map(|(path, digest)| (path.as_str(), *digest)));
        Self { key: key.as_str().to_owned(), meta: meta.clone(), files, tree }
    }

    /// The manifest's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let file = |(path, digest): &(String, FileDigest)| BodyFile {
            path: path.clone(),
            bytes: digest.bytes,
            sha256: digest.sha256.to_string(),
        };
        let CompiledMeta { platform, engine_version, backend } = self.meta.clone();
        let body = Body {
            key: self.key.clone(),
            meta: BodyMeta { platform, engine_version, backend },
            files: self.files.iter().map(file).collect(),
            bytes: self.tree.bytes,
            tree_sha256: self.tree.sha256.to_string(),
        };
        let body = serde_json::to_vec(&body).expect("texts and numbers become JSON");
        [head(&body).into_bytes(), body].concat()
    }

    /// Reads a manifest. Any bytes give one that is consistent in itself, or the reason why not.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(Rejection::Manifest);
        }
        let body = split_head(bytes)?;
        let body: Body = serde_json::from_slice(body).map_err(|_| Rejection::Manifest)?;
        let mut files = Vec::with_capacity(body.files.len());
        for BodyFile { path, bytes, sha256 } in body.files {
            let sha256 = sha256.parse().map_err(|_| Rejection::Manifest)?;
            files.push((path, FileDigest { sha256, bytes }));
        }
        let is_sorted = files.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let is_plain = files.iter().all(|(path, _)| is_plain_path(path));
        let tree = tree_digest(files.iter().map(|(path, digest)| (path.as_str(), *digest)));
        let is_summed = tree.bytes == body.bytes && Ok(tree.sha256) == body.tree_sha256.parse();
        if files.is_empty() || files.len() > FILES_MAX || !is_sorted || !is_plain || !is_summed {
            return Err(Rejection::Manifest);
        }
        let BodyMeta { platform, engine_version, backend } = body.meta;
        Ok(Self { key: body.key, meta: CompiledMeta { platform, engine_version, backend }, files, tree })
    }
}

fn head(body: &[u8]) -> String {
    format!("{MAGIC} {FORMAT_VERSION} {}\n", Sha256(sha2::Sha256::digest(body).into()))
}

/// The JSON after the first line, if that line is of this version and has its digest.
fn split_head(bytes: &[u8]) -> Result<&[u8], Rejection> {
    let end = bytes.iter().take(HEAD_BYTES_MAX).position(|&b| b == b'\n').ok_or(Rejection::Manifest)?;
    let (line, body) = bytes.split_at(end + 1);
    let line = std::str::from_utf8(line).map_err(|_| Rejection::Manifest)?;
    let mut words = line.trim_end_matches('\n').split(' ');
    let version = match (words.next(), words.next()) {
        (Some(MAGIC), Some(version)) => version.parse::<u32>().map_err(|_| Rejection::Manifest)?,
        _ => return Err(Rejection::Manifest),
    };
    if version != FORMAT_VERSION {
        return Err(Rejection::Version);
    }
    if line != head(body) { Err(Rejection::Manifest) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(paths: &[&str]) -> Manifest {
        let file = |path: &&str| ((*path).to_owned(), FileDigest { sha256: Sha256([7; 32]), bytes: 5 });
        let files: Vec<_> = paths.iter().map(file).collect();
        let tree = tree_digest(files.iter().map(|(path, digest)| (path.as_str(), *digest)));
        let text = |text: &str| text.to_owned();
        let meta = CompiledMeta { platform: text("p"), engine_version: text("e"), backend: text("b") };
        Manifest { key: text("key"), meta, files, tree }
    }

    /// A manifest of any text, with the digest that belongs to it.
    fn sealed(body: &str) -> Vec<u8> {
        [head(body.as_bytes()).as_bytes(), body.as_bytes()].concat()
    }

    #[test]
    fn manifests_read_back() {
        let manifest = manifest(&["a", "a/b", "c"]);
        assert_eq!(Manifest::parse(&manifest.to_bytes()), Ok(manifest));
    }

    #[test]
    fn a_manifest_of_another_version_says_so() {
        let text = String::from_utf8(manifest(&["a"]).to_bytes()).unwrap();
        let other = text.replacen("ballast-artifact 1 ", "ballast-artifact 2 ", 1);
        assert_eq!(Manifest::parse(other.as_bytes()), Err(Rejection::Version));
    }

    #[test]
    fn lists_that_contradict_themselves_are_refused() {
        for paths in [&[][..], &["b", "a"], &["a", "a"], &["../a"], &["/a"], &["a/./b"], &["a\\b"]] {
            assert_eq!(Manifest::parse(&manifest(paths).to_bytes()), Err(Rejection::Manifest), "{paths:?}");
        }
        let text = String::from_utf8(manifest(&["a"]).to_bytes()).unwrap();
        let body = text.split_once('\n').unwrap().1;
        assert!(Manifest::parse(&sealed(body)).is_ok());
        for (from, to) in [
            ("\"bytes\":5", "\"bytes\":6"),
            ("\"tree_sha256\":\"", "\"tree_sha256\":\"0"),
            ("{\"key\"", "{\"more\":1,\"key\""),
            ("\"bytes\":5", "\"bytes\":-5"),
            ("\"key\":\"key\"", "\"key\":[[[[]]]]"),
        ] {
            assert_eq!(Manifest::parse(&sealed(&body.replacen(from, to, 1))), Err(Rejection::Manifest), "{from}");
        }
        let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Manifest::parse(&sealed(&nested)), Err(Rejection::Manifest));
    }

    #[test]
    fn a_huge_manifest_is_refused() {
        let of_len = |len: usize| {
            let text = String::from_utf8(manifest(&["a"]).to_bytes()).unwrap();
            let body = text.split_once('\n').unwrap().1;
            let padding = " ".repeat(len - text.len());
            sealed(&format!("{padding}{body}"))
        };
        assert!(Manifest::parse(&of_len(MANIFEST_BYTES_MAX)).is_ok());
        assert_eq!(Manifest::parse(&of_len(MANIFEST_BYTES_MAX + 1)), Err(Rejection::Manifest));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Manifest::parse(&bytes).is_err());
        }

        #[test]
        fn any_sealed_text_is_parsed_or_refused(body in "[\\PC{}\\[\\]\":,0-9a-z]{0,200}") {
            prop_assert!(Manifest::parse(&sealed(&body)).is_err());
        }

        #[test]
        fn every_flipped_bit_is_found(position in any::<proptest::sample::Index>(), bit in 0_u32..8) {
            let mut bytes = manifest(&["a", "b/c"]).to_bytes();
            let position = position.index(bytes.len());
            bytes[position] ^= 1 << bit;
            prop_assert!(Manifest::parse(&bytes).is_err());
        }
    }
}
