//! Products of matrices: `MatMul`, `Gemm`.

mod plain;
mod product;
#[cfg(test)]
mod tests;

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, broadcast, one, wrong_type};
use crate::ops::fused;
use crate::ops::number::by_type;
use crate::ops::widen;
use crate::pieces::Epilogue;
use crate::run::Context;
use ballast_kernels::PanelMut;
use plain::Arithmetic;
pub(super) use product::{Packed, Right, multiply, some_rows};

pub(super) const OPS: &[(&str, Build)] = &[("MatMul", matmul), ("Gemm", gemm)];

/// With what passes append to them.
pub(super) const FUSED: &[(&str, Build)] = &[("MatMul", fused_matmul)];

fn matmul(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(MatMul { right: known_right(spec, false), then: Epilogue::default() }))
}

fn fused_matmul(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(MatMul { right: known_right(spec, false), then: fused::epilogue(spec)? }))
}

/// The second matrix, if it is known, is one of f32, and there is one only.
fn known_right(spec: &NodeSpec<'_>, is_transposed: bool) -> Option<Packed> {
    let right = spec.constant(1)?;
    let (Some(values), &[n_rows, n_cols]) = (right.values::<f32>(), right.shape()) else { return None };
    Some(if is_transposed {
        Packed::new(values, [1, n_cols], n_cols, n_rows)
    } else {
        Packed::new(values, [n_cols, 1], n_rows, n_cols)
    })
}

/// Matrices in the last two dimensions, broadcast over the others; a third input is added to every row of the result.
/// (ONNX `MatMul`)
#[derive(Debug)]
struct MatMul {
    right: Option<Packed>,
    then: Epilogue,
}

impl Operator for MatMul {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let left = inputs.get(0)?;
        if let Some(right) = &self.right {
            let values = inputs.values::<f32>(0)?;
            let shape = known_shape(left.shape(), right)?;
            let bias = inputs.find(2)?.map(|_| inputs.values::<f32>(2)).transpose()?;
            let mut out = context.zeros::<f32>(&shape)?;
            begin_rows(&mut out, bias)?;
            multiply(values, [right.n_rows(), 1], &right.view(), out.as_mut_slice(), (&self.then, context));
            return widen::output(one(Array::new(&shape, out))?, narrow, context);
        }
        let right = inputs.get(1)?;
        let stacks = Stacks::new(left.shape(), right.shape())?;
        if left.dtype() != right.dtype() {
            return Err(wrong_type(1, left.dtype().as_str(), right.dtype()));
        }
        let product = by_type!(left.dtype(),
            T in [F64 I64 I32 U64 U32] => stacks.run_plain::<T>(&inputs, context)?,
            T in [F32] => {
                let bias = inputs.find(2)?.map(|_| inputs.values::<T>(2)).transpose()?;
                let mut out = context.zeros::<T>(&stacks.shape)?;
                begin_rows(&mut out, bias)?;
                stacks.run_f32([inputs.values(0)?, inputs.values(1)?], &mut out, (&self.then, context));
                Array::new(&stacks.shape, out)
            },
            [F16 Bf16 I16 I8 U16 U8 Bool Str] => return Err(not_multiplied(left)));
        widen::output(one(product)?, narrow, context)
    }

    fn keeps(&self, input: usize) -> bool {
        input == 1 && self.right.is_some()
    }
}

fn not_multiplied(left: &Array) -> OpError {
    wrong_type(0, "a float, i32, i64, u32 or u64", left.dtype())
}

/// Fills every row with the bias.
fn begin_rows(out: &mut [f32], bias: Option<&[f32]>) -> Result<(), OpError> {
    let Some(bias) = bias else { return Ok(()) };
    if bias.is_empty() || !out.len().is_multiple_of(bias.len()) {
        return Err(OpError::input(2, "an entry for each column", bias.len().to_string()));
    }
    out.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
    Ok(())
}

fn known_shape(left: &[usize], right: &Packed) -> Result<Shape, OpError> {
    let (inner, before) = left.split_last().ok_or_else(|| OpError::shape("at least one dimension", left))?;
    if *inner != right.n_rows() {
        return Err(OpError::shape(format!("rows of {}", right.n_rows()), left));
    }
    let mut shape = Shape::from_slice(before);
    shape.push(right.n_cols());
    Ok(shape)
}

/// Stacks of matrices that are multiplied pair by pair.
struct Stacks {
    /// Rows of the left, columns of both, columns of the right.
    sizes: [usize; 3],
    /// Which matrix of the left and of the right each product is of.
    pairs: Vec<[usize; 2]>,
    shape: Shape,
}

impl Stacks {
    fn new(left: &[usize], right: &[usize]) -> Result<Self, OpError> {
        let needed = || OpError::shape(format!("a shape to multiply with {left:?}"), right);
        let (a, b): (Shape, Shape) = match (left, right) {
            ([], _) | (_, []) => return Err(needed()),
            (&[n], &[m]) => (Shape::from_slice(&[1, n]), Shape::from_slice(&[m, 1])),
            (&[n], b) => (Shape::from_slice(&[1, n]), Shape::from_slice(b)),
            (a, &[m]) => (Shape::from_slice(a), Shape::from_slice(&[m, 1])),
            (a, b) => (Shape::from_slice(a), Shape::from_slice(b)),
        };
        let ((a_stack, a), (b_stack, b)) = (a.split_at(a.len() - 2), b.split_at(b.len() - 2));
        if a[1] != b[0] {
            return Err(needed());
        }
        let mut shape = broadcast(a_stack, b_stack)?;
        let pairs = pairs(&shape, a_stack, b_stack);
        if left.len() > 1 {
            shape.push(a[0]);
        }
        if right.len() > 1 {
            shape.push(b[1]);
        }
        Ok(Self { sizes: [a[0], a[1], b[1]], pairs, shape })
    }

    fn run_plain<T: Arithmetic>(&self, inputs: &Inputs, context: &Context<'_>) -> Result<Array, OpError> {
        let (a, b) = (inputs.values::<T>(0)?, inputs.values::<T>(1)?);
        let ([m, k, n], mut out) = (self.sizes, context.zeros::<T>(&self.shape)?);
        for (out, [left, right]) in out.chunks_exact_mut((m * n).max(1)).zip(&self.pairs) {
            plain::multiply([&a[left * m * k..][..m * k], &b[right * k * n..][..k * n]], [m, k, n], out);
        }
        Ok(Array::new(&self.shape, out))
    }

    fn run_f32(&self, [a, b]: [&[f32]; 2], out: &mut [f32], (then, context): (&Epilogue, &mut Context<'_>)) {
        let [m, k, n] = self.sizes;
        if out.is_empty() {
            return;
        }
        // With one matrix on the right, those on the left are one above the other.
        if self.pairs.iter().all(|[_, right]| *right == 0)
            && self.pairs.iter().enumerate().all(|(idx, pair)| pair[0] == idx)
        {
            let right = Right::direct(b, k, n);
            return multiply(a, [k, 1], &right, out, (then, context));
        }
        let n_threads = context.pool.n_threads();
        if self.pairs.len() < n_threads {
            for (out, [left, right]) in out.chunks_exact_mut(m * n).zip(&self.pairs) {
                let right = Right::direct(&b[right * k * n..][..k * n], k, n);
                multiply(&a[left * m * k..][..m * k], [k, 1], &right, out, (then, context));
            }
            return;
        }
        let kernels = context.kernels;
        let mut parts: Vec<_> = out.chunks_exact_mut(m * n).zip(&self.pairs).collect();
        context.pool.run(&mut parts, |(out, [left, right])| {
            let right = Right::direct(&b[right * k * n..][..k * n], k, n);
            let left = &a[left * m * k..][..m * k];
            some_rows(kernels, (left, [k, 1]), &right, &mut PanelMut::new(out, n), then);
        });
    }
}

/// For every matrix of the broadcast stack, which of each side it is.
fn pairs(stack: &[usize], a: &[usize], b: &[usize]) -> Vec<[usize; 2]> {
    let steps = |own: &[usize]| -> Vec<usize> {
        let (mut steps, mut step) = (vec![0; stack.len()], 1);
        for (at, extent) in own.iter().enumerate().rev() {
            steps[at + stack.len() - own.len()] = if *extent == 1 { 0 } else { step };
            step *= extent;
        }
        steps
    };
    let (a, b) = (steps(a), steps(b));
    let mut pairs = vec![[0, 0]];
    for (at, extent) in stack.iter().enumerate() {
        let next = pairs.iter().flat_map(|[left, right]| (0..*extent).map(move |i| (*left, *right, i)));
        pairs = next.map(|(left, right, i)| [left + i * a[at], right + i * b[at]]).collect();
    }
    pairs
}

/// `alpha A B + beta C`, either transposed. (ONNX `Gemm`)
#[derive(Debug)]
struct Gemm {
    alpha: f32,
    beta: f32,
    is_transposed: [bool; 2],
    right: Option<Packed>,
}

fn gemm(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let is_transposed = [spec.flag("transA", false)?, spec.flag("transB", false)?];
    // Gone since version 7, where a third input always broadcasts.
    spec.int("broadcast")?;
    let right = known_right(spec, is_transposed[1]);
    Ok(Box::new(Gemm {
        alpha: spec.float("alpha")?.unwrap_or(1.0),
        beta: spec.float("beta")?.unwrap_or(1.0),
        is_transposed,
        right,
    }))
}

impl Operator for Gemm {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let left = inputs.get(0)?;
        let product = by_type!(left.dtype(),
            T in [F64 I64 I32 U64 U32] => self.run_plain::<T>(&inputs, context)?,
            T in [F32] => self.run_f32(&inputs, inputs.values::<T>(0)?, context)?,
            [F16 Bf16 I16 I8 U16 U8 Bool Str] => return Err(not_multiplied(left)));
        widen::output(one(product)?, narrow, context)
    }

    fn keeps(&self, input: usize) -> bool {
        input == 1 && self.right.is_some()
    }
}

impl Gemm {
    /// Rows of the left, columns of both, columns of the right, and between which entries one steps.
    fn sizes(&self, left: &[usize], right: [usize; 2]) -> Result<([usize; 3], [usize; 2]), OpError> {
        let &[rows, cols] = left else { return Err(OpError::shape("a matrix", left)) };
        let (m, k, steps) = if self.is_transposed[0] { (cols, rows, [1, cols]) } else { (rows, cols, [cols, 1]) };
        if right[0] != k {
            return Err(OpError::shape(format!("a matrix to multiply with one of {right:?}"), left));
        }
        Ok(([m, k, right[1]], steps))
    }

    fn right_shape(&self, inputs: &Inputs) -> Result<[usize; 2], OpError> {
        let right = inputs.get(1)?;
        let &[rows, cols] = right.shape() else { return Err(OpError::shape("a matrix", right.shape())) };
        Ok(if self.is_transposed[1] { [cols, rows] } else { [rows, cols] })
    }

    fn run_f32(&self, inputs: &Inputs, values: &[f32], context: &mut Context<'_>) -> Result<Array, OpError> {
        let left = inputs.get(0)?;
        let packed;
        let (right, [m, k, n], steps) = if let Some(known) = &self.right {
            let (sizes, steps) = self.sizes(left.shape(), [known.n_rows(), known.n_cols()])?;
            (known.view(), sizes, steps)
        } else {
            let (sizes, steps) = self.sizes(left.shape(), self.right_shape(inputs)?)?;
            let (right, [_, k, n]) = (inputs.values::<f32>(1)?, sizes);
            if self.is_transposed[1] {
                packed = Packed::new(right, [1, k], k, n);
                (packed.view(), sizes, steps)
            } else {
                (Right::direct(right, k, n), sizes, steps)
            }
        };
        let mut out = context.zeros::<f32>(&[m, n])?;
        let scaled;
        let mut values = values;
        if self.alpha != 1.0 {
            scaled = values.iter().map(|value| value * self.alpha).collect::<Vec<_>>();
            values = &scaled;
        }
        add_broadcast(inputs.find(2)?, [m, n], &mut out, |before, c: f32| *before = self.beta * c)?;
        if k > 0 {
            multiply(values, steps, &right, &mut out, (&Epilogue::default(), context));
        }
        Ok(Array::new(&[m, n], out))
    }

    fn run_plain<T: Arithmetic>(&self, inputs: &Inputs, context: &Context<'_>) -> Result<Array, OpError> {
        let ([m, k, n], steps) = self.sizes(inputs.get(0)?.shape(), self.right_shape(inputs)?)?;
        let b_steps = if self.is_transposed[1] { [1, k] } else { [n, 1] };
        let dense = |x: &[T], steps: [usize; 2], rows: usize, cols: usize| -> Vec<T> {
            (0..rows * cols).map(|at| x[at / cols * steps[0] + at % cols * steps[1]]).collect()
        };
        let (a, b) = (dense(inputs.values(0)?, steps, m, k), dense(inputs.values(1)?, b_steps, k, n));
        let mut out = context.zeros::<T>(&[m, n])?;
        plain::multiply([&a, &b], [m, k, n], &mut out);
        out.iter_mut().for_each(|value| *value = value.scaled(self.alpha));
        add_broadcast(inputs.find(2)?, [m, n], &mut out, |sum, c: T| *sum = sum.plus(c.scaled(self.beta)))?;
        Ok(Array::new(&[m, n], out))
    }
}

/// Combines every result with what the third input, broadcast, has there.
fn add_broadcast<T: crate::array::Element + Copy>(
    c: Option<&Array>,
    [m, n]: [usize; 2],
    out: &mut [T],
    combine: impl Fn(&mut T, T),
) -> Result<(), OpError> {
    let Some(c) = c else { return Ok(()) };
    let values = c.values::<T>().ok_or_else(|| wrong_type(2, T::DTYPE.as_str(), c.dtype()))?;
    let steps = match *c.shape() {
        [] | [1] | [1, 1] => [0, 0],
        [cols] | [1, cols] if cols == n => [0, 1],
        [rows, 1] if rows == m => [1, 0],
        [rows, cols] if rows == m && cols == n => [n, 1],
        _ => return Err(OpError::shape(format!("a shape that broadcasts to {m} x {n}"), c.shape())),
    };
    for (row, out) in out.chunks_exact_mut(n.max(1)).enumerate() {
        let values = &values[row * steps[0]..];
        match steps[1] {
            0 => out.iter_mut().for_each(|out| combine(out, values[0])),
            _ => out.iter_mut().zip(values).for_each(|(out, value)| combine(out, *value)),
        }
    }
    Ok(())
}
