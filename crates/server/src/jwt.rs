//! Bearer tokens of an issuer: JSON Web Tokens, signed with a key that a file names. (RFC 7519, 7515, 7517)
//!
//! Keys come from a file, a JSON Web Key Set or a secret; nothing is fetched. Which algorithms are good is said here,
//! never by the token alone, and a key is used with the algorithm of its own kind only.

mod claims;
mod keys;

pub use keys::{JWKS_KEYS_MAX, JwtAlgorithm, JwtAlgorithmUnknown, SECRET_BYTES_MIN};

use crate::api_error::Refusal;
use crate::caller::Caller;
use crate::key_store::KeyTerms;
use crate::limits::CallerLimits;
use crate::reload::{Stamp, stamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claims::Claims;
use keys::Keys;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Longest token.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// Whose tokens are good.
#[derive(Clone, Debug)]
pub struct JwtOptions {
    /// `iss` of a token.
    pub issuer: String,
    /// What `aud` of a token must name.
    pub audience: String,
    /// A file with the issuer's public keys: a JSON Web Key Set.
    pub jwks: Option<PathBuf>,
    /// A file with a secret that the issuer shares, for HS256.
    pub secret: Option<PathBuf>,
    /// What a token may be signed with.
    pub algorithms: BTreeSet<JwtAlgorithm>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
}

/// What is wrong with the keys that tokens are checked by.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// A file cannot be read.
    #[error("tokens' keys: {0}")]
    Io(#[from] io::Error),
    /// A file is longer than any real one.
    #[error("tokens' keys: expected at most {max} bytes")]
    Length {
        /// The bound.
        max: u64,
    },
    /// The set of keys is no such thing.
    #[error("tokens' keys: expected a JSON Web Key Set")]
    Jwks,
    /// There is no key for any of the algorithms.
    #[error("tokens' keys: expected at least one for the algorithms allowed, got none")]
    None,
    /// The shared secret can be guessed.
    #[error("tokens' secret: expected at least {min} bytes, got {got}", min = keys::SECRET_BYTES_MIN)]
    Secret {
        /// Its bytes.
        got: usize,
    },
}

impl JwtError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ballast_backend::ErrorKind {
        use ballast_backend::ErrorKind;
        match self {
            Self::Io(_) => ErrorKind::Unavailable,
            Self::Length { .. } | Self::Jwks | Self::None | Self::Secret { .. } => ErrorKind::Invalid,
        }
    }
}

/// Checks tokens.
pub struct JwtVerifier {
    options: JwtOptions,
    keys: RwLock<Arc<Keys>>,
    seen: Mutex<[Option<Stamp>; 2]>,
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

impl JwtVerifier {
    /// Reads the keys.
    ///
    /// # Errors
    /// If they cannot be read, or none can be used.
    pub fn open(options: JwtOptions) -> Result<Self, JwtError> {
        let seen = Mutex::new(options.stamps());
        let keys = RwLock::new(Arc::new(Keys::read(&options)?));
        Ok(Self { options, keys, seen })
    }

    /// Reads the keys again.
    ///
    /// # Errors
    /// As [`Self::open`]: the keys stay as they were.
    pub fn reload(&self) -> Result<(), JwtError> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.options.stamps();
        let keys = Arc::new(Keys::read(&self.options)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// [`Self::reload`], if a file has changed. Says whether one had.
    ///
    /// # Errors
    /// As [`Self::reload`].
    pub fn reload_if_changed(&self) -> Result<bool, JwtError> {
        if self.options.stamps() == *self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Who sends `token` at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// If it is none of the issuer's, not for this audience, or not good now.
    pub(crate) fn caller(&self, token: &str, now: i64, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        let claims = self.checked(token).ok_or(Refusal::Key)?;
        let leeway = i64::try_from(self.options.leeway.as_secs()).unwrap_or(i64::MAX);
        if claims.expires.saturating_add(leeway) <= now {
            return Err(Refusal::TokenExpired);
        }
        if claims.not_before.is_some_and(|from| from.saturating_sub(leeway) > now) {
            return Err(Refusal::Key);
        }
        let (tenant, scopes) = (claims.tenant(), claims.scopes);
        let (id, limits) = (format!("sub:{tenant}").into(), CallerLimits::default());
        let terms =
            KeyTerms { name: String::new(), tenant: tenant.clone(), scopes, models: None, expires: None, limits };
        Ok(Caller { id: Some(id), tenant, terms: Some(Arc::new(terms)), address })
    }

    /// The claims, if they are the issuer's and meant for this audience.
    fn checked(&self, token: &str) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header = json(header)?;
        // Extensions that must be understood are not. (RFC 7515, 4.1.11)
        if header.get("crit").is_some() {
            return None;
        }
        let algorithm: JwtAlgorithm = header.get("alg")?.as_str()?.parse().ok()?;
        if !self.options.algorithms.contains(&algorithm) {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key_id = header.get("kid").and_then(Value::as_str);
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        keys.verify(algorithm, key_id, signed.as_bytes(), &signature).then_some(())?;
        Claims::of(&json(payload)?, &self.options.issuer, &self.options.audience)
    }
}

impl JwtOptions {
    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.jwks, &self.secret].map(|path| path.as_deref().and_then(stamp))
    }
}

fn json(part: &str) -> Option<Value> {
    crate::json::parse(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests;
