//! Matrix products of quantised numbers, exact in 32 bits.

use super::{less_zero_point, only, requantized, zero_of};
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::operator::{Inputs, Operator, Outputs, broadcast, one};
use crate::ops::broadcast::{Walk, elements, zip};
use crate::ops::cast::convert;
use crate::ops::matmul::{Right, multiply};
use crate::pieces::{EXACT_TERMS, Epilogue, add_exact};
use crate::run::Context;
use ballast_backend::DType;

/// The product of two matrices of bytes. (ONNX `MatMulInteger`)
#[derive(Debug)]
pub(super) struct MatMulInteger;

impl Operator for MatMulInteger {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let zero_point = inputs.find(2)?.map(by_row).transpose()?;
        let a = less_zero_point(inputs.get(0)?, zero_point, context)?;
        let b = less_zero_point(inputs.get(1)?, inputs.find(3)?.cloned(), context)?;
        one(product(&a, &b, context)?)
    }
}

/// Settings of the left matrix, of which there is one in all or one for each row.
fn by_row(settings: &Array) -> Result<Array, OpError> {
    match settings.shape() {
        [] | [1] => settings.clone().reshaped(&[]),
        [n_rows] => settings.clone().reshaped(&[*n_rows, 1]),
        _ => Ok(settings.clone()),
    }
}

/// The product of two matrices of bytes with scales, as bytes with a scale. (ONNX `QLinearMatMul`)
#[derive(Debug)]
pub(super) struct QLinearMatMul;

impl Operator for QLinearMatMul {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let a = less_zero_point(inputs.get(0)?, Some(by_row(inputs.get(2)?)?), context)?;
        let b = less_zero_point(inputs.get(3)?, Some(inputs.get(5)?.clone()), context)?;
        let sums = product(&a, &b, context)?;
        let scale = |idx: usize| convert(inputs.get(idx)?.clone(), DType::F32, context);
        let mut scale = scale;
        let (a_scale, b_scale, y_scale) = (by_row(&scale(1)?)?, scale(4)?, scale(6)?);
        let y_scale = only::<f32>(&Inputs(smallvec::smallvec![Some(y_scale.into())]), 0)?;
        let scale = zip::<f32, f32, f32>(&a_scale, &b_scale, context, |a, b| a * b / y_scale)?;
        let scale = if scale.len() == 1 { scale.reshaped(&[])? } else { scale };
        one(requantized(&sums, &scale, zero_of(&inputs, 7)?, context)?)
    }
}

/// The product of matrices, or of stacks of them, which broadcast.
pub(super) fn product(a: &Array, b: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    let mismatch = || OpError::shape(format!("a matrix to multiply {:?} with", a.shape()), b.shape());
    let (a_batch, m, k) = match a.shape() {
        [] => return Err(mismatch()),
        [k] => (&[][..], 1, *k),
        [batch @ .., m, k] => (batch, *m, *k),
    };
    let (b_batch, n) = match b.shape() {
        [b_k] if *b_k == k => (&[][..], 1),
        [batch @ .., b_k, n] if *b_k == k => (batch, *n),
        _ => return Err(mismatch()),
    };
    let batch = broadcast(a_batch, b_batch)?;
    let mut shape = Shape::from_slice(&batch);
    shape.extend((a.rank() > 1).then_some(m));
    shape.extend((b.rank() > 1).then_some(n));
    let mut out = context.zeros::<i32>(&shape)?;
    let (x, y) = (elements::<f32>(a, 0)?, elements::<f32>(b, 1)?);
    let walk = Walk::new(&batch, [a_batch, b_batch]);
    let [a_step, b_step] = walk.row_steps();
    let n_stacked = batch.iter().product();
    let mut sums = context.zeros::<f32>(&[m, n])?;
    walk.rows(0..n_stacked, |at, [a_from, b_from]| {
        for (idx, at) in at.enumerate() {
            let (x, y) =
                (&x[(a_from + idx * a_step) * m * k..][..m * k], &y[(b_from + idx * b_step) * k * n..][..k * n]);
            matrix([x, y], &mut out[at * m * n..][..m * n], &mut sums, ([k, n], &mut *context));
        }
    });
    Ok(Array::new(&shape, out))
}

/// `out += x * y`, `x` being `[.., k]`, `y` `[k, n]`, whole numbers up to 255 in magnitude. `sums` is scratch, as long as
/// `out`.
fn matrix([x, y]: [&[f32]; 2], out: &mut [i32], sums: &mut [f32], ([k, n], context): ([usize; 2], &mut Context<'_>)) {
    if out.is_empty() {
        return;
    }
    for first in (0..k).step_by(EXACT_TERMS) {
        let n_terms = EXACT_TERMS.min(k - first);
        let right = Right::direct(&y[first * n..][..n_terms * n], n_terms, n);
        sums.fill(0.0);
        multiply(&x[first..], [k, 1], &right, sums, (&Epilogue::default(), context));
        add_exact(out, sums);
    }
}
