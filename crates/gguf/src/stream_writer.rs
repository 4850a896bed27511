//! Writes version 3 files whose data come bit by bit, so that a model larger than memory can be made.

use crate::writer::{check, header, write_padded};
use crate::{GgufError, TensorType, Value, tensor};
use std::io::{self, Write};

/// A tensor to be: everything but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTensor {
    /// The name, unique in the file.
    pub name: String,
    /// The dimensions in ggml's order, fastest first.
    pub shape: Vec<u64>,
    /// How the elements are stored.
    pub tensor_type: TensorType,
}

impl PlannedTensor {
    /// The bytes it will have.
    ///
    /// # Errors
    /// If a row is not a whole number of blocks, or the size is more than can be counted.
    pub fn n_bytes(&self) -> Result<u64, GgufError> {
        tensor::tensor_bytes(&self.name, &self.shape, self.tensor_type, 0)
    }
}

/// A file in the making. The header is written at once, the tensors' bytes follow in the order of the plan.
///
/// ```
/// use ballast_gguf::{Gguf, PlannedTensor, StreamWriter, TensorType};
///
/// let plan = [PlannedTensor { name: "a".to_owned(), shape: vec![4], tensor_type: TensorType::F32 }];
/// let mut writer = StreamWriter::begin(Vec::new(), &[], &plan)?;
/// for _ in 0..4 {
///     writer.write(&1.0_f32.to_le_bytes())?;
/// }
/// assert_eq!(Gguf::parse(&writer.finish()?)?.tensors[0].n_bytes, 16);
/// # Ok::<(), ballast_gguf::GgufError>(())
/// ```
#[derive(Debug)]
pub struct StreamWriter<W> {
    out: W,
    alignment: u64,
    /// Names and sizes, in order.
    tensors: Vec<(String, u64)>,
    /// The tensor that is being written, and its bytes so far.
    tensor_idx: usize,
    written: u64,
}

impl<W: Write> StreamWriter<W> {
    /// Writes the header. `general.alignment` among the metadata is obeyed.
    ///
    /// # Errors
    /// If the file would not be well-formed, as for [`Writer`](crate::Writer), or `out` fails.
    pub fn begin(mut out: W, metadata: &[(String, Value)], tensors: &[PlannedTensor]) -> Result<Self, GgufError> {
        let alignment = check(metadata, tensors)?;
        let header = header(metadata, tensors, alignment)?;
        write_padded(&header, alignment, &mut out).map_err(|source| GgufError::Write { source })?;
        let sized = |tensor: &PlannedTensor| Ok((tensor.name.clone(), tensor.n_bytes()?));
        let tensors = tensors.iter().map(sized).collect::<Result<_, GgufError>>()?;
        Ok(Self { out, alignment, tensors, tensor_idx: 0, written: 0 })
    }

    /// Writes the next bytes of the tensor that is being written. Where it is full, the next one begins.
    ///
    /// # Errors
    /// If there are more bytes than the tensor takes, or no tensor is left, or the output fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GgufError> {
        let Some((name, expected)) = self.tensors.get(self.tensor_idx) else {
            let got = bytes.len() as u64;
            return Err(GgufError::WrongDataLen { name: "behind the last tensor".to_owned(), expected: 0, got });
        };
        let (expected, got) = (*expected, self.written + bytes.len() as u64);
        if got > expected {
            return Err(GgufError::WrongDataLen { name: name.clone(), expected, got });
        }
        self.out.write_all(bytes).map_err(|source| GgufError::Write { source })?;
        self.written = got;
        if got == expected {
            let padding = expected.next_multiple_of(self.alignment) - expected;
            let padded = io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.out);
            padded.map_err(|source| GgufError::Write { source })?;
            (self.tensor_idx, self.written) = (self.tensor_idx + 1, 0);
        }
        Ok(())
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// If a tensor lacks bytes, or the output fails.
    pub fn finish(mut self) -> Result<W, GgufError> {
        if let Some((name, expected)) = self.tensors.get(self.tensor_idx) {
            return Err(GgufError::WrongDataLen { name: name.clone(), expected: *expected, got: self.written });
        }
        self.out.flush().map_err(|source| GgufError::Write { source })?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::{PlannedTensor, StreamWriter};
    use crate::{GgufError, TensorType, Value, Writer};

    fn plan() -> Vec<PlannedTensor> {
        let tensor = |name: &str, shape: &[u64], tensor_type| PlannedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            tensor_type,
        };
        vec![tensor("a", &[3], TensorType::F32), tensor("b", &[32, 5], TensorType::Q8_0)]
    }

    #[test]
    fn a_streamed_file_is_the_file_written_at_once() {
        let (a, b) = (vec![7_u8; 12], vec![9_u8; 5 * 34]);
        let metadata = [("k".to_owned(), Value::U32(1)), ("general.alignment".to_owned(), Value::U32(64))];
        let mut whole = Writer::new();
        for (key, value) in &metadata {
            whole.metadata(key, value.clone());
        }
        whole.tensor("a", &[3], TensorType::F32, &a[..]).tensor("b", &[32, 5], TensorType::Q8_0, &b[..]);
        for chunk_len in [1, 4, 12] {
            let mut stream = StreamWriter::begin(Vec::new(), &metadata, &plan()).unwrap();
            a.chunks(chunk_len).chain(b.chunks(chunk_len)).for_each(|chunk| stream.write(chunk).unwrap());
            assert_eq!(stream.finish().unwrap(), whole.to_bytes().unwrap());
        }
    }

    #[test]
    fn too_few_and_too_many_bytes_are_refused() {
        let begin = || StreamWriter::begin(Vec::new(), &[], &plan()).unwrap();
        let wrong = |result: Result<(), GgufError>| match result {
            Err(GgufError::WrongDataLen { name, expected, got }) => (name, expected, got),
            other => panic!("{other:?}"),
        };
        let mut stream = begin();
        assert_eq!(wrong(stream.write(&[0; 13])), ("a".to_owned(), 12, 13));
        stream.write(&[0; 12]).unwrap();
        stream.write(&[0; 34]).unwrap();
        assert_eq!(wrong(stream.finish().map(|_| ())), ("b".to_owned(), 170, 34));
        let mut stream = begin();
        stream.write(&[0; 12]).unwrap();
        stream.write(&[0; 170]).unwrap();
        assert!(stream.write(&[0]).is_err());
        stream.finish().unwrap();
    }

    #[test]
    fn a_plan_that_is_not_well_formed_is_refused() {
        let mut twice = plan();
        twice[1].name = "a".to_owned();
        assert!(matches!(StreamWriter::begin(Vec::new(), &[], &twice), Err(GgufError::DuplicateTensor { .. })));
        let mut odd = plan();
        odd[1].shape = vec![33, 5];
        assert!(StreamWriter::begin(Vec::new(), &[], &odd).is_err());
    }
}
