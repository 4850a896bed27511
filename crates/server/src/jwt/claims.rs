//! What a token says: who, for whom, from when to when, and what it may.

use crate::scope::Scope;
use ballast_runtime::TenantId;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Bytes of a subject's digest that its tenant is named by, where the subject is no tenant's name.
const TENANT_BYTES: usize = 8;

/// Claims that were checked against issuer and audience. Times are in seconds since 1970.
pub(super) struct Claims {
    subject: String,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) expires: i64,
    pub(super) not_before: Option<i64>,
}

impl Claims {
    /// `None` if a claim that is needed is missing, or one is not what it must be.
    pub(super) fn of(claims: &Value, issuer: &str, audience: &str) -> Option<Self> {
        if claims.get("iss")?.as_str()? != issuer {
            return None;
        }
        let is_ours = match claims.get("aud")? {
            Value::String(one) => one == audience,
            Value::Array(many) => many.iter().any(|one| one == audience),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        };
        if !is_ours {
            return None;
        }
        let subject = claims.get("sub")?.as_str().filter(|subject| !subject.is_empty())?.to_owned();
        let not_before = match claims.get("nbf") {
            None => None,
            Some(from) => Some(seconds(from)?),
        };
        Some(Self { subject, scopes: scopes(claims), expires: seconds(claims.get("exp")?)?, not_before })
    }

    /// The subject, or a name made of its digest where it is none that a tenant can have.
    pub(super) fn tenant(&self) -> TenantId {
        self.subject.parse().unwrap_or_else(|_| {
            let digest = Sha256::digest(self.subject.as_bytes());
            let name: String = digest[..TENANT_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sub-{name}").parse().expect("a word and hexadecimal digits are a tenant's name")
        })
    }
}

/// A time, which may have a fraction. (RFC 7519, 2: NumericDate)
fn seconds(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and no time comes near")]
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64))
}

/// Words of `scope` (RFC 8693, 4.2) or entries of `scp`. Those that are not ours say nothing here.
fn scopes(claims: &Value) -> BTreeSet<Scope> {
    let of = |name: &str| match claims.get(name) {
        Some(Value::String(words)) => words.split(' ').map(str::to_owned).collect(),
        Some(Value::Array(words)) => words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
    };
    of("scope").into_iter().chain(of("scp")).filter_map(|word| word.parse().ok()).collect()
}
