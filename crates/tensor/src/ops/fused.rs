//! What passes append to operators: functions of one number behind a product, in attributes.

use crate::array::Array;
use crate::error::OpError;
use crate::graph::{Attribute, NodeSpec};
use crate::operator::{Build, Inputs, Operator, Outputs, one};
use crate::ops::widen;
use crate::pieces::Epilogue;
use crate::run::Context;
use ballast_kernels::Pointwise;
use std::collections::BTreeMap;

/// The domain of operators that no file has and passes make.
pub(crate) const DOMAIN: &str = "ballast";

/// Functions of one number, for themselves.
pub(crate) const POINTWISE: &str = "Pointwise";

/// The attribute that names functions, and the one with two factors for each.
pub(crate) const THEN: &str = "then";
const THEN_WITH: &str = "then_with";

/// A norm of rows, with weights and bias.
pub(crate) const LAYER_NORM: &str = "LayerNorm";

pub(super) const OPS: &[(&str, Build)] = &[(LAYER_NORM, layer_norm), (POINTWISE, pointwise)];

fn layer_norm(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(LayerNorm { epsilon: NodeSpec::needed(spec.float("epsilon")?, "epsilon", "a float")? }))
}

/// Every row less its mean, in units of its deviation, weighed and shifted.
#[derive(Debug)]
struct LayerNorm {
    epsilon: f32,
}

impl Operator for LayerNorm {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let (x, weight, bias) = (inputs.values::<f32>(0)?, inputs.values::<f32>(1)?, inputs.values::<f32>(2)?);
        let shape = inputs.get(0)?.shape();
        let n_cols = weight.len();
        if shape.last() != Some(&n_cols) || bias.len() != n_cols || n_cols == 0 {
            return Err(OpError::shape(format!("rows of {n_cols}"), shape));
        }
        let (mut out, kernels) = (context.zeros::<f32>(shape)?, context.kernels);
        let per_part = (x.len() / n_cols).div_ceil(context.pool.n_threads()).max(1) * n_cols;
        let mut parts: Vec<_> = x.chunks(per_part).zip(out.chunks_mut(per_part)).collect();
        context.pool.run(&mut parts, |(x, out)| {
            for (x, out) in x.chunks_exact(n_cols).zip(out.chunks_exact_mut(n_cols)) {
                kernels.layer_norm(x, weight, bias, self.epsilon, out);
            }
        });
        widen::output(one(Array::new(shape, out))?, narrow, context)
    }
}

fn pointwise(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Functions(epilogue(spec)?)))
}

/// Functions of every element, one after the other.
#[derive(Debug)]
struct Functions(Epilogue);

impl Operator for Functions {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (mut inputs, narrow) = widen::inputs(inputs, context)?;
        inputs.values::<f32>(0)?;
        let mut x = inputs.take(0)?;
        let kernels = context.kernels;
        if let Some(values) = x.values_mut::<f32>() {
            let per_part = values.len().div_ceil(context.pool.n_threads()).max(1 << 12);
            let mut parts: Vec<_> = values.chunks_mut(per_part).collect();
            context.pool.run(&mut parts, |part| self.0.apply(kernels, part));
        }
        widen::output(one(x)?, narrow, context)
    }
}

/// Reads the functions that follow.
pub(super) fn epilogue(spec: &NodeSpec<'_>) -> Result<Epilogue, OpError> {
    spec.texts(THEN)?;
    spec.floats(THEN_WITH)?;
    let functions = read(&spec.node.attributes);
    Ok(Epilogue(functions.ok_or_else(|| NodeSpec::wrong(THEN, "functions with two factors each", "others"))?))
}

/// The functions that attributes say, in order.
pub(crate) fn read(attributes: &BTreeMap<String, Attribute>) -> Option<Vec<Pointwise>> {
    let (names, factors) = match (attributes.get(THEN), attributes.get(THEN_WITH)) {
        (None, None) => return Some(Vec::new()),
        (Some(Attribute::Texts(names)), Some(Attribute::Floats(factors))) => (names, factors.as_chunks::<2>().0),
        _ => return None,
    };
    if names.len() != factors.len() {
        return None;
    }
    names.iter().zip(factors).map(|(name, with)| function(name, *with)).collect()
}

fn function(name: &str, [a, b]: [f32; 2]) -> Option<Pointwise> {
    Some(match name {
        "Affine" => Pointwise::Affine(a, b),
        "Clip" => Pointwise::Clip(a, b),
        "Exp" => Pointwise::Exp,
        "Gelu" => Pointwise::Gelu,
        "HardSigmoid" => Pointwise::HardSigmoid(a, b),
        "HardSwish" => Pointwise::HardSwish,
        "LeakyRelu" => Pointwise::LeakyRelu(a),
        "Relu" => Pointwise::Relu,
        "Sigmoid" => Pointwise::Sigmoid,
        "Silu" => Pointwise::Silu,
        "Tanh" => Pointwise::Tanh,
        _ => return None,
    })
}

/// Appends a function to those that follow.
pub(crate) fn append(f: Pointwise, attributes: &mut BTreeMap<String, Attribute>) {
    let (name, with) = match f {
        Pointwise::Affine(factor, term) => ("Affine", [factor, term]),
        Pointwise::Clip(min, max) => ("Clip", [min, max]),
        Pointwise::Exp => ("Exp", [0.0; 2]),
        Pointwise::Gelu => ("Gelu", [0.0; 2]),
        Pointwise::HardSigmoid(alpha, beta) => ("HardSigmoid", [alpha, beta]),
        Pointwise::HardSwish => ("HardSwish", [0.0; 2]),
        Pointwise::LeakyRelu(slope) => ("LeakyRelu", [slope, 0.0]),
        Pointwise::Relu => ("Relu", [0.0; 2]),
        Pointwise::Sigmoid => ("Sigmoid", [0.0; 2]),
        Pointwise::Silu => ("Silu", [0.0; 2]),
        Pointwise::Tanh => ("Tanh", [0.0; 2]),
    };
    let names = attributes.entry(THEN.to_owned()).or_insert_with(|| Attribute::Texts(Vec::new()));
    if let Attribute::Texts(names) = names {
        names.push(name.to_owned());
    }
    let factors = attributes.entry(THEN_WITH.to_owned()).or_insert_with(|| Attribute::Floats(Vec::new()));
    if let Attribute::Floats(factors) = factors {
        factors.extend(with);
    }
}
