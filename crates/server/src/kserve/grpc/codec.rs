//! Messages between bytes and calls. What comes in stays bytes until it is known that it has not too many parts: an
//! empty part takes two bytes in a message and hundreds in memory.

use crate::kserve::outline::TENSORS_MAX;
use axum::body::Bytes;
use hyper::body::Buf as _;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Gives messages of this type, and takes any.
#[derive(Debug)]
pub(super) struct Messages<A>(PhantomData<A>);

impl<A> Default for Messages<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<A: prost::Message + 'static> Codec for Messages<A> {
    type Encode = A;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Whole;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Whole {
        Whole
    }
}

impl<A: prost::Message + 'static> Encoder for Messages<A> {
    type Item = A;
    type Error = Status;

    fn encode(&mut self, message: A, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(to).map_err(|_| Status::internal("the answer is too long"))
    }
}

/// Takes messages as they came.
#[derive(Debug)]
pub(super) struct Whole;

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// The message of these bytes.
///
/// # Errors
/// If they are none, or it has too many parts.
pub(super) fn message<Q: prost::Message + Default>(bytes: Bytes) -> Result<Q, Status> {
    let broken = || Status::invalid_argument("the message is not well-formed");
    let mut counts = [0_usize; 16];
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let number = skip_field(&mut rest).ok_or_else(broken)?;
        let Some(count) = usize::try_from(number).ok().and_then(|number| counts.get_mut(number)) else { continue };
        *count += 1;
        if *count > TENSORS_MAX {
            let told = format!("the message: expected at most {TENSORS_MAX} entries in a field");
            return Err(Status::invalid_argument(told));
        }
    }
    Q::decode(bytes).map_err(|_| broken())
}

/// Skips one field and returns its number. (Protocol Buffers, Encoding)
fn skip_field(rest: &mut &[u8]) -> Option<u64> {
    let key = varint(rest)?;
    let length = match key & 7 {
        0 => {
            varint(rest)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *rest = rest.get(length..)?;
    Some(key >> 3)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 127) << (7 * place);
        if byte & 128 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::messages::{InferTensor, ModelInferRequest};
    use super::*;
    use prost::Message;

    #[test]
    fn messages_of_too_many_parts_are_refused_before_they_are_read() {
        let of = |n: usize| {
            let request = ModelInferRequest { inputs: vec![InferTensor::default(); n], ..ModelInferRequest::default() };
            message::<ModelInferRequest>(request.encode_to_vec().into())
        };
        assert_eq!(of(TENSORS_MAX).unwrap().inputs.len(), TENSORS_MAX);
        assert_eq!(of(TENSORS_MAX + 1).unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn broken_messages_are_refused() {
        for bytes in [&[0xff][..], &[0x0a, 0x05, 0x61], &[0x07], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80; 11]] {
            let error = message::<ModelInferRequest>(Bytes::copy_from_slice(bytes)).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{bytes:?}");
        }
        assert!(message::<ModelInferRequest>(Bytes::new()).is_ok());
    }
}
