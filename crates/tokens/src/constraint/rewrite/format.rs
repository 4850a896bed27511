//! Formats in words that the engine of grammars enforces.

use super::super::schema::FORMATS;

/// How a format is said. Where the second is given, it is narrower than the format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said {
    /// By a format that the engine of grammars has.
    Format(&'static str),
    Pattern(&'static str),
    /// It is about whole numbers, and is said by bounds.
    Within(f64, f64),
    /// It says what a text or number is for, and rules out nothing.
    Anything,
}

/// How a format is said; none for one that is not known.
pub(super) fn said(name: &str) -> Option<Said> {
    if let Some(format) = FORMATS.iter().find(|format| **format == name) {
        return Some(Said::Format(format));
    }
    Some(match name {
        "idn-email" => Said::Format("email"),
        "idn-hostname" => Said::Format("hostname"),
        "iri" | "uri-reference" | "iri-reference" | "uri-template" => Said::Format("uri"),
        "json-pointer" => Said::Pattern("^(/([^~/]|~[01])*)*$"),
        "relative-json-pointer" => Said::Pattern("^(0|[1-9][0-9]*)(#|(/([^~/]|~[01])*)*)$"),
        "regex" => Said::Pattern("^[A-Za-z0-9 _]*$"),
        "byte" => Said::Pattern("^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"),
        "int32" => Said::Within(-2_147_483_648.0, 2_147_483_647.0),
        "int64" => Said::Within(-9_007_199_254_740_991.0, 9_007_199_254_740_991.0),
        "password" | "binary" | "float" | "double" => Said::Anything,
        _ => return None,
    })
}
