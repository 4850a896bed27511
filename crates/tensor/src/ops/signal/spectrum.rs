//! Fourier transforms of signals, whole or frame by frame.

use super::fourier::{Complex, Fourier};
use super::wide;
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, axis, one, wrong_type};
use crate::ops::generate::{cast, count, floats};
use crate::ops::view::fill_rows;
use crate::run::Context;
use ballast_backend::DType;

/// Real numbers or complex ones, whose parts are the last dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    Real,
    Complex,
}

impl Parts {
    fn of(array: &Array) -> Result<Self, OpError> {
        match array.shape().last() {
            Some(1) => Ok(Self::Real),
            Some(2) => Ok(Self::Complex),
            _ => Err(OpError::shape("one or two parts of a number along the last dimension", array.shape())),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Real => 1,
            Self::Complex => 2,
        }
    }

    fn at(self, values: &[f64], idx: usize) -> Complex {
        match self {
            Self::Real => [values[idx], 0.0],
            Self::Complex => [values[2 * idx], values[2 * idx + 1]],
        }
    }
}

fn floats_of(array: &Array) -> Result<Vec<f64>, OpError> {
    let is_float = matches!(array.dtype(), DType::F32 | DType::F64 | DType::F16 | DType::Bf16);
    floats(array).filter(|_| is_float).ok_or_else(|| wrong_type(0, "floats", array.dtype()))
}

pub(super) fn dft(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let axis = if spec.version < 20 { Some(spec.int("axis")?.unwrap_or(1)) } else { None };
    let (is_inverse, is_onesided) = (spec.flag("inverse", false)?, spec.flag("onesided", false)?);
    Ok(Box::new(Dft { axis, is_inverse, is_onesided }))
}

/// The Fourier transform of a signal along an axis, or the signal of a transform. (ONNX `DFT`)
#[derive(Debug)]
struct Dft {
    /// Before version 20 an attribute.
    axis: Option<i64>,
    is_inverse: bool,
    is_onesided: bool,
}

impl Operator for Dft {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let along = match (self.axis, inputs.find_ints(2)?.as_deref()) {
            (Some(along), _) | (None, Some(&[along])) => along,
            (None, None) => -2,
            (None, Some(other)) => return Err(OpError::input(2, "one axis", other.len().to_string())),
        };
        let (at, parts) = (axis(along, array.rank())?, Parts::of(array)?);
        if at + 1 == array.rank() {
            return Err(OpError::input(2, "an axis of the signal", along.to_string()));
        }
        let is_real_out = self.is_inverse && self.is_onesided;
        if self.is_onesided && !self.is_inverse && parts == Parts::Complex {
            return Err(OpError::shape("real numbers, of which one side of the spectrum is asked for", array.shape()));
        }
        let extent = array.shape()[at];
        let len = match inputs.find(1)? {
            Some(_) => count(&inputs, 1)?,
            None if is_real_out => 2 * extent.saturating_sub(1),
            None => extent,
        };
        if len == 0 {
            return Err(OpError::input(1, "a length of 1 or more", "0"));
        }
        context.len_of(&[len, 8], DType::F64)?;
        let n_out = if self.is_onesided && !self.is_inverse { len / 2 + 1 } else { len };
        let mut shape = Shape::from_slice(array.shape());
        (shape[at], shape[array.rank() - 1]) = (n_out, if is_real_out { 1 } else { 2 });
        let values = floats_of(array)?;
        let mut out: Vec<f64> = context.zeros(&shape)?;
        let line = Line {
            parts,
            extent,
            inner: array.shape()[at + 1..array.rank() - 1].iter().product(),
            len,
            is_mirrored: is_real_out,
        };
        let fourier = Fourier::new(len, if self.is_inverse { 1.0 } else { -1.0 });
        let scale = if self.is_inverse { 1.0 / wide(len) } else { 1.0 };
        let n_parts = shape[array.rank() - 1];
        fill_rows(&mut out, n_out * line.inner * n_parts, context.pool, |outer, out| {
            for within in 0..line.inner {
                let mut wave = line.read(&values, outer, within);
                fourier.run(&mut wave);
                for (idx, value) in wave.iter().enumerate().take(n_out) {
                    let to = (idx * line.inner + within) * n_parts;
                    out[to..to + n_parts].iter_mut().zip(value).for_each(|(out, part)| *out = part * scale);
                }
            }
        });
        one(cast(out, &shape, array.dtype()))
    }
}

/// Lines of numbers in an array.
struct Line {
    parts: Parts,
    /// Numbers of a line in the array.
    extent: usize,
    /// Distance of one to the next.
    inner: usize,
    /// Numbers of a line that is transformed: cut off, or filled up with zeros.
    len: usize,
    /// Whether the array has one side of a spectrum, of which the other is the mirrored one.
    is_mirrored: bool,
}

impl Line {
    fn read(&self, values: &[f64], outer: usize, within: usize) -> Vec<Complex> {
        let number = |idx: usize| {
            let is_there = idx < self.extent;
            if is_there { self.parts.at(values, (outer * self.extent + idx) * self.inner + within) } else { [0.0; 2] }
        };
        let mirrored = |idx: usize| {
            let [re, im] = number(idx.min(self.len - idx));
            // The ends of the side are real.
            if idx == 0 || 2 * idx == self.len {
                [re, 0.0]
            } else if 2 * idx < self.len {
                [re, im]
            } else {
                [re, -im]
            }
        };
        (0..self.len).map(|idx| if self.is_mirrored { mirrored(idx) } else { number(idx) }).collect()
    }
}

pub(super) fn stft(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Stft { is_onesided: spec.flag("onesided", true)? }))
}

/// The Fourier transforms of frames of a signal. (ONNX `STFT`)
#[derive(Debug)]
struct Stft {
    is_onesided: bool,
}

impl Operator for Stft {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, step) = (inputs.get(0)?, count(&inputs, 1)?);
        let window = inputs.find(2)?.map(floats_of).transpose()?;
        let (parts, values) = match array.rank() {
            2 => (Parts::Real, floats_of(array)?),
            _ => (Parts::of(array)?, floats_of(array)?),
        };
        let (&[n, extent] | &[n, extent, _]) = array.shape() else {
            return Err(OpError::shape("a batch of signals", array.shape()));
        };
        if self.is_onesided && parts == Parts::Complex {
            return Err(OpError::shape("real numbers, of which one side of the spectrum is asked for", array.shape()));
        }
        let len = match (inputs.find(3)?, &window) {
            (Some(_), _) => count(&inputs, 3)?,
            (None, Some(window)) => window.len(),
            (None, None) => return Err(OpError::input(3, "a window or a length", "neither")),
        };
        if len == 0 || len > extent || step == 0 || window.as_ref().is_some_and(|window| window.len() != len) {
            return Err(OpError::input(3, format!("a frame of 1 to {extent}, as long as the window"), len.to_string()));
        }
        let n_frames = (extent - len) / step + 1;
        let n_bins = if self.is_onesided { len / 2 + 1 } else { len };
        let shape = [n, n_frames, n_bins, 2];
        let mut out: Vec<f64> = context.zeros(&shape)?;
        let fourier = Fourier::new(len, -1.0);
        let values = &values[..n * extent * parts.len()];
        fill_rows(&mut out, n_bins * 2, context.pool, |row, out| {
            let start = row / n_frames * extent + row % n_frames * step;
            let weighted = |idx: usize| {
                let weight = window.as_ref().map_or(1.0, |window| window[idx]);
                parts.at(values, start + idx).map(|part| part * weight)
            };
            let mut wave: Vec<Complex> = (0..len).map(weighted).collect();
            fourier.run(&mut wave);
            out.iter_mut().zip(wave.as_flattened()).for_each(|(out, part)| *out = *part);
        });
        one(cast(out, &shape, array.dtype()))
    }
}
