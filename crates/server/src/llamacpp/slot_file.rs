//! The files that slots are saved to: the tokens, whose keys and values are computed again.
//!
//! ```text
//! "BALLASTS" version:u32 n_tokens:u32 token:u32..    little-endian
//! ```

use ballast_backend::TokenId;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"BALLASTS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// Longest name of a file.
pub const SLOT_FILE_NAME_BYTES_MAX: usize = 128;

/// Where a file of this name is; `None` if a name like this could lead out of the folder or hide in it.
pub(super) fn path(dir: &Path, name: &str) -> Option<PathBuf> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = !name.is_empty() && name.len() <= SLOT_FILE_NAME_BYTES_MAX && name.chars().all(is_plain);
    (is_name && !name.starts_with('.')).then(|| dir.join(name))
}

/// Writes a file and gives its length.
pub(super) fn write(path: &Path, tokens: &[TokenId]) -> io::Result<usize> {
    let n_tokens = u32::try_from(tokens.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = MAGIC.to_vec();
    for word in [VERSION, n_tokens].into_iter().chain(tokens.iter().map(|token| token.0)) {
        bytes.extend(word.to_le_bytes());
    }
    std::fs::write(path, &bytes)?;
    Ok(bytes.len())
}

/// Reads a file of at most `tokens_max` tokens; `None` if it is nothing of the kind.
pub(super) fn read(path: &Path, tokens_max: usize) -> io::Result<Option<(Vec<TokenId>, usize)>> {
    let bytes_max = HEADER_BYTES + 4 * tokens_max;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(parse(&bytes).map(|tokens| (tokens, bytes.len())))
}

fn parse(bytes: &[u8]) -> Option<Vec<TokenId>> {
    let words = bytes.strip_prefix(MAGIC)?.chunks(4).map(|word| word.try_into().map(u32::from_le_bytes).ok());
    let words: Vec<u32> = words.collect::<Option<_>>()?;
    match words.as_slice() {
        [VERSION, n_tokens, tokens @ ..] if *n_tokens as usize == tokens.len() => {
            Some(tokens.iter().copied().map(TokenId).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        let dir = Path::new("slots");
        for name in ["a.bin", "slot-1_x"] {
            assert_eq!(path(dir, name), Some(dir.join(name)), "{name}");
        }
        let long = "x".repeat(SLOT_FILE_NAME_BYTES_MAX + 1);
        for name in ["", ".", "..", "../a", "a/b", "a\\b", ".hidden", "a b", "h\u{e9}", "C:a", &long] {
            assert_eq!(path(dir, name), None, "{name}");
        }
    }

    #[test]
    fn only_whole_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("slot");
        let tokens: Vec<TokenId> = (0..5).map(TokenId).collect();
        let n_bytes = write(&file, &tokens).unwrap();
        assert_eq!(n_bytes, HEADER_BYTES + 20);
        assert_eq!(read(&file, 5).unwrap(), Some((tokens, n_bytes)));
        assert_eq!(read(&file, 4).unwrap(), None, "more tokens than there is room for");
        let whole = std::fs::read(&file).unwrap();
        for n in 0..whole.len() {
            assert_eq!(parse(&whole[..n]), None, "{n} bytes");
        }
        assert!(read(&dir.path().join("none"), 5).is_err());
    }
}
