//! One key: who it is, what it may do, how long, how much. And the text of a new one.

use super::{CertificateName, KeyFileError};
use crate::RateLimit;
use crate::digest::KeyDigest;
use crate::limits::CallerLimits;
use crate::scope::Scope;
use ballast_runtime::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

/// Random bytes of a key's identifier.
pub const KEY_ID_BYTES: usize = 8;
/// Random bytes of a key's secret: 256 bits need no slow digest.
pub const KEY_SECRET_BYTES: usize = 32;
/// Most keys of a file.
pub const KEY_RECORDS_MAX: usize = 4096;
/// Longest name of a key.
pub const KEY_NAME_BYTES_MAX: usize = 128;
/// Most models that a key may be held to.
pub const MODELS_PER_KEY_MAX: usize = 64;

const PREFIX: &str = "sk-";
/// Slowest rate that is told apart from none: one request in a day.
const INTERVAL_MAX: f64 = 86_400.0;

/// What a key may do, how long, how much.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyTerms {
    /// What people call it; not unique.
    pub name: String,
    /// Whose requests they are that come with it: fair shares and cached prefixes are kept apart by tenant.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// Models it may be used with; `None`: all.
    pub models: Option<Vec<String>>,
    /// When it ends, in seconds since 1970; `None`: never.
    pub expires: Option<i64>,
    /// What it may use up; what is `None` here is the server's.
    pub limits: CallerLimits,
}

/// One key, without its secret.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    /// What it is found, listed and revoked by.
    pub id: String,
    /// What it may do.
    pub terms: Arc<KeyTerms>,
    /// Seconds since 1970.
    pub created: i64,
    /// When it was revoked, in seconds since 1970.
    pub revoked: Option<i64>,
    /// A client's certificate that opens what the key does, where there is one.
    pub certificate: Option<CertificateName>,
    /// SHA-256 of the whole key.
    pub(super) sha256: KeyDigest,
}

/// A key that was just made. The only place where its secret ever is.
pub struct NewKey {
    /// What is kept of it.
    pub record: KeyRecord,
    /// What its owner sends.
    pub secret: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "new key {}", self.record.id)
    }
}

impl NewKey {
    /// A key of [`KEY_ID_BYTES`] and [`KEY_SECRET_BYTES`] random bytes.
    ///
    /// # Errors
    /// If the terms are none that a record can have.
    pub fn new(
        (id, secret): ([u8; KEY_ID_BYTES], [u8; KEY_SECRET_BYTES]),
        terms: KeyTerms,
        now: i64,
    ) -> Result<Self, KeyFileError> {
        let id = hex(&id);
        let secret = format!("{PREFIX}{id}-{}", hex(&secret));
        let terms = Arc::new(terms);
        let sha256 = KeyDigest::of(&secret);
        let record = KeyRecord { sha256, id, terms, created: now, revoked: None, certificate: None };
        record.check()?;
        Ok(Self { record, secret })
    }

    /// The same, opened by a client's certificate, too. Where its secret is told to nobody, by nothing else.
    #[must_use]
    pub fn with_certificate(mut self, name: CertificateName) -> Self {
        self.record.certificate = Some(name);
        self
    }
}

/// The identifier that a key names.
pub(super) fn id_of(key: &str) -> Option<&str> {
    let (id, _) = key.strip_prefix(PREFIX)?.split_once('-')?;
    Some(id)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// A record as the file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    id: String,
    name: String,
    tenant: String,
    sha256: String,
    scopes: Vec<String>,
    #[serde(default)]
    models: Option<Vec<String>>,
    #[serde(default)]
    requests_per_second: Option<f64>,
    #[serde(default)]
    burst: Option<NonZeroU32>,
    #[serde(default)]
    tokens_per_minute: Option<NonZeroU64>,
    #[serde(default)]
    concurrency: Option<NonZeroU32>,
    created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(default)]
    expires: Option<i64>,
    #[serde(default)]
    revoked: Option<i64>,
}

impl KeyRecord {
    /// Whether it opens anything at `now`, in seconds since 1970.
    #[must_use]
    pub fn is_good(&self, now: i64) -> bool {
        self.revoked.is_none() && self.terms.expires.is_none_or(|expires| expires > now)
    }

    fn check(&self) -> Result<(), KeyFileError> {
        let wrong = |field, expected| Err(KeyFileError::Field { id: self.id.clone(), field, expected });
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.id.len() != 2 * KEY_ID_BYTES || !self.id.bytes().all(is_digit) {
            return wrong("id", "16 hexadecimal digits");
        }
        if self.terms.name.len() > KEY_NAME_BYTES_MAX || self.terms.name.chars().any(char::is_control) {
            return wrong("name", "at most 128 bytes, without control characters");
        }
        if self.terms.scopes.is_empty() {
            return wrong("scopes", "at least one");
        }
        let models = self.terms.models.as_deref();
        if models.is_some_and(|models| models.is_empty() || models.len() > MODELS_PER_KEY_MAX) {
            return wrong("models", "1 to 64 names, or none for all");
        }
        Ok(())
    }

    pub(super) fn parse(line: Line) -> Result<Self, KeyFileError> {
        let id = line.id.clone();
        let wrong = |field, expected| KeyFileError::Field { id: id.clone(), field, expected };
        let tenant = line.tenant.parse().map_err(|_| wrong("tenant", "1 to 64 visible ASCII characters"))?;
        let scopes = line.scopes.iter().map(|word| word.parse::<Scope>());
        let scopes = scopes.collect::<Result<_, _>>().map_err(|_| wrong("scopes", "names of scopes"))?;
        let sha256 = unhex(&line.sha256).map(KeyDigest::new);
        let sha256 = sha256.ok_or_else(|| wrong("sha256", "64 hexadecimal digits"))?;
        let certificate = line.certificate.as_deref().map(str::parse).transpose();
        let certificate = certificate.map_err(|_| wrong("certificate", "sha256:, dns: or uri: and what it is"))?;
        let limits = CallerLimits {
            requests: rate(&line).map_err(|expected| wrong("requests_per_second", expected))?,
            tokens_per_minute: line.tokens_per_minute,
            concurrency: line.concurrency,
        };
        let (models, expires) = (line.models, line.expires);
        let terms = KeyTerms { name: line.name, tenant, scopes, models, expires, limits };
        let terms = Arc::new(terms);
        let (id, created, revoked) = (line.id, line.created, line.revoked);
        let record = Self { id, terms, created, revoked, certificate, sha256 };
        record.check()?;
        Ok(record)
    }

    pub(super) fn line(&self) -> Line {
        let KeyTerms { name, tenant, scopes, models, expires, limits } = &*self.terms;
        Line {
            id: self.id.clone(),
            name: name.clone(),
            tenant: tenant.as_str().to_owned(),
            sha256: hex(&self.sha256.to_bytes()),
            certificate: self.certificate.as_ref().map(ToString::to_string),
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            models: models.clone(),
            requests_per_second: limits.requests.map(|limit| 1.0 / limit.interval.as_secs_f64()),
            burst: limits.requests.map(|limit| limit.burst),
            tokens_per_minute: limits.tokens_per_minute,
            concurrency: limits.concurrency,
            created: self.created,
            expires: *expires,
            revoked: self.revoked,
        }
    }
}

fn rate(line: &Line) -> Result<Option<RateLimit>, &'static str> {
    let Some(per_second) = line.requests_per_second else { return Ok(None) };
    if !per_second.is_finite() || per_second <= 0.0 {
        return Err("a number above 0");
    }
    let interval = Duration::from_secs_f64((1.0 / per_second).min(INTERVAL_MAX)).max(Duration::from_nanos(1));
    Ok(Some(RateLimit { interval, burst: line.burst.unwrap_or(NonZeroU32::MIN) }))
}
