//! What comes with a request besides its body: how soon its turn is to come, and what the caller calls it.

use crate::caller::Visit;
use crate::fields::ParamError;
use crate::request_id::RequestId;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderName;
use ballast_runtime::{CorrelationId, Priority, TenantId};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const PRIORITY: HeaderName = HeaderName::from_static("x-ballast-priority");
const EXPECTED: &str = "low, normal, high, or a whole number from -10 to 10";

/// Who asks, and how urgently.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker {
    pub(crate) priority: Priority,
    pub(crate) correlation: Option<CorrelationId>,
    /// Whose key it was; that of everybody where no key is asked for.
    pub(crate) tenant: TenantId,
    /// How long the request has waited for its model to be loaded.
    pub(crate) waited: Duration,
    /// What it may do and use; `None` where nobody guards.
    pub(crate) visit: Option<Arc<Visit>>,
}

/// A request whose body has come.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) body: Bytes,
    pub(crate) asker: Asker,
}

impl Asker {
    /// # Errors
    /// If the priority is none.
    pub(crate) fn of(request: &Request) -> Result<Self, ParamError> {
        let priority = match request.headers().get(PRIORITY) {
            None => Priority::NORMAL,
            Some(value) => {
                let text = value.to_str().unwrap_or_default().trim();
                let number = text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from);
                priority(PRIORITY.as_str(), &number)?
            }
        };
        let correlation = request.extensions().get::<RequestId>().and_then(RequestId::correlation);
        let visit = request.extensions().get::<Arc<Visit>>().cloned();
        let tenant = visit.as_ref().map(|visit| visit.caller.tenant.clone()).unwrap_or_default();
        Ok(Self { priority, correlation, tenant, visit, waited: Duration::ZERO })
    }
}

/// A priority by its name or its level.
///
/// # Errors
/// If it is neither.
pub(crate) fn priority(param: &str, value: &Value) -> Result<Priority, ParamError> {
    let known = match value.as_str() {
        Some("low") => Some(Priority::LOW),
        Some("normal") => Some(Priority::NORMAL),
        Some("high") => Some(Priority::HIGH),
        Some(_) => None,
        None => value.as_i64().and_then(|level| i8::try_from(level).ok()).and_then(Priority::new),
    };
    known.ok_or_else(|| ParamError::wrong(param.to_owned(), EXPECTED, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn priorities_have_names_and_levels() {
        let of = |value: Value| priority("p", &value).ok().map(Priority::level);
        let cases = [
            (json!("low"), Some(-1)),
            (json!("normal"), Some(0)),
            (json!("high"), Some(1)),
            (json!(10), Some(10)),
            (json!(-10), Some(-10)),
            (json!(11), None),
            (json!(1000), None),
            (json!(1.5), None),
            (json!("urgent"), None),
            (json!(null), None),
        ];
        for (value, expected) in cases {
            assert_eq!(of(value.clone()), expected, "{value}");
        }
    }
}
