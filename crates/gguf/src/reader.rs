//! A cursor over untrusted bytes: every step checks what is left before it is taken.

use crate::GgufError;
use crate::limits::HEADER_BYTES_MAX;
use std::fmt;

/// The part of the file being read, for errors. Cheap to make: it becomes text only when something is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    /// What is read: "length", "value type".
    pub(crate) what: &'static str,
    pub(crate) of: Of<'a>,
}

/// What a field belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    File,
    Entry(u64),
    Key(&'a str),
    TensorNumber(u64),
    Tensor(&'a str),
}

/// Names come from the file and may be long or unprintable.
const NAME_CHARS_SHOWN: usize = 80;

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, of } = self;
        let short = |name: &str| name.chars().take(NAME_CHARS_SHOWN).collect::<String>();
        match of {
            Of::File => write!(f, "{what}"),
            Of::Entry(idx) => write!(f, "{what} of metadata entry {idx}"),
            Of::Key(key) => write!(f, "{what} of metadata {:?}", short(key)),
            Of::TensorNumber(idx) => write!(f, "{what} of tensor {idx}"),
            Of::Tensor(name) => write!(f, "{what} of tensor {:?}", short(name)),
        }
    }
}

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    limit: u64,
}

impl<'a> Reader<'a> {
    /// A reader of the header in `bytes`; it goes no further than [`HEADER_BYTES_MAX`].
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, limit: HEADER_BYTES_MAX }
    }

    /// Another reader at the same place.
    pub(crate) fn fork(&self) -> Self {
        Self { bytes: self.bytes, position: self.position, limit: self.limit }
    }

    /// What lies between this reader and one further on.
    pub(crate) fn until(&self, further: &Self) -> &'a [u8] {
        &self.bytes[self.position..further.position]
    }

    pub(crate) fn offset(&self) -> u64 {
        self.position as u64
    }

    fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    /// Refuses a claim of `n` things of at least `each` bytes that the rest of the file cannot hold.
    pub(crate) fn expect_room(&self, n: u64, each: u64, field: Field<'_>) -> Result<(), GgufError> {
        let (expected, got) = (n.saturating_mul(each), self.remaining());
        if expected > got {
            return Err(GgufError::Truncated { field: field.to_string(), offset: self.offset(), expected, got });
        }
        let end = self.offset() + expected;
        if end > self.limit {
            let (field, offset) = (format!("end of {field}"), self.offset());
            return Err(GgufError::TooMany { field, offset, max: self.limit, got: end });
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, n: u64, field: Field<'_>) -> Result<&'a [u8], GgufError> {
        self.expect_room(n, 1, field)?;
        let n = usize::try_from(n).expect("no more than the bytes in memory");
        let taken = &self.bytes[self.position..self.position + n];
        self.position += n;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: Field<'_>) -> Result<[u8; N], GgufError> {
        Ok(self.take(N as u64, field)?.try_into().expect("take returns as many bytes as asked"))
    }

    pub(crate) fn u32(&mut self, field: Field<'_>) -> Result<u32, GgufError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: Field<'_>) -> Result<u64, GgufError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A count, or a length, of at most `max`.
    pub(crate) fn count(&mut self, max: u64, field: Field<'_>) -> Result<u64, GgufError> {
        let offset = self.offset();
        let got = self.u64(field)?;
        if got > max {
            return Err(GgufError::TooMany { field: field.to_string(), offset, max, got });
        }
        Ok(got)
    }

    /// A length and that many bytes.
    pub(crate) fn string(&mut self, max: u64, field: Field<'_>) -> Result<&'a [u8], GgufError> {
        let n_bytes = self.count(max, field)?;
        self.take(n_bytes, field)
    }

    /// A non-empty UTF-8 string: a key or a tensor's name. Copied before it is checked, as a mapped file may change.
    pub(crate) fn name(&mut self, max: u64, field: Field<'_>) -> Result<String, GgufError> {
        let offset = self.offset();
        let bytes = self.string(max, field)?.to_vec();
        if bytes.is_empty() {
            return Err(GgufError::EmptyName { field: field.to_string(), offset });
        }
        String::from_utf8(bytes).map_err(|error| {
            let (field, valid_up_to) = (field.to_string(), error.utf8_error().valid_up_to());
            GgufError::NotUtf8 { field, offset, valid_up_to }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_at_its_limit() {
        let mut reader = Reader { bytes: &[0; 16], position: 0, limit: 10 };
        let field = Field { what: "value", of: Of::Key("k") };
        assert!(reader.take(10, field).is_ok());
        let error = reader.take(1, field).unwrap_err();
        assert!(matches!(error, GgufError::TooMany { offset: 10, max: 10, got: 11, .. }), "{error}");
    }

    #[test]
    fn names_in_errors_are_short_and_printable() {
        let key = "\u{1b}".repeat(500);
        let text = Field { what: "value", of: Of::Key(&key) }.to_string();
        assert!(text.len() < 1_000 && !text.contains('\u{1b}'), "{text}");
    }
}
