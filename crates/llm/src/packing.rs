//! Packed weights: all matrices of a model in the order that the kernels read, in memory of their own or mapped.

use crate::LlmError;
use crate::bundle::Bundle;
use crate::weights::{Weight, Weights};
use ballast_artifacts::Entry;
use ballast_gguf::{Gguf, GgufError};
use ballast_kernels::{STRIP_ROWS, WeightMatrix, pack};
use ballast_threads::{ComputePool, LARGE_PAGE_BYTES, LargePages};
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
    /// As they were in the compile cache: see [`CachedWeights`] for whether in its file or in memory.
    CompileCache,
}

/// What becomes of weights that the compile cache has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachedWeights {
    /// They are read to memory on large pages, which takes some milliseconds for each hundred megabytes. Decoding reads
    /// all weights for each token, and over ordinary pages, which a mapped file has, waits for address translation.
    #[default]
    Copied,
    /// Their file is mapped: ready at once, shared with other processes, and given up when memory is short.
    Mapped,
}

/// The bytes of all matrices.
#[derive(Debug)]
pub(crate) enum PackedBytes {
    /// Shared with the thread that writes them to the compile cache.
    Owned(Arc<Memory>),
    Copied(Memory),
    Mapped(Box<Mapped>),
}

/// Matrices in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: LargePages,
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
            Self::Copied(memory) => memory.bytes(),
            Self::Mapped(mapped) => mapped.bundle.bytes(),
        }
    }

    pub(crate) fn place(&self) -> WeightsPlace {
        match self {
            Self::Owned(_) => WeightsPlace::Memory,
            Self::Copied(_) | Self::Mapped(_) => WeightsPlace::CompileCache,
        }
    }

    /// Whether all bytes that were read so far were the model's. Costs next to nothing.
    ///
    /// # Errors
    /// If a mapped file was cut under its readers.
    pub(crate) fn check(&self) -> Result<(), GgufError> {
        match self {
            Self::Owned(_) | Self::Copied(_) => Ok(()),
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
        Self::pack_matrices(gguf, (weights.n_bytes, weights.matrices()), pool, on_packed)
    }

    /// Packs matrices to the places that they were given, which together have so many bytes.
    ///
    /// # Errors
    /// As [`Memory::pack`].
    pub(crate) fn pack_matrices<'a>(
        gguf: &Gguf,
        (n_bytes, matrices): (usize, impl Iterator<Item = &'a Weight>),
        pool: &mut ComputePool,
        on_packed: Option<&OnPacked>,
    ) -> Result<Self, LlmError> {
        let refused = |_| LlmError::WeightsMemory { bytes: n_bytes as u64 };
        let mut bytes = LargePages::zeroed(n_bytes).map_err(refused)?;
        let mut pieces = Vec::new();
        let (mut rest, mut at) = (&mut bytes[..], 0);
        for weight in matrices {
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
        Ok(Self { bytes })
    }

    /// Reads what a bundle of the compile cache has. Its pages are let go of as they are copied.
    ///
    /// # Errors
    /// If the system does not grant the memory, or the file was cut while it was read.
    pub(crate) fn copy(bundle: &Bundle, pool: &mut ComputePool) -> Result<Self, LlmError> {
        let from = bundle.bytes();
        let refused = |_| LlmError::WeightsMemory { bytes: from.len() as u64 };
        let mut bytes = LargePages::zeroed(from.len()).map_err(refused)?;
        let mut pieces: Vec<_> = bytes.chunks_mut(LARGE_PAGE_BYTES).enumerate().collect();
        pool.run(&mut pieces, |(idx, out)| {
            let range = *idx * LARGE_PAGE_BYTES..*idx * LARGE_PAGE_BYTES + out.len();
            out.copy_from_slice(&from[range.clone()]);
            bundle.release(range);
        });
        bundle.check()?;
        Ok(Self { bytes })
    }

    /// The matrices.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
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
