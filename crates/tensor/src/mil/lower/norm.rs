//! Normalisations.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::graph::Attribute;
use crate::operator;

pub(super) const OPS: &[(&str, Lower)] = &[
    ("batch_norm", batch_norm),
    ("instance_norm", instance_norm),
    ("l2_norm", l2_norm),
    ("layer_norm", layer_norm),
    ("local_response_norm", local_response_norm),
];

fn epsilon(op: &mut Op<'_, '_>, default: f32) -> Result<(&'static str, Attribute), OpError> {
    Ok(("epsilon", Attribute::Float(op.find_float("epsilon")?.unwrap_or(default))))
}

/// A value per channel, or `default` for each.
fn per_channel(op: &mut Op<'_, '_>, name: &'static str, default: f32, n: usize) -> Result<String, OpError> {
    match op.find(name)? {
        Some(given) => Ok(given),
        None => Ok(op.constant(Array::new(&[n], vec![default; n]))),
    }
}

fn n_channels(op: &mut Op<'_, '_>) -> Result<usize, OpError> {
    let of = op.of("x")?;
    of.dims.get(1).copied().flatten().ok_or_else(|| OpError::unsupported("an unknown number of channels"))
}

fn batch_norm(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, n) = (op.input("x")?, n_channels(op)?);
    let (gamma, beta) = (per_channel(op, "gamma", 1.0, n)?, per_channel(op, "beta", 0.0, n)?);
    let (mean, variance) = (op.input("mean")?, op.input("variance")?);
    let epsilon = epsilon(op, 1e-5)?;
    Ok(vec![op.emit("BatchNormalization", &[&x, &gamma, &beta, &mean, &variance], &[epsilon])?])
}

fn instance_norm(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, n) = (op.input("x")?, n_channels(op)?);
    let (gamma, beta) = (per_channel(op, "gamma", 1.0, n)?, per_channel(op, "beta", 0.0, n)?);
    let epsilon = epsilon(op, 1e-5)?;
    Ok(vec![op.emit("InstanceNormalization", &[&x, &gamma, &beta], &[epsilon])?])
}

/// `x / √(Σ x² + ε)`, the sum over the last three dimensions.
fn l2_norm(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, epsilon) = (op.input("x")?, op.find_float("epsilon")?.unwrap_or(1e-6));
    let axes = op.int_list(&[-3, -2, -1]);
    let sum = op.emit("ReduceSumSquare", &[&x, &axes], &[("keepdims", Attribute::Int(1))])?;
    let sum = op.with_scalar("Add", &sum, epsilon)?;
    let root = op.emit("Sqrt", &[&sum], &[])?;
    Ok(vec![op.emit("Div", &[&x, &root], &[])?])
}

/// ONNX's operator normalises over the last dimensions; other ones are computed step by step.
fn layer_norm(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, of) = (op.input("x")?, op.of("x")?);
    let rank = of.rank();
    let every: Vec<i64> = (0..rank).filter_map(|dim| i64::try_from(dim).ok()).collect();
    let axes = op.find_ints("axes")?.unwrap_or(every);
    let axes = operator::axes(&axes, rank)?;
    let epsilon = op.find_float("epsilon")?.unwrap_or(1e-5);
    let (gamma, beta) = (op.find("gamma")?, op.find("beta")?);
    let first = *axes.first().ok_or_else(|| wrong("axes", "at least one", "none"))?;
    let extents: Option<Vec<usize>> = axes.iter().map(|&dim| of.dims[dim]).collect();
    let are_last = axes.len() == rank - first;
    if let (true, Some(extents)) = (are_last, &extents) {
        let gamma = gamma.unwrap_or_else(|| op.constant(Array::new(extents, vec![1.0; extents.iter().product()])));
        let inputs: Vec<&str> =
            [Some(x.as_str()), Some(gamma.as_str()), beta.as_deref()].into_iter().flatten().collect();
        let axis = ("axis", Attribute::Int(i64::try_from(first).unwrap_or_default()));
        return Ok(vec![op.emit("LayerNormalization", &inputs, &[axis, ("epsilon", Attribute::Float(epsilon))])?]);
    }
    let dims: Vec<i64> = axes.iter().filter_map(|&dim| i64::try_from(dim).ok()).collect();
    let dims = op.int_list(&dims);
    let keep = [("keepdims", Attribute::Int(1))];
    let mean = op.emit("ReduceMean", &[&x, &dims], &keep)?;
    let centred = op.emit("Sub", &[&x, &mean], &[])?;
    let squared = op.emit("Mul", &[&centred, &centred], &[])?;
    let variance = op.emit("ReduceMean", &[&squared, &dims], &keep)?;
    let variance = op.with_scalar("Add", &variance, epsilon)?;
    let deviation = op.emit("Sqrt", &[&variance], &[])?;
    let mut value = op.emit("Div", &[&centred, &deviation], &[])?;
    // The factors have the extents of the dimensions that are normalised, and broadcast over the others.
    let shape: Vec<i64> = (0..rank)
        .map(|dim| if axes.contains(&dim) { of.dims[dim] } else { Some(1) })
        .map(|extent| extent.and_then(|extent| i64::try_from(extent).ok()).unwrap_or(-1))
        .collect();
    for (name, factor) in [("Mul", gamma), ("Add", beta)] {
        if let Some(factor) = factor {
            let shape = op.int_list(&shape);
            let factor = op.emit("Reshape", &[&factor, &shape], &[])?;
            value = op.emit(name, &[&value, &factor], &[])?;
        }
    }
    Ok(vec![value])
}

fn local_response_norm(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, size) = (op.input("x")?, op.int("size")?);
    let attributes = [
        ("size", Attribute::Int(size)),
        ("alpha", Attribute::Float(op.find_float("alpha")?.unwrap_or(1e-4))),
        ("beta", Attribute::Float(op.find_float("beta")?.unwrap_or(0.75))),
        ("bias", Attribute::Float(op.find_float("k")?.unwrap_or(1.0))),
    ];
    Ok(vec![op.emit("LRN", &[&x], &attributes)?])
}
