//! Rotates pairs of entries by angles that depend on their row. (arXiv:2104.09864)

use super::heads::Heads;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one};
use crate::ops::widen;
use crate::run::Context;

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let size = |name| -> Result<Option<usize>, OpError> {
        let size = spec
            .int(name)?
            .map(|size| usize::try_from(size).map_err(|_| NodeSpec::wrong(name, "a number from 0 on", size)));
        Ok(size.transpose()?.filter(|size| *size > 0))
    };
    Ok(Box::new(RotaryEmbedding {
        n_heads: size("num_heads")?,
        rotated: size("rotary_embedding_dim")?,
        pairs: if spec.flag("interleaved", false)? { Pairs::Neighbours } else { Pairs::Halves },
    }))
}

/// Which entries are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pairs {
    Neighbours,
    Halves,
}

/// (ONNX `RotaryEmbedding`)
#[derive(Debug)]
struct RotaryEmbedding {
    n_heads: Option<usize>,
    /// Entries of a head that are rotated, the first; all where it is not said.
    rotated: Option<usize>,
    pairs: Pairs,
}

impl Operator for RotaryEmbedding {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let mut x = Heads::read(&inputs, 0, self.n_heads)?;
        let [n_batch, n_heads, n_rows, head_dim] = x.shape;
        let rotated = self.rotated.unwrap_or(head_dim);
        let half = rotated / 2;
        if !rotated.is_multiple_of(2) || rotated > head_dim || half == 0 {
            return Err(OpError::shape(format!("heads of which {rotated} entries can be rotated"), &x.shape));
        }
        let (cos, sin) = (inputs.values::<f32>(1)?, inputs.values::<f32>(2)?);
        let n_angles = cos.len() / half;
        if inputs.get(1)?.shape().last() != Some(&half) || cos.len() != sin.len() {
            return Err(OpError::input(1, format!("rows of {half} angles"), format!("{:?}", inputs.get(1)?)));
        }
        let positions = match inputs.find_ints(3)? {
            None if n_angles == n_batch * n_rows => (0..n_angles).collect(),
            None => return Err(OpError::input(1, "angles for each row", n_angles.to_string())),
            Some(positions) => {
                let position = |position: &i64| usize::try_from(*position).ok().filter(|&at| at < n_angles);
                let found: Option<Vec<usize>> = positions.iter().map(position).collect();
                let found = found.filter(|found| found.len() == n_batch * n_rows);
                found.ok_or_else(|| OpError::input(3, format!("positions below {n_angles} for each row"), "others"))?
            }
        };
        for (idx, row) in x.values.chunks_exact_mut(head_dim.max(1)).enumerate() {
            let at = positions[idx / (n_heads * n_rows) * n_rows + idx % n_rows] * half;
            for i in 0..half {
                let (a, b) = match self.pairs {
                    Pairs::Neighbours => (2 * i, 2 * i + 1),
                    Pairs::Halves => (i, half + i),
                };
                let (cos, sin) = (cos[at + i], sin[at + i]);
                (row[a], row[b]) = (cos * row[a] - sin * row[b], sin * row[a] + cos * row[b]);
            }
        }
        let values = std::mem::take(&mut x.values);
        widen::output(one(x.like(values, head_dim))?, narrow, context)
    }
}
