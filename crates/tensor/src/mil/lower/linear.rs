//! Matrix products and attention.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::graph::Attribute;

pub(super) const OPS: &[(&str, Lower)] =
    &[("einsum", einsum), ("linear", linear), ("matmul", matmul), ("scaled_dot_product_attention", attention)];

/// The value with its last two dimensions exchanged.
fn transposed(op: &mut Op<'_, '_>, value: &str, rank: usize) -> Result<String, OpError> {
    let rank = i64::try_from(rank).unwrap_or(i64::MAX);
    if rank < 2 {
        return Err(wrong("x", "at least two dimensions to exchange", rank));
    }
    let mut order: Vec<i64> = (0..rank).collect();
    let last = order.len() - 1;
    order.swap(last - 1, last);
    op.emit("Transpose", &[value], &[("perm", Attribute::Ints(order))])
}

/// `x · weightᵀ + bias`, the weight with a row for each output.
fn linear(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, weight) = (op.input("x")?, op.input("weight")?);
    let weight = transposed(op, &weight, 2)?;
    let product = op.emit("MatMul", &[&x, &weight], &[])?;
    Ok(vec![match op.find("bias")? {
        Some(bias) => op.emit("Add", &[&product, &bias], &[])?,
        None => product,
    }])
}

fn matmul(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (mut x, mut y) = (op.input("x")?, op.input("y")?);
    if op.flag("transpose_x", false)? {
        let rank = op.rank("x")?;
        x = transposed(op, &x, rank)?;
    }
    if op.flag("transpose_y", false)? {
        let rank = op.rank("y")?;
        y = transposed(op, &y, rank)?;
    }
    Ok(vec![op.emit("MatMul", &[&x, &y], &[])?])
}

fn einsum(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (values, equation) = (op.all("values")?, op.text("equation", "")?);
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    Ok(vec![op.emit("Einsum", &values, &[("equation", Attribute::Text(equation))])?])
}

/// `softmax(query · keyᵀ / √embedding + mask) · value`, a mask of truth values telling what takes part.
fn attention(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (query, key, value) = (op.input("query")?, op.input("key")?, op.input("value")?);
    let of = op.of("query")?;
    let embed_dim = of.dims.last().copied().flatten();
    let embed_dim = embed_dim.ok_or_else(|| OpError::unsupported("an embedding of unknown extent"))?;
    #[expect(clippy::cast_precision_loss, reason = "an embedding's extent is small")]
    let scale = 1.0 / (embed_dim as f32).sqrt();
    let key = transposed(op, &key, of.rank())?;
    let query = op.with_scalar("Mul", &query, scale)?;
    let mut scores = op.emit("MatMul", &[&query, &key], &[])?;
    if let Some(mask) = op.find("attn_mask")? {
        scores = if op.is_float("attn_mask")? {
            op.emit("Add", &[&scores, &mask], &[])?
        } else {
            let never = op.constant(Array::scalar(f32::NEG_INFINITY));
            op.emit("Where", &[&mask, &scores, &never], &[])?
        };
    }
    let weights = op.emit("Softmax", &[&scores], &[("axis", Attribute::Int(-1))])?;
    Ok(vec![op.emit("MatMul", &[&weights, &value], &[])?])
}
