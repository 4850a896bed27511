//! A socket in the file system to listen on, for callers on this machine who may open it.

use crate::failure::{Exit, Failure};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// A socket's file, which is removed in the end.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Listens on `path`, which only this user may open. A socket that is there already is replaced if nobody listens on it.
pub(crate) fn listen(path: &Path) -> Result<(UnixListener, SocketFile), Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!("{} cannot be listened on", path.display())).because(error.to_string())
    };
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(Failure::new(Exit::Refused, format!("{} is there and is no socket", path.display())));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(failed(io::ErrorKind::AddrInUse.into()).try_this("another --socket"));
        }
    }
    // Made where nobody else can look, closed to others, and then put in its place: it is never open to them.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    fs::DirBuilder::new().mode(0o700).create(&hidden).map_err(failed)?;
    let listener = bind(&hidden.join("s"), path);
    drop(fs::remove_dir_all(&hidden));
    Ok((listener.map_err(failed)?, SocketFile(path.to_owned())))
}

fn bind(at: &Path, to: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(at)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o600))?;
    fs::rename(at, to)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_closed_to_others_and_replaces_one_that_nobody_serves() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        let (listener, file) = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(tokio::net::UnixStream::connect(&path).await.is_ok());
        assert!(listen(&path).is_err(), "somebody listens");
        drop(listener);
        let (_listener, newer) = listen(&path).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing else is left");
        drop((file, newer));
        assert!(!path.exists());
        fs::write(&path, "text").unwrap();
        assert_eq!(listen(&path).unwrap_err().exit, Exit::Refused);
    }
}
