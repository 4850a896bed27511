//! Packages and compiled bundles on disk: directories that are moved whole.

use crate::CoreMlError;
use std::fs;
use std::io;
use std::path::Path;

/// Name of the compiled bundle within its entry of the compile cache.
pub(crate) const BUNDLE: &str = "model.mlmodelc";

/// Moves a directory; where that is another disk, copies it and removes the original. `to` is not there before.
pub(crate) fn move_dir(from: &Path, to: &Path) -> Result<(), CoreMlError> {
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_then_remove(from, to),
        Err(source) => Err(CoreMlError::Io { what: "move", path: from.to_owned(), source }),
    }
}

fn copy_then_remove(from: &Path, to: &Path) -> Result<(), CoreMlError> {
    copy_dir(from, to).map_err(|source| CoreMlError::Io { what: "copy", path: from.to_owned(), source })?;
    if let Err(error) = fs::remove_dir_all(from) {
        tracing::warn!(%error, "core ml: what was compiled stays in its temporary place, too");
    }
    Ok(())
}

/// Compiled bundles hold plain files and directories; links are none of Core ML's and are refused.
fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let (kind, target) = (item.file_type()?, to.join(item.file_name()));
        if kind.is_dir() {
            copy_dir(&item.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(item.path(), target)?;
        } else {
            return Err(io::Error::other("a link or device in a compiled bundle"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(root: &Path) -> std::path::PathBuf {
        let from = root.join("a.mlmodelc");
        fs::create_dir_all(from.join("weights")).unwrap();
        fs::write(from.join("weights/weight.bin"), b"w").unwrap();
        fs::write(from.join("model.mil"), b"m").unwrap();
        from
    }

    #[test]
    fn bundles_are_moved_whole() {
        for move_or_copy in [move_dir, copy_then_remove] {
            let root = tempfile::tempdir().unwrap();
            let (from, to) = (made(root.path()), root.path().join(BUNDLE));
            move_or_copy(&from, &to).unwrap();
            assert!(!from.exists());
            assert_eq!(fs::read(to.join("weights/weight.bin")).unwrap(), b"w");
            assert_eq!(fs::read(to.join("model.mil")).unwrap(), b"m");
        }
    }
}
