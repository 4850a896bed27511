//! The greatest of each window, and where it is.

use super::Volume;
use crate::array::{Array, Element, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one, wrong_type};
use crate::ops::widen;
use crate::ops::window::{Spatial, Window, Windows};
use crate::run::Context;
use ballast_backend::DType;

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (windows, kernel) = super::windows(spec)?;
    let order = match spec.int("storage_order")?.unwrap_or(0) {
        0 => Order::RowMajor,
        1 => Order::ColumnMajor,
        other => return Err(NodeSpec::wrong("storage_order", "0 or 1", other)),
    };
    Ok(Box::new(MaxPool { windows, kernel, order: spec.has_output(1).then_some(order) }))
}

/// How entries of a channel are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    RowMajor,
    ColumnMajor,
}

/// (ONNX `MaxPool`)
#[derive(Debug)]
struct MaxPool {
    windows: Windows,
    kernel: Spatial<usize>,
    /// Where the greatest are, if that is wanted.
    order: Option<Order>,
}

impl Operator for MaxPool {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let outputs = match inputs.get(0)?.dtype() {
            DType::F32 => self.pool(&inputs, context, f32::NEG_INFINITY, |a: f32, b| a > b || a.is_nan()),
            DType::F64 => self.pool(&inputs, context, f64::NEG_INFINITY, |a: f64, b| a > b || a.is_nan()),
            DType::I8 => self.pool(&inputs, context, i8::MIN, |a: i8, b| a > b),
            DType::U8 => self.pool(&inputs, context, u8::MIN, |a: u8, b| a > b),
            other @ (DType::F16
            | DType::Bf16
            | DType::I64
            | DType::I32
            | DType::I16
            | DType::U64
            | DType::U32
            | DType::U16
            | DType::Bool
            | DType::Str) => Err(wrong_type(0, "a float, i8 or u8", other)),
        };
        widen::output(outputs?, narrow, context)
    }
}

impl MaxPool {
    fn pool<T: Element + Copy>(
        &self,
        inputs: &Inputs,
        context: &mut Context<'_>,
        least: T,
        is_greater: impl Fn(T, T) -> bool + Sync,
    ) -> Result<Outputs, OpError> {
        let (x, values) = (inputs.get(0)?, inputs.values::<T>(0)?);
        let (outer, extents) = x.shape().split_at(x.rank().min(2));
        let windows = self.windows.over(&self.kernel, extents)?;
        let mut shape = Shape::from_slice(outer);
        shape.extend(windows.iter().map(|window| window.n_out));
        let mut out = vec![least; context.len_of(&shape, T::DTYPE)?];
        let volume = Volume::new(extents, &windows);
        let (n_entries, n_windows) = (volume.n_entries().max(1), volume.n_windows().max(1));
        let Some(order) = self.order else {
            let mut parts: Vec<_> = values.chunks_exact(n_entries).zip(out.chunks_exact_mut(n_windows)).collect();
            if is_plane(&windows) {
                context.pool.run(&mut parts, |(x, out)| greatest_of_plane(&volume, x, out, &is_greater));
            } else {
                context
                    .pool
                    .run(&mut parts, |(x, out)| greatest(&volume, x, &is_greater, |idx, value, _| out[idx] = value));
            }
            return one(Array::new(&shape, out));
        };
        let mut places = context.zeros::<i64>(&shape)?;
        let channels = values.chunks_exact(n_entries).zip(out.chunks_exact_mut(n_windows));
        for (channel, ((x, out), places)) in channels.zip(places.chunks_exact_mut(n_windows)).enumerate() {
            greatest(&volume, x, &is_greater, |idx, value, at| {
                out[idx] = value;
                places[idx] = place(order, channel, at, extents);
            });
        }
        let arrays = [Array::new(&shape, out).into(), Array::new(&shape, places).into()];
        Ok(arrays.into_iter().collect())
    }
}

/// Calls `found` for each window with its greatest and where that is.
fn greatest<T: Copy>(
    volume: &Volume,
    x: &[T],
    is_greater: &impl Fn(T, T) -> bool,
    mut found: impl FnMut(usize, T, usize),
) {
    volume.each_window(|idx, lines| {
        let mut best: Option<(T, usize)> = None;
        lines(&mut |start, n, step| {
            for at in (0..n).map(|i| start + i * step) {
                if best.is_none_or(|(value, _)| is_greater(x[at], value)) {
                    best = Some((x[at], at));
                }
            }
        });
        if let Some((value, at)) = best {
            found(idx, value, at);
        }
    });
}

/// Rows of a plane without dilation, which most windows have.
fn is_plane(windows: &Spatial<Window>) -> bool {
    windows.len() == 2 && windows.iter().all(|window| window.dilation == 1)
}

/// Row by row: first the greatest of each column of a window's rows, then those of neighbours.
fn greatest_of_plane<T: Copy>(volume: &Volume, x: &[T], out: &mut [T], is_greater: &impl Fn(T, T) -> bool) {
    let ([_, y, across], [_, in_y, in_x]) = (volume.windows, volume.input);
    let (Some(first), true) = (x.first(), across.n_out > 0) else { return };
    let mut columns = vec![*first; in_x];
    let spans: Vec<_> = (0..across.n_out).map(|at| super::span(&across, at, in_x)).collect();
    for (row, out) in out.chunks_exact_mut(across.n_out).enumerate() {
        let (top, n_rows) = super::span(&y, row, in_y);
        for row in top..top + n_rows {
            let line = &x[row * in_x..][..in_x];
            if row == top {
                columns.copy_from_slice(line);
            } else {
                for (best, value) in columns.iter_mut().zip(line) {
                    *best = if is_greater(*value, *best) { *value } else { *best };
                }
            }
        }
        for (out, (first, n)) in out.iter_mut().zip(&spans) {
            for value in &columns[*first..][..if n_rows > 0 { *n } else { 0 }] {
                *out = if is_greater(*value, *out) { *value } else { *out };
            }
        }
    }
}

/// Which entry of the whole array an entry of a channel is.
fn place(order: Order, channel: usize, at: usize, extents: &[usize]) -> i64 {
    let n_entries: usize = extents.iter().product();
    let within = match order {
        Order::RowMajor => at,
        Order::ColumnMajor => {
            let (mut rest, mut place, mut step) = (at, 0, n_entries);
            for extent in extents.iter().rev() {
                step /= extent;
                place += rest % extent * step;
                rest /= extent;
            }
            place
        }
    };
    i64::try_from(channel * n_entries + within).unwrap_or(i64::MAX)
}
