//! Operators on signals: Fourier transforms, windows, mel scales.

mod fourier;
mod spectrum;

use crate::array::Array;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, one};
use crate::ops::generate::{cast, count, number, type_attribute};
use crate::run::Context;
use ballast_backend::DType;
use std::f64::consts::PI;

pub(super) const OPS: &[(&str, Build)] = &[
    ("BlackmanWindow", blackman),
    ("DFT", spectrum::dft),
    ("HammingWindow", hamming),
    ("HannWindow", hann),
    ("MelWeightMatrix", mel_weight_matrix),
    ("STFT", spectrum::stft),
];

fn blackman(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    window(spec, [0.42, -0.5, 0.08])
}

fn hamming(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    window(spec, [25.0 / 46.0, -21.0 / 46.0, 0.0])
}

fn hann(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    window(spec, [0.5, -0.5, 0.0])
}

/// The type of what comes out: a number.
fn output_type(spec: &NodeSpec<'_>) -> Result<DType, OpError> {
    let dtype = type_attribute(spec, "output_datatype")?.unwrap_or(DType::F32);
    if matches!(dtype, DType::Bool | DType::Str) {
        return Err(NodeSpec::wrong("output_datatype", "a number's type", dtype));
    }
    Ok(dtype)
}

fn window(spec: &NodeSpec<'_>, weights: [f64; 3]) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Window { weights, is_periodic: spec.flag("periodic", true)?, dtype: output_type(spec)? }))
}

/// A sum of cosines over a length, by which a piece of a signal is faded in and out. (ONNX `HannWindow` and others)
#[derive(Debug)]
struct Window {
    /// Of the constant, of one wave and of two.
    weights: [f64; 3],
    is_periodic: bool,
    dtype: DType,
}

impl Operator for Window {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let len = count(&inputs, 0)?;
        context.len_of(&[len], DType::F64)?;
        let span = wide(if self.is_periodic { len } else { len.saturating_sub(1) });
        let [constant, once, twice] = self.weights;
        let value = |at: usize| {
            // One place that is both ends is the middle.
            let phase = if len == 1 { PI } else { 2.0 * PI * wide(at) / span };
            constant + once * phase.cos() + twice * (2.0 * phase).cos()
        };
        one(cast((0..len).map(value).collect(), &[len], self.dtype))
    }
}

#[expect(clippy::cast_precision_loss, reason = "lengths of signals are well below 2^53")]
fn wide(value: usize) -> f64 {
    value as f64
}

fn mel_weight_matrix(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(MelWeightMatrix { dtype: output_type(spec)? }))
}

/// How much each frequency counts in each band of the mel scale. (ONNX `MelWeightMatrix`)
#[derive(Debug)]
struct MelWeightMatrix {
    dtype: DType,
}

impl Operator for MelWeightMatrix {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (n_bands, dft_len) = (count(&inputs, 0)?, count(&inputs, 1)?);
        let (sample_rate, low, high) = (number(&inputs, 2)?, number(&inputs, 3)?, number(&inputs, 4)?);
        let n_bins = dft_len / 2 + 1;
        let mut weights: Vec<f64> = context.zeros(&[n_bins, n_bands])?;
        let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
        let (low, high) = (mel(low), mel(high));
        let step = (high - low) / wide(n_bands.saturating_add(2));
        let bin = |idx: usize| {
            let hertz = 700.0 * (10_f64.powf((wide(idx) * step + low) / 2595.0) - 1.0);
            let bin = ((wide(dft_len) + 1.0) * hertz / sample_rate).floor();
            // Bins are looked up among all there are, so that none outside is written.
            whole(bin, n_bins).ok_or_else(|| OpError::input(4, "frequencies within the spectrum", hertz.to_string()))
        };
        for band in 0..n_bands {
            let (left, center, right) = (bin(band)?, bin(band + 1)?, bin(band + 2)?);
            if left == center {
                weights[center * n_bands + band] = 1.0;
            }
            for at in left..=center {
                if center > left {
                    weights[at * n_bands + band] = wide(at - left) / wide(center - left);
                }
            }
            for at in center..right {
                weights[at * n_bands + band] = wide(right - at) / wide(right - center);
            }
        }
        let array: Array = cast(weights, &[n_bins, n_bands], self.dtype);
        one(array)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the float is a whole number within bounds"
)]
fn whole(value: f64, end: usize) -> Option<usize> {
    (0.0..wide(end) + 1.0).contains(&value).then_some(value as usize)
}
