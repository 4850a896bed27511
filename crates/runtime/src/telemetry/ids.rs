//! The identifiers that log events carry: short, of visible ASCII, checked where they come in, cheap to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Most bytes of a [`CorrelationId`].
pub const CORRELATION_ID_BYTES_MAX: usize = 128;

/// Most bytes of a [`TenantId`].
pub const TENANT_ID_BYTES_MAX: usize = 128;

/// The tenant of requests that name none.
const TENANT_DEFAULT: &str = "default";

/// How the text of a numbered correlation id begins; 16 hexadecimal digits follow.
const NUMBERED_PREFIX: &str = "req-";

/// Digits of a numbered correlation id.
const NUMBERED_DIGITS: usize = 16;

/// What ties the events of one request, or of one session, together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CorrelationId(Repr);

/// A text that reads as a number is kept as one, so that ids which print the same are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    Number(u64),
    Text(Arc<str>),
}

impl CorrelationId {
    /// The id of a number, without allocation. Its text is `req-` and 16 hexadecimal digits.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(Repr::Number(number))
    }

    /// The number it was made from.
    #[cfg(test)]
    pub(crate) fn number(&self) -> Option<u64> {
        match self.0 {
            Repr::Number(number) => Some(number),
            Repr::Text(_) => None,
        }
    }
}

impl FromStr for CorrelationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check(text, CORRELATION_ID_BYTES_MAX)?;
        Ok(Self(numbered(text).map_or_else(|| Repr::Text(text.into()), Repr::Number)))
    }
}

/// The number whose id has this text.
fn numbered(text: &str) -> Option<u64> {
    let digits = text.strip_prefix(NUMBERED_PREFIX)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_number = digits.len() == NUMBERED_DIGITS && digits.bytes().all(is_digit);
    is_number.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Number(number) => write!(f, "{NUMBERED_PREFIX}{number:016x}"),
            Repr::Text(text) => f.write_str(text),
        }
    }
}

/// Whose request it is: what fair shares, limits and cached prefixes are kept apart by.
///
/// `default()` is the tenant of requests that name none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(
    /// `None`: the default tenant, so that it costs no allocation.
    Option<Arc<str>>,
);

impl TenantId {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(TENANT_DEFAULT)
    }
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check(text, TENANT_ID_BYTES_MAX)?;
        Ok(Self((text != TENANT_DEFAULT).then(|| text.into())))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no identifier. The text itself is not repeated: it may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing, or too much.
    #[error("id: expected 1 to {bytes_max} bytes, got {got}")]
    Length {
        /// The bound.
        bytes_max: usize,
        /// Bytes of the text.
        got: usize,
    },
    /// Something else than visible ASCII.
    #[error("id: expected visible ASCII, got byte {byte:#04x} at {at}")]
    Byte {
        /// The first bad byte.
        byte: u8,
        /// Where it is.
        at: usize,
    },
}

fn check(text: &str, bytes_max: usize) -> Result<(), IdError> {
    if !(1..=bytes_max).contains(&text.len()) {
        return Err(IdError::Length { bytes_max, got: text.len() });
    }
    match text.bytes().enumerate().find(|(_, byte)| !byte.is_ascii_graphic()) {
        Some((at, byte)) => Err(IdError::Byte { byte, at }),
        None => Ok(()),
    }
}

/// Whose event it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids<'a> {
    /// The request or session.
    pub correlation: Option<&'a CorrelationId>,
    /// Its tenant.
    pub tenant: Option<&'a TenantId>,
}

impl<'a> Ids<'a> {
    /// Nobody's.
    pub const NONE: Self = Self { correlation: None, tenant: None };

    /// Those of a request.
    #[must_use]
    pub fn new(correlation: &'a CorrelationId, tenant: &'a TenantId) -> Self {
        Self { correlation: Some(correlation), tenant: Some(tenant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_of_visible_ascii() {
        let (longest, longer) = ("x".repeat(CORRELATION_ID_BYTES_MAX), "x".repeat(CORRELATION_ID_BYTES_MAX + 1));
        for good in ["a", "req-1", "trace/7f:~!", &longest] {
            assert_eq!(good.parse::<CorrelationId>().unwrap().to_string(), good);
            assert_eq!(good.parse::<TenantId>().unwrap().to_string(), good);
        }
        for bad in ["", &longer, "two words", "line\nbreak", "nul\0", "\u{7f}", "é", "\u{1b}[31m"] {
            assert!(bad.parse::<CorrelationId>().is_err(), "{bad:?}");
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn errors_say_what_was_expected_and_do_not_repeat_the_text() {
        let message = |text: &str| text.parse::<TenantId>().unwrap_err().to_string();
        assert_eq!(message(""), "id: expected 1 to 128 bytes, got 0");
        assert_eq!(message("secret prompt"), "id: expected visible ASCII, got byte 0x20 at 6");
    }

    #[test]
    fn correlation_ids_that_print_the_same_are_equal() {
        for number in [0, 1, 0xdead_beef, u64::MAX] {
            let id = CorrelationId::from_number(number);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(CorrelationId::from_number(0x1f).to_string(), "req-000000000000001f");
        for text in ["req-1f", "req-000000000000001F", "req-+00000000000001f", "req-0000000000000001f"] {
            assert_eq!(text.parse::<CorrelationId>().unwrap().to_string(), text);
            assert_ne!(text.parse(), Ok(CorrelationId::from_number(0x1f)), "{text}");
        }
    }

    #[test]
    fn who_names_no_tenant_is_the_default_tenant() {
        assert_eq!(TenantId::default().as_str(), "default");
        assert_eq!("default".parse(), Ok(TenantId::default()));
        assert_ne!("Default".parse(), Ok(TenantId::default()));
    }
}
