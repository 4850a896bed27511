//! For tests of parsers: bodies broken by chance.

use crate::api_error::ApiError;
use ballast_testkit::SplitMix;
use serde_json::Value;

const N_BODIES: usize = 20_000;

/// Breaks `whole` in many ways: whatever comes out is a request, or an error with a status of the caller's fault.
pub(crate) fn bodies_are_refused_without_a_panic<T>(whole: &Value, parse: impl Fn(&[u8]) -> Result<T, ApiError>) {
    let whole = whole.to_string().into_bytes();
    assert!(parse(&whole).is_ok(), "the body is good before it is broken");
    let mut random = SplitMix::new(5);
    for _ in 0..N_BODIES {
        let mut body = whole.clone();
        for _ in 0..=random.next_u8() % 4 {
            let at = usize::from(random.next_u8()) * body.len() / 256;
            match random.next_u8() % 3 {
                0 => body[at] = random.next_u8(),
                1 => body.insert(at, b"{}[]\",:0e-"[usize::from(random.next_u8() % 10)]),
                _ => drop(body.drain(at..(at + 1 + usize::from(random.next_u8() % 8)).min(body.len()))),
            }
        }
        if let Err(error) = parse(&body) {
            assert_eq!(error.status(), 400, "{}", String::from_utf8_lossy(&body));
        }
    }
}
