//! NumPy's file format, version 1.0, for f32 arrays in C order. (numpy.lib.format)

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Bytes before the header text: magic, version, length.
const PREFIX_BYTES: usize = 10;
/// The data begins at a multiple of this.
const ALIGNMENT: usize = 64;

/// Writes `values` of `shape`, the fastest dimension first as GGUF has it; NumPy's shape has it last.
pub(crate) fn write(path: &Path, shape: &[u64], values: &[f32]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&header(shape))?;
    for value in values {
        file.write_all(&value.to_le_bytes())?;
    }
    file.into_inner()?.sync_all()
}

fn header(shape: &[u64]) -> Vec<u8> {
    let dims: String = shape.iter().rev().map(|dim| format!("{dim},")).collect();
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}");
    let unpadded = PREFIX_BYTES + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    text.push('\n');
    let len = u16::try_from(text.len()).expect("four dimensions make a short header");
    [b"\x93NUMPY\x01\x00", len.to_le_bytes().as_slice(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn the_header_is_aligned_and_reverses_the_shape() {
        for shape in [&[3_u64][..], &[3, 2], &[1, 2, 3, 4]] {
            assert!(header(shape).len().is_multiple_of(64));
        }
        let text = String::from_utf8_lossy(&header(&[3, 2])).into_owned();
        assert!(text.contains("'shape': (2,3,)"), "{text}");
    }
}
