//! Keys that signatures are checked by, each of one algorithm.

use super::{JwtError, JwtOptions};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// Shortest secret for HS256: as long as its digest. (RFC 7518, 3.2)
pub const SECRET_BYTES_MIN: usize = 32;
/// Most keys of a set.
pub const JWKS_KEYS_MAX: usize = 64;
/// Longest file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a token is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256: who checks can sign, too.
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256; keys of 2048 bits and more.
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwtAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// As a token has it in `alg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The word is no algorithm that is known here; `none` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HS256, RS256, ES256 or EdDSA")]
pub struct JwtAlgorithmUnknown;

impl FromStr for JwtAlgorithm {
    type Err = JwtAlgorithmUnknown;

    fn from_str(word: &str) -> Result<Self, JwtAlgorithmUnknown> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == word).ok_or(JwtAlgorithmUnknown)
    }
}

enum Key {
    Secret(hmac::Key),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point, uncompressed.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

pub(super) struct Keys(Vec<(Option<String>, Key)>);

impl Keys {
    pub(super) fn read(options: &JwtOptions) -> Result<Self, JwtError> {
        let mut keys = Vec::new();
        if let Some(path) = &options.secret {
            let bytes = read(path)?;
            let secret = bytes.trim_ascii();
            if secret.len() < SECRET_BYTES_MIN {
                return Err(JwtError::Secret { got: secret.len() });
            }
            keys.push((None, Key::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))));
        }
        if let Some(path) = &options.jwks {
            let set: Value = serde_json::from_slice(&read(path)?).map_err(|_| JwtError::Jwks)?;
            let set = set.get("keys").and_then(Value::as_array).ok_or(JwtError::Jwks)?;
            // Keys for other purposes and of other kinds may stand in the same set. (RFC 7517, 5)
            keys.extend(set.iter().take(JWKS_KEYS_MAX).filter_map(of_jwk));
        }
        keys.retain(|(_, key)| options.algorithms.contains(&key.algorithm()));
        if keys.is_empty() { Err(JwtError::None) } else { Ok(Self(keys)) }
    }

    /// Whether a key of `algorithm`, the one of that name if one is named, has signed `message`.
    pub(super) fn verify(&self, algorithm: JwtAlgorithm, name: Option<&str>, message: &[u8], signed: &[u8]) -> bool {
        let mut candidates = self.0.iter().filter(|(id, key)| {
            let is_named = name.is_none() || id.is_none() || id.as_deref() == name;
            is_named && key.algorithm() == algorithm
        });
        candidates.any(|(_, key)| key.verify(message, signed))
    }
}

impl Key {
    fn algorithm(&self) -> JwtAlgorithm {
        match self {
            Self::Secret(_) => JwtAlgorithm::Hs256,
            Self::Rsa { .. } => JwtAlgorithm::Rs256,
            Self::P256(_) => JwtAlgorithm::Es256,
            Self::Ed25519(_) => JwtAlgorithm::EdDsa,
        }
    }

    fn verify(&self, message: &[u8], signed: &[u8]) -> bool {
        let point = |algorithm, key| signature::UnparsedPublicKey::new(algorithm, key).verify(message, signed).is_ok();
        match self {
            Self::Secret(secret) => hmac::verify(secret, message, signed).is_ok(),
            Self::Rsa { n, e } => signature::RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signed)
                .is_ok(),
            Self::P256(key) => point(&signature::ECDSA_P256_SHA256_FIXED as &dyn signature::VerificationAlgorithm, key),
            Self::Ed25519(key) => point(&signature::ED25519, key),
        }
    }
}

fn of_jwk(jwk: &Value) -> Option<(Option<String>, Key)> {
    let word = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(word(name)?).ok();
    if word("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let key = match (word("kty")?, word("crv")) {
        ("RSA", _) => Key::Rsa { n: bytes("n")?, e: bytes("e")? },
        ("EC", Some("P-256")) => Key::P256([&[4][..], &bytes("x")?, &bytes("y")?].concat()),
        ("OKP", Some("Ed25519")) => Key::Ed25519(bytes("x")?),
        _ => return None,
    };
    if word("alg").is_some_and(|alg| alg != key.algorithm().as_str()) {
        return None;
    }
    Some((word("kid").map(str::to_owned), key))
}

fn read(path: &Path) -> Result<Vec<u8>, JwtError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(JwtError::Length { max: FILE_BYTES_MAX }) } else { Ok(bytes) }
}
