//! Reads the wire form of protocol buffers from untrusted bytes: fields one by one, nothing allocated for a claim.
//! (<https://protobuf.dev/programming-guides/encoding/>)

use crate::error::GraphError;

/// Deepest nesting of messages that readers follow.
pub(crate) const DEPTH_MAX: usize = 64;

/// A message's bytes, and what to call it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    pub(crate) what: &'static str,
    depth: usize,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    content: Content<'a>,
    what: &'static str,
    depth: usize,
}

/// What a field holds, by its wire type.
#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Message<'a> {
    /// The outermost message.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what, depth: 0 }
    }

    /// Its fields in their order. After a field that is not well-formed there is none.
    pub(crate) fn fields(self) -> Fields<'a> {
        Fields { rest: self.bytes, message: self }
    }

    /// Its bytes.
    pub(crate) fn len(self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn malformed(&self, expected: impl Into<String>, got: impl Into<String>) -> GraphError {
        GraphError::malformed(self.what, expected, got)
    }
}

/// The fields of a message.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    message: Message<'a>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, GraphError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, GraphError> {
        let message = self.message;
        let torn = || message.malformed("a whole field", "an end within it");
        let key = varint(&mut self.rest).ok_or_else(torn)?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0 && number < 1 << 29);
        let number = number.ok_or_else(|| message.malformed("a field's number", key.to_string()))?;
        let content = match key & 7 {
            0 => Content::Varint(varint(&mut self.rest).ok_or_else(torn)?),
            1 => Content::Fixed64(self.array().ok_or_else(torn)?),
            2 => {
                let len = varint(&mut self.rest).and_then(|len| usize::try_from(len).ok()).ok_or_else(torn)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(torn)?;
                self.rest = rest;
                Content::Bytes(bytes)
            }
            5 => Content::Fixed32(self.array().ok_or_else(torn)?),
            other => return Err(message.malformed("a wire type of 0, 1, 2 or 5", other.to_string())),
        };
        Ok(Field { number, content, what: message.what, depth: message.depth })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }
}

/// A number of at most ten bytes, seven bits each, low ones first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (idx, &byte) in rest.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        value |= bits.checked_shl(7 * u32::try_from(idx).ok()?)?;
        if byte & 0x80 == 0 {
            *rest = &rest[idx + 1..];
            return Some(value);
        }
    }
    None
}

impl<'a> Field<'a> {
    fn wrong(&self, expected: &str) -> GraphError {
        let got = match self.content {
            Content::Varint(_) => "a number",
            Content::Fixed64(_) => "8 bytes",
            Content::Bytes(_) => "bytes",
            Content::Fixed32(_) => "4 bytes",
        };
        GraphError::malformed(format!("{}, field {}", self.what, self.number), expected, got)
    }

    /// A signed number.
    pub(crate) fn int(&self) -> Result<i64, GraphError> {
        if let Content::Varint(value) = self.content { Ok(value.cast_signed()) } else { Err(self.wrong("a number")) }
    }

    /// A 32-bit float.
    pub(crate) fn float(&self) -> Result<f32, GraphError> {
        if let Content::Fixed32(bytes) = self.content {
            Ok(f32::from_le_bytes(bytes))
        } else {
            Err(self.wrong("4 bytes"))
        }
    }

    /// A 64-bit float.
    pub(crate) fn double(&self) -> Result<f64, GraphError> {
        if let Content::Fixed64(bytes) = self.content {
            Ok(f64::from_le_bytes(bytes))
        } else {
            Err(self.wrong("8 bytes"))
        }
    }

    /// Bytes.
    pub(crate) fn bytes(&self) -> Result<&'a [u8], GraphError> {
        if let Content::Bytes(bytes) = self.content { Ok(bytes) } else { Err(self.wrong("bytes")) }
    }

    /// A text.
    pub(crate) fn text(&self) -> Result<String, GraphError> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(str::to_owned).map_err(|_| self.wrong("a text in UTF-8"))
    }

    /// A message within.
    pub(crate) fn message(&self, what: &'static str) -> Result<Message<'a>, GraphError> {
        if self.depth == DEPTH_MAX {
            return Err(GraphError::TooMany {
                what: "messages within messages".to_owned(),
                max: DEPTH_MAX as u64,
                got: DEPTH_MAX as u64 + 1,
            });
        }
        Ok(Message { bytes: self.bytes()?, what, depth: self.depth + 1 })
    }

    /// Adds signed numbers, packed or one by one.
    pub(crate) fn ints(&self, values: &mut Vec<i64>) -> Result<(), GraphError> {
        let Content::Bytes(mut rest) = self.content else {
            values.push(self.int()?);
            return Ok(());
        };
        while !rest.is_empty() {
            values.push(varint(&mut rest).ok_or_else(|| self.wrong("packed numbers"))?.cast_signed());
        }
        Ok(())
    }

    /// Adds 32-bit floats, packed or one by one.
    pub(crate) fn floats(&self, values: &mut Vec<f32>) -> Result<(), GraphError> {
        let Content::Bytes(bytes) = self.content else {
            values.push(self.float()?);
            return Ok(());
        };
        let (chunks, rest) = bytes.as_chunks();
        values.extend(chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        if rest.is_empty() { Ok(()) } else { Err(self.wrong("packed floats")) }
    }

    /// Adds 64-bit floats, packed or one by one.
    pub(crate) fn doubles(&self, values: &mut Vec<f64>) -> Result<(), GraphError> {
        let Content::Bytes(bytes) = self.content else {
            values.push(self.double()?);
            return Ok(());
        };
        let (chunks, rest) = bytes.as_chunks();
        values.extend(chunks.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        if rest.is_empty() { Ok(()) } else { Err(self.wrong("packed floats")) }
    }
}
