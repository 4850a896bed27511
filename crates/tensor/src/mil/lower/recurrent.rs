//! Recurrent layers. Their gates come in another order than ONNX's, and both directions' values side by side.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::graph::Attribute;

pub(super) const OPS: &[(&str, Lower)] = &[("gru", gru), ("lstm", lstm), ("rnn", rnn)];

/// Where ONNX's gates i, o, f, c are among i, f, o, z.
const LSTM_GATES: [usize; 4] = [0, 2, 1, 3];
/// Where ONNX's peepholes i, o, f are among i, f, o.
const LSTM_PEEPHOLES: [usize; 3] = [0, 2, 1];
/// Where ONNX's gates z, r, h are among r, o, z.
const GRU_GATES: [usize; 3] = [2, 0, 1];

/// Names of weights: those of the first direction and those of the second.
struct Names {
    input: [&'static str; 2],
    hidden: [&'static str; 2],
    bias: [&'static str; 2],
    peephole: [&'static str; 2],
}

const NAMES: Names = Names {
    input: ["weight_ih", "weight_ih_back"],
    hidden: ["weight_hh", "weight_hh_back"],
    bias: ["bias", "bias_back"],
    peephole: ["peephole", "peephole_back"],
};

/// Blocks of equal size of a constant, in another order.
fn reordered(array: &Array, order: &[usize]) -> Result<Vec<f32>, OpError> {
    let values = array.values::<f32>().ok_or_else(|| wrong("weights", "floats", array.dtype()))?;
    let rows = array.shape().first().copied().unwrap_or_default();
    if rows == 0 || rows % order.len() != 0 {
        return Err(OpError::shape(format!("rows for {} gates", order.len()), array.shape()));
    }
    let block = values.len() / order.len();
    Ok(order.iter().flat_map(|&gate| &values[gate * block..(gate + 1) * block]).copied().collect())
}

/// The weights of all directions, one behind the other.
fn weights(op: &mut Op<'_, '_>, names: &[&'static str], order: &[usize]) -> Result<Array, OpError> {
    let (mut values, mut shape) = (Vec::new(), Vec::new());
    for name in names {
        let array = op.array(name)?;
        if !shape.is_empty() && shape != array.shape() {
            return Err(OpError::shape(format!("the shape {shape:?}"), array.shape()));
        }
        shape = array.shape().to_vec();
        values.extend(reordered(&array, order)?);
    }
    shape.insert(0, names.len());
    Ok(Array::new(&shape, values))
}

/// Vectors of all directions, 0 where none is given; `None` if none is.
fn vectors(
    op: &mut Op<'_, '_>,
    names: &[&'static str],
    order: &[usize],
    len: usize,
) -> Result<Option<Vec<Vec<f32>>>, OpError> {
    let (mut vectors, mut is_given) = (Vec::new(), false);
    for name in names {
        vectors.push(match op.find_array(name)? {
            None => vec![0.0; len],
            Some(array) if array.shape() == [len] => {
                is_given = true;
                reordered(&array, order)?
            }
            Some(array) => return Err(OpError::shape(format!("{len} values"), array.shape())),
        });
    }
    Ok(is_given.then_some(vectors))
}

/// The biases of ONNX: those of the input, then those of the hidden state, which are 0 here.
fn biases(op: &mut Op<'_, '_>, of: Option<Vec<Vec<f32>>>, len: usize) -> String {
    let Some(of) = of else { return String::new() };
    let n = of.len();
    let both = of.into_iter().flat_map(|bias| bias.into_iter().chain(std::iter::repeat_n(0.0, len)));
    let both: Vec<f32> = both.collect();
    op.constant(Array::new(&[n, 2 * len], both))
}

/// What all layers tell.
struct Layer {
    n_directions: usize,
    direction: (&'static str, Attribute),
    hidden: usize,
    has_sequence: bool,
}

fn layer(op: &mut Op<'_, '_>) -> Result<Layer, OpError> {
    let direction = op.text("direction", "forward")?;
    let n_directions = match direction.as_str() {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        other => return Err(wrong("direction", "forward, reverse or bidirectional", other)),
    };
    let hidden = op.of("weight_hh")?.dims.last().copied().flatten();
    let hidden = hidden.ok_or_else(|| OpError::unsupported("weights of unknown extents"))?;
    let has_sequence = op.flag("output_sequence", false)?;
    Ok(Layer { n_directions, direction: ("direction", Attribute::Text(direction)), hidden, has_sequence })
}

impl Layer {
    fn hidden(&self) -> i64 {
        i64::try_from(self.hidden).unwrap_or(i64::MAX)
    }

    /// `[batch, directions · hidden]` as `[directions, batch, hidden]`.
    fn initial(&self, op: &mut Op<'_, '_>, name: &'static str) -> Result<String, OpError> {
        let value = op.input(name)?;
        if self.n_directions == 1 {
            let axes = op.int_list(&[0]);
            return op.emit("Unsqueeze", &[&value, &axes], &[]);
        }
        let shape = op.int_list(&[0, 2, self.hidden()]);
        let value = op.emit("Reshape", &[&value, &shape], &[])?;
        op.emit("Transpose", &[&value], &[("perm", Attribute::Ints(vec![1, 0, 2]))])
    }

    /// `[directions, batch, hidden]` as `[batch, directions · hidden]`.
    fn last(&self, op: &mut Op<'_, '_>, value: &str) -> Result<String, OpError> {
        if self.n_directions == 1 {
            let axes = op.int_list(&[0]);
            return op.emit("Squeeze", &[value, &axes], &[]);
        }
        let value = op.emit("Transpose", &[value], &[("perm", Attribute::Ints(vec![1, 0, 2]))])?;
        let shape = op.int_list(&[0, self.hidden().saturating_mul(2)]);
        op.emit("Reshape", &[&value, &shape], &[])
    }

    /// All of `[steps, directions, batch, hidden]`, or only the last, as `[steps, batch, directions · hidden]`.
    fn sequence(&self, op: &mut Op<'_, '_>, all: &str, last: &str) -> Result<String, OpError> {
        if !self.has_sequence {
            let axes = op.int_list(&[0]);
            return op.emit("Unsqueeze", &[last, &axes], &[]);
        }
        if self.n_directions == 1 {
            let axes = op.int_list(&[1]);
            return op.emit("Squeeze", &[all, &axes], &[]);
        }
        let all = op.emit("Transpose", &[all], &[("perm", Attribute::Ints(vec![0, 2, 1, 3]))])?;
        let shape = op.int_list(&[0, 0, self.hidden().saturating_mul(2)]);
        op.emit("Reshape", &[&all, &shape], &[])
    }

    /// ONNX's names of activations, for every direction.
    fn activations(
        &self,
        op: &mut Op<'_, '_>,
        of: &[(&'static str, &str)],
    ) -> Result<(&'static str, Attribute), OpError> {
        let mut names = Vec::new();
        for (input, default) in of {
            let name = match op.text(input, default)?.as_str() {
                "sigmoid" => "Sigmoid",
                "tanh" => "Tanh",
                "relu" => "Relu",
                other => return Err(OpError::unsupported(format!("the activation {other:?} in a recurrent layer"))),
            };
            names.push(name.to_owned());
        }
        let all = (0..self.n_directions).flat_map(|_| names.clone()).collect();
        Ok(("activations", Attribute::Texts(all)))
    }

    fn size(&self) -> (&'static str, Attribute) {
        ("hidden_size", Attribute::Int(self.hidden()))
    }
}

fn lstm(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let layer = layer(op)?;
    let (n, len) = (layer.n_directions, 4 * layer.hidden);
    let (input, hidden) = (weights(op, &NAMES.input[..n], &LSTM_GATES)?, weights(op, &NAMES.hidden[..n], &LSTM_GATES)?);
    let bias = vectors(op, &NAMES.bias[..n], &LSTM_GATES, len)?;
    let peephole = vectors(op, &NAMES.peephole[..n], &LSTM_PEEPHOLES, 3 * layer.hidden)?;
    let (x, h, c) = (op.input("x")?, layer.initial(op, "initial_h")?, layer.initial(op, "initial_c")?);
    let (input, hidden, bias) = (op.constant(input), op.constant(hidden), biases(op, bias, len));
    let peephole = match peephole {
        None => String::new(),
        Some(of) => op.constant(Array::new(&[n, 3 * layer.hidden], of.concat())),
    };
    let of = [("recurrent_activation", "sigmoid"), ("cell_activation", "tanh"), ("activation", "tanh")];
    let mut attributes = vec![layer.direction.clone(), layer.size(), layer.activations(op, &of)?];
    if let Some(clip) = op.find_float("clip")? {
        attributes.push(("clip", Attribute::Float(clip)));
    }
    let inputs = [x.as_str(), &input, &hidden, &bias, "", &h, &c, &peephole];
    let found = op.emit_many(("", "LSTM"), &inputs, &attributes, 3)?;
    let (last_h, last_c) = (layer.last(op, &found[1])?, layer.last(op, &found[2])?);
    Ok(vec![layer.sequence(op, &found[0], &last_h)?, last_h, last_c])
}

/// The documents contradict themselves on where the reset gate is applied unless `reset_after` tells: that is refused.
fn gru(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let layer = layer(op)?;
    let (n, len) = (layer.n_directions, 3 * layer.hidden);
    if n != 1 || !op.has("reset_after") {
        return Err(OpError::unsupported("a layer that does not tell when its reset gate is applied"));
    }
    let is_after = op.flag("reset_after", false)?;
    let (input, hidden) = (weights(op, &NAMES.input[..1], &GRU_GATES)?, weights(op, &NAMES.hidden[..1], &GRU_GATES)?);
    let hidden_bias = vectors(op, &["bias"], &GRU_GATES, len)?;
    let input_bias = vectors(op, &["input_bias"], &GRU_GATES, len)?;
    let bias = match (input_bias, hidden_bias) {
        (None, None) => String::new(),
        (input, hidden) => {
            let both = [input, hidden].map(|of| of.map_or_else(|| vec![0.0; len], |of| of.concat())).concat();
            op.constant(Array::new(&[1, 2 * len], both))
        }
    };
    let (x, h) = (op.input("x")?, layer.initial(op, "initial_h")?);
    let (input, hidden) = (op.constant(input), op.constant(hidden));
    let activations = layer.activations(op, &[("recurrent_activation", "sigmoid"), ("activation", "tanh")])?;
    let after = ("linear_before_reset", Attribute::Int(i64::from(is_after)));
    let inputs = [x.as_str(), &input, &hidden, &bias, "", &h];
    let found = op.emit_many(("", "GRU"), &inputs, &[layer.direction.clone(), layer.size(), activations, after], 2)?;
    let last = layer.last(op, &found[1])?;
    Ok(vec![layer.sequence(op, &found[0], &last)?, last])
}

fn rnn(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let layer = layer(op)?;
    if layer.n_directions != 1 {
        return Err(OpError::unsupported("two directions of this layer"));
    }
    let len = layer.hidden;
    let (input, hidden) = (weights(op, &NAMES.input[..1], &[0])?, weights(op, &NAMES.hidden[..1], &[0])?);
    let bias = vectors(op, &["bias"], &[0], len)?;
    let (x, h) = (op.input("x")?, layer.initial(op, "initial_h")?);
    let (input, hidden, bias) = (op.constant(input), op.constant(hidden), biases(op, bias, len));
    let activations = layer.activations(op, &[("activation", "tanh")])?;
    let inputs = [x.as_str(), &input, &hidden, &bias, "", &h];
    let found = op.emit_many(("", "RNN"), &inputs, &[layer.direction.clone(), layer.size(), activations], 2)?;
    let last = layer.last(op, &found[1])?;
    Ok(vec![layer.sequence(op, &found[0], &last)?, last])
}
