//! The values of a log event, in a fixed number of slots: no map and no allocation for an event.
//!
//! A value cannot hold text that came from outside: it is a number, a time, a truth or a word of the program. So
//! prompts and answers cannot become fields.

use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// Most values of one event.
pub const FIELDS_MAX: usize = 8;

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Not there this time.
    Absent,
    /// A count or a number that names something.
    Count(u64),
    /// A measured number.
    Number(f64),
    /// A time. Printed in milliseconds with three decimals: its key ends with `_ms`.
    Time(Duration),
    /// A word of the program.
    Word(&'static str),
    /// A truth.
    Flag(bool),
}

/// Milliseconds, in steps of a microsecond.
pub(crate) fn millis(time: Duration) -> f64 {
    // Exact below 2^53 microseconds, which is 285 years.
    time.as_micros() as f64 / 1000.0
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Absent => f.write_str("-"),
            Self::Count(count) => count.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Time(time) => millis(time).fmt(f),
            Self::Word(word) => f.write_str(word),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Absent => serializer.serialize_none(),
            Self::Count(count) => serializer.serialize_u64(count),
            Self::Number(number) => serializer.serialize_f64(number),
            Self::Time(time) => serializer.serialize_f64(millis(time)),
            Self::Word(word) => serializer.serialize_str(word),
            Self::Flag(flag) => serializer.serialize_bool(flag),
        }
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self::Count(u64::from(count))
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f32> for Value {
    fn from(number: f32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

/// Keys and values of one event, at most [`FIELDS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fields {
    slots: [(&'static str, Value); FIELDS_MAX],
    len: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Self { slots: [("", Value::Absent); FIELDS_MAX], len: 0 }
    }
}

impl Fields {
    /// These keys and values. More than [`FIELDS_MAX`] do not compile:
    ///
    /// ```compile_fail
    /// use ballast_runtime::telemetry::{FIELDS_MAX, Fields, Value};
    /// let fields = Fields::of([("key", Value::Absent); FIELDS_MAX + 1]);
    /// ```
    #[must_use]
    pub fn of<const N: usize>(fields: [(&'static str, Value); N]) -> Self {
        const { assert!(N <= FIELDS_MAX, "an event has at most FIELDS_MAX fields") };
        let mut all = Self { len: N, ..Self::default() };
        all.slots[..N].copy_from_slice(&fields);
        all
    }

    /// The keys and values, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[(&'static str, Value)] {
        &self.slots[..self.len]
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.as_slice().iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_numbers_milliseconds_and_words() {
        let cases: [(Value, &str); 8] = [
            (3_u64.into(), "3"),
            (0.5_f32.into(), "0.5"),
            (Duration::from_nanos(1_234_567).into(), "1.234"),
            (Duration::from_secs(2).into(), "2000"),
            ("stop".into(), "stop"),
            (true.into(), "true"),
            (Some(7_usize).into(), "7"),
            (None::<u32>.into(), "-"),
        ];
        for (value, text) in cases {
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn fields_keep_their_order() {
        let fields = Fields::of([("b", 1_u64.into()), ("a", "x".into())]);
        assert_eq!(fields.as_slice(), [("b", Value::Count(1)), ("a", Value::Word("x"))]);
        assert!(Fields::default().as_slice().is_empty());
    }
}
