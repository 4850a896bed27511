//! A tensor's elements: read in one type, written in another, some at a time.

use super::ConvertError;
use ballast_gguf::{GgufError, TensorType};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Elements converted at a time; a whole number of every block.
const CHUNK_LEN: usize = 8192;

/// Entries of Q8_0 that share a scale.
const Q8_LEN: usize = 32;

/// A tensor of the folder.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    source: Source,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Source {
    F32,
    F16,
    BF16,
}

impl<'a> Elements<'a> {
    pub(super) fn new(name: &str, view: TensorView<'a>) -> Result<Self, ConvertError> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "types that are not converted are refused, those to come, too"
        )]
        let source = match view.dtype() {
            Dtype::F32 => Source::F32,
            Dtype::F16 => Source::F16,
            Dtype::BF16 => Source::BF16,
            got => return Err(ConvertError::TensorType { name: name.to_owned(), got: format!("{got:?}") }),
        };
        Ok(Self { source, shape: view.shape().to_vec(), bytes: view.data() })
    }

    /// Extents, the slowest first.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Writes every element in another type, in order. Rows are whole blocks of it.
    pub(super) fn write_as(
        &self,
        tensor_type: TensorType,
        mut write: impl FnMut(&[u8]) -> Result<(), GgufError>,
    ) -> Result<(), GgufError> {
        let mut out = Vec::new();
        for chunk in self.bytes.chunks(CHUNK_LEN * self.source.n_bytes()) {
            let values = self.source.values(chunk);
            out.clear();
            if tensor_type == TensorType::F16 {
                out.extend(values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
            } else if tensor_type == TensorType::Q8_0 {
                values.chunks(Q8_LEN).for_each(|block| quantize(block, &mut out));
            } else {
                out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
            }
            write(&out)?;
        }
        Ok(())
    }
}

impl Source {
    fn n_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
            Self::BF16 => bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        }
    }
}

/// `scale = amax / 127` in half precision, `q = round(x / scale)`, as the format's reference does.
fn quantize(block: &[f32], out: &mut Vec<u8>) {
    let amax = block.iter().fold(0.0_f32, |amax, x| amax.max(x.abs()));
    let scale = amax / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    out.extend(f16::from_f32(scale).to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "the greatest entry becomes 127")]
    out.extend(block.iter().map(|x| ((x * inverse).round() as i8).cast_unsigned()));
}

#[cfg(test)]
mod tests {
    use super::quantize;
    use half::f16;

    #[test]
    fn quantised_blocks_come_back_within_half_a_step() {
        let block: Vec<f32> = (0..32).map(|n| (n as f32 - 11.0) * 0.3).collect();
        let mut out = Vec::new();
        quantize(&block, &mut out);
        let scale = f16::from_le_bytes([out[0], out[1]]).to_f32();
        for (x, q) in block.iter().zip(&out[2..]) {
            let back = f32::from(q.cast_signed()) * scale;
            assert!((x - back).abs() <= 0.51 * scale, "{x} {back}");
        }
        out.clear();
        quantize(&[0.0; 32], &mut out);
        assert_eq!(out, [0; 34]);
    }
}
