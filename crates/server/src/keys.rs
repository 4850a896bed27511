//! Keys: who may use the routes that are not liveness.

use crate::ApiKeyError;
use crate::api_error::{ApiError, Limited, Refusal};
use crate::caller::Caller;
use crate::connection::PeerAddress;
use crate::digest::KeyDigest;
use crate::hex;
use crate::key_store::KeyRecord;
use crate::state::Server;
use crate::tls::PeerCertificate;
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName};
use ballast_runtime::TenantId;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// Most keys at a time: each is compared with every request.
pub const KEYS_MAX: usize = 64;
/// Shortest key: 16 random characters are beyond guessing over a network.
pub const KEY_BYTES_MIN: usize = 16;
/// Longest key.
pub const KEY_BYTES_MAX: usize = 512;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Bytes of a key's digest that its tenant is named by.
const TENANT_BYTES: usize = 8;

/// Keys that open the server. Only their SHA-256 digests are kept. Clones are the same keys.
#[derive(Clone)]
pub struct ApiKeys(Arc<Table>);

struct Table(RwLock<Arc<[KeyDigest]>>);

impl ApiKeys {
    /// Takes keys of [`KEY_BYTES_MIN`] to [`KEY_BYTES_MAX`] visible ASCII characters.
    ///
    /// # Errors
    /// If there are none or more than [`KEYS_MAX`], or one is not such a key.
    pub fn new(keys: Vec<String>) -> Result<Self, ApiKeyError> {
        Ok(Self(Arc::new(Table(RwLock::new(digests(&keys)?)))))
    }

    /// From now on these keys, and no others, open the server.
    ///
    /// # Errors
    /// As [`Self::new`]: the keys stay as they were.
    pub fn replace(&self, keys: &[String]) -> Result<(), ApiKeyError> {
        let digests = digests(keys)?;
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = digests;
        Ok(())
    }

    /// Whose key it is, if `presented` is one. The time it takes tells nothing of the keys.
    fn tenant(&self, presented: &str) -> Option<TenantId> {
        let presented = KeyDigest::of(presented);
        presented.is_any_of(&self.digests()).then(|| tenant_of(presented))
    }

    fn digests(&self) -> Arc<[KeyDigest]> {
        Arc::clone(&self.0.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn digests(keys: &[String]) -> Result<Arc<[KeyDigest]>, ApiKeyError> {
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(ApiKeyError::Count { got: keys.len() });
    }
    for (idx, key) in keys.iter().enumerate() {
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(ApiKeyError::Length { idx, got: key.len() });
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyError::Character { idx });
        }
    }
    Ok(keys.iter().map(|key| KeyDigest::of(key)).collect())
}

/// Every key is a tenant of its own, named by the beginning of its digest: nobody learns the key from it.
fn tenant_of(digest: KeyDigest) -> TenantId {
    let mut name = String::from("key-");
    digest.to_bytes()[..TENANT_BYTES].iter().for_each(|&byte| hex::push(&mut name, byte.into(), 2));
    name.parse().expect("a word and hexadecimal digits are a tenant's name")
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.digests().len())
    }
}

/// Who asks: whose key a request carries, or its client's certificate where it carries none, or anybody if the server
/// asks for none.
///
/// # Errors
/// If there is none that opens the server, or its address has presented too many of those.
pub(crate) fn admit(server: &Server, request: &Request) -> Result<Caller, ApiError> {
    let address = request.extensions().get::<PeerAddress>().map(|address| address.0);
    let options = &server.options;
    if options.keys.is_none() && options.key_store.is_none() && options.jwt.is_none() {
        return Ok(Caller { id: None, tenant: TenantId::default(), terms: None, address });
    }
    let Some(presented) = presented(request.headers()) else {
        return Ok(by_certificate(server, request, address)?);
    };
    // An address that guesses learns nothing while it is to wait, not even that it guessed right.
    server.logins.check(address).map_err(|retry_after| Limited::Logins { retry_after })?;
    let opened = opened(server, presented, address);
    if matches!(opened, Err(Refusal::Key)) {
        server.logins.note_failure(address);
    }
    Ok(opened?)
}

fn by_certificate(server: &Server, request: &Request, address: Option<IpAddr>) -> Result<Caller, Refusal> {
    let shown = request.extensions().get::<Arc<PeerCertificate>>().ok_or(Refusal::Key)?;
    let store = server.options.key_store.as_ref().ok_or(Refusal::Key)?;
    Ok(caller_of(&*store.find_certificate(shown.names(), (server.options.unix_time)())?, address))
}

fn opened(server: &Server, presented: &str, address: Option<IpAddr>) -> Result<Caller, Refusal> {
    let options = &server.options;
    if let Some(tenant) = options.keys.as_ref().and_then(|keys| keys.tenant(presented)) {
        return Ok(Caller { id: Some(tenant.as_str().into()), tenant, terms: None, address });
    }
    let now = (options.unix_time)();
    // Tokens have two dots; our own keys have none.
    if let Some(jwt) = options.jwt.as_ref().filter(|_| presented.contains('.')) {
        return jwt.caller(presented, now, address);
    }
    let store = options.key_store.as_ref().ok_or(Refusal::Key)?;
    Ok(caller_of(&*store.find(presented, now)?, address))
}

fn caller_of(record: &KeyRecord, address: Option<IpAddr>) -> Caller {
    let (tenant, terms) = (record.terms.tenant.clone(), Some(Arc::clone(&record.terms)));
    Caller { id: Some(record.id.as_str().into()), tenant, terms, address }
}

/// The key as OpenAI's and Ollama's clients send it, or as Anthropic's do.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        return headers.get(X_API_KEY)?.to_str().ok();
    };
    let (scheme, key) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_easy_to_guess_are_refused() {
        let new = |key: &str| ApiKeys::new(vec![key.to_owned()]).err();
        assert_eq!(new("0123456789abcdef"), None);
        assert_eq!(new("short"), Some(ApiKeyError::Length { idx: 0, got: 5 }));
        assert_eq!(new(&"k".repeat(KEY_BYTES_MAX + 1)), Some(ApiKeyError::Length { idx: 0, got: KEY_BYTES_MAX + 1 }));
        assert_eq!(new("0123456789 abcdef"), Some(ApiKeyError::Character { idx: 0 }));
        assert_eq!(ApiKeys::new(Vec::new()).err(), Some(ApiKeyError::Count { got: 0 }));
        let many = vec!["0123456789abcdef".to_owned(); KEYS_MAX + 1];
        assert_eq!(ApiKeys::new(many).err(), Some(ApiKeyError::Count { got: KEYS_MAX + 1 }));
    }

    #[test]
    fn each_key_opens_and_nothing_else_does() {
        let keys = ApiKeys::new(vec!["fedcba9876543210".to_owned(), "0123456789abcdef".to_owned()]).unwrap();
        let (first, second) = (keys.tenant("fedcba9876543210"), keys.tenant("0123456789abcdef"));
        assert!(first.is_some() && second.is_some() && first != second, "each key is a tenant");
        assert_eq!((keys.tenant(""), keys.tenant("0123456789abcde")), (None, None));
        assert!(keys.replace(&["short".to_owned()]).is_err() && keys.tenant("0123456789abcdef").is_some());
        keys.clone().replace(&["0123456789abcdef".to_owned(), "another-key-of-some-length".to_owned()]).unwrap();
        assert!(keys.tenant("fedcba9876543210").is_none() && keys.tenant("another-key-of-some-length").is_some());
        assert_eq!(keys.tenant("0123456789abcdef"), second);
        assert_eq!(format!("{keys:?}"), "2 keys");
    }
}
