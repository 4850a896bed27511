//! Multiplies what scales and shifts the channels of a convolution into its weights: `BatchNormalization`, and
//! arithmetic with a number or with one for each channel.

use super::links::{Links, fresh, is, output, with_constant};
use crate::array::Array;
use crate::graph::{Attribute, Graph, Node};

/// `x * factors + terms` for each channel.
struct Scale {
    factors: Vec<f32>,
    terms: Vec<f32>,
}

pub(super) fn rule(graph: &mut Graph, links: &Links, at: usize) -> Option<()> {
    let conv = graph.nodes.get(at)?;
    if !is(conv, "Conv") || conv.inputs.len() > 3 {
        return None;
    }
    let weights = graph.constants.get(&conv.inputs[1])?;
    let values = weights.values::<f32>()?;
    let (n_channels, n_spatial) = (*weights.shape().first()?, weights.rank().checked_sub(2)?);
    let bias = match conv.inputs.get(2).filter(|name| !name.is_empty()) {
        None => vec![0.0; n_channels],
        Some(name) => graph.constants.get(name)?.values::<f32>()?.to_vec(),
    };
    let from = output(conv)?;
    let user_at = links.only_user(from)?;
    let user = &graph.nodes[user_at];
    let scale = scale(graph, user, from, n_channels, n_spatial)?;
    if bias.len() != n_channels || values.is_empty() {
        return None;
    }
    let scaled = values.chunks_exact(values.len() / n_channels).zip(&scale.factors);
    let scaled: Vec<f32> = scaled.flat_map(|(row, factor)| row.iter().map(move |weight| weight * factor)).collect();
    let shifted = bias.iter().zip(&scale.factors).zip(&scale.terms).map(|((bias, factor), term)| bias * factor + term);
    let (scaled, shifted) = (Array::new(weights.shape(), scaled), Array::new(&[n_channels], shifted.collect()));
    let (mut joined, last) = (conv.clone(), output(user)?.to_owned());
    let names = [format!("{last}/weights"), format!("{last}/bias")].map(|near| fresh(graph, &near));
    joined.inputs = vec![conv.inputs[0].clone(), names[0].clone(), names[1].clone()];
    joined.outputs = vec![last];
    let [weights_name, bias_name] = names;
    graph.constants.insert(weights_name, scaled);
    graph.constants.insert(bias_name, shifted);
    graph.nodes[user_at] = Node::default();
    graph.nodes[at] = joined;
    Some(())
}

fn scale(graph: &Graph, node: &Node, from: &str, n_channels: usize, n_spatial: usize) -> Option<Scale> {
    if is(node, "BatchNormalization") {
        return batch_norm(graph, node, from, n_channels);
    }
    let (idx, operand) = with_constant(graph, node, from)?;
    let values = operand.values::<f32>()?;
    let shape = operand.shape();
    let channel_at = shape.len().checked_sub(n_spatial + 1);
    let is_of_channels = channel_at.is_some_and(|at| {
        shape[at] == n_channels && at <= 1 && shape.iter().enumerate().all(|(dim, extent)| dim == at || *extent == 1)
    });
    let operand = if values.len() == 1 && shape.len() <= n_spatial + 2 {
        vec![values[0]; n_channels]
    } else if is_of_channels {
        values.to_vec()
    } else {
        return None;
    };
    let (ones, zeros) = (vec![1.0; n_channels], vec![0.0; n_channels]);
    Some(match (node.op.as_str(), idx) {
        _ if !is(node, &node.op) => return None,
        ("Mul", _) => Scale { factors: operand, terms: zeros },
        ("Add", _) => Scale { factors: ones, terms: operand },
        ("Sub", 1) => Scale { factors: ones, terms: operand.iter().map(|value| -value).collect() },
        ("Div", 1) => Scale { factors: operand.iter().map(|value| 1.0 / value).collect(), terms: zeros },
        _ => return None,
    })
}

/// (ONNX `BatchNormalization`)
fn batch_norm(graph: &Graph, node: &Node, from: &str, n_channels: usize) -> Option<Scale> {
    let flag = |name: &str| matches!(node.attributes.get(name), Some(Attribute::Int(value)) if *value != 0);
    let known = ["epsilon", "momentum", "training_mode", "spatial", "is_test"];
    let is_plain = !flag("training_mode")
        && node.attributes.keys().all(|name| known.contains(&name.as_str()))
        && !matches!(node.attributes.get("spatial"), Some(Attribute::Int(0)));
    if !is_plain || node.inputs.len() != 5 || node.inputs[0] != from {
        return None;
    }
    let epsilon = match node.attributes.get("epsilon") {
        None => 1e-5,
        Some(Attribute::Float(epsilon)) => *epsilon,
        Some(_) => return None,
    };
    let parameter = |idx: usize| {
        let values = graph.constants.get(&node.inputs[idx])?.values::<f32>()?;
        (values.len() == n_channels).then_some(values)
    };
    let (scale, shift, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let factors: Vec<f32> =
        scale.iter().zip(variance).map(|(scale, variance)| scale / (variance + epsilon).sqrt()).collect();
    let terms = shift.iter().zip(mean).zip(&factors).map(|((shift, mean), factor)| shift - mean * factor).collect();
    Some(Scale { factors, terms })
}

#[cfg(test)]
mod tests {
    use crate::passes::testing::{Case, node};

    fn convolution() -> Case {
        let weights: Vec<f32> = (0..3 * 2 * 9).map(|at| (at as f32 * 0.7).sin()).collect();
        Case::new(&[("x", &[2, 2, 5, 6])]).constant("w", &[3, 2, 3, 3], &weights).constant("b", &[3], &[0.1, -0.2, 0.3])
    }

    #[test]
    fn a_normalization_becomes_part_of_the_weights() {
        for inputs in [&["x", "w"][..], &["x", "w", "b"]] {
            let case = convolution()
                .constant("scale", &[3], &[0.5, 1.5, -1.0])
                .constant("mean", &[3], &[0.2, 0.1, -0.3])
                .constant("variance", &[3], &[0.9, 2.0, 0.4])
                .with(node("Conv", inputs, "c"))
                .with(node("BatchNormalization", &["c", "scale", "b", "mean", "variance"], "y"));
            assert_eq!(case.ops_after(), ["Conv"]);
        }
    }

    #[test]
    fn arithmetic_with_numbers_and_channels_becomes_part_of_the_weights() {
        let case = convolution()
            .constant("half", &[], &[0.5])
            .constant("channels", &[3, 1, 1], &[1.0, 2.0, 3.0])
            .with(node("Conv", &["x", "w", "b"], "c"))
            .with(node("Mul", &["half", "c"], "d"))
            .with(node("Add", &["d", "channels"], "e"))
            .with(node("Sub", &["e", "half"], "f"))
            .with(node("Div", &["f", "channels"], "y"));
        assert_eq!(case.ops_after(), ["Conv"]);
    }

    #[test]
    fn what_is_used_elsewhere_or_is_of_columns_stays() {
        let case = convolution()
            .constant("columns", &[4], &[1.0, 2.0, 3.0, 4.0])
            .constant("half", &[], &[0.5])
            .with(node("Conv", &["x", "w"], "c"))
            .with(node("Mul", &["c", "columns"], "d"))
            .with(node("Conv", &["x", "w"], "e"))
            .with(node("Mul", &["e", "half"], "f"))
            .with(node("Add", &["e", "f"], "g"))
            .with(node("Sub", &["d", "g"], "y"));
        assert!(case.ops_after().iter().filter(|op| *op == "Mul").count() == 2);
    }
}
