//! Loops over arrays of different shapes as if they had one, and the division of loops among threads.
//!
//! Dimensions along which every array goes on evenly are taken together, so that what is left inside is as long a row
//! as can be, through which each array has a step of 1, or of 0 where it stands still.

use crate::array::{Array, Element, Shape};
use crate::error::OpError;
use crate::operator::{broadcast, strides};
use crate::run::Context;
use ballast_threads::ComputePool;
use smallvec::SmallVec;
use std::ops::Range;

/// Elements of a part of a loop that is divided among threads; no loop shorter than two of them is.
const PART_LEN: usize = 1 << 14;

/// A walk over the elements of a shape, and over those of `N` arrays that belong to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walk<const N: usize> {
    /// Extent of each dimension, and the steps of the arrays along it; the last is the row. Never empty.
    dims: SmallVec<[(usize, [usize; N]); 6]>,
}

impl<const N: usize> Walk<N> {
    /// A walk over `shape`, which arrays of `shapes` broadcast to.
    pub(crate) fn new(shape: &[usize], shapes: [&[usize]; N]) -> Self {
        let strides = shapes.map(strides);
        let steps = |at: usize| -> [usize; N] {
            std::array::from_fn(|of| {
                let own = (at + shapes[of].len()).checked_sub(shape.len());
                own.filter(|&own| shapes[of][own] != 1).map_or(0, |own| strides[of][own])
            })
        };
        Self::strided(shape.iter().enumerate().map(|(at, &extent)| (extent, steps(at))))
    }

    /// A walk over dimensions of these extents, along which the arrays have these steps.
    pub(crate) fn strided(dims: impl IntoIterator<Item = (usize, [usize; N])>) -> Self {
        let mut joined: SmallVec<[(usize, [usize; N]); 6]> = SmallVec::new();
        for (extent, steps) in dims {
            match joined.last_mut() {
                _ if extent == 1 => {}
                Some((before, outer)) if (0..N).all(|of| outer[of] == steps[of] * extent) => {
                    (*before, *outer) = (*before * extent, steps);
                }
                _ => joined.push((extent, steps)),
            }
        }
        if joined.is_empty() {
            joined.push((1, [0; N]));
        }
        Self { dims: joined }
    }

    /// Steps of the arrays within a row.
    pub(crate) fn row_steps(&self) -> [usize; N] {
        self.dims[self.dims.len() - 1].1
    }

    /// Calls `row` for each stretch of a row within `range`: with its own place in the range, and where it begins in
    /// each array.
    pub(crate) fn rows(&self, range: Range<usize>, mut row: impl FnMut(Range<usize>, [usize; N])) {
        let (row_len, row_steps) = self.dims[self.dims.len() - 1];
        let outer = &self.dims[..self.dims.len() - 1];
        if range.is_empty() {
            return;
        }
        let mut at: Shape = Shape::from_elem(0, outer.len());
        let (mut rest, mut starts) = (range.start / row_len, [0; N]);
        for (at, (extent, steps)) in at.iter_mut().zip(outer).rev() {
            *at = rest % extent;
            rest /= extent;
            (0..N).for_each(|of| starts[of] += *at * steps[of]);
        }
        let (mut column, mut done) = (range.start % row_len, 0);
        while done < range.len() {
            let len = (row_len - column).min(range.len() - done);
            row(done..done + len, std::array::from_fn(|of| starts[of] + column * row_steps[of]));
            (column, done) = (0, done + len);
            for (at, (extent, steps)) in at.iter_mut().zip(outer).rev() {
                *at += 1;
                (0..N).for_each(|of| starts[of] += steps[of]);
                if *at < *extent {
                    break;
                }
                (0..N).for_each(|of| starts[of] -= *at * steps[of]);
                *at = 0;
            }
        }
    }
}

/// Calls `f` with parts of `out` and where they begin, on several threads if it is long.
pub(crate) fn split<T: Send>(pool: &mut ComputePool, out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    divide(pool, out, 1, &f);
}

/// As [`split`], for rows of `row_len` elements that stay together.
pub(crate) fn split_at<T: Send>(
    pool: &mut ComputePool,
    out: &mut [T],
    row_len: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    divide(pool, out, row_len, &f);
}

/// Not generic over the loop, of which there are hundreds.
fn divide<T: Send>(pool: &mut ComputePool, out: &mut [T], row_len: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
    if out.len() < 2 * PART_LEN || pool.n_threads() == 1 {
        f(0, out);
        return;
    }
    let part_len = PART_LEN.div_ceil(row_len) * row_len;
    let mut parts: Vec<(usize, &mut [T])> =
        out.chunks_mut(part_len).enumerate().map(|(idx, part)| (idx * part_len, part)).collect();
    pool.run(&mut parts, |(start, part)| f(*start, part));
}

/// Each element through `f`.
pub(crate) fn map<T: Element, U: Element>(
    x: &Array,
    context: &mut Context<'_>,
    f: impl Fn(&T) -> U + Sync,
) -> Result<Array, OpError> {
    let mut out = context.zeros::<U>(x.shape())?;
    let values = elements::<T>(x, 0)?;
    split(context.pool, &mut out, |start, out| {
        out.iter_mut().zip(&values[start..]).for_each(|(out, x)| *out = f(x));
    });
    Ok(Array::new(x.shape(), out))
}

/// Each element through `f`, in its place; in a copy if somebody else has it, too.
pub(crate) fn map_over<T: Element>(
    mut x: Array,
    context: &mut Context<'_>,
    f: impl Fn(&T) -> T + Sync,
) -> Result<Array, OpError> {
    let values = elements_mut::<T>(&mut x, 0)?;
    split(context.pool, values, |_, values| values.iter_mut().for_each(|x| *x = f(x)));
    Ok(x)
}

/// Elements of two arrays, broadcast to one shape, through `f`.
pub(crate) fn zip<T: Element, V: Element, U: Element>(
    a: &Array,
    b: &Array,
    context: &mut Context<'_>,
    f: impl Fn(&T, &V) -> U + Sync,
) -> Result<Array, OpError> {
    let shape = broadcast(a.shape(), b.shape())?;
    let mut out = context.zeros::<U>(&shape)?;
    let (x, y) = (elements::<T>(a, 0)?, elements::<V>(b, 1)?);
    let walk = Walk::new(&shape, [a.shape(), b.shape()]);
    let steps = walk.row_steps();
    split(context.pool, &mut out, |start, out| {
        walk.rows(start..start + out.len(), |at, [i, j]| {
            let out = &mut out[at];
            match steps {
                [0, 0] => out.fill(f(&x[i], &y[j])),
                [0, _] => out.iter_mut().zip(&y[j..]).for_each(|(out, y)| *out = f(&x[i], y)),
                [_, 0] => out.iter_mut().zip(&x[i..]).for_each(|(out, x)| *out = f(x, &y[j])),
                _ => out.iter_mut().zip(x[i..].iter().zip(&y[j..])).for_each(|(out, (x, y))| *out = f(x, y)),
            }
        });
    });
    Ok(Array::new(&shape, out))
}

/// As [`zip`], where the result takes the place of one that has its shape and that nobody else has.
pub(crate) fn zip_over<T: Element>(
    a: Array,
    b: Array,
    context: &mut Context<'_>,
    f: impl Fn(&T, &T) -> T + Sync,
) -> Result<Array, OpError> {
    let shape = broadcast(a.shape(), b.shape())?;
    if a.shape() == &shape[..] && a.is_unshared() {
        return replace(a, &b, context, f);
    }
    if b.shape() == &shape[..] && b.is_unshared() {
        return replace(b, &a, context, |b, a| f(a, b));
    }
    zip(&a, &b, context, f)
}

/// `x = f(x, y)`.
fn replace<T: Element>(
    mut x: Array,
    y: &Array,
    context: &mut Context<'_>,
    f: impl Fn(&T, &T) -> T + Sync,
) -> Result<Array, OpError> {
    let walk = Walk::new(x.shape(), [y.shape()]);
    let y = elements::<T>(y, 1)?;
    let [step] = walk.row_steps();
    split(context.pool, elements_mut::<T>(&mut x, 0)?, |start, values| {
        walk.rows(start..start + values.len(), |at, [j]| {
            let values = &mut values[at];
            match step {
                0 => values.iter_mut().for_each(|x| *x = f(x, &y[j])),
                _ => values.iter_mut().zip(&y[j..]).for_each(|(x, y)| *x = f(x, y)),
            }
        });
    });
    Ok(x)
}

/// Elements of three arrays, broadcast to `shape`, through `f`.
pub(crate) fn zip_three<A: Element, B: Element, C: Element, U: Element>(
    shape: &[usize],
    [a, b, c]: [&Array; 3],
    context: &mut Context<'_>,
    f: impl Fn(&A, &B, &C) -> U + Sync,
) -> Result<Array, OpError> {
    let mut out = context.zeros::<U>(shape)?;
    let (x, y, z) = (elements::<A>(a, 0)?, elements::<B>(b, 1)?, elements::<C>(c, 2)?);
    let walk = Walk::new(shape, [a.shape(), b.shape(), c.shape()]);
    let steps = walk.row_steps();
    split(context.pool, &mut out, |start, out| {
        walk.rows(start..start + out.len(), |at, [i, j, k]| {
            for (idx, out) in out[at].iter_mut().enumerate() {
                *out = f(&x[i + idx * steps[0]], &y[j + idx * steps[1]], &z[k + idx * steps[2]]);
            }
        });
    });
    Ok(Array::new(shape, out))
}

/// The elements of input `idx`, which must be of this type.
pub(crate) fn elements<T: Element>(array: &Array, idx: usize) -> Result<&[T], OpError> {
    array.values().ok_or_else(|| OpError::input(idx, T::DTYPE.as_str(), array.dtype().as_str()))
}

/// As [`elements`], for writing.
pub(crate) fn elements_mut<T: Element>(array: &mut Array, idx: usize) -> Result<&mut [T], OpError> {
    let dtype = array.dtype();
    let values = array.values_mut::<T>().ok_or_else(|| OpError::input(idx, T::DTYPE.as_str(), dtype.as_str()))?;
    Ok(&mut values[..])
}
