//! Which keys a query sees, and what is added to its scores.

use crate::array::Array;
use crate::error::OpError;
use crate::operator::{Inputs, wrong_type};

/// How far a query sees around its own position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) is_causal: bool,
    pub(super) left: Option<i64>,
    pub(super) right: Option<i64>,
}

impl Reach {
    fn sees(self, position: i64, key: i64) -> bool {
        !(self.is_causal && key > position
            || self.left.is_some_and(|left| key < position - left)
            || self.right.is_some_and(|right| key > position + right))
    }
}

/// What is added to the scores.
enum Bias<'a> {
    None,
    Visible(&'a [bool]),
    Added(&'a [f32]),
}

/// The mask of a whole batch.
pub(super) struct Mask<'a> {
    bias: Bias<'a>,
    /// Steps of the bias along batch, heads, queries and keys.
    steps: [usize; 4],
    /// Keys that the bias has; those behind are not seen.
    n_bias_keys: usize,
    reach: Reach,
    /// The position of the first query, and keys that are there, for each of the batch.
    spans: Vec<(i64, usize)>,
}

impl<'a> Mask<'a> {
    pub(super) fn new(
        inputs: &'a Inputs,
        reach: Reach,
        [n_batch, n_heads, n_queries, n_keys]: [usize; 4],
        n_past: usize,
    ) -> Result<Self, OpError> {
        let spans = match inputs.find_ints(6)? {
            None => vec![(signed(n_past), n_keys); n_batch],
            Some(lens) => {
                let span = |len: &i64| {
                    let n = usize::try_from(*len).ok().filter(|&n| n <= n_keys)?;
                    Some((len - signed(n_queries), n))
                };
                let spans: Option<Vec<_>> = lens.iter().map(span).collect();
                let fits = spans.filter(|spans| spans.len() == n_batch && n_past == 0);
                fits.ok_or_else(|| OpError::input(6, format!("{n_batch} lengths and no past"), format!("{lens:?}")))?
            }
        };
        let Some(mask) = inputs.find(3)? else {
            return Ok(Self { bias: Bias::None, steps: [0; 4], n_bias_keys: n_keys, reach, spans });
        };
        let (steps, n_bias_keys) = steps(mask, [n_batch, n_heads, n_queries, n_keys])?;
        let bias = match (mask.values::<bool>(), mask.values::<f32>()) {
            (Some(visible), _) => Bias::Visible(visible),
            (None, Some(added)) => Bias::Added(added),
            (None, None) => return Err(wrong_type(3, "bool or the type of the queries", mask.dtype())),
        };
        Ok(Self { bias, steps, n_bias_keys, reach, spans })
    }

    /// Adds the mask to the scores of a query.
    pub(super) fn apply(&self, [batch, head]: [usize; 2], query: usize, scores: &mut [f32]) {
        let (first, n_there) = self.spans[batch];
        let position = first + signed(query);
        let start = batch * self.steps[0] + head * self.steps[1] + query * self.steps[2];
        for ((key, key_position), score) in
            scores.iter_mut().enumerate().map(|(key, score)| ((key, signed(key)), score))
        {
            let at = start + key * self.steps[3];
            if key >= n_there.min(self.n_bias_keys) || !self.reach.sees(position, key_position) {
                *score = f32::NEG_INFINITY;
            } else {
                match self.bias {
                    Bias::None => {}
                    Bias::Visible(visible) if visible[at] => {}
                    Bias::Visible(_) => *score = f32::NEG_INFINITY,
                    Bias::Added(added) => *score += added[at],
                }
            }
        }
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Steps of a mask that broadcasts to these extents, its last dimension perhaps shorter, and how many keys it has.
fn steps(mask: &Array, extents: [usize; 4]) -> Result<([usize; 4], usize), OpError> {
    let shape = mask.shape();
    let wrong = || OpError::input(3, format!("a mask that broadcasts to {extents:?}"), format!("{shape:?}"));
    if shape.len() > 4 || shape.is_empty() {
        return Err(wrong());
    }
    let (mut steps, mut step) = ([0; 4], 1);
    for (at, extent) in shape.iter().enumerate().rev() {
        let dim = at + 4 - shape.len();
        let is_last = dim == 3;
        if *extent == extents[dim] || is_last && *extent < extents[dim] && *extent > 1 {
            steps[dim] = step;
        } else if *extent != 1 {
            return Err(wrong());
        }
        step *= extent;
    }
    let last = shape[shape.len() - 1];
    Ok((steps, if last == 1 { extents[3] } else { last }))
}
