//! Images made larger or smaller.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::graph::Attribute;

pub(super) const OPS: &[(&str, Lower)] = &[
    ("resize", resize),
    ("resize_bilinear", resize_bilinear),
    ("resize_nearest_neighbor", resize_nearest),
    ("upsample_bilinear", upsample_bilinear),
    ("upsample_nearest_neighbor", upsample_nearest),
];

/// Where the samples lie that an output of several is made from.
#[derive(Clone, Copy, PartialEq)]
enum Grid {
    /// The first and the last sample are those of the input.
    AlignCorners,
    /// From the first sample on in even steps.
    Asymmetric,
    /// Samples are the middles of their parts of the input.
    HalfPixel,
    /// In even steps, with half of one before the first.
    OffsetCorners,
}

/// The grid that a mode names, for an output of this extent.
fn grid(mode: &str, extent: i64) -> Result<Grid, OpError> {
    Ok(match mode {
        "STRICT_ALIGN_CORNERS" => Grid::AlignCorners,
        // A single sample is taken from the middle.
        "ALIGN_CORNERS" if extent == 1 => Grid::HalfPixel,
        "ALIGN_CORNERS" => Grid::AlignCorners,
        "DEFAULT" => Grid::Asymmetric,
        "OFFSET_CORNERS" => Grid::OffsetCorners,
        "UNALIGN_CORNERS" => Grid::HalfPixel,
        other => return Err(wrong("sampling_mode", "one of five modes", other)),
    })
}

/// Bilinear interpolation along one dimension, counted from the last.
fn linear(op: &mut Op<'_, '_>, x: &str, axis: i64, extent: i64, grid: Grid) -> Result<String, OpError> {
    let mode = match grid {
        Grid::AlignCorners => "align_corners",
        Grid::Asymmetric => "asymmetric",
        Grid::HalfPixel => "half_pixel",
        Grid::OffsetCorners => return offset_corners(op, x, axis, extent),
    };
    let sizes = op.int_list(&[extent]);
    let attributes = [
        ("mode", Attribute::Text("linear".to_owned())),
        ("coordinate_transformation_mode", Attribute::Text(mode.to_owned())),
        ("axes", Attribute::Ints(vec![axis])),
    ];
    op.emit("Resize", &[x, "", "", &sizes], &attributes)
}

/// The grid that ONNX has not: a product with a matrix of the weights of each sample.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "extents of images are small, and places are within them"
)]
fn offset_corners(op: &mut Op<'_, '_>, x: &str, axis: i64, extent: i64) -> Result<String, OpError> {
    let of = op.of("x")?;
    let at = crate::operator::axis(axis, of.rank())?;
    let n_in = of.dims[at].ok_or_else(|| OpError::unsupported("an input of unknown extents"))?;
    let n_out = usize::try_from(extent).map_err(|_| wrong("shape", "an extent", extent))?;
    crate::mil::expand::Constants::spend(op, &[n_in, n_out], ballast_backend::DType::F32)?;
    let step = (n_in.saturating_sub(1)).max(1) as f32 / n_out as f32;
    let mut weights = vec![0.0; n_in * n_out];
    for idx in 0..n_out {
        let place = (0.5 * step + idx as f32 * step).clamp(0.0, n_in.saturating_sub(1) as f32);
        let (low, share) = (place.floor() as usize, place.fract());
        // Rows are samples of the input.
        weights[low * n_out + idx] += 1.0 - share;
        if share > 0.0 {
            weights[(low + 1) * n_out + idx] += share;
        }
    }
    if axis == -1 {
        let weights = op.constant(Array::new(&[n_in, n_out], weights));
        return op.emit("MatMul", &[x, &weights], &[]);
    }
    let turned = (0..n_out * n_in).map(|at| weights[at % n_in * n_out + at / n_in]).collect();
    let weights = op.constant(Array::new(&[n_out, n_in], turned));
    op.emit("MatMul", &[&weights, x], &[])
}

fn bilinear(op: &mut Op<'_, '_>, extents: [i64; 2], grids: [Grid; 2]) -> Result<Vec<String>, OpError> {
    let x = op.input("x")?;
    let x = linear(op, &x, -2, extents[0], grids[0])?;
    Ok(vec![linear(op, &x, -1, extents[1], grids[1])?])
}

/// The nearest sample before each place, in even steps from the first on.
fn nearest(op: &mut Op<'_, '_>, extents: [i64; 2]) -> Result<Vec<String>, OpError> {
    let (x, sizes) = (op.input("x")?, op.int_list(&extents));
    let attributes = [
        ("mode", Attribute::Text("nearest".to_owned())),
        ("coordinate_transformation_mode", Attribute::Text("asymmetric".to_owned())),
        ("nearest_mode", Attribute::Text("floor".to_owned())),
        ("axes", Attribute::Ints(vec![-2, -1])),
    ];
    Ok(vec![op.emit("Resize", &[&x, "", "", &sizes], &attributes)?])
}

/// Height and width of the output.
fn targets(op: &mut Op<'_, '_>) -> Result<[i64; 2], OpError> {
    let mut target = |name| Ok::<i64, OpError>(op.find_int(name)?.unwrap_or(1));
    Ok([target("target_size_height")?, target("target_size_width")?])
}

/// Height and width of the output: those of the input times a number that need not be whole, and no less than it says.
fn scaled(op: &mut Op<'_, '_>) -> Result<[i64; 2], OpError> {
    for name in ["scale_factor_height", "scale_factor_width"] {
        op.bindings(name);
    }
    let dims = &op.output(0)?.dims;
    let last = dims.last_chunk::<2>().copied();
    match last {
        Some([Some(height), Some(width)]) => {
            Ok([height, width].map(|extent| i64::try_from(extent).unwrap_or(i64::MAX)))
        }
        _ => Err(OpError::unsupported("a scale for unknown extents")),
    }
}

fn resize_bilinear(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (extents, mode) = (targets(op)?, op.text("sampling_mode", "DEFAULT")?);
    let grids = [grid(&mode, extents[0])?, grid(&mode, extents[1])?];
    bilinear(op, extents, grids)
}

fn resize_nearest(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let extents = targets(op)?;
    nearest(op, extents)
}

fn upsample_nearest(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let extents = scaled(op)?;
    nearest(op, extents)
}

fn upsample_bilinear(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let extents = scaled(op)?;
    let aligns = op.flag("align_corners", true)?;
    let is_half = op.flag("half_pixel_centers", !aligns)?;
    let grid = match (aligns, is_half) {
        (true, false) => Grid::AlignCorners,
        (false, true) => Grid::HalfPixel,
        (false, false) => Grid::Asymmetric,
        (true, true) => return Err(OpError::unsupported("corners that are aligned with middles of pixels")),
    };
    bilinear(op, extents, [grid; 2])
}

/// The last dimensions in the extents that are told; a 0 keeps the input's.
fn resize(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (shape, n) = (op.ints("shape")?, op.int("resized_dims")?);
    let (of, mode) = (op.of("x")?, op.text("sampling_mode", "DEFAULT")?);
    let n = usize::try_from(n).ok().filter(|&n| n == 2 && n <= shape.len() && n <= of.rank());
    n.ok_or_else(|| OpError::unsupported("resizing other than the last two dimensions"))?;
    let mut extents = [shape[shape.len() - 2], shape[shape.len() - 1]];
    for (extent, dim) in extents.iter_mut().zip(&of.dims[of.rank() - 2..]) {
        if *extent == 0 {
            let kept = dim.and_then(|dim| i64::try_from(dim).ok());
            *extent = kept.ok_or_else(|| OpError::unsupported("an input of unknown extents"))?;
        }
    }
    match op.text("interpolation_mode", "LINEAR")?.as_str() {
        "LINEAR" => {
            let grids = [grid(&mode, extents[0])?, grid(&mode, extents[1])?];
            bilinear(op, extents, grids)
        }
        "NEAREST_NEIGHBOR" if mode == "DEFAULT" => nearest(op, extents),
        "NEAREST_NEIGHBOR" => Err(OpError::unsupported(format!("nearest neighbours with the mode {mode}"))),
        other => Err(wrong("interpolation_mode", "LINEAR or NEAREST_NEIGHBOR", other)),
    }
}
