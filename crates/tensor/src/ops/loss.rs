//! Losses; and what depends on chance, which is refused.

use super::broadcast::elements;
use super::cast::convert;
use super::number::{Real, by_type};
use super::softmax::Share;
use super::widen::widened;
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, ints, wrong_type};
use crate::run::Context;

pub(super) const OPS: &[(&str, Build)] = &[
    ("NegativeLogLikelihoodLoss", |spec| Loss::build(spec, false)),
    ("SoftmaxCrossEntropyLoss", |spec| Loss::build(spec, true)),
    ("Bernoulli", chance),
    ("Multinomial", chance),
    ("RandomNormal", chance),
    ("RandomNormalLike", chance),
    ("RandomUniform", chance),
    ("RandomUniformLike", chance),
];

/// The standard does not say which numbers a seed gives.
fn chance(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Err(OpError::unsupported("a result that depends on chance"))
}

/// What becomes of the losses of all examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Each,
    Sum,
    /// By the weights of those that count.
    Mean,
}

/// How far scores are from saying what is so. (ONNX `NegativeLogLikelihoodLoss`, `SoftmaxCrossEntropyLoss`)
#[derive(Debug)]
struct Loss {
    /// Whether scores are yet to become logarithms of shares.
    is_raw: bool,
    whole: Whole,
    /// A class that does not count.
    ignored: Option<i64>,
}

impl Loss {
    fn build(spec: &NodeSpec<'_>, is_raw: bool) -> Result<Box<dyn Operator>, OpError> {
        let whole = match spec.text("reduction")?.unwrap_or("mean") {
            "none" => Whole::Each,
            "sum" => Whole::Sum,
            "mean" => Whole::Mean,
            other => return Err(NodeSpec::wrong("reduction", "none, sum or mean", other)),
        };
        Ok(Box::new(Self { is_raw, whole, ignored: spec.int("ignore_index")? }))
    }
}

impl Operator for Loss {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let mut scores = inputs.take(0)?;
        if scores.rank() < 2 {
            return Err(OpError::shape("examples and classes", scores.shape()));
        }
        if self.is_raw {
            scores = Share::Log.apply(scores, 1, 2, context)?;
        }
        let classes = ints(1, inputs.get(1)?)?;
        let shape: Shape =
            scores.shape().iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, extent)| *extent).collect();
        if inputs.get(1)?.shape() != &shape[..] {
            return Err(OpError::shape(format!("the shape {shape:?}"), inputs.get(1)?.shape()));
        }
        let dtype = scores.dtype();
        let scores = widened(scores, context)?;
        let loss = by_type!(scores.dtype(), T in reals => {
            let weights = match inputs.find(2)? {
                Some(weights) if weights.shape() == &scores.shape()[1..2] => {
                    Some(convert(weights.clone(), scores.dtype(), context)?)
                }
                Some(weights) => return Err(OpError::shape("a weight for each class", weights.shape())),
                None => None,
            };
            let weights = weights.as_ref().map(|weights| elements::<T>(weights, 2)).transpose()?;
            self.of::<T>(&scores, &classes, weights, &shape)
        }, else => Err(wrong_type(0, "floats", scores.dtype())));
        let (loss, scores) = (convert(loss?, dtype, context)?, convert(scores, dtype, context)?);
        Ok(Outputs::from_vec(vec![loss.into(), scores.into()]))
    }
}

impl Loss {
    fn of<T: Real>(
        &self,
        scores: &Array,
        classes: &[i64],
        weights: Option<&[T]>,
        shape: &[usize],
    ) -> Result<Array, OpError> {
        let (n_classes, inner) = (scores.shape()[1], scores.shape()[2..].iter().product::<usize>());
        let values = elements::<T>(scores, 0)?;
        let (mut losses, mut sum, mut weight_sum) = (Vec::with_capacity(classes.len()), T::ZERO, T::ZERO);
        for (idx, &class) in classes.iter().enumerate() {
            if self.ignored == Some(class) {
                losses.push(T::ZERO);
                continue;
            }
            let at = usize::try_from(class).ok().filter(|class| *class < n_classes);
            let at = at.ok_or_else(|| OpError::input(1, format!("classes below {n_classes}"), class.to_string()))?;
            let weight = weights.map_or(T::ONE, |weights| weights[at]);
            let loss = -values[(idx / inner * n_classes + at) * inner + idx % inner] * weight;
            losses.push(loss);
            (sum, weight_sum) = (sum + loss, weight_sum + weight);
        }
        Ok(match self.whole {
            Whole::Each => Array::new(shape, losses),
            Whole::Sum => Array::scalar(sum),
            Whole::Mean => Array::scalar(sum / weight_sum),
        })
    }
}

#[cfg(test)]
mod tests;
