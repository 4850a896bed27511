//! NumPy's file format, read from untrusted bytes and written. (numpy.lib.format, versions 1.0 to 3.0)
//!
//! Little-endian arrays in C order of every element type that tensors have. What else NumPy writes is refused by name.

use super::error::NpyError;
use ballast_backend::{DType, RANK_MAX, Tensor, TensorData, element_count};
use half::bf16;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Most bytes of a header's text: many times what [`RANK_MAX`] dimensions take.
const HEADER_BYTES_MAX: usize = 1 << 16;
/// Most characters of one text: `<U` has that many for each element.
const TEXT_CHARS_MAX: usize = 1 << 20;
/// The data begins at a multiple of this.
const ALIGNMENT: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
struct Header<'a> {
    descr: &'a str,
    shape: Vec<usize>,
}

/// Reads an array.
///
/// # Errors
/// Bytes that are not the format, or an array that no tensor can have.
pub fn read(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let (header, data) = split(bytes)?;
    let header = Header::parse(header)?;
    let len = element_count(&header.shape).ok_or_else(|| wrong("a shape that can be counted", &header.shape))?;
    let data = elements(header.descr, len, data)?;
    Ok(Tensor::new(header.shape, data)?)
}

/// The bytes of an array. Floats of 16 bits with the range of 32, which NumPy lacks, are written as the 32 bits that
/// they are the upper half of.
#[must_use]
pub fn write(tensor: &Tensor) -> Vec<u8> {
    let (descr, data) = encoded(tensor.data());
    let dims: String = tensor.shape().iter().map(|dim| format!("{dim}, ")).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", dims.trim_end());
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    text.push('\n');
    let len = u16::try_from(text.len()).expect("a few dimensions make a short header");
    [MAGIC, &[1, 0], &len.to_le_bytes(), text.as_bytes(), &data].concat()
}

fn wrong(expected: &str, got: impl std::fmt::Debug) -> NpyError {
    NpyError::Malformed { expected: expected.to_owned(), got: format!("{got:?}") }
}

/// The text of the header, and the elements.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), NpyError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("NumPy's magic", bytes.get(..6)))?;
    let torn = || wrong("a whole header", "an end within it");
    let ([major, _], rest) = rest.split_first_chunk::<2>().ok_or_else(torn)?;
    let (len, rest) = match major {
        1 => rest.split_first_chunk().map(|(len, rest)| (usize::from(u16::from_le_bytes(*len)), rest)),
        2 | 3 => rest
            .split_first_chunk()
            .map(|(len, rest)| (usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX), rest)),
        other => return Err(wrong("version 1, 2 or 3", other)),
    }
    .ok_or_else(torn)?;
    if len > HEADER_BYTES_MAX {
        return Err(wrong("a header of at most 65536 bytes", len));
    }
    let (header, data) = rest.split_at_checked(len).ok_or_else(torn)?;
    let header = std::str::from_utf8(header).map_err(|_| wrong("a header of text", "other bytes"))?;
    Ok((header, data))
}

impl<'a> Header<'a> {
    /// Reads the literal of a dictionary with exactly the three keys.
    fn parse(text: &'a str) -> Result<Self, NpyError> {
        let torn = || wrong("a dictionary of descr, fortran_order and shape", text.get(..80).unwrap_or(text));
        let mut rest = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(torn)?.trim();
        let (mut descr, mut is_c, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = quoted(rest).ok_or_else(torn)?;
            let value = after.trim_start().strip_prefix(':').ok_or_else(torn)?.trim_start();
            let after = match key {
                "descr" => {
                    let (text, after) = quoted(value).ok_or_else(|| wrong("a simple type of elements", value))?;
                    (descr.replace(text).is_none()).then_some(after)
                }
                "fortran_order" => {
                    let (word, after) = [("False", true), ("True", false)]
                        .into_iter()
                        .find_map(|(word, is)| Some((is, value.strip_prefix(word)?)))
                        .ok_or_else(torn)?;
                    is_c.replace(word).is_none().then_some(after)
                }
                "shape" => {
                    let (inner, after) =
                        value.strip_prefix('(').and_then(|value| value.split_once(')')).ok_or_else(torn)?;
                    shape.replace(dims(inner)?).is_none().then_some(after)
                }
                _ => None,
            };
            let after = after.ok_or_else(torn)?.trim_start();
            rest = if after.is_empty() { after } else { after.strip_prefix(',').ok_or_else(torn)?.trim_start() };
        }
        let (descr, is_c, shape) = (descr.ok_or_else(torn)?, is_c.ok_or_else(torn)?, shape.ok_or_else(torn)?);
        if !is_c && shape.len() > 1 {
            return Err(wrong("an array in C order (numpy.ascontiguousarray)", "one in Fortran order"));
        }
        Ok(Self { descr, shape })
    }
}

/// A text in single quotes, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('\'')?.split_once('\'')
}

fn dims(text: &str) -> Result<Vec<usize>, NpyError> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let (last, others) = parts.split_last().expect("splitting gives one part at least");
    if others.iter().any(|part| part.is_empty()) || (others.is_empty() && !last.is_empty()) {
        return Err(wrong("a shape such as (2, 3)", text));
    }
    let given = if last.is_empty() { others } else { &parts[..] };
    if given.len() > RANK_MAX {
        return Err(wrong("at most 8 dimensions", given.len()));
    }
    given.iter().map(|part| part.parse().map_err(|_| wrong("a shape such as (2, 3)", text))).collect()
}

/// `N` bytes of each element, in their order.
fn chunks<const N: usize, T>(len: usize, data: &[u8], value: impl Fn([u8; N]) -> T) -> Result<Vec<T>, NpyError> {
    if len.checked_mul(N) != Some(data.len()) {
        return Err(wrong(&format!("{len} elements of {N} bytes"), data.len()));
    }
    Ok(data.as_chunks().0.iter().copied().map(value).collect())
}

fn elements(descr: &str, len: usize, data: &[u8]) -> Result<TensorData, NpyError> {
    Ok(match descr {
        "<f4" => TensorData::F32(chunks(len, data, f32::from_le_bytes)?),
        "<f8" => TensorData::F64(chunks(len, data, f64::from_le_bytes)?),
        "<f2" => TensorData::F16(chunks(len, data, u16::from_le_bytes)?),
        "<i8" => TensorData::I64(chunks(len, data, i64::from_le_bytes)?),
        "<i4" => TensorData::I32(chunks(len, data, i32::from_le_bytes)?),
        "<i2" => TensorData::I16(chunks(len, data, i16::from_le_bytes)?),
        "|i1" => TensorData::I8(chunks(len, data, i8::from_le_bytes)?),
        "<u8" => TensorData::U64(chunks(len, data, u64::from_le_bytes)?),
        "<u4" => TensorData::U32(chunks(len, data, u32::from_le_bytes)?),
        "<u2" => TensorData::U16(chunks(len, data, u16::from_le_bytes)?),
        "|u1" => TensorData::U8(chunks(len, data, |[byte]| byte)?),
        "|b1" => TensorData::Bool(chunks(len, data, |[byte]: [u8; 1]| byte != 0)?),
        other => match other.strip_prefix("<U").and_then(|n_chars| n_chars.parse().ok()) {
            Some(n_chars) if n_chars <= TEXT_CHARS_MAX => TensorData::Str(texts(len, n_chars, data)?),
            _ => return Err(wrong("little-endian floats, integers, truth values or texts", other)),
        },
    })
}

/// Texts of `n_chars` characters of 32 bits each, those that are shorter filled with zeros.
fn texts(len: usize, n_chars: usize, data: &[u8]) -> Result<Vec<String>, NpyError> {
    let n_words = len.checked_mul(n_chars).ok_or_else(|| wrong("texts that can be counted", len))?;
    let words = chunks(n_words, data, u32::from_le_bytes)?;
    // Texts without characters have no bytes: their number is a claim that nothing bears out.
    if n_chars == 0 && len > HEADER_BYTES_MAX {
        return Err(wrong("at most 65536 empty texts", len));
    }
    let text = |idx: usize| {
        let words = &words[idx * n_chars..][..n_chars];
        let used = words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        let chars = words[..used].iter().map(|&word| char::from_u32(word).ok_or_else(|| wrong("characters", word)));
        chars.collect()
    };
    (0..len).map(text).collect()
}

fn encoded(data: &TensorData) -> (String, Vec<u8>) {
    fn bytes<T: Copy, const N: usize>(values: &[T], value: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().copied().flat_map(value).collect()
    }
    let (descr, bytes) = match data {
        TensorData::F32(values) => ("<f4", bytes(values, f32::to_le_bytes)),
        TensorData::F64(values) => ("<f8", bytes(values, f64::to_le_bytes)),
        TensorData::F16(bits) => ("<f2", bytes(bits, u16::to_le_bytes)),
        TensorData::Bf16(bits) => ("<f4", bytes(bits, |bits| bf16::from_bits(bits).to_f32().to_le_bytes())),
        TensorData::I64(values) => ("<i8", bytes(values, i64::to_le_bytes)),
        TensorData::I32(values) => ("<i4", bytes(values, i32::to_le_bytes)),
        TensorData::I16(values) => ("<i2", bytes(values, i16::to_le_bytes)),
        TensorData::I8(values) => ("|i1", bytes(values, i8::to_le_bytes)),
        TensorData::U64(values) => ("<u8", bytes(values, u64::to_le_bytes)),
        TensorData::U32(values) => ("<u4", bytes(values, u32::to_le_bytes)),
        TensorData::U16(values) => ("<u2", bytes(values, u16::to_le_bytes)),
        TensorData::U8(values) => ("|u1", values.clone()),
        TensorData::Bool(values) => ("|b1", bytes(values, |value| [u8::from(value)])),
        TensorData::Str(texts) => return encoded_texts(texts),
    };
    (descr.to_owned(), bytes)
}

fn encoded_texts(texts: &[String]) -> (String, Vec<u8>) {
    let n_chars = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let padded = texts.iter().flat_map(|text| text.chars().map(u32::from).chain(std::iter::repeat(0)).take(n_chars));
    (format!("<U{n_chars}"), padded.flat_map(u32::to_le_bytes).collect())
}

/// Name of a type as NumPy has it, for messages.
#[must_use]
pub fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 | DType::Bf16 => "float32",
        DType::F64 => "float64",
        DType::F16 => "float16",
        DType::I64 => "int64",
        DType::I32 => "int32",
        DType::I16 => "int16",
        DType::I8 => "int8",
        DType::U64 => "uint64",
        DType::U32 => "uint32",
        DType::U16 => "uint16",
        DType::U8 => "uint8",
        DType::Bool => "bool",
        DType::Str => "str",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_header(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let len = u32::try_from(header.len()).unwrap().to_le_bytes();
        let len = if version == 1 { &len[..2] } else { &len[..] };
        [MAGIC, &[version, 0], len, header.as_bytes(), data].concat()
    }

    #[test]
    fn every_type_is_read_as_it_was_written() {
        for dtype in DType::EVERY {
            for shape in [vec![], vec![0], vec![3], vec![2, 1, 3]] {
                let tensor = Tensor::zeros(shape, dtype).unwrap();
                let expected = if dtype == DType::Bf16 { DType::F32 } else { dtype };
                let back = read(&write(&tensor)).unwrap();
                assert_eq!((back.shape(), back.dtype()), (tensor.shape(), expected), "{dtype}");
            }
        }
        let texts = Tensor::new(vec![3], TensorData::Str(["a", "", "häß"].map(str::to_owned).to_vec())).unwrap();
        assert_eq!(read(&write(&texts)).unwrap(), texts);
        assert!(write(&texts).len() > 64 && write(&Tensor::zeros(vec![1], DType::U8).unwrap()).len() % 64 == 1);
    }

    #[test]
    fn headers_of_every_version_are_read() {
        let header = "{'shape': (2,), 'fortran_order': True, 'descr': '<i2'}  \n";
        for version in 1..=3 {
            let tensor = read(&with_header(version, header, &[1, 0, 2, 0])).unwrap();
            assert_eq!(tensor, Tensor::new(vec![2], TensorData::I16(vec![1, 2])).unwrap());
        }
    }

    #[test]
    fn what_is_not_the_format_is_refused() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
        assert!(read(&with_header(1, good, &[0; 4])).is_ok());
        let cases = [
            (1, good, 3),
            (1, good, 5),
            (4, good, 4),
            (1, "", 4),
            (1, "{}", 4),
            (1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", 4),
            (1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", 4),
            (1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4),
            (1, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", 4),
            (1, "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 4),
            (1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4),
            (1, "{'descr': '<U4294967295', 'fortran_order': False, 'shape': (0,)}", 0),
            (1, "{'descr': '<U0', 'fortran_order': False, 'shape': (99999999999,)}", 0),
            (1, "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 2)}", 4),
            (1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 4),
            (1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", 4),
            (1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1,1)}", 4),
        ];
        for (version, header, n_bytes) in cases {
            assert!(read(&with_header(version, header, &vec![0; n_bytes])).is_err(), "{header}");
        }
        assert!(read(b"PK\x03\x04").is_err() && read(MAGIC).is_err() && read(b"").is_err());
        assert!(read(&[MAGIC, &[2, 0, 255, 255, 255, 255]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_array_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(read(&bytes));
            let bytes = [MAGIC, &[1, 0], &bytes].concat();
            if let Ok(tensor) = read(&bytes) {
                prop_assert_eq!(write(&read(&write(&tensor)).unwrap()), write(&tensor));
            }
        }

        #[test]
        fn a_header_with_anything_in_it_is_read_or_refused(inner in "[ -~]{0,60}") {
            drop(read(&with_header(1, &format!("{{{inner}}}"), &[0; 8])));
        }
    }
}
