//! Elements by their places: gathered, scattered, sorted.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::graph::Attribute;
use ballast_backend::DType;

pub(super) const OPS: &[(&str, Lower)] = &[
    ("argsort", argsort),
    ("classify", classify),
    ("gather", gather),
    ("gather_along_axis", gather_along_axis),
    ("gather_nd", gather_nd),
    ("non_zero", non_zero),
    ("scatter", scatter),
    ("scatter_along_axis", scatter_along_axis),
    ("scatter_nd", scatter_nd),
    ("topk", topk),
];

/// Places outside are faults here, whether a program wants them to be looked at or not.
fn validate(op: &mut Op<'_, '_>) -> Result<(), OpError> {
    op.flag("validate_indices", false).map(drop)
}

fn gather(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank) = (op.input("x")?, op.rank("x")?);
    let axis = op.axis("axis", 0, rank)?;
    let n_batch = op.find_int("batch_dims")?.unwrap_or(0);
    validate(op)?;
    if n_batch == 0 {
        let places = op.input("indices")?;
        return Ok(vec![op.emit("Gather", &[&x, &places], &[("axis", signed(axis))])?]);
    }
    // Where the dimension that is gathered from follows those that are shared, it is ONNX's operator with tuples of one.
    if usize::try_from(n_batch) != Ok(axis) {
        return Err(OpError::unsupported(format!("gathering along {axis} with {n_batch} dimensions shared")));
    }
    let places = op.wide("indices")?;
    let last = op.int_list(&[-1]);
    let places = op.emit("Unsqueeze", &[&places, &last], &[])?;
    Ok(vec![op.emit("GatherND", &[&x, &places], &[("batch_dims", Attribute::Int(n_batch))])?])
}

fn signed(n: usize) -> Attribute {
    Attribute::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn gather_along_axis(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, places, axis) = (op.input("x")?, op.input("indices")?, op.find_int("axis")?.unwrap_or(0));
    validate(op)?;
    Ok(vec![op.emit("GatherElements", &[&x, &places], &[("axis", Attribute::Int(axis))])?])
}

fn gather_nd(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, places, n_batch) = (op.input("x")?, op.wide("indices")?, op.find_int("batch_dims")?.unwrap_or(0));
    validate(op)?;
    Ok(vec![op.emit("GatherND", &[&x, &places], &[("batch_dims", Attribute::Int(n_batch))])?])
}

/// ONNX's word for how updates are combined with what is there.
fn reduction(op: &mut Op<'_, '_>) -> Result<(&'static str, Attribute), OpError> {
    let word = match op.text("mode", "add")?.as_str() {
        "update" => "none",
        "add" => "add",
        "mul" => "mul",
        "min" => "min",
        "max" => "max",
        other => return Err(OpError::unsupported(format!("scattering with the mode {other:?}"))),
    };
    Ok(("reduction", Attribute::Text(word.to_owned())))
}

fn scatter_nd(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (data, places, updates) = (op.input("data")?, op.wide("indices")?, op.input("updates")?);
    validate(op)?;
    let reduction = reduction(op)?;
    Ok(vec![op.emit("ScatterND", &[&data, &places, &updates], &[reduction])?])
}

fn scatter_along_axis(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (data, places, updates) = (op.input("data")?, op.input("indices")?, op.input("updates")?);
    let axis = op.find_int("axis")?.unwrap_or(0);
    validate(op)?;
    let reduction = reduction(op)?;
    Ok(vec![op.emit("ScatterElements", &[&data, &places, &updates], &[("axis", Attribute::Int(axis)), reduction])?])
}

/// Slices along the first dimension are what ONNX's operator writes.
fn scatter(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let rank = op.rank("data")?;
    let axis = op.axis("axis", 0, rank)?;
    if axis != 0 {
        return Err(OpError::unsupported(format!("scattering along dimension {axis}")));
    }
    let (data, places, updates) = (op.input("data")?, op.wide("indices")?, op.input("updates")?);
    validate(op)?;
    let last = op.int_list(&[-1]);
    let places = op.emit("Unsqueeze", &[&places, &last], &[])?;
    let reduction = reduction(op)?;
    Ok(vec![op.emit("ScatterND", &[&data, &places, &updates], &[reduction])?])
}

fn non_zero(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let x = op.input("x")?;
    let places = op.emit("NonZero", &[&x], &[])?;
    let rows = op.emit("Transpose", &[&places], &[("perm", Attribute::Ints(vec![1, 0]))])?;
    Ok(vec![op.cast(&rows, DType::I32)?])
}

/// The `k` greatest or least with their places, as 32-bit integers.
fn extremes(op: &mut Op<'_, '_>, k: i64, default_axis: i64) -> Result<(String, String), OpError> {
    let (x, of) = (op.input("x")?, op.of("x")?);
    let axis = op.axis("axis", default_axis, of.rank())?;
    let is_ascending = op.flag("ascending", false)?;
    let extent = of.dims[axis].and_then(|extent| i64::try_from(extent).ok());
    let k = match (k, extent) {
        (-1, Some(extent)) => extent,
        (-1, None) => return Err(OpError::unsupported("sorting an unknown number of elements")),
        (k, _) => k,
    };
    let k = op.int_list(&[k]);
    let attributes =
        [("axis", signed(axis)), ("largest", Attribute::Int(i64::from(!is_ascending))), ("sorted", Attribute::Int(1))];
    let found = op.emit_many(("", "TopK"), &[&x, &k], &attributes, 2)?;
    let places = op.cast(&found[1], DType::I32)?;
    Ok((found[0].clone(), places))
}

fn topk(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let k = op.find_int("k")?.unwrap_or(1);
    op.flag("sort", true)?;
    op.text("output_indices_dtype", "int32")?;
    let wants_places = op.flag("return_indices", true)?;
    let (values, places) = extremes(op, k, -1)?;
    Ok(if wants_places { vec![values, places] } else { vec![values] })
}

fn argsort(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    Ok(vec![extremes(op, -1, -1)?.1])
}

/// The label of the greatest probability. The other output is a dictionary, for which tensors have no place: a model
/// whose outputs it is among is refused there.
fn classify(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    use crate::mil::{Binding, Content, Literal};
    let probabilities = op.input("probabilities")?;
    let literal: Option<&Literal> = match op.bindings("classes") {
        [Binding::Literal(literal)] => Some(literal),
        [Binding::Name(name)] => op.lowering.literal(name),
        _ => None,
    };
    let classes = match literal.map(|literal| &literal.content) {
        Some(Content::Texts(classes)) => Array::new(&[classes.len()], classes.clone()),
        Some(Content::Numbers(classes)) => Array::new(&[classes.len()], classes.clone()),
        _ => return Err(wrong("classes", "a list of texts or integers", "something else")),
    };
    let classes = op.constant(classes);
    let flat = op.int_list(&[-1]);
    let flat = op.emit("Reshape", &[&probabilities, &flat], &[])?;
    let best = op.emit("ArgMax", &[&flat], &[("axis", Attribute::Int(0)), ("keepdims", Attribute::Int(1))])?;
    let label = op.emit("Gather", &[&classes, &best], &[("axis", Attribute::Int(0))])?;
    Ok(vec![label, flat])
}
