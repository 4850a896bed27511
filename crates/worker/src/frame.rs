//! Frames: a length in 4 little-endian bytes, then that many bytes of JSON. Pure; bytes in, messages out.

use crate::{FRAME_BYTES_MAX, FrameError};
use serde::Serialize;
use serde::de::DeserializeOwned;

const LENGTH_BYTES: usize = 4;

/// Appends a frame with `message` to `out`.
///
/// # Errors
/// If it is longer than [`FRAME_BYTES_MAX`]; `out` is as it was.
pub(crate) fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend([0; LENGTH_BYTES]);
    let written = serde_json::to_writer(&mut *out, message);
    let n_bytes = out.len() - start - LENGTH_BYTES;
    if written.is_err() {
        out.truncate(start);
        return Err(FrameError::Malformed { at: n_bytes });
    }
    match u32::try_from(n_bytes) {
        Ok(length) if n_bytes <= FRAME_BYTES_MAX => {
            out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(FrameError::TooLong { got: n_bytes })
        }
    }
}

/// Finds frames in bytes that come in pieces. Holds at most one frame and one piece.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    bytes: Vec<u8>,
}

impl FrameDecoder {
    /// Takes the next piece. To be called when [`FrameDecoder::next`] has no message.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// If a frame claims to be too long, or holds no `T`. The connection is of no use then.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let n_bytes = u32::from_le_bytes(*length) as usize;
        if n_bytes > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { got: n_bytes });
        }
        let Some(body) = rest.get(..n_bytes) else { return Ok(None) };
        // JSON from a writer that knows no line ends is one line, so the column is the place.
        let message = serde_json::from_slice(body).map_err(|error| FrameError::Malformed { at: error.column() })?;
        self.bytes.drain(..LENGTH_BYTES + n_bytes);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(message: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&message, &mut out).unwrap();
        out
    }

    fn decode_pieces(bytes: &[u8], piece_len: usize) -> Result<Vec<String>, FrameError> {
        let (mut decoder, mut messages) = (FrameDecoder::default(), Vec::new());
        for piece in bytes.chunks(piece_len) {
            decoder.push(piece);
            while let Some(message) = decoder.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_frame_over_the_bound_is_refused_on_both_sides() {
        let fits = "x".repeat(FRAME_BYTES_MAX - 2);
        assert_eq!(decode_pieces(&frame(&fits), 1000), Ok(vec![fits.clone()]));
        let mut out = vec![7];
        assert_eq!(encode(&(fits + "x"), &mut out), Err(FrameError::TooLong { got: FRAME_BYTES_MAX + 1 }));
        assert_eq!(out, [7]);
        let mut claim = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes().to_vec();
        assert_eq!(decode_pieces(&claim, 4), Err(FrameError::TooLong { got: FRAME_BYTES_MAX + 1 }));
        claim[3] = 0xff;
        assert!(decode_pieces(&claim, 4).is_err());
    }

    #[test]
    fn a_body_that_is_no_message_is_refused() {
        for body in [&b""[..], b"{", b"1", b"\"x\"y", b"\xff\xff"] {
            let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
            bytes.extend(body);
            assert!(matches!(decode_pieces(&bytes, 64), Err(FrameError::Malformed { .. })), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn frames_come_whole_however_they_are_cut(
            messages in prop::collection::vec(".{0,40}", 0..8), piece_len in 1..50_usize
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            prop_assert_eq!(decode_pieces(&bytes, piece_len), Ok(messages));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece_len in 1..50_usize) {
            drop(decode_pieces(&bytes, piece_len));
        }
    }
}
