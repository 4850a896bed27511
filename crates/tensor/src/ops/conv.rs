//! Convolutions: `Conv`, and by the files beside this one `ConvTranspose` and `DeformConv`.

mod deform;
mod dense;
mod exact;
mod flat;
#[cfg(test)]
mod tests;
mod transpose;

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, one, wrong_type};
use crate::ops::broadcast::zip;
use crate::ops::fused;
use crate::ops::widen;
use crate::ops::window::Windows;
use crate::pieces::{Epilogue, Tiles};
use crate::remembered::Remembered;
use crate::run::Context;
use ballast_backend::DType;
pub(super) use dense::{Arrangement, Convolution};
use std::sync::Arc;

pub(super) const OPS: &[(&str, Build)] =
    &[("Conv", conv), ("ConvTranspose", transpose::build), ("DeformConv", deform::build)];

/// With what passes append to it.
pub(super) const FUSED: &[(&str, Build)] = &[("Conv", fused_conv)];

fn conv(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Conv::new(spec, Epilogue::default())?))
}

fn fused_conv(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Conv::new(spec, fused::epilogue(spec)?)?))
}

/// Sums of windows of the input, weighted. (ONNX `Conv`)
#[derive(Debug)]
struct Conv {
    windows: Windows,
    n_groups: usize,
    /// Weights that are known already.
    weights: Option<Weights>,
    epilogue: Epilogue,
    arranged: Remembered<Arrangement>,
}

/// Weights in tiles, for each group.
#[derive(Clone, Debug)]
struct Weights {
    shape: Shape,
    groups: Vec<Tiles>,
}

impl Weights {
    fn new(weights: &Array, n_groups: usize) -> Result<Self, OpError> {
        let values = weights.values::<f32>().ok_or_else(|| wrong_type(1, "f32", weights.dtype()))?;
        let shape = weights.shape();
        if shape.len() < 3 || shape.contains(&0) || !shape[0].is_multiple_of(n_groups) {
            return Err(OpError::shape(format!("weights of a convolution of {n_groups} groups"), shape));
        }
        let (n_rows, n_cols) = (shape[0] / n_groups, shape[1..].iter().product::<usize>());
        let groups =
            values.chunks_exact(n_rows * n_cols).map(|values| Tiles::pack(values, [n_cols, 1], n_rows, n_cols));
        Ok(Self { shape: Shape::from_slice(shape), groups: groups.collect() })
    }
}

impl Conv {
    fn new(spec: &NodeSpec<'_>, epilogue: Epilogue) -> Result<Self, OpError> {
        let n_groups = spec.int("group")?.unwrap_or(1);
        let n_groups = usize::try_from(n_groups).ok().filter(|&n| n > 0);
        let n_groups = n_groups.ok_or_else(|| NodeSpec::wrong("group", "a number from 1 on", "another"))?;
        let weights = spec.constant(1).filter(|weights| weights.values::<f32>().is_some());
        let weights = weights.map(|weights| Weights::new(weights, n_groups)).transpose()?;
        Ok(Self { windows: Windows::new(spec)?, n_groups, weights, epilogue, arranged: Remembered::default() })
    }
}

impl Conv {
    /// Adds an array of another shape, and what follows.
    fn add(&self, sums: Array, other: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        let mut sums = zip::<f32, f32, f32>(&sums, other, context, |a, b| a + b)?;
        if let Some(values) = sums.values_mut::<f32>() {
            self.epilogue.apply(context.kernels, values);
        }
        Ok(sums)
    }
}

impl Operator for Conv {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let x = inputs.get(0)?;
        let packed;
        let weights = match &self.weights {
            Some(weights) => weights,
            None => {
                packed = Weights::new(inputs.get(1)?, self.n_groups)?;
                &packed
            }
        };
        let values = inputs.values::<f32>(0)?;
        let (kernel, n_channels) = (&weights.shape[2..], weights.shape[1] * self.n_groups);
        if x.rank() != weights.shape.len() || x.shape()[1] != n_channels {
            return Err(OpError::shape(format!("{n_channels} channels for weights of {:?}", weights.shape), x.shape()));
        }
        if self.windows.kernel().is_some_and(|shape| shape != kernel) {
            return Err(OpError::shape(format!("weights of kernels {:?}", self.windows.kernel()), &weights.shape));
        }
        let bias = inputs.find(2)?.map(|_| inputs.values::<f32>(2)).transpose()?;
        if bias.is_some_and(|bias| bias.len() != weights.shape[0]) {
            return Err(OpError::input(2, format!("{} entries", weights.shape[0]), "others"));
        }
        let windows = self.windows.over(kernel, &x.shape()[2..])?;
        // The input is laid out with its padding, dealt out by strides: dilations and pads could make much of little.
        let laid_out = windows.iter().map(|window| {
            let steps = window.n_out.saturating_add(window.reach() / window.stride);
            steps.saturating_mul(window.kernel.min(window.stride))
        });
        let laid_out: Shape = std::iter::once(n_channels).chain(laid_out).collect();
        context.len_of(&laid_out, DType::F32)?;
        let mut shape = Shape::from_slice(&[x.shape()[0], weights.shape[0]]);
        shape.extend(windows.iter().map(|window| window.n_out));
        let mut out = context.zeros::<f32>(&shape)?;
        // What is added is mostly of the same shape.
        let other = inputs.find(3)?.filter(|sums| sums.shape() != &shape[..]);
        if !out.is_empty() {
            let arrange = || Ok(Arrangement::new(&x.shape()[2..], &windows, self.n_groups, n_channels));
            // Weights that are not known may have another shape every time.
            let arrangement = match &self.weights {
                Some(_) => self.arranged.get(&x.shape()[2..], arrange)?,
                None => Arc::new(arrange()?),
            };
            let same = |sums: &&Array| sums.shape() == &shape[..];
            let sums = inputs.find(3)?.filter(same).map(|_| inputs.values::<f32>(3)).transpose()?;
            let convolution = Convolution { arrangement: &arrangement, groups: &weights.groups };
            let none = Epilogue::default();
            let epilogue = if other.is_some() { &none } else { &self.epilogue };
            convolution.run(dense::Data { x: values, bias, sums, epilogue }, &mut out, context);
        }
        if let Some(other) = other {
            return widen::output(one(self.add(Array::new(&shape, out), other, context)?)?, narrow, context);
        }
        widen::output(one(Array::new(&shape, out))?, narrow, context)
    }

    fn keeps(&self, input: usize) -> bool {
        input == 1 && self.weights.is_some()
    }
}
