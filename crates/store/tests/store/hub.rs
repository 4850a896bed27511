//! An honest hub to bend, a store to point at it, and small GGUF files to fetch.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ballast_gguf::{TensorType, Writer};
use ballast_store::{Clock, Digest, Limits, Located, ModelName, Places, Secret, Silent, Store, StoreError};

use crate::server::{Reply, Request, Server};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_thisIsTheSecret";

/// A GGUF file with one tensor of about `bytes` bytes, different for every `seed`.
pub(crate) fn model(bytes: usize, seed: u64) -> Vec<u8> {
    let n = bytes / 4;
    let mut rng = Rng(seed);
    let data: Vec<u8> = (0..n * 4).map(|_| u8::try_from(rng.next() & 0xff).unwrap()).collect();
    let shape = [u64::try_from(n).unwrap()];
    Writer::new()
        .metadata("general.architecture", "llama")
        .tensor("weight", &shape, TensorType::F32, data)
        .to_bytes()
        .unwrap()
}

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }
}

/// The files of the repository `u/r`.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) files: Arc<Vec<(String, Vec<u8>)>>,
}

impl Hub {
    pub(crate) fn with(files: &[(&str, &[u8])]) -> Self {
        Self { files: Arc::new(files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect()) }
    }

    pub(crate) fn listing(&self) -> Reply {
        let file = |(path, bytes): &(String, Vec<u8>)| {
            let (digest, len) = (Digest::of(bytes), bytes.len());
            format!(r#"{{"rfilename":"{path}","size":{len},"lfs":{{"sha256":"{digest}","size":{len}}}}}"#)
        };
        let siblings: Vec<String> = self.files.iter().map(file).collect();
        let json = format!(r#"{{"id":"u/r","sha":"{COMMIT}","siblings":[{}]}}"#, siblings.join(","));
        Reply { status: 200, body: json.into_bytes(), ..Reply::default() }
    }

    /// What an honest hub answers.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        if request.path.starts_with("/api/models/u/r/revision/main") {
            return self.listing();
        }
        let wanted = request.path.strip_prefix(&format!("/u/r/resolve/{COMMIT}/"));
        match self.files.iter().find(|(path, _)| wanted == Some(path)) {
            Some((_, bytes)) => ranged(bytes, request.from),
            None => Reply::status(404),
        }
    }
}

/// The file from `from` on, with the headers that say so.
pub(crate) fn ranged(bytes: &[u8], from: usize) -> Reply {
    let etag = format!("\"{}\"", Digest::of(bytes));
    let (total, body) = (bytes.len(), bytes.get(from..).unwrap_or_default().to_vec());
    if from == 0 {
        return Reply { status: 200, body, ..Reply::default() }.with("etag", etag);
    }
    if from >= total {
        return Reply::status(416);
    }
    let range = format!("bytes {from}-{}/{total}", total - 1);
    Reply { status: 206, body, ..Reply::default() }.with("etag", etag).with("content-range", range)
}

/// A store in a directory of its own, that waits in no time and remembers how long it would have waited.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) waited: Arc<Mutex<Duration>>,
    pub(crate) store: Store,
}

pub(crate) fn limits() -> Limits {
    Limits { read: Duration::from_secs(20), progress_bytes: 1000, spare_bytes: 0, ..Limits::default() }
}

impl Bench {
    pub(crate) fn new(server: &Server) -> Self {
        Self::with(server, |_, _| {})
    }

    pub(crate) fn with(server: &Server, change: impl FnOnce(&mut Places, &mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut places = Places::new(dir.path().join("data"));
        places.hf_endpoint = server.url();
        places.hf_token = Some(Secret::new(TOKEN));
        let mut limits = limits();
        change(&mut places, &mut limits);
        let waited = Arc::new(Mutex::new(Duration::ZERO));
        let sum = Arc::clone(&waited);
        let clock = Clock {
            now: Box::new(|| SystemTime::UNIX_EPOCH),
            sleep: Box::new(move |wait| *sum.lock().unwrap() += wait),
        };
        let store = Store::with_limits(places, clock, limits);
        Self { dir, waited, store }
    }

    pub(crate) fn pull(&self, name: &str) -> Result<Located, StoreError> {
        self.store.pull(&ModelName::parse(name).unwrap(), &mut Silent, &AtomicBool::new(false))
    }

    pub(crate) fn resolve(&self, name: &str) -> Result<Located, StoreError> {
        self.store.resolve(&ModelName::parse(name).unwrap())
    }

    /// Where `file` of `u/r` belongs.
    pub(crate) fn target(&self, file: &str) -> PathBuf {
        self.dir.path().join("data/models/hf/u/r").join(file)
    }

    /// Unfinished files with this extension.
    pub(crate) fn partial(&self, extension: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("data/partial")) else { return vec![] };
        entries.map(|entry| entry.unwrap().path()).filter(|path| has_extension(path, extension)).collect()
    }

    pub(crate) fn waited(&self) -> Duration {
        *self.waited.lock().unwrap()
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}
