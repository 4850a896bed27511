//! Packed weights: all matrices of a model in the order that the kernels read, in memory of their own or mapped.

use crate::LlmError;
use crate::bundle::Bundle;
use crate::weights::{ALIGNMENT, Weight, Weights};
use ballast_artifacts::Entry;
use ballast_gguf::{Gguf, GgufError};
use ballast_kernels::{STRIP_ROWS, WeightMatrix, pack};
use ballast_threads::ComputePool;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// About as many bytes of a matrix are packed by a thread at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Told how many bytes of how many are packed, by the threads that pack.
pub type OnPacked = dyn Fn(u64, u64) + Send + Sync;

/// Where the weights of an opened model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsPlace {
    /// In memory of this process, packed when the model was opened.
    Memory,
    /// In a file of the compile cache, mapped: shared with other processes, read when used.
    CompileCache,
}

/// The bytes of all matrices.
#[derive(Debug)]
pub(crate) enum PackedBytes {
    /// Shared with the thread that writes them to the compile cache.
    Owned(Arc<Memory>),
    Mapped(Mapped),
}

/// Matrices in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: Vec<u8>,
    /// Where the first cache line begins.
    start: usize,
}

/// Matrices in the compile cache.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) bundle: Bundle,
    /// Keeps the file from being evicted.
    pub(crate) entry: Entry,
}

/// Some strips of a matrix, and where they go.
struct Piece<'a> {
    weight: &'a Weight,
    source: WeightMatrix<'a>,
    /// The strips' bytes in their tensor.
    range: Range<usize>,
    out: &'a mut [u8],
}

impl PackedBytes {
    /// The bytes that the weights' ranges are of.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(memory) => memory.bytes(),
            Self::Mapped(mapped) => mapped.bundle.bytes(),
        }
    }

    pub(crate) fn place(&self) -> WeightsPlace {
        match self {
            Self::Owned(_) => WeightsPlace::Memory,
            Self::Mapped(_) => WeightsPlace::CompileCache,
        }
    }

    /// Whether all bytes that were read so far were the model's. Costs next to nothing.
    ///
    /// # Errors
    /// If a mapped file was cut under its readers.
    pub(crate) fn check(&self) -> Result<(), GgufError> {
        match self {
            Self::Owned(_) => Ok(()),
            Self::Mapped(mapped) => mapped.bundle.check(),
        }
    }
}

impl Memory {
    /// Packs every matrix of a file. The file's pages are let go of as they are packed, so that there is one copy of
    /// the weights in memory, and nearly never more.
    ///
    /// # Errors
    /// If the system does not grant the memory.
    pub(crate) fn pack(
        gguf: &Gguf,
        weights: &Weights,
        pool: &mut ComputePool,
        on_packed: Option<&OnPacked>,
    ) -> Result<Self, LlmError> {
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
            cut(weight, gguf, out, &mut pieces);
        }
        let (done, total) = (AtomicU64::new(0), pieces.iter().map(|piece| piece.out.len() as u64).sum());
        pool.run(&mut pieces, |piece| {
            pack(&piece.source, piece.out);
            gguf.release_tensor(piece.weight.tensor(), piece.range.clone());
            if let Some(on_packed) = on_packed {
                let n_bytes = piece.out.len() as u64;
                on_packed(done.fetch_add(n_bytes, Ordering::Relaxed) + n_bytes, total);
            }
        });
        Ok(Self { bytes, start })
    }

    /// The matrices.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.bytes.len() - (ALIGNMENT - self.start)]
    }
}

fn cut<'a>(weight: &'a Weight, gguf: &'a Gguf, mut out: &'a mut [u8], pieces: &mut Vec<Piece<'a>>) {
    let whole = weight.source(gguf);
    let row_bytes = whole.row_bytes();
    let strip_bytes = row_bytes * STRIP_ROWS;
    let n_rows = (PIECE_BYTES / strip_bytes.max(1)).max(1) * STRIP_ROWS;
    for start in (0..whole.n_rows()).step_by(n_rows) {
        let rows = start..whole.n_rows().min(start + n_rows);
        let (own, others) = out.split_at_mut(rows.len().div_ceil(STRIP_ROWS) * strip_bytes);
        let range = rows.start * row_bytes..rows.end * row_bytes;
        pieces.push(Piece { weight, source: whole.rows(rows), range, out: own });
        out = others;
    }
}
