//! Pools.

use super::Lower;
use super::conv::{Padding, Window, padding};
use super::op::{Op, wrong};
use crate::error::OpError;
use crate::graph::Attribute;

pub(super) const OPS: &[(&str, Lower)] = &[("avg_pool", avg_pool), ("l2_pool", l2_pool), ("max_pool", max_pool)];

fn pool(op: &mut Op<'_, '_>, name: &str, more: Vec<(&'static str, Attribute)>) -> Result<Vec<String>, OpError> {
    let (x, of) = (op.input("x")?, op.of("x")?);
    let kernel = op.ints("kernel_sizes")?;
    if of.rank() != kernel.len() + 2 {
        return Err(wrong("kernel_sizes", "an extent for each spatial dimension", kernel.len()));
    }
    let strides = op.n_ints("strides", kernel.len(), 1)?;
    let bounds = 1..=i64::from(i32::MAX);
    if !strides.iter().chain(&kernel).all(|value| bounds.contains(value)) {
        return Err(wrong("strides", "strides and extents of at least 1", format!("{strides:?}, {kernel:?}")));
    }
    let window = Window { input: of.dims[2..].to_vec(), kernel: kernel.clone(), strides: strides.clone() };
    let padding: Padding = padding(op, &window, "valid")?;
    let mut attributes = more;
    attributes.push(("kernel_shape", Attribute::Ints(kernel)));
    attributes.push(("strides", Attribute::Ints(strides)));
    attributes.push(("ceil_mode", Attribute::Int(i64::from(op.flag("ceil_mode", false)?))));
    attributes.push(padding.attribute());
    Ok(vec![op.emit(name, &[&x], &attributes)?])
}

fn max_pool(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    pool(op, "MaxPool", Vec::new())
}

fn avg_pool(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let excludes = op.flag("exclude_padding_from_average", false)?;
    pool(op, "AveragePool", vec![("count_include_pad", Attribute::Int(i64::from(!excludes)))])
}

fn l2_pool(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    pool(op, "LpPool", vec![("p", Attribute::Int(2))])
}
