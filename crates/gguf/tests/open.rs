//! Opening: what is no model file, and models in several files.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use ballast_gguf::{Gguf, GgufError, TensorType, Value, Writer, limits};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The tensor's one byte is its file's number.
fn shard(dir: &Path, number: u8, count: u16, entries: &[(&str, Value)]) -> PathBuf {
    let path = dir.join(format!("model-{number:05}-of-{count:05}.gguf"));
    let mut writer = Writer::new();
    for (key, value) in entries {
        writer.metadata(key, value.clone());
    }
    writer.tensor(&format!("tensor.{number}"), &[1], TensorType::I8, vec![number]);
    writer.write_file(&path).unwrap();
    path
}

fn split(number: u16, count: u16, n_tensors: i32) -> [(&'static str, Value); 3] {
    [("split.no", number.into()), ("split.count", count.into()), ("split.tensors.count", n_tensors.into())]
}

fn three_shards(dir: &Path) -> [PathBuf; 3] {
    [1, 2, 3].map(|number| {
        let mut entries = split(u16::from(number) - 1, 3, 3).to_vec();
        entries.push(("general.name", format!("file {number}").as_str().into()));
        shard(dir, number, 3, &entries)
    })
}

fn error_of(path: &Path) -> String {
    format!("{:?}", Gguf::open(path).unwrap_err())
}

#[track_caller]
fn check(path: &Path, expected: &str) {
    let got = error_of(path);
    assert!(got.starts_with(expected), "expected {expected}, got {got}");
}

#[test]
fn a_model_in_three_files_opens_from_any_of_them() {
    let dir = TempDir::new().unwrap();
    let paths = three_shards(dir.path());
    for path in &paths {
        let gguf = Gguf::open(path).unwrap();
        assert_eq!(gguf.metadata().string("general.name").unwrap(), Some("file 1"));
        assert_eq!(gguf.paths().collect::<Vec<_>>(), paths.iter().collect::<Vec<_>>());
        assert_eq!(gguf.file_bytes(), paths.iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>());
        assert_eq!(gguf.tensors().len(), 3);
        for number in 1..=3u8 {
            let tensor = gguf.tensor(&format!("tensor.{number}")).unwrap();
            assert_eq!(gguf.tensor_bytes(tensor), [number]);
            assert_eq!(tensor.shard_idx, usize::from(number) - 1);
        }
        gguf.check_intact().unwrap();
    }
}

#[test]
fn a_missing_file_is_named() {
    let dir = TempDir::new().unwrap();
    let [first, second, _] = three_shards(dir.path());
    fs::remove_file(&second).unwrap();
    match Gguf::open(&first) {
        Err(GgufError::MissingShard { path, number: 2, count: 3 }) => assert_eq!(path, second),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broken_file_is_named() {
    let dir = TempDir::new().unwrap();
    let [first, second, _] = three_shards(dir.path());
    fs::write(&second, b"GGUX").unwrap();
    match Gguf::open(&first) {
        Err(GgufError::InShard { path, source }) => {
            assert_eq!(path, second);
            assert!(matches!(*source, GgufError::BadMagic { .. }));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let other_second = |entries: &[(&str, Value)]| {
        let dir = TempDir::new().unwrap();
        let [first, ..] = three_shards(dir.path());
        shard(dir.path(), 2, 3, entries);
        error_of(&first)
    };
    let cases: [(Vec<(&str, Value)>, &str); 5] = [
        (split(2, 3, 3).to_vec(), "ShardMismatch"),
        (split(1, 4, 3).to_vec(), "ShardMismatch"),
        (split(1, 3, 9).to_vec(), "ShardMismatch"),
        (vec![("split.count", 3u16.into())], "MissingShardKey"),
        (vec![("split.no", 1u16.into())], "MissingShardKey"),
    ];
    for (entries, expected) in cases {
        let got = other_second(&entries);
        assert!(got.starts_with(expected), "{entries:?}: expected {expected}, got {got}");
    }
}

#[test]
fn a_tensor_in_two_files_is_refused() {
    let dir = TempDir::new().unwrap();
    let first = shard(dir.path(), 1, 2, &split(0, 2, 2));
    let second = shard(dir.path(), 1, 3, &split(1, 2, 2));
    fs::rename(second, dir.path().join("model-00002-of-00002.gguf")).unwrap();
    check(&first, "TensorInTwoShards { name: \"tensor.1\"");
}

#[test]
fn name_and_metadata_agree_on_the_place() {
    let dir = TempDir::new().unwrap();
    let path = dir.path();
    check(&shard(path, 2, 2, &split(0, 2, 2)), "BadShardName");
    check(&shard(path, 1, 4, &split(0, 2, 2)), "BadShardName");
    check(&shard(path, 1, 5, &[]), "MissingShardKey");
    check(&shard(path, 1, 6, &[("split.count", 6u16.into())]), "MissingShardKey");
    check(&shard(path, 1, 7, &split(0, limits::SHARDS_MAX + 1, 1)), "TooManyShards");
    Gguf::open(&shard(path, 1, 1, &[])).unwrap();
    Gguf::open(&shard(path, 1, 1, &split(0, 1, 1))).unwrap();
}

#[test]
fn what_is_no_file_is_refused() {
    let dir = TempDir::new().unwrap();
    let (absent, empty) = (dir.path().join("absent"), dir.path().join("empty"));
    fs::write(&empty, b"").unwrap();
    check(&absent, "Io {");
    check(&empty, "Empty {");
    check(dir.path(), "NotAFile");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_without_waiting_for_a_writer() {
    let dir = TempDir::new().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let got = error_of(&pipe);
    assert!(got.starts_with("NotAFile") && got.contains("named pipe"), "{got}");
    let got = error_of(Path::new("/dev/zero"));
    assert!(got.starts_with("NotAFile") && got.contains("device"), "{got}");
}

#[test]
fn an_opened_model_is_shared_between_threads() {
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Gguf>();
}
