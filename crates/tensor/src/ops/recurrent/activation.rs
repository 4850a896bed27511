//! The functions that gates go through.

use crate::error::OpError;
use crate::graph::NodeSpec;
use ballast_kernels::{Kernels, Pointwise};

/// A function of a gate. (ONNX `LSTM`, on `activations`)
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Activation {
    /// One that kernels have.
    Kernel(Pointwise),
    /// `alpha x + beta`.
    Affine(f32, f32),
    /// The number, or 0 below alpha.
    ThresholdedRelu(f32),
    /// `alpha tanh(beta x)`.
    ScaledTanh(f32, f32),
    /// The number, or `alpha (e^x - 1)` below 0.
    Elu(f32),
    Softsign,
    Softplus,
}

impl Activation {
    /// Factors are taken from the lists in order, by the functions that have such.
    fn new(name: &str, alphas: &mut Factors<'_>, betas: &mut Factors<'_>) -> Result<Self, OpError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "relu" => Self::Kernel(Pointwise::Relu),
            "tanh" => Self::Kernel(Pointwise::Tanh),
            "sigmoid" => Self::Kernel(Pointwise::Sigmoid),
            "leakyrelu" => Self::Kernel(Pointwise::LeakyRelu(alphas.or(0.01))),
            "hardsigmoid" => Self::Kernel(Pointwise::HardSigmoid(alphas.or(0.2), betas.or(0.5))),
            "affine" => Self::Affine(alphas.needed()?, betas.needed()?),
            "thresholdedrelu" => Self::ThresholdedRelu(alphas.or(1.0)),
            "scaledtanh" => Self::ScaledTanh(alphas.needed()?, betas.needed()?),
            "elu" => Self::Elu(alphas.or(1.0)),
            "softsign" => Self::Softsign,
            "softplus" => Self::Softplus,
            _ => return Err(NodeSpec::wrong("activations", "functions of the standard", name)),
        })
    }

    pub(super) fn apply(self, kernels: &dyn Kernels, x: &mut [f32]) {
        match self {
            Self::Kernel(f) => kernels.pointwise(f, x),
            Self::Affine(alpha, beta) => each(x, |x| alpha * x + beta),
            Self::ThresholdedRelu(alpha) => each(x, |x| if x < alpha { 0.0 } else { x }),
            Self::ScaledTanh(alpha, beta) => each(x, |x| alpha * (beta * x).tanh()),
            Self::Elu(alpha) => each(x, |x| if x < 0.0 { alpha * x.exp_m1() } else { x }),
            Self::Softsign => each(x, |x| x / (1.0 + x.abs())),
            Self::Softplus => each(x, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        }
    }
}

fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in x {
        *x = f(*x);
    }
}

/// Factors that are left.
struct Factors<'a> {
    name: &'static str,
    left: std::slice::Iter<'a, f32>,
}

impl Factors<'_> {
    fn or(&mut self, default: f32) -> f32 {
        self.left.next().copied().unwrap_or(default)
    }

    fn needed(&mut self) -> Result<f32, OpError> {
        NodeSpec::needed(self.left.next().copied(), self.name, "a factor for each function that has one")
    }
}

/// The functions of all directions.
pub(super) fn read(
    spec: &NodeSpec<'_>,
    defaults: &[Pointwise],
    n_directions: usize,
) -> Result<Vec<Activation>, OpError> {
    let mut alphas = Factors { name: "activation_alpha", left: spec.floats("activation_alpha")?.unwrap_or(&[]).iter() };
    let mut betas = Factors { name: "activation_beta", left: spec.floats("activation_beta")?.unwrap_or(&[]).iter() };
    let Some(names) = spec.texts("activations")? else {
        let of_direction = defaults.iter().map(|f| Activation::Kernel(*f));
        return Ok((0..n_directions).flat_map(|_| of_direction.clone()).collect());
    };
    if names.len() != defaults.len() * n_directions {
        let expected = format!("{} for {n_directions} directions", defaults.len());
        return Err(NodeSpec::wrong("activations", expected, names.len()));
    }
    names.iter().map(|name| Activation::new(name, &mut alphas, &mut betas)).collect()
}
