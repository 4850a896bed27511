//! Operations that move elements or change shapes.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::graph::Attribute;
use crate::operator;
use ballast_backend::DType;

pub(super) const OPS: &[(&str, Lower)] = &[
    ("concat", concat),
    ("crop", crop),
    ("depth_to_space", |op| blocks(op, "DepthToSpace", "block_size")),
    ("expand_dims", expand_dims),
    ("flatten2d", flatten),
    ("pad", pad),
    ("pixel_shuffle", pixel_shuffle),
    ("pixel_unshuffle", pixel_unshuffle),
    ("reshape", reshape),
    ("reshape_like", reshape_like),
    ("reverse", reverse),
    ("reverse_sequence", reverse_sequence),
    ("shape", shape),
    ("sliding_windows", sliding_windows),
    ("space_to_depth", |op| blocks(op, "SpaceToDepth", "block_size")),
    ("split", split),
    ("squeeze", squeeze),
    ("stack", stack),
    ("tile", tile),
    ("transpose", transpose),
];

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn concat(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (values, axis) = (op.all("values")?, op.int("axis")?);
    if !op.flag("interleave", false)? {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        return Ok(vec![op.emit("Concat", &values, &[("axis", Attribute::Int(axis))])?]);
    }
    // One element of each in turn: a new dimension behind the axis, which is then merged with it.
    let types = op.types("values")?;
    let rank = types.first().map_or(0, |of| of.rank());
    let at = operator::axis(axis, rank)?;
    let joined = stacked(op, &values, signed(at + 1))?;
    let mut extents: Vec<i64> = vec![0; rank];
    extents[at] = -1;
    // Extents in front of the axis are those of the input; those behind come one place later.
    for (dim, extent) in extents.iter_mut().enumerate().skip(at + 1) {
        let known = types[0].dims[dim].ok_or_else(|| OpError::unsupported("values of unknown extents"))?;
        *extent = signed(known);
    }
    let extents = op.int_list(&extents);
    Ok(vec![op.emit("Reshape", &[&joined, &extents], &[])?])
}

/// Values side by side along a new dimension.
fn stacked(op: &mut Op<'_, '_>, values: &[String], axis: i64) -> Result<String, OpError> {
    let axes = op.int_list(&[axis]);
    let mut wider = Vec::new();
    for value in values {
        wider.push(op.emit("Unsqueeze", &[value, &axes], &[])?);
    }
    let wider: Vec<&str> = wider.iter().map(String::as_str).collect();
    op.emit("Concat", &wider, &[("axis", Attribute::Int(axis))])
}

fn stack(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (values, axis) = (op.all("values")?, op.int("axis")?);
    let rank = op.types("values")?.first().map_or(0, |of| of.rank());
    let axis = operator::axis(axis, rank + 1)?;
    Ok(vec![stacked(op, &values, signed(axis))?])
}

/// Takes away so many elements before and behind, in the last two dimensions.
fn crop(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, high, wide) = (op.input("x")?, op.n_ints("crop_height", 2, 0)?, op.n_ints("crop_width", 2, 0)?);
    let ends = [high[1], wide[1]].map(|behind| if behind == 0 { i64::MAX } else { -behind });
    let (starts, ends) = (op.int_list(&[high[0], wide[0]]), op.int_list(&ends));
    let axes = op.int_list(&[-2, -1]);
    Ok(vec![op.emit("Slice", &[&x, &starts, &ends, &axes], &[])?])
}

fn blocks(op: &mut Op<'_, '_>, name: &str, size: &'static str) -> Result<Vec<String>, OpError> {
    let (x, size) = (op.input("x")?, op.int(size)?);
    Ok(vec![op.emit(name, &[&x], &[("blocksize", Attribute::Int(size))])?])
}

/// Channels become space, each block's elements beside each other in the channels.
fn pixel_shuffle(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, size) = (op.input("x")?, op.int("upscale_factor")?);
    let attributes = [("blocksize", Attribute::Int(size)), ("mode", Attribute::Text("CRD".to_owned()))];
    Ok(vec![op.emit("DepthToSpace", &[&x], &attributes)?])
}

/// The inverse of `pixel_shuffle`, for which ONNX has no operator.
fn pixel_unshuffle(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, of, factor) = (op.input("x")?, op.of("x")?, op.int("downscale_factor")?);
    let dims: Option<Vec<i64>> = of.dims.iter().map(|dim| dim.map(signed)).collect();
    let Some([n, channels, high, wide]) = dims.as_deref() else {
        return Err(OpError::unsupported("an input whose four extents are not told"));
    };
    if factor < 1 || high % factor != 0 || wide % factor != 0 {
        return Err(wrong("downscale_factor", "a divisor of height and width", factor));
    }
    let split = op.int_list(&[*n, *channels, high / factor, factor, wide / factor, factor]);
    let value = op.emit("Reshape", &[&x, &split], &[])?;
    let value = op.emit("Transpose", &[&value], &[("perm", Attribute::Ints(vec![0, 1, 3, 5, 2, 4]))])?;
    let merged = op.int_list(&[*n, channels.saturating_mul(factor * factor), high / factor, wide / factor]);
    Ok(vec![op.emit("Reshape", &[&value, &merged], &[])?])
}

fn expand_dims(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, axes) = (op.input("x")?, op.ints("axes")?);
    let axes = op.int_list(&axes);
    Ok(vec![op.emit("Unsqueeze", &[&x, &axes], &[])?])
}

fn squeeze(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, axes) = (op.input("x")?, op.find_ints("axes")?);
    Ok(vec![match axes {
        Some(axes) => {
            let axes = op.int_list(&axes);
            op.emit("Squeeze", &[&x, &axes], &[])?
        }
        None => op.emit("Squeeze", &[&x], &[])?,
    }])
}

fn flatten(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, axis) = (op.input("x")?, op.find_int("axis")?.unwrap_or(1));
    Ok(vec![op.emit("Flatten", &[&x], &[("axis", Attribute::Int(axis))])?])
}

/// A pair of extents for each of the last dimensions that there are pairs for.
fn pad(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank, pairs) = (op.input("x")?, op.rank("x")?, op.ints("pad")?);
    let mode = match op.text("mode", "constant")?.as_str() {
        "constant" => "constant",
        "reflect" => "reflect",
        "replicate" => "edge",
        other => return Err(wrong("mode", "constant, reflect or replicate", other)),
    };
    let n_dims = pairs.len() / 2;
    if pairs.len() % 2 != 0 || n_dims > rank {
        return Err(wrong("pad", format!("at most {rank} pairs"), format!("{} integers", pairs.len())));
    }
    let mut pads = vec![0; 2 * rank];
    for (dim, pair) in (rank - n_dims..rank).zip(pairs.chunks(2)) {
        (pads[dim], pads[rank + dim]) = (pair[0], pair[1]);
    }
    let (pads, value) = (op.int_list(&pads), op.find("constant_val")?);
    let inputs: Vec<&str> = [Some(x.as_str()), Some(pads.as_str()), value.as_deref()].into_iter().flatten().collect();
    let inputs = if mode == "constant" { &inputs[..] } else { &inputs[..2] };
    Ok(vec![op.emit("Pad", inputs, &[("mode", Attribute::Text(mode.to_owned()))])?])
}

/// A 0 stands for an extent of the input's: at the same place before iOS 17, counted from the last since. Where the
/// numbers of dimensions are the same, both are.
fn reshape(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank) = (op.input("x")?, op.rank("x")?);
    if op.is_constant("shape")? {
        let shape = op.ints("shape")?;
        if shape.contains(&0) && shape.len() != rank {
            return Err(OpError::unsupported("an extent of 0 among another number of dimensions"));
        }
    }
    let shape = op.wide("shape")?;
    Ok(vec![op.emit("Reshape", &[&x, &shape], &[])?])
}

/// The shape is made of parts of other tensors' shapes.
fn reshape_like(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, references) = (op.input("x")?, op.all("ref_tensors")?);
    for name in ["begins", "ends", "end_masks"] {
        op.bindings(name);
    }
    let of = op.output(0)?;
    match of.shape() {
        // The program tells what it comes to.
        Some(shape) if !references.is_empty() => {
            let shape: Vec<i64> = shape.into_iter().map(signed).collect();
            let shape = op.int_list(&shape);
            Ok(vec![op.emit("Reshape", &[&x, &shape], &[("allowzero", Attribute::Int(1))])?])
        }
        _ => Err(OpError::unsupported("a shape of others' whose extents are not told")),
    }
}

/// Slices that go backwards.
fn reverse(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank) = (op.input("x")?, op.rank("x")?);
    let axes = op.find_ints("axes")?.unwrap_or_else(|| (0..signed(rank)).collect());
    let n = axes.len();
    let (starts, ends) = (op.int_list(&vec![-1; n]), op.int_list(&vec![i64::MIN; n]));
    let (axes, steps) = (op.int_list(&axes), op.int_list(&vec![-1; n]));
    Ok(vec![op.emit("Slice", &[&x, &starts, &ends, &axes, &steps], &[])?])
}

fn reverse_sequence(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, lengths) = (op.input("x")?, op.wide("lengths")?);
    let attributes = [
        ("time_axis", Attribute::Int(op.find_int("seq_axis")?.unwrap_or(0))),
        ("batch_axis", Attribute::Int(op.find_int("batch_axis")?.unwrap_or(0))),
    ];
    Ok(vec![op.emit("ReverseSequence", &[&x, &lengths], &attributes)?])
}

fn shape(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let x = op.input("x")?;
    let shape = op.emit("Shape", &[&x], &[])?;
    Ok(vec![op.cast(&shape, DType::I32)?])
}

/// Windows of `size` elements, `stride` apart, along a dimension that becomes two.
fn sliding_windows(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, of) = (op.input("x")?, op.of("x")?);
    let (size, stride) = (op.int("size")?, op.find_int("stride")?.unwrap_or(1));
    let axis = op.axis("axis", 0, of.rank())?;
    let extent = of.dims[axis].map(signed).ok_or_else(|| OpError::unsupported("windows over an unknown extent"))?;
    if size < 1 || stride < 1 || size > extent {
        return Err(wrong("size", format!("windows within {extent} elements"), size));
    }
    let n_windows = (extent - size) / stride + 1;
    let [rows, columns] = [n_windows, size].map(|n| usize::try_from(n).unwrap_or_default());
    crate::mil::expand::Constants::spend(op, &[rows, columns], DType::I64)?;
    let places = (0..n_windows).flat_map(|window| (0..size).map(move |at| window * stride + at)).collect();
    let places = op.constant(Array::new(&[rows, columns], places));
    Ok(vec![op.emit("Gather", &[&x, &places], &[("axis", Attribute::Int(signed(axis)))])?])
}

/// Into parts of extents that are told, or into so many alike.
fn split(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, axis) = (op.input("x")?, op.int("axis")?);
    let sizes = op.find_ints("split_sizes")?;
    let n_parts = op.find_int("num_splits")?;
    let axis = ("axis", Attribute::Int(axis));
    match (sizes, n_parts) {
        (Some(sizes), _) => {
            let n = sizes.len();
            let sizes = op.int_list(&sizes);
            op.emit_many(("", "Split"), &[&x, &sizes], &[axis], n)
        }
        (None, Some(n)) => {
            let count = usize::try_from(n).ok().filter(|&count| count > 0 && count <= 1 << 16);
            let count = count.ok_or_else(|| wrong("num_splits", "1 to 65536", n))?;
            op.emit_many(("", "Split"), &[&x], &[axis, ("num_outputs", Attribute::Int(n))], count)
        }
        (None, None) => Err(wrong("num_splits", "a number of parts or their extents", "neither")),
    }
}

fn tile(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, times) = (op.input("x")?, op.wide("reps")?);
    Ok(vec![op.emit("Tile", &[&x, &times], &[])?])
}

/// Dimensions may be counted from the last.
fn transpose(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank, order) = (op.input("x")?, op.rank("x")?, op.ints("perm")?);
    let order = order.iter().map(|&at| operator::axis(at, rank).map(signed)).collect::<Result<Vec<i64>, _>>()?;
    Ok(vec![op.emit("Transpose", &[&x], &[("perm", Attribute::Ints(order))])?])
}
