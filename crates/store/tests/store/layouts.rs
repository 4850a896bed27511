//! The places on a machine: who is asked first, what other programs' stores look like, and what a hostile one may not do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ballast_store::{Clock, Digest, Entry, Located, ModelName, Places, Source, Store, StoreError};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const MODEL_LAYER: &str = "application/vnd.ollama.image.model";

/// A machine with all three places.
struct Machine {
    dir: tempfile::TempDir,
    store: Store,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut places = Places::new(dir.path().join("data"));
        places.hf_cache = Some(dir.path().join("hub"));
        places.ollama_models = Some(dir.path().join("ollama"));
        let clock = Clock { now: Box::new(|| SystemTime::UNIX_EPOCH), sleep: Box::new(|_| {}) };
        Self { store: Store::new(places, clock), dir }
    }

    fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn link(&self, target: impl AsRef<Path>, path: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// A file in the hub cache as the hub's own tools put it there.
    fn cache(&self, repo: &str, file: &str, content: &str) -> Digest {
        let digest = Digest::of(content.as_bytes());
        self.write(&format!("hub/models--{repo}/refs/main"), COMMIT);
        self.write(&format!("hub/models--{repo}/blobs/{digest}"), content);
        let up = "../".repeat(2 + file.matches('/').count());
        self.link(format!("{up}blobs/{digest}"), &format!("hub/models--{repo}/snapshots/{COMMIT}/{file}"));
        digest
    }

    /// A model in Ollama's store.
    fn ollama(&self, name: &str, content: &str) -> Digest {
        let digest = Digest::of(content.as_bytes());
        self.write(&format!("ollama/blobs/sha256-{digest}"), content);
        self.manifest(name, &layer(MODEL_LAYER, &format!("sha256:{digest}"), content.len()));
        digest
    }

    fn manifest(&self, name: &str, layers: &str) {
        let config = layer("application/vnd.ollama.image.license", "sha256:x", 1);
        self.write(
            &format!("ollama/manifests/{name}"),
            &format!("{{\"schemaVersion\":2,\"layers\":[{config},{layers}]}}"),
        );
    }

    fn resolve(&self, name: &str) -> Result<Located, StoreError> {
        self.store.resolve(&ModelName::parse(name).unwrap())
    }

    fn remove(&self, name: &str) -> Result<Located, StoreError> {
        self.store.remove(&ModelName::parse(name).unwrap())
    }
}

fn layer(media_type: &str, digest: &str, size: usize) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

fn content(located: &Located) -> String {
    fs::read_to_string(located.path()).unwrap()
}

#[test]
fn reads_the_hub_cache_in_place() {
    let machine = Machine::new();
    let digest = machine.cache("u--r", "m.Q4_K_M.gguf", "four");
    machine.cache("u--r", "sub/m.Q8_0.gguf", "eight");
    let located = machine.resolve("hf:u/r").unwrap();
    assert_eq!((located.source, located.digest(), content(&located).as_str()), (Source::HfCache, Some(digest), "four"));
    assert_eq!(content(&machine.resolve("hf:u/r:q8_0").unwrap()), "eight");
    assert_eq!(content(&machine.resolve("hf:u/r/sub/m.Q8_0.gguf").unwrap()), "eight");
    assert!(matches!(machine.resolve("hf:u/r:Q5_0"), Err(StoreError::NotFound { pullable: true, .. })));
}

#[test]
fn a_cache_without_a_reference_is_used_if_it_has_one_snapshot() {
    let machine = Machine::new();
    machine.cache("u--r", "m.gguf", "text");
    fs::remove_file(machine.dir.path().join("hub/models--u--r/refs/main")).unwrap();
    assert_eq!(content(&machine.resolve("hf:u/r").unwrap()), "text");
    machine.write("hub/models--u--r/snapshots/other/m.gguf", "other");
    assert!(machine.resolve("hf:u/r").is_err(), "two snapshots: which one is not guessed");
}

#[test]
fn links_out_of_the_cache_and_broken_ones_are_not_followed() {
    let machine = Machine::new();
    let secret = machine.write("secret.gguf", "secret");
    machine.cache("u--r", "README.md", "text");
    let snapshot = format!("hub/models--u--r/snapshots/{COMMIT}");
    machine.link(&secret, &format!("{snapshot}/a.gguf"));
    machine.link("../../blobs/missing", &format!("{snapshot}/b.gguf"));
    machine.link(machine.dir.path(), &format!("{snapshot}/dir"));
    assert!(machine.resolve("hf:u/r").is_err());
    assert!(machine.resolve("hf:u/r/a.gguf").is_err());
    assert!(machine.resolve("hf:u/r/dir/secret.gguf").is_err());
    assert_eq!(machine.store.list(), []);
    machine.write("hub/models--u--r/refs/main", "../../../..");
    assert!(machine.resolve("hf:u/r").is_err());
}

#[test]
fn reads_ollamas_store_in_place() {
    let machine = Machine::new();
    let digest = machine.ollama("registry.ollama.ai/library/smollm2/135m", "model");
    machine.ollama("hf.co/u/r/Q8_0", "hub");
    let located = machine.resolve("smollm2:135m").unwrap();
    assert_eq!((located.source, located.digest(), content(&located).as_str()), (Source::Ollama, Some(digest), "model"));
    assert_eq!(machine.resolve("ollama:smollm2:135m").unwrap(), located);
    assert_eq!(content(&machine.resolve("ollama:hf.co/u/r:Q8_0").unwrap()), "hub");
    assert!(matches!(machine.resolve("smollm2:360m"), Err(StoreError::NotFound { pullable: false, .. })));
    let names: Vec<String> = machine.store.list().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["ollama:hf.co/u/r:Q8_0", "ollama:smollm2:135m"]);
}

#[test]
fn hostile_manifests_are_refused_with_the_reason() {
    let machine = Machine::new();
    let secret = machine.write("secret", "secret");
    let good = machine.ollama("registry.ollama.ai/library/good/latest", "model");
    let outside = Digest::of(b"outside");
    machine.link(&secret, &format!("ollama/blobs/sha256-{outside}"));
    let model = |digest: &str, size| layer(MODEL_LAYER, digest, size);
    let good_layer = model(&good.to_string(), 5);
    let cases = [
        (model("sha256:../../../secret", 6), "its model layer has no valid digest"),
        (model("/etc/passwd", 6), "its model layer has no valid digest"),
        (model(&format!("sha512:{good}"), 5), "its model layer has no valid digest"),
        (model(&good.to_string().to_uppercase(), 5), "its model layer has no valid digest"),
        (model(&outside.to_string(), 6), "its model is not in the store"),
        (model(&Digest::of(b"absent").to_string(), 6), "its model is not in the store"),
        (model(&good.to_string(), 6), "its model has another size than it says"),
        (format!("{good_layer},{good_layer}"), "it has several model layers"),
        (layer("other", &good.to_string(), 5), "it has no model layer"),
        ("[".repeat(10_000), "it is not JSON of the known form"),
        (format!("{good_layer}{}", " ".repeat(1 << 20)), "it is too long or no text"),
    ];
    for (layers, want) in cases {
        machine.manifest("registry.ollama.ai/library/bad/latest", &layers);
        match machine.resolve("bad") {
            Err(StoreError::BadManifest { problem, .. }) => assert_eq!(problem, want, "{layers:.200}"),
            other => panic!("{layers:.200}: {other:?}"),
        }
        assert_eq!(machine.store.list().len(), 1, "a bad manifest hides no good one");
    }
    machine.link(&secret, "ollama/manifests/registry.ollama.ai/library/linked/latest");
    assert!(matches!(machine.resolve("linked"), Err(StoreError::BadManifest { .. })));
}

#[test]
fn our_own_directory_comes_first() {
    let machine = Machine::new();
    machine.cache("u--r", "m.Q8_0.gguf", "theirs");
    assert_eq!(content(&machine.resolve("hf:u/r:Q8_0").unwrap()), "theirs");
    machine.write("data/models/hf/u/r/m.Q8_0.gguf", "ours");
    let located = machine.resolve("hf:u/r:Q8_0").unwrap();
    assert_eq!((located.source, located.digest(), content(&located).as_str()), (Source::Hub, None, "ours"));
    let names: Vec<(String, Source)> =
        machine.store.list().into_iter().map(|Entry { name, model }| (name, model.source)).collect();
    let name = "hf:u/r/m.Q8_0.gguf".to_owned();
    assert_eq!(names, [(name.clone(), Source::Hub), (name, Source::HfCache)]);
}

#[test]
fn removes_only_what_is_ours() {
    let machine = Machine::new();
    machine.cache("u--r", "m.gguf", "theirs");
    machine.ollama("registry.ollama.ai/library/llama3/latest", "theirs");
    let file = machine.write("mine.gguf", "mine");
    machine.write("data/models/hf/u/own/a.gguf", "a");
    machine.write("data/models/hf/u/own/b.gguf", "b");
    for (name, owner) in
        [("hf:u/r", Source::HfCache), ("llama3", Source::Ollama), (file.to_str().unwrap(), Source::Path)]
    {
        let error = machine.remove(name).unwrap_err();
        assert!(matches!(error, StoreError::NotOurs { owner: got, .. } if got == owner), "{name}: {error:?}");
        assert!(machine.resolve(name).is_ok(), "{name}");
    }
    assert!(matches!(machine.remove("hf:u/own"), Err(StoreError::Ambiguous { .. })));
    assert!(matches!(machine.remove("hf:u/none"), Err(StoreError::NotFound { .. })));
    machine.remove("hf:u/own/a.gguf").unwrap();
    assert_eq!(content(&machine.resolve("hf:u/own").unwrap()), "b");
}

#[test]
fn a_path_is_a_file_and_nothing_else() {
    let machine = Machine::new();
    let file = machine.write("m.gguf", "model");
    let located = machine.resolve(file.to_str().unwrap()).unwrap();
    assert_eq!((located.source, located.bytes(), located.path()), (Source::Path, 5, file.as_path()));
    let directory = format!("{}/", machine.dir.path().display());
    assert!(matches!(machine.resolve(&directory), Err(StoreError::NotFound { pullable: false, .. })));
}

#[test]
fn an_empty_machine_has_no_models() {
    let machine = Machine::new();
    assert_eq!(machine.store.list(), []);
    for name in ["default", "hf:u/r", "llama3", "ollama:llama3", "./m.gguf"] {
        assert!(matches!(machine.resolve(name), Err(StoreError::NotFound { .. })), "{name}");
    }
}
