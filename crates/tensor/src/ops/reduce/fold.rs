//! Folds sets of numbers that lie along some dimensions of an array, in its own order, without moving them.

use crate::array::{Element, Shape};
use crate::error::OpError;
use crate::ops::broadcast::{Walk, split};
use crate::run::Context;

/// Partial results of a run of neighbours: as many as wide registers hold.
const LANES: usize = 16;

/// Which elements go together.
#[derive(Debug)]
pub(super) struct Folding {
    /// Elements of a set.
    pub(super) n: usize,
    /// Sets.
    n_sets: usize,
    /// From set to set.
    kept: Walk<1>,
    /// Where the stretches of a set begin, from its own beginning.
    offsets: Vec<usize>,
    /// Neighbours in a stretch; 1 where neighbours are of different sets.
    run_len: usize,
}

impl Folding {
    /// For an array of `shape`, along `reduced`, its dimensions in order.
    pub(super) fn new(shape: &[usize], reduced: &[usize]) -> Self {
        let strides = crate::operator::strides(shape);
        let is_reduced = |at: &usize| reduced.contains(at);
        let kept: Shape = (0..shape.len()).filter(|at| !is_reduced(at)).collect();
        let n = reduced.iter().map(|&at| shape[at]).product();
        let n_sets = kept.iter().map(|&at| shape[at]).product();
        // Trailing dimensions that are reduced are one run.
        let first_of_run = (0..shape.len()).rev().take_while(is_reduced).last().unwrap_or(shape.len());
        let run_len = shape[first_of_run..].iter().product();
        let mut offsets = vec![0];
        for &at in reduced.iter().filter(|&&at| at < first_of_run) {
            offsets = offsets
                .iter()
                .flat_map(|&from| (0..shape[at]).map(move |idx| (from, idx)))
                .map(|(from, idx)| from + idx * strides[at])
                .collect();
        }
        if n == 0 {
            offsets.clear();
        }
        let kept = Walk::strided(kept.iter().map(|&at| (shape[at], [strides[at]])));
        Self { n, n_sets, kept, offsets, run_len }
    }

    /// Folds each set from `init` on. `join` is of two partial results.
    pub(super) fn run<T: Element + Copy, A: Element + Copy>(
        &self,
        x: &[T],
        context: &mut Context<'_>,
        init: A,
        step: impl Fn(A, T) -> A + Sync,
        join: impl Fn(A, A) -> A + Sync,
    ) -> Result<Vec<A>, OpError> {
        let mut out = vec![init; context.len_of(&[self.n_sets], A::DTYPE)?];
        let [row_step] = self.kept.row_steps();
        split(context.pool, &mut out, |start, out| {
            self.kept.rows(start..start + out.len(), |at, [first]| {
                let out = &mut out[at];
                if self.run_len == 1 && row_step == 1 {
                    // Neighbours are of neighbouring sets: all go forward together.
                    for offset in &self.offsets {
                        out.iter_mut().zip(&x[first + offset..]).for_each(|(out, x)| *out = step(*out, *x));
                    }
                    return;
                }
                for (idx, out) in out.iter_mut().enumerate() {
                    for offset in &self.offsets {
                        let run = &x[first + idx * row_step + offset..][..self.run_len];
                        *out = join(*out, neighbours(run, init, &step, &join));
                    }
                }
            });
        });
        Ok(out)
    }

    /// Calls `f` with the place of each element of set `set`.
    pub(super) fn each(&self, set: usize, mut f: impl FnMut(usize)) {
        self.kept.rows(set..set + 1, |_, [first]| {
            for offset in &self.offsets {
                (first + offset..first + offset + self.run_len).for_each(&mut f);
            }
        });
    }
}

/// Folds neighbours in lanes, which are joined in the end.
fn neighbours<T: Copy, A: Copy>(run: &[T], init: A, step: impl Fn(A, T) -> A, join: impl Fn(A, A) -> A) -> A {
    let (chunks, rest) = run.as_chunks::<LANES>();
    if chunks.is_empty() {
        return rest.iter().fold(init, |whole, x| step(whole, *x));
    }
    let mut lanes = [init; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, *x);
    }
    lanes.into_iter().reduce(join).unwrap_or(init)
}
