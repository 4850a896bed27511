//! Digests of bundles: what they depend on, and what has none.

use crate::house::House;
use ballast_artifacts::{CacheError, DEPTH_MAX, FILES_MAX, TreeError, Until, digest_file, digest_files, digest_tree};
use ballast_backend::{Clock, ErrorKind};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn write_tree(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn tree_error(house: &House, dir: &Path) -> TreeError {
    let error = digest_tree(dir, &house.until()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let CacheError::Tree(error) = error else { panic!("{error}") };
    error
}

#[test]
fn nested_files_count() {
    let house = House::new();
    let dir = house.dir.path().join("bundle");
    let file = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
    write_tree(&dir, &BTreeMap::from([file("top", "1"), file("a/b/weights", "22")]));
    let before = digest_tree(&dir, &house.until()).unwrap();
    assert_eq!((before.bytes, before.n_files), (3, 2));
    fs::create_dir(dir.join("empty")).unwrap();
    assert_eq!(digest_tree(&dir, &house.until()).unwrap(), before, "a directory without files does not count");
    fs::write(dir.join("a/b/weights"), "23").unwrap();
    assert_ne!(digest_tree(&dir, &house.until()).unwrap().sha256, before.sha256);
}

#[test]
fn digests_of_files_are_their_sha256() {
    let house = House::new();
    let path = house.dir.path().join("abc");
    fs::write(&path, "abc").unwrap();
    let digest = digest_file(&path, &house.until()).unwrap();
    // The example of FIPS 180-2, appendix B.1.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((digest.sha256.to_string().as_str(), digest.bytes), (expected, 3));
    assert_eq!(digest_files([path.as_path()], &house.until()).unwrap(), digest);
    let twice = digest_files([path.as_path(), &path], &house.until()).unwrap();
    let both = house.dir.path().join("digests");
    fs::write(&both, [digest.sha256.0, digest.sha256.0].concat()).unwrap();
    assert_eq!((twice.sha256, twice.bytes), (digest_file(&both, &house.until()).unwrap().sha256, 6));
    assert!(digest_files([], &house.until()).is_err());
    let error = digest_file(house.dir.path(), &house.until()).unwrap_err();
    assert!(matches!(error, CacheError::Tree(TreeError::NotAFile { .. })), "{error}");
    house.pulse.interrupt();
    assert_eq!(digest_file(&path, &house.until()).unwrap_err().kind(), ErrorKind::Cancelled);
}

/// A clock that sets the length of a file when it is asked for the time the second time.
struct Resizing {
    n_looks: AtomicU64,
    path: PathBuf,
    len: u64,
}

impl Clock for Resizing {
    fn now(&self) -> Duration {
        if self.n_looks.fetch_add(1, Ordering::SeqCst) == 1 {
            fs::File::options().write(true).open(&self.path).unwrap().set_len(self.len).unwrap();
        }
        Duration::ZERO
    }
}

#[test]
fn a_file_that_changes_its_length_while_it_is_read_has_no_digest() {
    let house = House::new();
    let path = house.dir.path().join("file");
    let n_bytes: u32 = 3 << 20;
    for (len, changes) in [(n_bytes, false), (n_bytes + 1, true), (n_bytes / 2, true)] {
        fs::write(&path, vec![7; n_bytes as usize]).unwrap();
        let clock = Resizing { n_looks: AtomicU64::new(0), path: path.clone(), len: len.into() };
        let until = Until { clock: &clock, deadline: Some(Duration::MAX), pulse: &house.pulse };
        let result = digest_file(&path, &until);
        assert_eq!(matches!(result, Err(CacheError::ChangedWhileRead { .. })), changes, "{len}: {result:?}");
        assert_eq!(result.is_err(), changes);
    }
}

#[test]
fn trees_that_are_no_bundles_are_refused() {
    let house = House::new();
    let dir = |name: &str| {
        let dir = house.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    };
    assert!(matches!(tree_error(&house, &dir("empty")), TreeError::Empty { .. }));
    let deep = dir("deep");
    let names = |n: usize| vec!["d"; n].join("/");
    write_tree(&deep, &BTreeMap::from([(names(DEPTH_MAX), vec![])]));
    assert!(digest_tree(&deep, &house.until()).is_ok());
    let deeper = dir("deeper");
    write_tree(&deeper, &BTreeMap::from([(names(DEPTH_MAX + 1), vec![])]));
    assert!(matches!(tree_error(&house, &deeper), TreeError::TooDeep { .. }));
    let many = dir("many");
    for n in 0..=FILES_MAX {
        fs::write(many.join(n.to_string()), "").unwrap();
    }
    assert!(matches!(tree_error(&house, &many), TreeError::TooMany { .. }));
    #[cfg(unix)]
    {
        let linked = dir("linked");
        std::os::unix::fs::symlink("/", linked.join("x")).unwrap();
        assert!(matches!(tree_error(&house, &linked), TreeError::NotAFile { .. }));
        let socket = dir("socket");
        let _listener = std::os::unix::net::UnixListener::bind(socket.join("s")).unwrap();
        assert!(matches!(tree_error(&house, &socket), TreeError::NotAFile { .. }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn trees_have_the_same_digest_only_if_they_are_the_same(
        a in proptest::collection::btree_map("[ab]{1,2}(/[cd]{1,2}x)?", proptest::collection::vec(0_u8..2, 0..3), 1..4),
        b in proptest::collection::btree_map("[ab]{1,2}(/[cd]{1,2}x)?", proptest::collection::vec(0_u8..2, 0..3), 1..4),
    ) {
        // A name cannot be a file and a directory.
        let clashes = |tree: &BTreeMap<String, Vec<u8>>| {
            tree.keys().any(|name| name.split_once('/').is_some_and(|(dir, _)| tree.contains_key(dir)))
        };
        prop_assume!(!clashes(&a) && !clashes(&b));
        let house = House::new();
        let digest = |name: &str, tree: &BTreeMap<String, Vec<u8>>| {
            let dir = house.dir.path().join(name);
            write_tree(&dir, tree);
            digest_tree(&dir, &house.until()).unwrap().sha256
        };
        prop_assert_eq!(digest("a", &a) == digest("b", &b), a == b);
        prop_assert_eq!(digest("c", &a), digest("d", &a));
    }
}
