//! The hub's model interface: one request tells the commit and every file's size and digest. The answer is untrusted.

use std::io::Read;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::http::Client;
use crate::name::{RepoId, is_safe_repo_path};

/// Largest listing read; 20,000 files take about 6 MB.
const LISTING_BYTES_MAX: u64 = 16 << 20;
/// Most files in a listing.
const FILES_MAX: usize = 20_000;

/// A repository at one commit.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<HubFile>,
}

/// A file of it, with a path that is safe to create.
#[derive(Debug)]
pub(crate) struct HubFile {
    pub(crate) path: String,
    pub(crate) bytes: Option<u64>,
    pub(crate) sha256: Option<Digest>,
}

#[derive(Deserialize)]
struct RawListing {
    sha: String,
    siblings: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<RawLfs>,
}

#[derive(Deserialize)]
struct RawLfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

/// Lists `repo` at the head of `main`.
pub(crate) fn listing(client: &Client, repo: &RepoId) -> Result<Listing, StoreError> {
    let address = client.address(&format!("api/models/{repo}/revision/main"), "?blobs=true");
    let answer = client.get(&repo.to_string(), &address, 0)?;
    let mut json = Vec::new();
    let read = answer.body.take(LISTING_BYTES_MAX + 1).read_to_end(&mut json);
    read.map_err(|error| StoreError::Unreachable { host: client.host(), cause: error.to_string() })?;
    parse(&json).map_err(|problem| StoreError::BadListing { host: client.host(), problem })
}

fn parse(json: &[u8]) -> Result<Listing, &'static str> {
    if u64::try_from(json.len()).is_ok_and(|len| len > LISTING_BYTES_MAX) {
        return Err("it is longer than 16 MiB");
    }
    let raw: RawListing = serde_json::from_slice(json).map_err(|_| "it is not JSON of the known form")?;
    if raw.sha.len() != 40 || !raw.sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("it names no commit");
    }
    if raw.siblings.len() > FILES_MAX {
        return Err("it has more than 20000 files");
    }
    let files = raw.siblings.into_iter().filter(|file| is_safe_repo_path(&file.rfilename)).map(hub_file).collect();
    Ok(Listing { commit: raw.sha, files })
}

fn hub_file(raw: RawFile) -> HubFile {
    let bytes = raw.lfs.as_ref().map(|lfs| lfs.size).or(raw.size);
    let sha256 = raw.lfs.and_then(|lfs| lfs.sha256.parse().ok());
    HubFile { path: raw.rfilename, bytes, sha256 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: &str = "0123456789012345678901234567890123456789";

    fn paths(siblings: &str) -> Result<Vec<String>, &'static str> {
        let json = format!("{{\"sha\":\"{SHA}\",\"siblings\":{siblings},\"other\":[1]}}");
        parse(json.as_bytes()).map(|listing| listing.files.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn reads_sizes_and_digests_of_both_spellings() {
        let hex = Digest::of(b"").to_string();
        let json = format!(
            r#"{{"sha":"{SHA}","siblings":[{{"rfilename":"a.gguf","size":3,"lfs":{{"sha256":"{hex}","size":4}}}},
            {{"rfilename":"b.gguf","lfs":{{"oid":"sha256:{hex}","size":5}}}},{{"rfilename":"README.md"}}]}}"#
        );
        let listing = parse(json.as_bytes()).unwrap();
        let got: Vec<_> = listing.files.iter().map(|f| (f.path.as_str(), f.bytes, f.sha256.is_some())).collect();
        assert_eq!(got, [("a.gguf", Some(4), true), ("b.gguf", Some(5), true), ("README.md", None, false)]);
    }

    #[test]
    fn leaves_out_paths_that_lead_elsewhere() {
        let hostile = r#"[{"rfilename":"../a.gguf"},{"rfilename":"/etc/a.gguf"},{"rfilename":"a/../../b.gguf"},
            {"rfilename":"C:\\a.gguf"},{"rfilename":""},{"rfilename":"a\u0000.gguf"},{"rfilename":".hidden"},
            {"rfilename":"a//b.gguf"},{"rfilename":"good/a.gguf"}]"#;
        assert_eq!(paths(hostile), Ok(vec!["good/a.gguf".to_owned()]));
    }

    #[test]
    fn refuses_what_is_no_listing() {
        for siblings in ["{}", "[1]", "[{\"rfilename\":1}]", "[{\"rfilename\":\"a\",\"size\":-1}]", "["] {
            assert!(paths(siblings).is_err(), "{siblings}");
        }
        assert!(parse(b"{\"sha\":\"../..\",\"siblings\":[]}").is_err());
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
        let many = format!("[{}]", vec!["{\"rfilename\":\"a\"}"; FILES_MAX + 1].join(","));
        assert_eq!(paths(&many), Err("it has more than 20000 files"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(&bytes).is_ok_and(|listing| listing.commit.len() == 40) || parse(&bytes).is_err());
        }
    }
}
