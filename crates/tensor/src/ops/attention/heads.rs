//! Queries, keys and values, head by head.

use crate::array::Array;
use crate::error::OpError;
use crate::operator::Inputs;

/// `[batch, heads, rows, entries]`.
pub(super) struct Heads {
    pub(super) shape: [usize; 4],
    pub(super) values: Vec<f32>,
    /// Whether it came as `[batch, rows, heads * entries]`.
    was_flat: bool,
}

impl Heads {
    /// Reads an input of four dimensions, or of three and so many heads.
    pub(super) fn read(inputs: &Inputs, idx: usize, n_heads: Option<usize>) -> Result<Self, OpError> {
        let (array, values) = (inputs.get(idx)?, inputs.values::<f32>(idx)?);
        match (array.shape(), n_heads) {
            (&[a, b, c, d], _) => Ok(Self { shape: [a, b, c, d], values: values.to_vec(), was_flat: false }),
            (&[n_batch, n_rows, width], Some(n_heads)) if width.is_multiple_of(n_heads) => {
                let head_dim = width / n_heads;
                let mut by_head = Vec::with_capacity(values.len());
                for batch in 0..n_batch {
                    for head in 0..n_heads {
                        for row in 0..n_rows {
                            by_head.extend_from_slice(
                                &values[((batch * n_rows + row) * n_heads + head) * head_dim..][..head_dim],
                            );
                        }
                    }
                }
                Ok(Self { shape: [n_batch, n_heads, n_rows, head_dim], values: by_head, was_flat: true })
            }
            (shape, _) => {
                Err(OpError::shape("four dimensions, or three and a number of heads that divides the last", shape))
            }
        }
    }

    /// These rows and behind them those of `other`.
    pub(super) fn followed_by(&self, other: &Self, idx: usize) -> Result<Self, OpError> {
        let [n_batch, n_heads, n_rows, head_dim] = self.shape;
        let [other_batch, other_heads, n_more, other_dim] = other.shape;
        if [n_batch, n_heads, head_dim] != [other_batch, other_heads, other_dim] {
            return Err(OpError::input(idx, format!("a past of {:?}", other.shape), format!("{:?}", self.shape)));
        }
        let mut values = Vec::with_capacity(self.values.len() + other.values.len());
        for head in 0..n_batch * n_heads {
            values.extend_from_slice(self.head(head));
            values.extend_from_slice(other.head(head));
        }
        Ok(Self { shape: [n_batch, n_heads, n_rows + n_more, head_dim], values, was_flat: other.was_flat })
    }

    /// The rows of a head, counted over the whole batch.
    pub(super) fn head(&self, idx: usize) -> &[f32] {
        let len = self.shape[2] * self.shape[3];
        &self.values[idx * len..][..len]
    }

    /// Results for these rows, `head_dim` entries each, in the form that these came in.
    pub(super) fn like(&self, values: Vec<f32>, head_dim: usize) -> Array {
        let [n_batch, n_heads, n_rows, _] = self.shape;
        if !self.was_flat {
            return Array::new(&[n_batch, n_heads, n_rows, head_dim], values);
        }
        let mut by_row = Vec::with_capacity(values.len());
        for batch in 0..n_batch {
            for row in 0..n_rows {
                for head in 0..n_heads {
                    by_row
                        .extend_from_slice(&values[((batch * n_heads + head) * n_rows + row) * head_dim..][..head_dim]);
                }
            }
        }
        Array::new(&[n_batch, n_rows, n_heads * head_dim], by_row)
    }
}
