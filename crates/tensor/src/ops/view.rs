//! Copies elements that are laid out anew: strided views, index maps and rows, on several threads where that pays.

use crate::array::{Array, Element, for_data};
use crate::error::OpError;
use crate::operator::strides;
use crate::run::Context;
use ballast_threads::ComputePool;
use smallvec::SmallVec;

/// Fewer elements than this are not worth a hand-off to other threads.
const SPLIT_LEN_MIN: usize = 1 << 16;

/// Parts per thread, so that one that begins late does not hold up all.
const PARTS_PER_THREAD: usize = 4;

/// Edge of the squares in which a matrix is transposed: what is read and what is written both stay in the first cache.
const BLOCK: usize = 32;

/// Calls `fill` with every row of `out` and its number, on all threads if there is much to do.
pub(crate) fn fill_rows<T: Send>(
    out: &mut [T],
    row_len: usize,
    pool: &mut ComputePool,
    fill: impl Fn(usize, &mut [T]) + Sync,
) {
    if row_len == 0 || out.is_empty() {
        return;
    }
    if out.len() < SPLIT_LEN_MIN || pool.n_threads() == 1 {
        out.chunks_mut(row_len).enumerate().for_each(|(idx, row)| fill(idx, row));
        return;
    }
    let rows_per_part = out.len().div_ceil(row_len).div_ceil(PARTS_PER_THREAD * pool.n_threads());
    let parts = out.chunks_mut(rows_per_part * row_len).enumerate();
    let mut parts: Vec<(usize, &mut [T])> = parts.map(|(idx, part)| (idx * rows_per_part, part)).collect();
    pool.run(&mut parts, |(first, part)| {
        part.chunks_mut(row_len).enumerate().for_each(|(idx, row)| fill(*first + idx, row));
    });
}

/// One dimension of a view: how many steps, and how far each goes in the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stride {
    pub(crate) extent: usize,
    pub(crate) step: isize,
}

impl Stride {
    pub(crate) fn new(extent: usize, step: usize) -> Self {
        Self { extent, step: step.cast_signed() }
    }

    fn moved(self, offset: usize, idx: usize) -> usize {
        offset.wrapping_add_signed(self.step.wrapping_mul(idx.cast_signed()))
    }
}

/// Elements of an array in another order: `offset`, and a stride for each dimension of what comes out.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) offset: usize,
    pub(crate) dims: SmallVec<[Stride; 8]>,
}

impl View {
    /// All elements in their order.
    pub(crate) fn dense(shape: &[usize]) -> Self {
        let dims = shape.iter().zip(strides(shape)).map(|(&extent, step)| Stride::new(extent, step));
        Self { offset: 0, dims: dims.collect() }
    }

    /// The view with its dimensions in another order.
    pub(crate) fn permuted(&self, order: &[usize]) -> Self {
        Self { offset: self.offset, dims: order.iter().map(|&at| self.dims[at]).collect() }
    }

    /// Copies what the view shows of `array` to an array of `shape`, which has as many elements as the view.
    pub(crate) fn copied(&self, array: &Array, shape: &[usize], context: &mut Context<'_>) -> Result<Array, OpError> {
        for_data!(array.data(), values => {
            let mut out = context.zeros(shape)?;
            self.copy(values, &mut out, context.pool);
            Ok(Array::new(shape, out))
        })
    }

    /// Copies what the view shows to `out`.
    ///
    /// # Panics
    /// If the view shows what is not there.
    pub(crate) fn copy<T: Element>(&self, values: &[T], out: &mut [T], pool: &mut ComputePool) {
        let dims = self.merged();
        let len: usize = dims.iter().map(|dim| dim.extent).product();
        assert_eq!(len, out.len(), "a view is copied to as many elements as it shows");
        let Some(&first) = dims.first().filter(|_| len > 0) else {
            if let Some(only) = out.first_mut() {
                *only = values[self.offset].clone();
            }
            return;
        };
        if dims.len() == 1 {
            return fill_row(values, self.offset, first, out);
        }
        let inner_len = len / first.extent;
        let group = if dims.len() == 2 { BLOCK } else { 1 };
        fill_rows(out, inner_len * group, pool, |idx, part| {
            let mut dims = dims.clone();
            dims[0].extent = part.len() / inner_len;
            fill(values, first.moved(self.offset, idx * group), &dims, part);
        });
    }

    /// The same elements with as few dimensions as possible.
    fn merged(&self) -> SmallVec<[Stride; 8]> {
        let mut merged: SmallVec<[Stride; 8]> = SmallVec::new();
        for &dim in self.dims.iter().filter(|dim| dim.extent != 1) {
            match merged.last_mut() {
                Some(outer) if outer.step == dim.step.wrapping_mul(dim.extent.cast_signed()) => {
                    *outer = Stride { extent: outer.extent * dim.extent, step: dim.step };
                }
                _ => merged.push(dim),
            }
        }
        merged
    }
}

fn fill<T: Clone>(values: &[T], offset: usize, dims: &[Stride], out: &mut [T]) {
    match dims {
        [] => out[0] = values[offset].clone(),
        [last] => fill_row(values, offset, *last, out),
        [rows, last] if rows.step.unsigned_abs() < last.step.unsigned_abs() => {
            fill_transposed(values, offset, [*rows, *last], out);
        }
        [first, rest @ ..] => {
            let inner_len = out.len() / first.extent;
            for (idx, part) in out.chunks_mut(inner_len).enumerate() {
                fill(values, first.moved(offset, idx), rest, part);
            }
        }
    }
}

fn fill_row<T: Clone>(values: &[T], offset: usize, dim: Stride, out: &mut [T]) {
    match dim.step {
        1 => out.clone_from_slice(&values[offset..offset + dim.extent]),
        0 => out.fill(values[offset].clone()),
        _ => out.iter_mut().enumerate().for_each(|(idx, out)| *out = values[dim.moved(offset, idx)].clone()),
    }
}

/// A matrix whose columns lie closer together than its rows, square by square.
fn fill_transposed<T: Clone>(values: &[T], offset: usize, [rows, columns]: [Stride; 2], out: &mut [T]) {
    for row in (0..rows.extent).step_by(BLOCK) {
        for column in (0..columns.extent).step_by(BLOCK) {
            for idx in row..(row + BLOCK).min(rows.extent) {
                let from = rows.moved(offset, idx);
                let end = (column + BLOCK).min(columns.extent);
                let out = &mut out[idx * columns.extent..][column..end];
                out.iter_mut().zip(column..).for_each(|(out, at)| *out = values[columns.moved(from, at)].clone());
            }
        }
    }
}

/// For each place along a dimension of what comes out: which place it comes from; `None`: from outside.
pub(crate) type IndexMap = Vec<Option<usize>>;

/// Elements that follow each other in what comes out and in what goes in, or are all from outside.
struct Run {
    from: Option<usize>,
    at: usize,
    len: usize,
}

fn runs(map: &IndexMap) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, &from) in map.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if from == run.from.map(|first| first + run.len) => run.len += 1,
            _ => runs.push(Run { from, at, len: 1 }),
        }
    }
    runs
}

/// Copies elements along index maps: those at `[i, j, ..]` come from `[maps[0][i], maps[1][j], ..]`, or are `outside`
/// where a map says so.
pub(crate) fn remap<T: Element>(
    values: &[T],
    shape: &[usize],
    maps: &[IndexMap],
    outside: &T,
    context: &mut Context<'_>,
) -> Result<Array, OpError> {
    let out_shape: SmallVec<[usize; 8]> = maps.iter().map(Vec::len).collect();
    let mut out: Vec<T> = context.zeros(&out_shape)?;
    let is_whole = |at: usize| maps[at].len() == shape[at] && maps[at].iter().copied().eq((0..shape[at]).map(Some));
    let Some(last) = (0..shape.len()).rev().find(|&at| !is_whole(at)) else {
        out.clone_from_slice(values);
        return Ok(Array::new(&out_shape, out));
    };
    let (runs, steps) = (runs(&maps[last]), strides(shape));
    let cell: usize = shape[last + 1..].iter().product();
    fill_rows(&mut out, maps[last].len() * cell, context.pool, |row, out| {
        let mut rest = row;
        let mut offset = Some(0);
        for at in (0..last).rev() {
            let (map, step) = (&maps[at], steps[at]);
            offset = offset.zip(map[rest % map.len()]).map(|(offset, idx)| offset + idx * step);
            rest /= map.len();
        }
        for run in &runs {
            let out = &mut out[run.at * cell..][..run.len * cell];
            match offset.zip(run.from) {
                Some((offset, from)) => out.clone_from_slice(&values[offset + from * cell..][..run.len * cell]),
                None => out.fill(outside.clone()),
            }
        }
    });
    Ok(Array::new(&out_shape, out))
}

/// The next place in row-major order; after the last one comes the first.
pub(crate) fn advance(at: &mut [usize], shape: &[usize]) {
    for (at, extent) in at.iter_mut().zip(shape).rev() {
        *at += 1;
        if *at < *extent {
            return;
        }
        *at = 0;
    }
}

/// Where an index of a dimension is; negative ones count from its end.
pub(crate) fn place(idx: i64, extent: usize) -> Result<usize, OpError> {
    let signed = i64::try_from(extent).unwrap_or(i64::MAX);
    let from_front = if idx < 0 { idx.saturating_add(signed) } else { idx };
    usize::try_from(from_front).ok().filter(|&at| at < extent).ok_or_else(|| OpError::Shape {
        expected: format!("an index within -{extent} to {}, not {idx}", signed - 1),
        got: vec![extent],
    })
}

/// An extent that comes from data.
pub(crate) fn extent(value: i64, input: usize) -> Result<usize, OpError> {
    usize::try_from(value).map_err(|_| OpError::input(input, "0 or more", value.to_string()))
}

#[cfg(test)]
mod tests;
