//! Bodies that are packed, as clients of the protocol send and ask for them: gzip, and deflate in its zlib form.

use crate::api_error::{ApiError, Refusal};
use crate::fields::ParamError;
use axum::body::Bytes;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use axum::http::{HeaderMap, HeaderValue};
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Read, Write};

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Deflate,
}

impl Packing {
    /// By its name in headers.
    fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// Its name in headers.
    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        })
    }

    /// How a request's body is packed; `None`: it is not.
    ///
    /// # Errors
    /// If it is packed otherwise, or more than once.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, ParamError> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        let name = value.to_str().unwrap_or_default();
        let found = Self::named(name).filter(|_| headers.get_all(CONTENT_ENCODING).iter().count() == 1);
        if found.is_none() && name != "identity" {
            let supported = "bodies packed by gzip or deflate, or as they are";
            return Err(ParamError::Unsupported { param: CONTENT_ENCODING.to_string(), supported });
        }
        Ok(found)
    }

    /// How an answer is to be packed: by what the caller prefers, gzip where it has no preference.
    pub(super) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let choices = values.flat_map(|value| value.split(',')).filter_map(|choice| {
            let (name, weight) = choice.split_once(';').unwrap_or((choice, "q=1"));
            let weight: f32 = weight.trim().strip_prefix("q=")?.parse().ok()?;
            Some((Self::named(name)?, weight)).filter(|(_, weight)| *weight > 0.0)
        });
        let rank = |(packing, weight): &(Self, f32)| (*weight, *packing == Self::Gzip);
        choices
            .max_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal))
            .map(|(packing, _)| packing)
    }

    /// The body itself, of at most `max` bytes.
    ///
    /// # Errors
    /// If it is longer, not packed so, or broken off.
    pub(super) fn unpack(self, packed: &[u8], max: usize) -> Result<Bytes, ApiError> {
        let mut body = Vec::new();
        // One byte more tells that there is more.
        let bound = (max as u64).saturating_add(1);
        let (read, rest) = match self {
            Self::Gzip => (MultiGzDecoder::new(packed).take(bound).read_to_end(&mut body), 0),
            Self::Deflate => {
                let mut decoder = ZlibDecoder::new(packed).take(bound);
                let read = decoder.read_to_end(&mut body);
                let used = usize::try_from(decoder.get_ref().total_in()).unwrap_or(usize::MAX);
                (read, packed.len().saturating_sub(used))
            }
        };
        if body.len() > max {
            return Err(Refusal::BodyTooLong { max }.into());
        }
        if read.is_err() || rest > 0 || packed.is_empty() {
            return Err(Refusal::BodyBroken.into());
        }
        Ok(body.into())
    }

    /// The body packed.
    ///
    /// # Errors
    /// None that memory has.
    pub(super) fn pack(self, body: &[u8]) -> io::Result<Vec<u8>> {
        // Half of the bytes is what tensors come to at best.
        let room = Vec::with_capacity(body.len() / 2);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(room, Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(room, Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Packing; 2] = [Packing::Gzip, Packing::Deflate];

    #[test]
    fn what_is_packed_is_unpacked_within_its_bound() {
        let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for packing in BOTH {
            let packed = packing.pack(&body).unwrap();
            assert!(packed.len() < body.len());
            assert_eq!(packing.unpack(&packed, body.len()).unwrap(), body);
            let refused = packing.unpack(&packed, body.len() - 1).unwrap_err();
            assert!(matches!(refused, ApiError::Refusal(Refusal::BodyTooLong { max }) if max == body.len() - 1));
            for cut in [0, 1, 5, packed.len() / 2, packed.len() - 1] {
                let broken = packing.unpack(&packed[..cut], body.len());
                assert!(matches!(broken, Err(ApiError::Refusal(Refusal::BodyBroken))), "{packing:?} {cut}");
            }
            let behind = packing.unpack(&[&packed[..], b"x"].concat(), body.len());
            assert!(matches!(behind, Err(ApiError::Refusal(Refusal::BodyBroken))), "{packing:?}");
        }
        assert!(Packing::Gzip.unpack(&Packing::Deflate.pack(b"x").unwrap(), 9).is_err());
    }

    #[test]
    fn headers_say_how_bodies_are_packed() {
        let of = |name, value: &'static str| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        for (value, expected) in [
            ("gzip", Some(Some(Packing::Gzip))),
            ("X-GZip", Some(Some(Packing::Gzip))),
            ("deflate", Some(Some(Packing::Deflate))),
            ("identity", Some(None)),
            ("br", None),
            ("gzip, gzip", None),
            ("", None),
        ] {
            assert_eq!(Packing::of(&of(CONTENT_ENCODING, value)).ok(), expected, "{value}");
        }
        for (value, expected) in [
            ("gzip", Some(Packing::Gzip)),
            ("deflate, gzip", Some(Packing::Gzip)),
            ("gzip;q=0.5, deflate; q=0.8", Some(Packing::Deflate)),
            ("gzip;q=0", None),
            ("br, identity", None),
            ("*", None),
        ] {
            assert_eq!(Packing::wanted(&of(ACCEPT_ENCODING, value)), expected, "{value}");
        }
        assert_eq!((Packing::of(&HeaderMap::new()).ok(), Packing::wanted(&HeaderMap::new())), (Some(None), None));
    }
}
