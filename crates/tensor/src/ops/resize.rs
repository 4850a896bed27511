//! Operators that change the size of pictures, or read them between their places.

mod kernel;
mod sample;

use crate::array::{Array, Element, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, ints, one};
use crate::ops::view::{IndexMap, extent, fill_rows, remap};
use crate::run::Context;
use ballast_backend::DType;
use half::{bf16, f16};
use kernel::{Kernel, Taps};
use smallvec::SmallVec;

pub(super) const OPS: &[(&str, Build)] = &[
    ("AffineGrid", sample::affine_grid),
    ("GridSample", sample::grid_sample),
    ("Resize", resize),
    ("Upsample", upsample),
];

/// Where a place of the result lies in what is resized. (ONNX `Resize`, `coordinate_transformation_mode`)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    CropAndResize,
}

/// To which neighbour a place between two is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

impl Nearest {
    fn round(self, at: f32) -> f32 {
        match self {
            Self::RoundPreferFloor => (at - 0.5).ceil(),
            Self::RoundPreferCeil => (at + 0.5).floor(),
            Self::Floor => at.floor(),
            Self::Ceil => at.ceil(),
        }
    }
}

/// What sizes that are told do to the proportions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aspect {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// How places between others are found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Interpolation {
    Nearest(Nearest),
    Weighted(Kernel),
}

/// Which of the inputs is what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Places {
    roi: Option<usize>,
    scales: usize,
    sizes: Option<usize>,
}

fn resize(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let coordinates = match spec.text("coordinate_transformation_mode")?.unwrap_or("half_pixel") {
        _ if spec.version < 11 => Coordinates::Asymmetric,
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_crop_and_resize" => Coordinates::CropAndResize,
        other => return Err(OpError::unsupported(format!("the coordinate_transformation_mode {other:?}"))),
    };
    let nearest = match spec.text("nearest_mode")?.unwrap_or("round_prefer_floor") {
        _ if spec.version < 11 => Nearest::Floor,
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => return Err(NodeSpec::wrong("nearest_mode", "a way to round", other)),
    };
    let aspect = match spec.text("keep_aspect_ratio_policy")?.unwrap_or("stretch") {
        "stretch" => Aspect::Stretch,
        "not_larger" => Aspect::NotLarger,
        "not_smaller" => Aspect::NotSmaller,
        other => return Err(NodeSpec::wrong("keep_aspect_ratio_policy", "stretch, not_larger or not_smaller", other)),
    };
    let (cubic_a, is_smooth) = (spec.float("cubic_coeff_a")?.unwrap_or(-0.75), spec.flag("antialias", false)?);
    let excludes_outside = spec.flag("exclude_outside", false)?;
    let interpolation = match spec.text("mode")?.unwrap_or("nearest") {
        "nearest" if is_smooth => return Err(OpError::unsupported("antialias of the nearest places")),
        "nearest" => Interpolation::Nearest(nearest),
        "linear" => Interpolation::Weighted(Kernel { cubic_a: None, is_smooth, excludes_outside }),
        "cubic" => Interpolation::Weighted(Kernel { cubic_a: Some(cubic_a), is_smooth, excludes_outside }),
        other => return Err(NodeSpec::wrong("mode", "nearest, linear or cubic", other)),
    };
    let (old, new) = (Places { roi: None, scales: 1, sizes: None }, Places { roi: Some(1), scales: 2, sizes: Some(3) });
    Ok(Box::new(Resize {
        coordinates,
        interpolation,
        aspect,
        outside: spec.float("extrapolation_value")?.unwrap_or(0.0),
        axes: spec.ints("axes")?.map(<[i64]>::to_vec),
        places: if spec.version < 11 { old } else { new },
        scales: None,
    }))
}

fn upsample(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let interpolation = match spec.text("mode")?.unwrap_or("nearest") {
        "nearest" => Interpolation::Nearest(Nearest::Floor),
        "linear" | "bilinear" => {
            Interpolation::Weighted(Kernel { cubic_a: None, is_smooth: false, excludes_outside: false })
        }
        other => return Err(NodeSpec::wrong("mode", "nearest or linear", other)),
    };
    let scales = match spec.version {
        ..7 => {
            let height = NodeSpec::needed(spec.float("height_scale")?, "height_scale", "a float")?;
            let width = NodeSpec::needed(spec.float("width_scale")?, "width_scale", "a float")?;
            Some(vec![1.0, 1.0, height, width])
        }
        7..9 => Some(NodeSpec::needed(spec.floats("scales")?, "scales", "floats")?.to_vec()),
        _ => None,
    };
    Ok(Box::new(Resize {
        coordinates: Coordinates::Asymmetric,
        interpolation,
        aspect: Aspect::Stretch,
        outside: 0.0,
        axes: None,
        places: Places { roi: None, scales: 1, sizes: None },
        scales,
    }))
}

/// An array with more or fewer places along its axes. (ONNX `Resize`, `Upsample`)
#[derive(Debug)]
struct Resize {
    coordinates: Coordinates,
    interpolation: Interpolation,
    aspect: Aspect,
    /// What is outside of the part that is cropped.
    outside: f32,
    axes: Option<Vec<i64>>,
    places: Places,
    scales: Option<Vec<f32>>,
}

/// How one dimension is resized.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Target {
    extent: usize,
    len: usize,
    scale: f32,
    /// The part that is taken, in shares of the whole.
    roi: (f32, f32),
}

impl Target {
    fn is_same(&self, coordinates: Coordinates) -> bool {
        let is_whole = coordinates != Coordinates::CropAndResize || self.roi == (0.0, 1.0);
        self.extent == self.len && (self.scale - 1.0).abs() < 1e-6 && is_whole
    }

    /// Where place `at` of the result is.
    fn source(&self, coordinates: Coordinates, at: usize) -> f32 {
        let (x, n, len) = (float(at), float(self.extent), self.scale * float(self.extent));
        let half_pixel = (x + 0.5) / self.scale - 0.5;
        match coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => n / 2.0 * (1.0 - float(self.len) / len) + half_pixel,
            Coordinates::PytorchHalfPixel if self.len == 1 => 0.0,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners if self.len == 1 => 0.0,
            Coordinates::AlignCorners => x * (n - 1.0) / (len - 1.0),
            Coordinates::Asymmetric => x / self.scale,
            Coordinates::CropAndResize => {
                let (start, end) = self.roi;
                let within = if self.len == 1 { 0.5 } else { x / (len - 1.0) };
                start * (n - 1.0) + within * (end - start) * (n - 1.0)
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "extents of pictures are below 2^24")]
fn float(value: usize) -> f32 {
    value as f32
}

/// A whole number within an extent: the nearest there is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the extent before")]
fn clamped(at: f32, extent: usize) -> usize {
    at.clamp(0.0, float(extent.saturating_sub(1))) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is too large becomes the largest number, which is refused"
)]
fn floored(value: f32) -> usize {
    value.floor() as usize
}

impl Operator for Resize {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let targets = self.targets(&inputs, array)?;
        let shape: Shape = targets.iter().map(|target| target.len).collect();
        context.len_of(&shape, array.dtype())?;
        if targets.iter().all(|target| target.is_same(self.coordinates)) {
            return one(array.clone());
        }
        if array.len() == 0 && shape.iter().product::<usize>() > 0 {
            return Err(OpError::shape("elements to resize", array.shape()));
        }
        match self.interpolation {
            Interpolation::Nearest(nearest) => self.nearest(array, (&targets, nearest), context),
            Interpolation::Weighted(kernel) => self.weighted(array, (&targets, kernel), context),
        }
    }
}

impl Resize {
    fn targets(&self, inputs: &Inputs, array: &Array) -> Result<SmallVec<[Target; 6]>, OpError> {
        let rank = array.rank();
        let axes: SmallVec<[usize; 6]> = match &self.axes {
            Some(axes) => axes.iter().map(|&along| axis(along, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).collect(),
        };
        let same = |&extent: &usize| Target { extent, len: extent, scale: 1.0, roi: (0.0, 1.0) };
        let mut targets: SmallVec<[Target; 6]> = array.shape().iter().map(same).collect();
        let sizes = self.places.sizes.map(|idx| inputs.find(idx)).transpose()?.flatten();
        let scales = if self.scales.is_some() { None } else { inputs.find(self.places.scales)? };
        let is_given = |array: &&Array| array.len() > 0;
        match (&self.scales, scales.filter(is_given), sizes.filter(is_given)) {
            (None, Some(_), _) if self.coordinates == Coordinates::CropAndResize => {
                // The standard's text lets them scale the part, its reference the whole.
                return Err(OpError::unsupported("tf_crop_and_resize by scales"));
            }
            (Some(scales), ..) => self.scaled(&mut targets, (&axes, scales))?,
            (None, Some(scales), None) => {
                let scales = scales
                    .values::<f32>()
                    .ok_or_else(|| OpError::input(self.places.scales, "f32", scales.dtype().as_str()))?;
                self.scaled(&mut targets, (&axes, scales))?;
            }
            (None, None, Some(sizes)) => self.sized(&mut targets, (&axes, &ints(3, sizes)?))?,
            (None, ..) => return Err(OpError::input(self.places.scales, "scales or sizes", "none or both")),
        }
        if self.coordinates == Coordinates::CropAndResize {
            let roi = self.places.roi.map(|idx| inputs.find(idx)).transpose()?.flatten();
            self.cropped(&mut targets, (&axes, roi))?;
        }
        Ok(targets)
    }

    fn scaled(&self, targets: &mut [Target], (axes, scales): (&[usize], &[f32])) -> Result<(), OpError> {
        let is_fit = |scale: &f32| scale.is_finite() && *scale > 0.0;
        if scales.len() != axes.len() || !scales.iter().all(is_fit) {
            return Err(OpError::input(
                self.places.scales,
                format!("{} scales above 0", axes.len()),
                format!("{scales:?}"),
            ));
        }
        for (&at, &scale) in axes.iter().zip(scales) {
            targets[at].len = floored(float(targets[at].extent) * scale);
            targets[at].scale = scale;
        }
        Ok(())
    }

    fn sized(&self, targets: &mut [Target], (axes, sizes): (&[usize], &[i64])) -> Result<(), OpError> {
        if sizes.len() != axes.len() {
            return Err(OpError::input(3, format!("{} sizes", axes.len()), sizes.len().to_string()));
        }
        let sizes = sizes.iter().map(|&size| extent(size, 3)).collect::<Result<SmallVec<[usize; 6]>, _>>()?;
        let scale = |at: usize, size: usize| float(size) / float(targets[at].extent.max(1));
        let scales = axes.iter().zip(&sizes).map(|(&at, &size)| scale(at, size));
        let common = match self.aspect {
            Aspect::Stretch => None,
            Aspect::NotLarger => scales.reduce(f32::min),
            Aspect::NotSmaller => scales.reduce(f32::max),
        };
        for (&at, &size) in axes.iter().zip(&sizes) {
            let target = &mut targets[at];
            target.scale = common.unwrap_or(float(size) / float(target.extent.max(1)));
            target.len = common.map_or(size, |common| floored(common * float(target.extent) + 0.5));
        }
        Ok(())
    }

    fn cropped(&self, targets: &mut [Target], (axes, roi): (&[usize], Option<&Array>)) -> Result<(), OpError> {
        let wrong = || OpError::input(1, format!("{} bounds", 2 * axes.len()), format!("{roi:?}"));
        let bounds = super::generate::floats(roi.ok_or_else(wrong)?).filter(|bounds| bounds.len() == 2 * axes.len());
        let bounds = bounds.ok_or_else(wrong)?;
        for (idx, &at) in axes.iter().enumerate() {
            targets[at].roi = (narrow(bounds[idx]), narrow(bounds[axes.len() + idx]));
        }
        Ok(())
    }

    /// Whether a place of the source is in it; always, but where a part is cropped.
    fn is_within(&self, at: f32, target: &Target) -> bool {
        self.coordinates != Coordinates::CropAndResize || (0.0..=float(target.extent) - 1.0).contains(&at)
    }

    fn nearest(
        &self,
        array: &Array,
        (targets, nearest): (&[Target], Nearest),
        context: &mut Context<'_>,
    ) -> Result<Outputs, OpError> {
        let place = |target: &Target, at: usize| {
            let source = target.source(self.coordinates, at);
            self.is_within(source, target).then(|| clamped(nearest.round(source), target.extent))
        };
        let map = |target: &Target| -> IndexMap {
            if target.is_same(self.coordinates) {
                return (0..target.len).map(Some).collect();
            }
            (0..target.len).map(|at| place(target, at)).collect()
        };
        let maps: Vec<IndexMap> = targets.iter().map(map).collect();
        let outside = super::generate::cast(vec![f64::from(self.outside)], &[1], array.dtype());
        for_data!(array.data(), values => {
            let outside = outside.values().and_then(|values| values.first()).cloned().unwrap_or_default();
            one(remap(values, array.shape(), &maps, &outside, context)?)
        })
    }

    fn weighted(
        &self,
        array: &Array,
        (targets, kernel): (&[Target], Kernel),
        context: &mut Context<'_>,
    ) -> Result<Outputs, OpError> {
        let dtype = array.dtype();
        let wrong = || OpError::input(0, "numbers", dtype.as_str());
        if let Some(values) = array.values::<f32>() {
            return one(self.passes(values.to_vec(), (targets, kernel), context)?);
        }
        if matches!(dtype, DType::F16 | DType::Bf16) {
            let resized = self.passes(halves(array).ok_or_else(wrong)?, (targets, kernel), context)?;
            let wide = super::generate::floats(&resized).ok_or_else(wrong)?;
            return one(super::generate::cast(wide, resized.shape(), dtype));
        }
        if matches!(dtype, DType::Bool | DType::Str) {
            return Err(wrong());
        }
        let resized = self.passes(super::generate::floats(array).ok_or_else(wrong)?, (targets, kernel), context)?;
        let wide = super::generate::floats(&resized).ok_or_else(wrong)?;
        one(super::generate::cast(wide, resized.shape(), dtype))
    }

    /// Resizes along one dimension after the other, those that get the smallest first.
    fn passes<T: Weigh>(
        &self,
        mut values: Vec<T>,
        (targets, kernel): (&[Target], Kernel),
        context: &mut Context<'_>,
    ) -> Result<Array, OpError> {
        let mut order: SmallVec<[usize; 6]> =
            (0..targets.len()).filter(|&at| !targets[at].is_same(self.coordinates)).collect();
        order.sort_by(|&a, &b| targets[a].scale.total_cmp(&targets[b].scale));
        let mut shape: Shape = targets.iter().map(|target| target.extent).collect();
        for at in order {
            let target = &targets[at];
            let source = |place: usize| {
                let source = target.source(self.coordinates, place);
                self.is_within(source, target).then_some(source)
            };
            let taps = kernel.taps(target.extent, target.scale, (0..target.len).map(source));
            let mut out_shape = shape.clone();
            out_shape[at] = target.len;
            let mut out: Vec<T> = context.zeros(&out_shape)?;
            pass(&values, (&shape, at), &taps, (&mut out, T::of(self.outside)), context);
            (values, shape) = (out, out_shape);
        }
        Ok(Array::new(&shape, values))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounds are told as floats of 32 bits as well")]
fn narrow(value: f64) -> f32 {
    value as f32
}

fn halves(array: &Array) -> Option<Vec<f32>> {
    let f16s = array.values::<f16>().map(|values| values.iter().map(|value| value.to_f32()).collect());
    f16s.or_else(|| array.values::<bf16>().map(|values| values.iter().map(|value| value.to_f32()).collect()))
}

/// Floats that are summed with weights.
trait Weigh: Element + Copy {
    fn of(value: f32) -> Self;
    fn add_weighted(&mut self, weight: f32, value: Self);
}

impl Weigh for f32 {
    fn of(value: f32) -> Self {
        value
    }

    fn add_weighted(&mut self, weight: f32, value: Self) {
        *self += weight * value;
    }
}

impl Weigh for f64 {
    fn of(value: f32) -> Self {
        value.into()
    }

    fn add_weighted(&mut self, weight: f32, value: Self) {
        *self += Self::from(weight) * value;
    }
}

/// Resizes along dimension `at`, row by row of what comes out.
fn pass<T: Weigh>(
    values: &[T],
    (shape, at): (&[usize], usize),
    taps: &Taps,
    (out, outside): (&mut [T], T),
    context: &mut Context<'_>,
) {
    let (n, len, inner) = (shape[at], taps.len(), shape[at + 1..].iter().product::<usize>());
    if inner == 1 {
        return fill_rows(out, len, context.pool, |row, out| {
            let source = &values[row * n..][..n];
            for (idx, out) in out.iter_mut().enumerate() {
                match taps.at(idx) {
                    None => *out = outside,
                    Some(taps) => taps.for_each(|(from, weight)| out.add_weighted(weight, source[from])),
                }
            }
        });
    }
    fill_rows(out, inner, context.pool, |row, out| {
        let (outer, idx) = (row / len, row % len);
        let Some(taps) = taps.at(idx) else { return out.fill(outside) };
        for (from, weight) in taps {
            let source = &values[(outer * n + from) * inner..][..inner];
            out.iter_mut().zip(source).for_each(|(out, &value)| out.add_weighted(weight, value));
        }
    });
}

#[cfg(test)]
mod tests;
