//! Which trace a request belongs to. (W3C Trace Context, level 1)

use crate::hex;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Length of the fields that every version has.
const FIELDS_BYTES: usize = 55;
/// Longest header that is looked at: later versions may have more fields.
const HEADER_BYTES_MAX: usize = 512;

/// A trace, and this server's part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// Goes on with the caller's trace, or begins one where it sent none that can be read.
    pub(crate) fn of(headers: &HeaderMap, random: &dyn Fn() -> u64) -> Self {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let given = match (all.next(), all.next()) {
            (Some(one), None) => one.to_str().ok().and_then(parse),
            (Some(_), Some(_)) | (None, _) => None,
        };
        // Zeroes stand for no trace and no span.
        let span = random().max(1);
        let (trace, flags) = given.unwrap_or_else(|| ((u128::from(random()) << 64 | u128::from(random())).max(1), 0));
        Self { trace, span, flags }
    }

    /// The trace's name.
    pub(crate) fn trace_id(self) -> String {
        let mut text = String::with_capacity(32);
        hex::push(&mut text, self.trace, 32);
        text
    }

    pub(crate) fn header(self) -> HeaderValue {
        let mut text = String::with_capacity(FIELDS_BYTES);
        text.push_str("00");
        for (number, n_digits) in [(self.trace, 32), (self.span.into(), 16), (self.flags.into(), 2)] {
            text.push('-');
            hex::push(&mut text, number, n_digits);
        }
        HeaderValue::try_from(text).expect("digits and dashes are fit for a header")
    }
}

/// The trace and its flags.
fn parse(text: &str) -> Option<(u128, u8)> {
    if text.len() > HEADER_BYTES_MAX || !text.is_ascii() {
        return None;
    }
    let (fields, more) = text.split_at_checked(FIELDS_BYTES)?;
    let parts: Vec<&str> = fields.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else { return None };
    if [version.len(), trace.len(), parent.len(), flags.len()] != [2, 32, 16, 2] {
        return None;
    }
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !parts.iter().all(|part| part.bytes().all(is_digit)) || version == "ff" {
        return None;
    }
    if !more.is_empty() && (version == "00" || !more.starts_with('-')) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
    Some((trace, u8::from_str_radix(flags, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_can_be_read_is_and_what_cannot_is_ignored() {
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        assert_eq!(parse(GOOD), Some((trace, 1)));
        assert_eq!(parse(&GOOD.replacen("00", "cc", 1)), Some((trace, 1)), "a later version");
        assert_eq!(parse(&format!("cc{}-what-comes", &GOOD[2..])), Some((trace, 1)));
        let bad = [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            format!("cc{}.more", &GOOD[2..]),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('4', "g"),
            GOOD.replace("-01", "ä1"),
            format!("cc{}-{}", &GOOD[2..], "x".repeat(HEADER_BYTES_MAX)),
        ];
        for bad in bad {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trace_goes_on_and_one_is_begun_where_there_is_none() {
        let mut headers = HeaderMap::new();
        let begun = TraceContext::of(&headers, &|| 7);
        assert_eq!(begun.header(), "00-00000000000000070000000000000007-0000000000000007-00");
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        let continued = TraceContext::of(&headers, &|| 9);
        assert_eq!(continued.header(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-01");
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(TraceContext::of(&headers, &|| 7), begun, "two are as good as none");
    }
}
