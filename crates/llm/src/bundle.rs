//! A model's packed matrices as a file: what the compile cache keeps.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | [`LAYOUT_VERSION`] |
//! | 4 | number of matrices |
//! | 32 | digest of the model's content, as its author made it |
//! | 8 | bytes of all matrices together |
//! | each | length of the name (4), name, weight type (4), rows (8), columns (8), offset among the matrices (8), bytes (8) |
//! | to a multiple of 64 | zeros |
//! | the rest | the matrices, each at a multiple of 64 |
//!
//! Numbers are little-endian. Every field follows from the model, so the head that a bundle must have is computed, and a
//! file whose head or length is another is not this model's bundle: nothing in the file is ever parsed. Small tensors,
//! metadata and vocabulary are read from the model's own file.
//!
//! The matrices are the same bytes for every kernel set and every CPU: a bundle names no kernel set.

use crate::weights::{ALIGNMENT, Weights};
use ballast_backend::Sha256;
use ballast_gguf::{GgufError, MappedFile};
use ballast_kernels::{STRIP_ROWS, WeightType};
use std::ops::Range;
use std::path::Path;

/// First bytes of a bundle.
const MAGIC: &[u8; 8] = b"BLSTPACK";

/// Version of the head and of what `ballast_kernels::pack` writes. Whoever changes either counts it up: `golden.rs`
/// knows what each version looks like, and fails until that is done.
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// The layout's name in keys of the compile cache.
pub(crate) fn layout() -> String {
    format!("strips{STRIP_ROWS}.{LAYOUT_VERSION}")
}

/// The bundle's name in its entry.
pub(crate) const FILE_NAME: &str = "weights.bundle";

/// A bundle of the model it was opened for.
#[derive(Debug)]
pub(crate) struct Bundle {
    file: MappedFile,
    head_bytes: usize,
}

/// Why a file is not the bundle that it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotABundle {
    #[error(transparent)]
    File(#[from] GgufError),
    #[error("expected {expected} bytes, got {got}")]
    Length { expected: usize, got: usize },
    #[error("the head differs from the model's at byte {at}")]
    Head { at: usize },
}

/// What a bundle's head is made of, but for the model's digest, which may not be known yet.
#[derive(Debug)]
pub(crate) struct Table {
    n_matrices: u32,
    n_bytes: u64,
    rows: Vec<u8>,
}

impl Table {
    /// The table of a model's matrices.
    pub(crate) fn new(weights: &Weights) -> Self {
        let (mut n_matrices, mut rows) = (0, Vec::new());
        for weight in weights.matrices() {
            let (name, place) = (weight.name(), weight.packed());
            let (n_rows, n_cols) = weight.shape();
            n_matrices += 1;
            rows.extend(u32::try_from(name.len()).expect("names have a bound").to_le_bytes());
            rows.extend(name.as_bytes());
            rows.extend(type_number(weight.weight_type()).to_le_bytes());
            for number in [n_rows, n_cols, place.start, place.len()] {
                rows.extend((number as u64).to_le_bytes());
            }
        }
        Self { n_matrices, n_bytes: weights.n_bytes as u64, rows }
    }

    /// The head of the bundle of a model with this digest.
    pub(crate) fn head(&self, sha256: Sha256) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.extend(LAYOUT_VERSION.to_le_bytes());
        head.extend(self.n_matrices.to_le_bytes());
        head.extend(sha256.0);
        head.extend(self.n_bytes.to_le_bytes());
        head.extend(&self.rows);
        head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        head
    }
}

/// The number of a weight type in bundles.
fn type_number(weight_type: WeightType) -> u32 {
    let position = WeightType::ALL.iter().position(|other| *other == weight_type);
    u32::try_from(position.expect("all are in the list")).expect("they are few")
}

impl Bundle {
    /// Maps the bundle at `path` of the model with this digest and these matrices.
    pub(crate) fn open(path: &Path, sha256: Sha256, weights: &Weights) -> Result<Self, NotABundle> {
        let head = Table::new(weights).head(sha256);
        let file = MappedFile::open(path)?;
        let (expected, got) = (head.len() + weights.n_bytes, file.bytes().len());
        let first_other = file.bytes().iter().zip(&head).position(|(a, b)| a != b);
        if let Some(at) = first_other {
            return Err(NotABundle::Head { at });
        }
        if expected != got {
            return Err(NotABundle::Length { expected, got });
        }
        file.check_intact()?;
        file.will_need();
        Ok(Self { file, head_bytes: head.len() })
    }

    /// The matrices.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.file.bytes()[self.head_bytes..]
    }

    /// Lets go of the memory of some of the matrices' bytes, which are read from the disk if they are used again.
    pub(crate) fn release(&self, range: Range<usize>) {
        self.file.release(self.head_bytes + range.start..self.head_bytes + range.end);
    }

    /// Whether all that was read so far was the bundle's.
    pub(crate) fn check(&self) -> Result<(), GgufError> {
        self.file.check_undamaged()
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
