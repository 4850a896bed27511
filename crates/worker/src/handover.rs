//! Passing the second socket and the shared file to the child, as descriptors on the first socket.
//!
//! They travel with one byte that comes before the first frame (unix(7), `SCM_RIGHTS`), so neither needs a name.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

const BYTE: u8 = 0xba;

/// What the child is given.
pub(crate) struct Handed {
    pub(crate) life: UnixStream,
    pub(crate) shared: File,
}

/// Sends the two descriptors; they wait in the socket until the child takes them.
pub(crate) fn send(calls: &UnixStream, life: &UnixStream, shared: &File) -> io::Result<()> {
    let fds = [life.as_fd(), shared.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(calls, &[IoSlice::new(&[BYTE])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Takes the two descriptors.
///
/// # Errors
/// If `calls` is not a socket, or carries something else.
pub(crate) fn receive(calls: &UnixStream) -> io::Result<Handed> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    // Only the file's content is shared with what the engine may execute; the descriptors are not.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = RecvFlags::empty();
    let got = rustix::net::recvmsg(calls, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    match <[OwnedFd; 2]>::try_from(fds) {
        Ok([life, shared]) if got.bytes == 1 && byte == [BYTE] => {
            Ok(Handed { life: life.into(), shared: shared.into() })
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{receive, send};
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_arrive_and_lead_to_the_same_file() {
        let (near, far) = UnixStream::pair().unwrap();
        let (life, _other) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&near, &life, &file).unwrap();
        let handed = receive(&far).unwrap();
        handed.shared.write_all_at(b"both", 0).unwrap();
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"both");
    }

    #[test]
    fn bytes_without_descriptors_are_refused() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(&[super::BYTE]).unwrap();
        assert!(receive(&far).is_err());
        drop(near);
        assert!(receive(&far).is_err());
    }
}
