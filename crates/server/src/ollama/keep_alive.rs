//! `keep_alive`: how long a model stays loaded without use, in seconds or as Go writes times (`5m`, `1h30m`).

use crate::fields::{Fields, ParamError};
use serde_json::Value;
use std::time::Duration;

const EXPECTED: &str = "seconds or a time such as \"5m\"; 0 unloads after use, less than 0 keeps it loaded";

/// Go's units, and their length in seconds. Longer names first.
const UNITS: [(&str, f64); 7] =
    [("ms", 1e-3), ("us", 1e-6), ("\u{b5}s", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];

/// How long a model is to stay loaded without use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Until its room is needed.
    Always,
    For(Duration),
}

impl Keep {
    /// As the house of models is told.
    pub(super) fn as_option(self) -> Option<Duration> {
        match self {
            Self::Always => None,
            Self::For(time) => Some(time),
        }
    }
}

/// # Errors
/// If the field is no time.
pub(super) fn take(fields: &mut Fields) -> Result<Option<Keep>, ParamError> {
    let Some(value) = fields.take("keep_alive") else { return Ok(None) };
    let seconds = match &value {
        Value::Number(seconds) => seconds.as_f64(),
        Value::String(text) => seconds(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let keep = seconds.map(|seconds| match Duration::try_from_secs_f64(seconds) {
        Ok(time) => Keep::For(time),
        // Below 0, or longer than any clock can say.
        Err(_) => Keep::Always,
    });
    keep.map(Some).ok_or_else(|| ParamError::wrong("keep_alive".to_owned(), EXPECTED, &value))
}

/// The seconds of a time as Go writes it: `-1m`, `1h30m`, `1.5h`; a number alone are seconds.
fn seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Ok(seconds) = rest.parse::<f64>() {
        return seconds.is_finite().then_some(sign * seconds);
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let n_digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, units) = rest.split_at(n_digits);
        let (unit, length) = UNITS.into_iter().find(|(unit, _)| units.starts_with(unit))?;
        sum += number.parse::<f64>().ok()? * length;
        rest = &units[unit.len()..];
    }
    (!text.is_empty()).then_some(sign * sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Option<Option<Keep>> {
        let mut fields = Fields::new(String::new(), json!({ "keep_alive": value })).unwrap();
        take(&mut fields).ok()
    }

    #[test]
    fn times_are_seconds_or_as_go_writes_them() {
        let seconds = |seconds: f64| Some(Some(Keep::For(Duration::from_secs_f64(seconds))));
        let cases = [
            (json!(0), seconds(0.0)),
            (json!(90), seconds(90.0)),
            (json!(1.5), seconds(1.5)),
            (json!("0"), seconds(0.0)),
            (json!("0s"), seconds(0.0)),
            (json!("5m"), seconds(300.0)),
            (json!("1h30m"), seconds(5400.0)),
            (json!("1.5h"), seconds(5400.0)),
            (json!("100ms"), seconds(0.1)),
            (json!("24h0m0s"), seconds(86400.0)),
            (json!(-1), Some(Some(Keep::Always))),
            (json!("-1m"), Some(Some(Keep::Always))),
            (json!("99999999999999999999999h"), Some(Some(Keep::Always))),
            (json!(null), Some(None)),
            (json!(""), None),
            (json!("soon"), None),
            (json!("5x"), None),
            (json!("m"), None),
            (json!("inf"), None),
            (json!("5m3"), None),
            (json!(true), None),
            (json!([]), None),
        ];
        for (value, expected) in cases {
            assert_eq!(read(value.clone()), expected, "{value}");
        }
    }
}
