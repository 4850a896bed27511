//! Pools the values of regions into pictures of one size.

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one, wrong_type};
use crate::ops::generate::{cast, floats};
use crate::ops::view::{fill_rows, place};
use crate::run::Context;
use ballast_backend::DType;

/// An extent that an attribute gives, 1 or more.
fn extent(value: i64, name: &'static str) -> Result<usize, OpError> {
    usize::try_from(value).ok().filter(|&extent| extent > 0).ok_or_else(|| NodeSpec::wrong(name, "1 or more", value))
}

#[expect(clippy::cast_precision_loss, reason = "extents of pictures are well below 2^53")]
fn wide(value: usize) -> f64 {
    value as f64
}

/// A whole number of at most `max`; what is below zero is zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn whole(value: f64, max: usize) -> usize {
    value.clamp(0.0, wide(max)) as usize
}

/// Values of pictures as floats, and their batch, channels, height and width.
fn pictures(array: &Array) -> Result<(Vec<f64>, [usize; 4]), OpError> {
    let is_float = matches!(array.dtype(), DType::F32 | DType::F64 | DType::F16 | DType::Bf16);
    let values = floats(array).filter(|_| is_float).ok_or_else(|| wrong_type(0, "floats", array.dtype()))?;
    let shape =
        array.shape().try_into().map_err(|_| OpError::shape("batch, channels, height and width", array.shape()))?;
    Ok((values, shape))
}

/// What several values become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Average,
    Max,
}

pub(super) fn roi_align(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let pooling = match spec.text("mode")?.unwrap_or("avg") {
        "avg" => Pooling::Average,
        "max" => Pooling::Max,
        other => return Err(NodeSpec::wrong("mode", "avg or max", other)),
    };
    let default = if spec.version < 16 { "output_half_pixel" } else { "half_pixel" };
    let is_half_pixel = match spec.text("coordinate_transformation_mode")?.unwrap_or(default) {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            return Err(NodeSpec::wrong("coordinate_transformation_mode", "half_pixel or output_half_pixel", other));
        }
    };
    let n_samples = spec.int("sampling_ratio")?.unwrap_or(0);
    Ok(Box::new(RoiAlign {
        pooling,
        is_half_pixel,
        height: extent(spec.int("output_height")?.unwrap_or(1), "output_height")?,
        width: extent(spec.int("output_width")?.unwrap_or(1), "output_width")?,
        n_samples: usize::try_from(n_samples).map_err(|_| NodeSpec::wrong("sampling_ratio", "0 or more", n_samples))?,
        scale: spec.float("spatial_scale")?.unwrap_or(1.0),
    }))
}

/// Regions read between the pixels, without rounding them. (ONNX `RoiAlign`; K. He et al., "Mask R-CNN", 2017)
#[derive(Debug)]
struct RoiAlign {
    pooling: Pooling,
    is_half_pixel: bool,
    height: usize,
    width: usize,
    /// Samples along an edge of a bin; 0: as many as it has pixels.
    n_samples: usize,
    scale: f32,
}

/// Pixels and their weights.
type Sample = [(usize, f64); 4];

/// A region along one axis: where it begins, how long a bin is and how often a bin is read.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: f64,
    bin: f64,
    n_samples: usize,
}

impl Span {
    /// Neighbours of a place and how near it is to the second; `None`: outside of the picture.
    fn neighbours(&self, (bin, idx): (usize, usize), extent: usize) -> Option<([usize; 2], f64)> {
        let at = self.start + self.bin * (wide(bin) + (wide(idx) + 0.5) / wide(self.n_samples));
        if !(-1.0..=wide(extent)).contains(&at) {
            return None;
        }
        let low = whole(at, extent - 1);
        if low == extent - 1 { Some(([low, low], 0.0)) } else { Some(([low, low + 1], at.max(0.0) - wide(low))) }
    }
}

impl RoiAlign {
    fn span(&self, (start, end): (f64, f64), n_bins: usize, extent: usize) -> Result<Span, OpError> {
        let offset = if self.is_half_pixel { 0.5 } else { 0.0 };
        let (start, end) = (start * f64::from(self.scale) - offset, end * f64::from(self.scale) - offset);
        let len = if self.is_half_pixel { end - start } else { (end - start).max(1.0) };
        let bin = len / wide(n_bins);
        // A region that is far larger than the picture would be read for long.
        let most = 64 * (extent + 1);
        if !bin.is_finite() || bin > wide(most) {
            return Err(OpError::input(
                1,
                format!("regions within the picture of {extent}"),
                format!("{start} to {end}"),
            ));
        }
        let n_samples = if self.n_samples > 0 { self.n_samples } else { whole(bin.ceil(), most) };
        Ok(Span { start, bin, n_samples })
    }

    /// For each bin the samples, `None` where they are outside.
    fn samples(
        &self,
        [x1, y1, x2, y2]: [f64; 4],
        (height, width): (usize, usize),
        context: &Context<'_>,
    ) -> Result<Vec<Vec<Option<Sample>>>, OpError> {
        let (rows, columns) = (self.span((y1, y2), self.height, height)?, self.span((x1, x2), self.width, width)?);
        context
            .len_of(&[self.height, self.width, rows.n_samples, columns.n_samples, size_of::<Sample>()], DType::U8)?;
        let sample = |at: (usize, usize), idx: (usize, usize)| -> Option<Sample> {
            let ([top, bottom], y) = rows.neighbours((at.0, idx.0), height)?;
            let ([left, right], x) = columns.neighbours((at.1, idx.1), width)?;
            Some([
                (top * width + left, (1.0 - y) * (1.0 - x)),
                (top * width + right, (1.0 - y) * x),
                (bottom * width + left, y * (1.0 - x)),
                (bottom * width + right, y * x),
            ])
        };
        let bins = (0..self.height * self.width).map(|bin| (bin / self.width, bin % self.width));
        let grid = || (0..rows.n_samples).flat_map(|row| (0..columns.n_samples).map(move |column| (row, column)));
        Ok(bins.map(|bin| grid().map(|idx| sample(bin, idx)).collect()).collect())
    }

    fn pool(&self, picture: &[f64], samples: &[Option<Sample>]) -> f64 {
        match self.pooling {
            Pooling::Average => {
                let terms = samples.iter().flatten().flatten().map(|&(at, weight)| picture[at] * weight);
                terms.sum::<f64>() / wide(samples.len().max(1))
            }
            // The largest term of any sample, as the standard's reference has it.
            Pooling::Max => {
                let largest = |sample: &Option<Sample>| {
                    sample.map_or(0.0, |sample| {
                        sample.iter().map(|&(at, weight)| picture[at] * weight).fold(f64::MIN, f64::max)
                    })
                };
                samples.iter().map(largest).reduce(f64::max).unwrap_or(0.0)
            }
        }
    }
}

impl Operator for RoiAlign {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, rois) = (inputs.get(0)?, inputs.get(1)?);
        let (values, [n, channels, height, width]) = pictures(array)?;
        let batches = inputs.ints(2)?.into_iter().map(|idx| place(idx, n)).collect::<Result<Vec<_>, _>>()?;
        if rois.shape() != [batches.len(), 4] || height * width == 0 {
            return Err(OpError::shape(format!("{} regions of a picture", batches.len()), rois.shape()));
        }
        let regions = floats(rois).ok_or_else(|| wrong_type(1, "floats", rois.dtype()))?;
        let shape = [batches.len(), channels, self.height, self.width];
        let mut out: Vec<f64> = context.zeros(&shape)?;
        let (bins_len, picture_len) = (self.height * self.width, height * width);
        let per_region = out.chunks_mut((channels * bins_len).max(1)).zip(regions.as_chunks().0).zip(batches);
        for ((out, &region), batch) in per_region {
            context.pulse.beat()?;
            let samples = self.samples(region, (height, width), context)?;
            fill_rows(out, bins_len, context.pool, |channel, out| {
                let picture = &values[(batch * channels + channel) * picture_len..][..picture_len];
                out.iter_mut().zip(&samples).for_each(|(out, samples)| *out = self.pool(picture, samples));
            });
        }
        one(cast(out, &shape, array.dtype()))
    }
}

pub(super) fn max_roi_pool(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let Some(&[height, width]) = spec.ints("pooled_shape")? else {
        return Err(NodeSpec::wrong("pooled_shape", "height and width", "something else"));
    };
    Ok(Box::new(MaxRoiPool {
        height: extent(height, "pooled_shape")?,
        width: extent(width, "pooled_shape")?,
        scale: spec.float("spatial_scale")?.unwrap_or(1.0),
    }))
}

/// The largest values in bins of regions that are rounded to pixels. (ONNX `MaxRoiPool`; R. Girshick, "Fast R-CNN", 2015)
#[derive(Debug)]
struct MaxRoiPool {
    height: usize,
    width: usize,
    scale: f32,
}

impl MaxRoiPool {
    /// The pixels of each bin along one axis.
    fn bins(&self, (start, end): (f64, f64), n_bins: usize, extent: usize) -> Vec<(usize, usize)> {
        let scale = f64::from(self.scale);
        let (start, end) = ((start * scale).round(), (end * scale).round());
        let bin = (end - start + 1.0).max(1.0) / wide(n_bins);
        let pixel = |at: f64| whole(at + start, extent);
        (0..n_bins).map(|idx| (pixel((wide(idx) * bin).floor()), pixel((wide(idx + 1) * bin).ceil()))).collect()
    }
}

impl Operator for MaxRoiPool {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, rois) = (inputs.get(0)?, inputs.get(1)?);
        let (values, [n, channels, height, width]) = pictures(array)?;
        let &[n_regions, 5] = rois.shape() else { return Err(OpError::shape("regions of 5 numbers", rois.shape())) };
        let regions = floats(rois).ok_or_else(|| wrong_type(1, "floats", rois.dtype()))?;
        let shape: Shape = [n_regions, channels, self.height, self.width].into_iter().collect();
        let mut out: Vec<f64> = context.zeros(&shape)?;
        let (bins_len, picture_len) = (self.height * self.width, height * width);
        let per_region = out.chunks_mut((channels * bins_len).max(1)).zip(regions.as_chunks().0);
        for (out, &[batch, x1, y1, x2, y2]) in per_region {
            let batch = Some(batch).filter(|batch| (0.0..wide(n)).contains(batch)).map(|batch| whole(batch, n));
            let batch = batch.ok_or_else(|| OpError::input(1, format!("a picture of {n}"), "another"))?;
            let (rows, columns) = (self.bins((y1, y2), self.height, height), self.bins((x1, x2), self.width, width));
            fill_rows(out, bins_len, context.pool, |channel, out| {
                let picture = &values[(batch * channels + channel) * picture_len..][..picture_len];
                for (idx, out) in out.iter_mut().enumerate() {
                    let ((top, bottom), (left, right)) = (rows[idx / self.width], columns[idx % self.width]);
                    let pixels =
                        (top..bottom).flat_map(|row| &picture[row * width + left..row * width + right.max(left)]);
                    *out = pixels.copied().reduce(f64::max).unwrap_or(0.0);
                }
            });
        }
        one(cast(out, &shape, array.dtype()))
    }
}
