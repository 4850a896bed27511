//! Keys: who may use the routes that are not liveness.

use crate::ApiKeyError;
use crate::api_error::Refusal;
use crate::caller::Caller;
use crate::state::Server;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName};
use ballast_runtime::TenantId;
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Most keys at a time: each is compared with every request.
pub const KEYS_MAX: usize = 64;
/// Shortest key: 16 random characters are beyond guessing over a network.
pub const KEY_BYTES_MIN: usize = 16;
/// Longest key.
pub const KEY_BYTES_MAX: usize = 512;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Bytes of a key's digest that its tenant is named by.
const TENANT_BYTES: usize = 8;

/// Keys that open the server. Only their SHA-256 digests are kept, each with the tenant whose key it is.
#[derive(Clone)]
pub struct ApiKeys(Arc<[([u8; 32], TenantId)]>);

impl ApiKeys {
    /// Takes keys of [`KEY_BYTES_MIN`] to [`KEY_BYTES_MAX`] visible ASCII characters.
    ///
    /// # Errors
    /// If there are none or more than [`KEYS_MAX`], or one is not such a key.
    pub fn new(keys: Vec<String>) -> Result<Self, ApiKeyError> {
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
        let known = |key: &String| {
            let digest = digest(key);
            (digest, tenant_of(&digest))
        };
        Ok(Self(keys.iter().map(known).collect()))
    }

    /// Whose key it is, if `presented` is one. The time it takes tells nothing of the keys.
    fn tenant(&self, presented: &str) -> Option<TenantId> {
        let presented = digest(presented);
        // All are compared, and which it was is noted without a branch.
        let note = |found: u8, (idx, (key, _)): (u8, &([u8; 32], TenantId))| {
            u8::conditional_select(&found, &idx, key.ct_eq(&presented))
        };
        let found = (0..).zip(self.0.iter()).fold(u8::MAX, note);
        self.0.get(usize::from(found)).map(|(_, tenant)| tenant.clone())
    }
}

/// Every key is a tenant of its own, named by the beginning of its digest: nobody learns the key from it.
fn tenant_of(digest: &[u8; 32]) -> TenantId {
    let name: String = digest[..TENANT_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("key-{name}").parse().expect("a word and hexadecimal digits are a tenant's name")
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Who asks: whose key a request carries, or anybody if the server asks for none.
///
/// # Errors
/// If it carries none that opens the server.
pub(crate) fn admit(server: &Server, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller, Refusal> {
    let options = &server.options;
    if options.keys.is_none() && options.key_store.is_none() && options.jwt.is_none() {
        return Ok(Caller { id: None, tenant: TenantId::default(), terms: None, address });
    }
    let presented = presented(headers).ok_or(Refusal::Key)?;
    if let Some(tenant) = options.keys.as_ref().and_then(|keys| keys.tenant(presented)) {
        return Ok(Caller { id: Some(tenant.as_str().into()), tenant, terms: None, address });
    }
    let now = (options.unix_time)();
    // Tokens have two dots; our own keys have none.
    if let Some(jwt) = options.jwt.as_ref().filter(|_| presented.contains('.')) {
        return jwt.caller(presented, now, address);
    }
    let store = options.key_store.as_ref().ok_or(Refusal::Key)?;
    let record = store.find(presented, now)?;
    let (tenant, terms) = (record.terms.tenant.clone(), Some(Arc::clone(&record.terms)));
    Ok(Caller { id: Some(record.id.as_str().into()), tenant, terms, address })
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
        assert_eq!(format!("{keys:?}"), "2 keys");
    }
}
