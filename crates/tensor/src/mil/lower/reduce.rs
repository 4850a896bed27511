//! Reductions.

use super::Lower;
use super::op::Op;
use crate::error::OpError;
use crate::graph::Attribute;
use ballast_backend::DType;

pub(super) const OPS: &[(&str, Lower)] = &[
    ("reduce_argmax", |op| place(op, "ArgMax")),
    ("reduce_argmin", |op| place(op, "ArgMin")),
    ("reduce_l1_norm", |op| reduce(op, "ReduceL1")),
    ("reduce_l2_norm", |op| reduce(op, "ReduceL2")),
    ("reduce_log_sum", |op| reduce(op, "ReduceLogSum")),
    ("reduce_log_sum_exp", |op| reduce(op, "ReduceLogSumExp")),
    ("reduce_max", |op| reduce(op, "ReduceMax")),
    ("reduce_mean", |op| reduce(op, "ReduceMean")),
    ("reduce_min", |op| reduce(op, "ReduceMin")),
    ("reduce_prod", |op| reduce(op, "ReduceProd")),
    ("reduce_sum", |op| reduce(op, "ReduceSum")),
    ("reduce_sum_square", |op| reduce(op, "ReduceSumSquare")),
];

fn keep(op: &mut Op<'_, '_>) -> Result<(&'static str, Attribute), OpError> {
    Ok(("keepdims", Attribute::Int(i64::from(op.flag("keep_dims", false)?))))
}

/// Over some dimensions, or over all.
fn reduce(op: &mut Op<'_, '_>, name: &str) -> Result<Vec<String>, OpError> {
    let (x, rank, keep) = (op.input("x")?, op.rank("x")?, keep(op)?);
    let every = (0..rank).filter_map(|dim| i64::try_from(dim).ok()).collect();
    let axes = op.find_ints("axes")?.unwrap_or(every);
    let axes = op.int_list(&axes);
    Ok(vec![op.emit(name, &[&x, &axes], &[keep])?])
}

/// The place of an extreme along one dimension.
fn place(op: &mut Op<'_, '_>, name: &str) -> Result<Vec<String>, OpError> {
    let (x, axis, keep) = (op.input("x")?, op.find_int("axis")?.unwrap_or(-1), keep(op)?);
    op.text("output_dtype", "int32")?;
    let found = op.emit(name, &[&x], &[("axis", Attribute::Int(axis)), keep])?;
    Ok(vec![op.cast(&found, DType::I32)?])
}
