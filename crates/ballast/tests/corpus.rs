//! Replays the seeds of the fuzzer: arrays of NumPy's and configurations of repositories, those that lie too.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast::repository::RepositoryConfig;
use ballast::tensor_model::npy;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What the error of each file that is refused has in it.
const ARRAYS: &[(&str, &str)] = &[
    ("archive", "NumPy's magic"),
    ("big-endian", "expected little-endian floats"),
    ("complex", "expected little-endian floats"),
    ("data-long", "2 elements of 4 bytes, got 9"),
    ("data-short", "2 elements of 4 bytes, got 7"),
    ("dims-claimed", "1099511627776 elements of 4 bytes, got 0"),
    ("dims-negative", "a shape such as (2, 3)"),
    ("dims-nine", "at most 8 dimensions, got 9"),
    ("dims-overflow", "a shape that can be counted"),
    ("dims-too-large-a-number", "a shape such as (2, 3)"),
    ("dims-wrap", "a shape that can be counted"),
    ("fortran", "an array in C order"),
    ("header-claimed", "a header of at most 65536 bytes"),
    ("header-cut", "a whole header"),
    ("header-no-dictionary", "a dictionary of descr"),
    ("header-not-text", "a header of text"),
    ("key-missing", "a dictionary of descr"),
    ("key-twice", "a dictionary of descr"),
    ("key-unknown", "a dictionary of descr"),
    ("magic", "NumPy's magic"),
    ("nothing", "NumPy's magic"),
    ("objects", "expected little-endian floats"),
    ("records", "a simple type of elements"),
    ("text-of-no-character", "expected characters"),
    ("texts-empty-and-many", "at most 65536 empty texts"),
    ("texts-too-long", "expected little-endian floats"),
    ("version-0", "version 1, 2 or 3"),
    ("version-9", "version 1, 2 or 3"),
];

const CONFIGURATIONS: &[(&str, &str)] = &[
    ("batch-overflow", "max_batch_size: expected a whole number"),
    ("deep", "expected fewer messages in messages"),
    ("dims-overflow", "input.dims: expected whole numbers"),
    ("escape", "after a backslash"),
    ("file-outside", "default_model_filename: expected the name of a file"),
    ("instances", "instance_group.count: expected a whole number"),
    ("label-outside", "output.label_filename: expected the name of a file"),
    ("nul", "line 1: expected"),
    ("open-text", "a closing quote"),
    ("unknown", "optimization: there is no such field"),
];

/// The files of a folder by the part of their names before the dot.
fn files(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (stem(&path), fs::read(&path).unwrap()))
        .collect()
}

/// Reads every file; `read` tells what is wrong with it.
fn check(folder: &str, refused: &[(&str, &str)], read: impl Fn(&[u8]) -> Option<String>) {
    let files = files(folder);
    for (name, expected) in refused {
        assert!(files.contains_key(&format!("refused-{name}")), "{folder}: {name} is missing ({expected})");
    }
    for (name, bytes) in &files {
        let got = read(bytes);
        match name.strip_prefix("refused-") {
            None => assert!(name.starts_with("valid-") && got.is_none(), "{folder}: {name}: {got:?}"),
            Some(name) => {
                // What a fuzzer found, and somebody kept, needs no words of its own.
                let expected = refused.iter().find(|(known, _)| known == &name).map_or("", |(_, words)| words);
                assert!(
                    got.as_ref().is_some_and(|got| got.contains(expected)),
                    "{folder}: {name}: {expected:?}, {got:?}"
                );
            }
        }
    }
}

#[test]
fn arrays_called_valid_are_read_and_the_others_refused_for_what_is_wrong() {
    check("npy", ARRAYS, |bytes| npy::read(bytes).err().map(|error| error.to_string()));
}

#[test]
fn an_array_cut_anywhere_is_refused() {
    for (name, bytes) in files("npy").iter().filter(|(name, _)| name.starts_with("valid-")) {
        for n_bytes in 0..bytes.len() {
            assert!(npy::read(&bytes[..n_bytes]).is_err(), "{name} cut to {n_bytes}");
        }
    }
}

#[test]
fn configurations_called_valid_are_read_and_the_others_refused_by_the_fields_name() {
    check("config", CONFIGURATIONS, |bytes| {
        RepositoryConfig::parse(std::str::from_utf8(bytes).unwrap()).err().map(|error| error.to_string())
    });
}
