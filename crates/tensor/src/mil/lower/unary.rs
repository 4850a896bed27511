//! Operations of one tensor, element by element: functions, activations, casts.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::graph::Attribute;
use crate::mil::ElementType;
use ballast_backend::DType;

pub(super) const OPS: &[(&str, Lower)] = &[
    ("abs", |op| plain(op, "Abs")),
    ("acos", |op| plain(op, "Acos")),
    ("asin", |op| plain(op, "Asin")),
    ("atan", |op| plain(op, "Atan")),
    ("atanh", |op| plain(op, "Atanh")),
    ("cast", cast),
    ("ceil", |op| plain(op, "Ceil")),
    ("clamped_relu", clamped_relu),
    ("clip", clip),
    ("cos", |op| plain(op, "Cos")),
    ("cosh", |op| plain(op, "Cosh")),
    ("elu", |op| with_alpha(op, "Elu")),
    ("erf", |op| plain(op, "Erf")),
    ("exp", |op| plain(op, "Exp")),
    ("exp2", exp2),
    ("floor", |op| plain(op, "Floor")),
    ("gelu", gelu),
    ("identity", identity),
    ("inverse", inverse),
    ("leaky_relu", |op| with_alpha(op, "LeakyRelu")),
    ("linear_activation", linear_activation),
    ("log", log),
    ("logical_not", |op| plain(op, "Not")),
    ("prelu", prelu),
    ("relu", |op| plain(op, "Relu")),
    ("relu6", relu6),
    ("round", |op| plain(op, "Round")),
    ("rsqrt", rsqrt),
    ("scaled_tanh", scaled_tanh),
    ("sigmoid", |op| plain(op, "Sigmoid")),
    ("sigmoid_hard", sigmoid_hard),
    ("sign", |op| plain(op, "Sign")),
    ("silu", silu),
    ("sin", |op| plain(op, "Sin")),
    ("sinh", |op| plain(op, "Sinh")),
    ("softmax", softmax),
    ("softplus", |op| plain(op, "Softplus")),
    ("softplus_parametric", softplus_parametric),
    ("softsign", |op| plain(op, "Softsign")),
    ("sqrt", |op| plain(op, "Sqrt")),
    ("square", square),
    ("tan", |op| plain(op, "Tan")),
    ("tanh", |op| plain(op, "Tanh")),
    ("threshold", threshold),
    ("thresholded_relu", thresholded_relu),
];

/// What an operator of ONNX computes that has no attributes.
fn plain(op: &mut Op<'_, '_>, name: &str) -> Result<Vec<String>, OpError> {
    let x = op.input("x")?;
    Ok(vec![op.emit(name, &[&x], &[])?])
}

fn identity(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    Ok(vec![op.input("x")?])
}

fn with_alpha(op: &mut Op<'_, '_>, name: &str) -> Result<Vec<String>, OpError> {
    let (x, alpha) = (op.input("x")?, op.float("alpha")?);
    Ok(vec![op.emit(name, &[&x], &[("alpha", Attribute::Float(alpha))])?])
}

/// Floats are all of one width within the graph. An integer that is made narrower is cut to its width.
fn cast(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, from, to) = (op.input("x")?, op.of("x")?.element, op.text("dtype", "")?);
    let to = ElementType::of_name(&to).ok_or_else(|| wrong("dtype", "a type", &to))?;
    let is_same = from == to || (from.is_float() && to.is_float());
    if is_same {
        return Ok(vec![x]);
    }
    let narrow = match to {
        ElementType::I8 => DType::I8,
        ElementType::I16 => DType::I16,
        ElementType::U8 => DType::U8,
        ElementType::U16 => DType::U16,
        ElementType::I32 | ElementType::I64 => DType::I32,
        ElementType::Bool => DType::Bool,
        ElementType::F16 | ElementType::F32 | ElementType::F64 => DType::F32,
        ElementType::Text
        | ElementType::Bf16
        | ElementType::I4
        | ElementType::U32
        | ElementType::U64
        | ElementType::U4
        | ElementType::U2
        | ElementType::U1
        | ElementType::U6
        | ElementType::U3
        | ElementType::F8E4M3
        | ElementType::F8E5M2 => return Err(OpError::unsupported(format!("a cast to {}", to.as_str()))),
    };
    let x = op.cast(&x, narrow)?;
    let is_held_wider = matches!(narrow, DType::I8 | DType::I16 | DType::U8 | DType::U16);
    Ok(vec![if is_held_wider { op.cast(&x, DType::I32)? } else { x }])
}

fn clipped(op: &mut Op<'_, '_>, x: &str, least: f32, most: f32) -> Result<String, OpError> {
    let (least, most) = (op.scalar(least), op.scalar(most));
    op.emit("Clip", &[x, &least, &most], &[])
}

fn clip(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, least, most) = (op.input("x")?, op.float("alpha")?, op.float("beta")?);
    Ok(vec![clipped(op, &x, least, most)?])
}

fn relu6(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let x = op.input("x")?;
    Ok(vec![clipped(op, &x, 0.0, 6.0)?])
}

/// `min(beta, x)` where `x` is not negative, `min(beta, alpha * x)` elsewhere.
fn clamped_relu(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, alpha, most) = (op.input("x")?, op.float("alpha")?, op.float("beta")?);
    let leaky = op.emit("LeakyRelu", &[&x], &[("alpha", Attribute::Float(alpha))])?;
    Ok(vec![op.with_scalar("Min", &leaky, most)?])
}

fn exp2(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    if !op.is_float("x")? {
        return Err(OpError::unsupported("exp2 of integers"));
    }
    let (x, two) = (op.input("x")?, op.scalar(2.0));
    Ok(vec![op.emit("Pow", &[&two, &x], &[])?])
}

fn gelu(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, mode) = (op.input("x")?, op.text("mode", "EXACT")?);
    let text = |text: &str| [("approximate", Attribute::Text(text.to_owned()))];
    Ok(vec![match mode.as_str() {
        "EXACT" => op.emit("Gelu", &[&x], &text("none"))?,
        "TANH_APPROXIMATION" => op.emit("Gelu", &[&x], &text("tanh"))?,
        "SIGMOID_APPROXIMATION" => {
            let scaled = op.with_scalar("Mul", &x, 1.702)?;
            let gate = op.emit("Sigmoid", &[&scaled], &[])?;
            op.emit("Mul", &[&x, &gate], &[])?
        }
        other => return Err(wrong("mode", "EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION", other)),
    }])
}

fn inverse(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, epsilon) = (op.input("x")?, op.find_float("epsilon")?.unwrap_or(1e-4));
    let x = op.with_scalar("Add", &x, epsilon)?;
    Ok(vec![op.emit("Reciprocal", &[&x], &[])?])
}

fn log(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, epsilon) = (op.input("x")?, op.find_float("epsilon")?.unwrap_or(1e-45));
    let x = op.with_scalar("Add", &x, epsilon)?;
    Ok(vec![op.emit("Log", &[&x], &[])?])
}

fn rsqrt(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, epsilon) = (op.input("x")?, op.find_float("epsilon")?.unwrap_or(1e-12));
    let x = op.with_scalar("Add", &x, epsilon)?;
    let root = op.emit("Sqrt", &[&x], &[])?;
    Ok(vec![op.emit("Reciprocal", &[&root], &[])?])
}

/// `alpha * x + beta`.
fn linear_activation(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, alpha, beta) = (op.input("x")?, op.float("alpha")?, op.float("beta")?);
    let x = op.with_scalar("Mul", &x, alpha)?;
    Ok(vec![op.with_scalar("Add", &x, beta)?])
}

/// A constant of one value per channel, in a shape that broadcasts with `x`, whose second dimension is the channels.
fn per_channel(op: &mut Op<'_, '_>, name: &'static str, rank: usize) -> Result<String, OpError> {
    let array = op.array(name)?;
    let mut shape = vec![1; rank];
    *shape.get_mut(1).ok_or_else(|| wrong("x", "a channel's dimension", rank))? = array.len();
    Ok(op.constant(array.reshaped(&shape)?))
}

fn prelu(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank) = (op.input("x")?, op.rank("x")?);
    let alpha = per_channel(op, "alpha", rank)?;
    Ok(vec![op.emit("PRelu", &[&x, &alpha], &[])?])
}

/// `alpha * log(1 + exp(beta * x))`, alpha and beta per channel.
fn softplus_parametric(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank) = (op.input("x")?, op.rank("x")?);
    let (alpha, beta) = (per_channel(op, "alpha", rank)?, per_channel(op, "beta", rank)?);
    let x = op.emit("Mul", &[&x, &beta], &[])?;
    let x = op.emit("Softplus", &[&x], &[])?;
    Ok(vec![op.emit("Mul", &[&x, &alpha], &[])?])
}

/// `alpha * tanh(beta * x)`.
fn scaled_tanh(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, alpha, beta) = (op.input("x")?, op.float("alpha")?, op.float("beta")?);
    let x = op.with_scalar("Mul", &x, beta)?;
    let x = op.emit("Tanh", &[&x], &[])?;
    Ok(vec![op.with_scalar("Mul", &x, alpha)?])
}

/// `min(max(alpha * x + beta, 0), 1)`.
fn sigmoid_hard(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, alpha, beta) = (op.input("x")?, op.float("alpha")?, op.float("beta")?);
    let attributes = [("alpha", Attribute::Float(alpha)), ("beta", Attribute::Float(beta))];
    Ok(vec![op.emit("HardSigmoid", &[&x], &attributes)?])
}

fn silu(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let x = op.input("x")?;
    let gate = op.emit("Sigmoid", &[&x], &[])?;
    Ok(vec![op.emit("Mul", &[&x, &gate], &[])?])
}

fn softmax(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, axis) = (op.input("x")?, op.find_int("axis")?.unwrap_or(-1));
    Ok(vec![op.emit("Softmax", &[&x], &[("axis", Attribute::Int(axis))])?])
}

fn square(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let x = op.input("x")?;
    Ok(vec![op.emit("Mul", &[&x, &x], &[])?])
}

fn threshold(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, alpha) = (op.input("x")?, op.float("alpha")?);
    Ok(vec![op.with_scalar("Max", &x, alpha)?])
}

/// `x` where it is at least alpha, 0 elsewhere. ONNX's operator of this name leaves alpha itself out.
fn thresholded_relu(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, alpha) = (op.input("x")?, op.float("alpha")?);
    let passes = op.with_scalar("GreaterOrEqual", &x, alpha)?;
    let zero = op.constant(Array::scalar(0.0_f32));
    Ok(vec![op.emit("Where", &[&passes, &x, &zero], &[])?])
}
