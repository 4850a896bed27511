//! Packed weights: all matrices of a model in the order that the kernels read, in memory of their own.

use crate::LlmError;
use crate::weights::{ALIGNMENT, Weights};
use ballast_gguf::Gguf;
use ballast_kernels::{STRIP_ROWS, WeightMatrix, pack};
use ballast_threads::ComputePool;

/// About as many bytes of a matrix are packed by a thread at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The bytes of all matrices.
#[derive(Debug)]
pub(crate) struct PackedBytes {
    bytes: Vec<u8>,
    /// Where the first cache line begins.
    start: usize,
}

/// Some strips of a matrix, and where they go.
struct Piece<'a> {
    source: WeightMatrix<'a>,
    out: &'a mut [u8],
}

impl PackedBytes {
    /// Packs every matrix of a file.
    ///
    /// # Errors
    /// If the system does not grant the memory.
    pub(crate) fn pack(gguf: &Gguf, weights: &Weights, pool: &mut ComputePool) -> Result<Self, LlmError> {
        let len = weights.n_bytes + ALIGNMENT;
        let refused = |_| LlmError::WeightsMemory { bytes: len as u64 };
        // Zeroed vectors come from the system untouched but abort where it refuses, so it is asked before.
        Vec::<u8>::new().try_reserve_exact(len).map_err(refused)?;
        let mut bytes = vec![0; len];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        let mut pieces = Vec::new();
        let (mut rest, mut at) = (&mut bytes[start..], 0);
        for weight in weights.matrices() {
            let place = weight.packed();
            let (_, behind) = rest.split_at_mut(place.start - at);
            let (out, behind) = behind.split_at_mut(place.len());
            (rest, at) = (behind, place.end);
            cut(&weight.source(gguf), out, &mut pieces);
        }
        pool.run(&mut pieces, |piece| pack(&piece.source, piece.out));
        Ok(Self { bytes, start })
    }

    /// The bytes that the weights' ranges are of.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

fn cut<'a>(source: &WeightMatrix<'a>, mut out: &'a mut [u8], pieces: &mut Vec<Piece<'a>>) {
    let strip_bytes = source.row_bytes() * STRIP_ROWS;
    let n_rows = (PIECE_BYTES / strip_bytes.max(1)).max(1) * STRIP_ROWS;
    for start in (0..source.n_rows()).step_by(n_rows) {
        let rows = start..source.n_rows().min(start + n_rows);
        let (own, others) = out.split_at_mut(rows.len().div_ceil(STRIP_ROWS) * strip_bytes);
        pieces.push(Piece { source: source.rows(rows), out: own });
        out = others;
    }
}
