//! Models in several files: `name-00001-of-00003.gguf` and its siblings.

use super::Opened;
use crate::limits::SHARDS_MAX;
use crate::{GgufError, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const COUNT_KEY: &str = "split.count";
const NUMBER_KEY: &str = "split.no";
const TENSORS_KEY: &str = "split.tensors.count";

/// Where a file stands among a model's files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShardOf {
    /// The path up to the number.
    prefix: PathBuf,
    /// From 0, as in the metadata; names count from 1.
    idx: u16,
    count: u16,
}

impl ShardOf {
    /// What metadata and name say, which must be the same. `None` for a model in one file.
    pub(super) fn find(metadata: &Metadata, path: &Path) -> Result<Option<Self>, GgufError> {
        let named = Self::from_name(path);
        let Some(count) = metadata.u64(COUNT_KEY)? else {
            return match named {
                Some(named) if named.count > 1 => {
                    Err(GgufError::MissingShardKey { path: path.to_owned(), key: COUNT_KEY })
                }
                _ => Ok(None),
            };
        };
        if count <= 1 {
            return Ok(None);
        }
        let count = u16::try_from(count)
            .ok()
            .filter(|count| *count <= SHARDS_MAX)
            .ok_or_else(|| GgufError::TooManyShards { path: path.to_owned(), max: SHARDS_MAX, got: count })?;
        let idx = expect_number(metadata, path)?;
        match named {
            Some(named) if u64::from(named.idx) == idx && named.count == count => Ok(Some(named)),
            _ => {
                let expected = suffix(idx + 1, count);
                Err(GgufError::BadShardName { path: path.to_owned(), count, expected })
            }
        }
    }

    /// What the name says: `prefix-00001-of-00003.gguf`.
    fn from_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let (number, count): (u16, u16) = (five_digits(number)?, five_digits(count)?);
        let idx = number.checked_sub(1)?;
        (idx < count).then(|| Self { prefix: path.with_file_name(prefix), idx, count })
    }

    fn path(&self, idx: u16) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(suffix(u64::from(idx) + 1, self.count));
        path.into()
    }
}

fn suffix(number: u64, count: u16) -> String {
    format!("-{number:05}-of-{count:05}.gguf")
}

fn five_digits(text: &str) -> Option<u16> {
    (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn expect_number(metadata: &Metadata, path: &Path) -> Result<u64, GgufError> {
    metadata.u64(NUMBER_KEY)?.ok_or_else(|| GgufError::MissingShardKey { path: path.to_owned(), key: NUMBER_KEY })
}

/// All files of the model, in order; `given` is one of them.
pub(super) fn open_all(given: Opened, shard_of: &ShardOf) -> Result<Vec<Opened>, GgufError> {
    let mut given = Some(given);
    let mut all = Vec::new();
    for idx in 0..shard_of.count {
        let opened = match given.take_if(|_| idx == shard_of.idx) {
            Some(given) => given,
            None => open_sibling(shard_of, idx)?,
        };
        all.push(opened);
    }
    let n_tensors = all.iter().map(|opened| opened.header.tensors.len() as u64).sum();
    for opened in &all {
        let (metadata, path) = (&opened.header.metadata, opened.file.path());
        if let Some(got) = metadata.u64(TENSORS_KEY)?.filter(|got| *got != n_tensors) {
            return Err(mismatch(path, TENSORS_KEY, n_tensors, got));
        }
    }
    Ok(all)
}

fn open_sibling(shard_of: &ShardOf, idx: u16) -> Result<Opened, GgufError> {
    let path = shard_of.path(idx);
    let opened = Opened::open(&path).map_err(|error| in_shard(error, idx, shard_of.count, &path))?;
    let metadata = &opened.header.metadata;
    let missing = || GgufError::MissingShardKey { path: path.clone(), key: COUNT_KEY };
    let count = metadata.u64(COUNT_KEY)?.ok_or_else(missing)?;
    let number = expect_number(metadata, &path)?;
    if count != shard_of.count.into() {
        return Err(mismatch(&path, COUNT_KEY, shard_of.count.into(), count));
    }
    if number != idx.into() {
        return Err(mismatch(&path, NUMBER_KEY, idx.into(), number));
    }
    Ok(opened)
}

fn in_shard(error: GgufError, idx: u16, count: u16, path: &Path) -> GgufError {
    let path = path.to_owned();
    if let GgufError::Io { source, .. } = &error
        && source.kind() == ErrorKind::NotFound
    {
        return GgufError::MissingShard { path, number: idx + 1, count };
    }
    GgufError::InShard { path, source: Box::new(error) }
}

fn mismatch(path: &Path, key: &'static str, expected: u64, got: u64) -> GgufError {
    GgufError::ShardMismatch { path: path.to_owned(), key, expected, got }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_place_and_count() {
        let shard_of = |name: &str| ShardOf::from_name(Path::new(name)).map(|shard| (shard.idx, shard.count));
        assert_eq!(shard_of("dir/model-00001-of-00003.gguf"), Some((0, 3)));
        assert_eq!(shard_of("a-of-b-00002-of-00002.gguf"), Some((1, 2)));
        for name in
            ["model.gguf", "m-00000-of-00002.gguf", "m-00003-of-00002.gguf", "m-1-of-2.gguf", "m-+0001-of-00002.gguf"]
        {
            assert_eq!(shard_of(name), None, "{name}");
        }
    }

    #[test]
    fn siblings_lie_beside_the_given_file() {
        let shard_of = ShardOf::from_name(Path::new("dir/model-00001-of-00003.gguf")).unwrap();
        assert_eq!(shard_of.path(2), Path::new("dir/model-00003-of-00003.gguf"));
    }
}
