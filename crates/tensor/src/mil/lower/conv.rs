//! Convolutions.

use super::Lower;
use super::op::{Op, wrong};
use crate::error::OpError;
use crate::graph::Attribute;

pub(super) const OPS: &[(&str, Lower)] = &[("conv", conv), ("conv_transpose", conv_transpose)];

/// What slides over the spatial dimensions of an input.
pub(super) struct Window {
    /// Extents of the input; `None`: not told.
    pub(super) input: Vec<Option<usize>>,
    /// Extents of the kernel, its dilation counted.
    pub(super) kernel: Vec<i64>,
    pub(super) strides: Vec<i64>,
}

/// How an input is padded.
pub(super) enum Padding {
    /// By these many elements: those before all dimensions, then those behind.
    Explicit(Vec<i64>),
    /// As ONNX's `auto_pad` says: the extents are not told.
    Auto(&'static str),
}

impl Padding {
    /// As an operator's attribute.
    pub(super) fn attribute(self) -> (&'static str, Attribute) {
        match self {
            Self::Explicit(pads) => ("pads", Attribute::Ints(pads)),
            Self::Auto(how) => ("auto_pad", Attribute::Text(how.to_owned())),
        }
    }
}

/// Pairs of padding by dimension, in ONNX's order: all that come before, then all that come behind.
pub(super) fn in_order(pairs: &[(i64, i64)]) -> Vec<i64> {
    pairs.iter().map(|pair| pair.0).chain(pairs.iter().map(|pair| pair.1)).collect()
}

/// The padding that an operation tells by `pad_type` and `pad`.
pub(super) fn padding(op: &mut Op<'_, '_>, window: &Window, default: &str) -> Result<Padding, OpError> {
    let n_dims = window.kernel.len();
    let custom = op.n_ints("pad", 2 * n_dims, 0)?;
    let is_lower = match op.text("pad_type", default)?.as_str() {
        "valid" => return Ok(Padding::Explicit(vec![0; 2 * n_dims])),
        "custom" => {
            let pairs: Vec<(i64, i64)> = custom.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            return Ok(Padding::Explicit(in_order(&pairs)));
        }
        "same" => false,
        "same_lower" => true,
        other => return Err(wrong("pad_type", "valid, custom, same or same_lower", other)),
    };
    let extents: Option<Vec<usize>> = window.input.iter().copied().collect();
    let Some(extents) = extents else {
        return Ok(Padding::Auto(if is_lower { "SAME_LOWER" } else { "SAME_UPPER" }));
    };
    // As many outputs as strides fit, padded on both sides alike; an odd element goes behind, or before.
    let dims = extents.iter().zip(&window.kernel).zip(&window.strides);
    let pairs = dims.map(|((&extent, &kernel), &stride)| {
        let extent = i64::try_from(extent).unwrap_or(i64::MAX);
        let n_out = extent.saturating_add(stride - 1) / stride;
        let total = (n_out.saturating_sub(1).saturating_mul(stride).saturating_add(kernel) - extent).max(0);
        if is_lower { (total - total / 2, total / 2) } else { (total / 2, total - total / 2) }
    });
    Ok(Padding::Explicit(in_order(&pairs.collect::<Vec<_>>())))
}

/// Attributes of convolutions, and what slides.
struct Shared {
    window: Window,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    groups: i64,
}

fn shared(op: &mut Op<'_, '_>) -> Result<Shared, OpError> {
    let (x, weight) = (op.of("x")?, op.of("weight")?);
    if x.rank() < 3 || x.rank() != weight.rank() {
        return Err(OpError::unsupported(format!("weights of {} dimensions for {}", weight.rank(), x.rank())));
    }
    let n_dims = x.rank() - 2;
    let (strides, dilations) = (op.n_ints("strides", n_dims, 1)?, op.n_ints("dilations", n_dims, 1)?);
    let groups = op.find_int("groups")?.unwrap_or(1);
    if strides.iter().chain(&dilations).chain([&groups]).any(|&value| value < 1 || value > i64::from(i32::MAX)) {
        return Err(wrong("strides", "strides, dilations and groups of at least 1", format!("{strides:?}")));
    }
    let kernel = weight.dims[2..].iter().zip(&dilations).map(|(extent, dilation)| {
        let extent =
            extent.and_then(|extent| i64::try_from(extent).ok()).filter(|extent| *extent <= i64::from(i32::MAX));
        extent.map(|extent| (extent - 1) * dilation + 1)
    });
    let kernel: Option<Vec<i64>> = kernel.collect();
    let kernel = kernel.ok_or_else(|| OpError::unsupported("a kernel of unknown extents"))?;
    let window = Window { input: x.dims[2..].to_vec(), kernel, strides: strides.clone() };
    Ok(Shared { window, strides, dilations, groups })
}

impl Shared {
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![
            ("strides", Attribute::Ints(self.strides.clone())),
            ("dilations", Attribute::Ints(self.dilations.clone())),
            ("group", Attribute::Int(self.groups)),
        ]
    }
}

fn convolve(op: &mut Op<'_, '_>, name: &str, attributes: &[(&'static str, Attribute)]) -> Result<Vec<String>, OpError> {
    let (x, weight) = (op.input("x")?, op.input("weight")?);
    let bias = op.find("bias")?;
    let inputs: Vec<&str> = [Some(x.as_str()), Some(weight.as_str()), bias.as_deref()].into_iter().flatten().collect();
    Ok(vec![op.emit(name, &inputs, attributes)?])
}

fn conv(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let shared = shared(op)?;
    let mut attributes = shared.attributes();
    attributes.push(padding(op, &shared.window, "valid")?.attribute());
    convolve(op, "Conv", &attributes)
}

/// The output's extents come from `output_shape`, or from the padding; a padding of "same" gives extents of the input's
/// times the stride.
fn conv_transpose(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let shared = shared(op)?;
    let n_dims = shared.strides.len();
    let pad_type = op.text("pad_type", "valid")?;
    let custom = op.n_ints("pad", 2 * n_dims, 0)?;
    let wanted = op.find_ints("output_shape")?;
    let wanted = wanted.map(|shape| shape.get(2..).map(<[i64]>::to_vec).unwrap_or_default());
    if wanted.as_ref().is_some_and(|shape| shape.len() != n_dims) {
        return Err(wrong("output_shape", format!("{} extents", n_dims + 2), "others"));
    }
    let (mut pairs, mut extra) = (Vec::new(), vec![0; n_dims]);
    for dim in 0..n_dims {
        let (stride, kernel) = (shared.strides[dim], shared.window.kernel[dim]);
        let extent = shared.window.input[dim].and_then(|extent| i64::try_from(extent).ok());
        // What the output has before padding takes away of it, without the input's extent times the stride.
        let surplus = kernel - stride;
        let pair = match pad_type.as_str() {
            "valid" => (0, 0),
            "custom" => (custom[2 * dim], custom[2 * dim + 1]),
            "same" => {
                let beyond = match (wanted.as_ref(), extent) {
                    (None, _) => 0,
                    (Some(shape), Some(extent)) => shape[dim].saturating_sub(extent.saturating_mul(stride)),
                    (Some(_), None) => return Err(OpError::unsupported("an input of unknown extents")),
                };
                let total = surplus - beyond;
                extra[dim] = (-total).max(0);
                (total.max(0) / 2, total.max(0) - total.max(0) / 2)
            }
            other => return Err(wrong("pad_type", "valid, custom or same", other)),
        };
        if let (Some(shape), "valid" | "custom") = (wanted.as_ref(), pad_type.as_str()) {
            let extent = extent.ok_or_else(|| OpError::unsupported("an input of unknown extents"))?;
            extra[dim] =
                shape[dim].saturating_sub(extent.saturating_mul(stride).saturating_add(surplus) - pair.0 - pair.1);
        }
        pairs.push(pair);
    }
    for (pair, extra) in pairs.iter_mut().zip(&mut extra) {
        // An output that is shorter than what the padding leaves is cut at its end.
        if *extra < 0 {
            pair.1 -= *extra;
            *extra = 0;
        }
    }
    let mut attributes = shared.attributes();
    attributes.push(("pads", Attribute::Ints(in_order(&pairs))));
    attributes.push(("output_padding", Attribute::Ints(extra)));
    convolve(op, "ConvTranspose", &attributes)
}
