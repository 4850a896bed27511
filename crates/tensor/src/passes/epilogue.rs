//! Appends functions of one number to the product before them.

use super::links::{Links, is, output, scalar, with_constant};
use crate::graph::{Attribute, Graph, Node};
use crate::ops::fused;
use ballast_kernels::Pointwise;

pub(super) fn rule(graph: &mut Graph, links: &Links, at: usize) -> Option<()> {
    let product = graph.nodes.get(at)?;
    let is_own = product.domain == fused::DOMAIN && matches!(product.op.as_str(), "Conv" | "MatMul");
    let weights = graph.constants.get(product.inputs.get(1)?)?;
    if weights.values::<f32>().is_none()
        || weights.rank() < 2
        || !(is_own || is(product, "Conv") || is(product, "MatMul"))
    {
        return None;
    }
    let from = output(product)?.to_owned();
    let (functions, last_at, gone) = following(graph, links, &from)?;
    let mut joined = product.clone();
    joined.domain = fused::DOMAIN.to_owned();
    joined.outputs = vec![output(&graph.nodes[last_at])?.to_owned()];
    functions.into_iter().for_each(|f| fused::append(f, &mut joined.attributes));
    for gone in gone.into_iter().chain([last_at]) {
        graph.nodes[gone] = Node::default();
    }
    graph.nodes[at] = joined;
    Some(())
}

/// The functions that follow a value, the node that they end at and those between.
fn following(graph: &Graph, links: &Links, from: &str) -> Option<(Vec<Pointwise>, usize, Vec<usize>)> {
    match *links.users(from) {
        [user] => {
            let node = &graph.nodes[user];
            if node.domain == fused::DOMAIN && node.op == fused::POINTWISE {
                return Some((fused::read(&node.attributes)?, user, Vec::new()));
            }
            Some((vec![function(graph, node, from)?], user, Vec::new()))
        }
        // A value times a function of it.
        [a, b] => {
            let (gate_at, product_at) = if is(&graph.nodes[b], "Mul") { (a, b) } else { (b, a) };
            let (gate, product) = (&graph.nodes[gate_at], &graph.nodes[product_at]);
            let gated = output(gate)?;
            let is_product = is(product, "Mul") && product.inputs.iter().any(|name| name == gated);
            if !is_product || links.only_user(gated) != Some(product_at) {
                return None;
            }
            let gate = function(graph, gate, from)?;
            let function = if gate == Pointwise::Sigmoid {
                Pointwise::Silu
            } else if let Pointwise::HardSigmoid(alpha, 0.5) = gate
                && (alpha - 1.0 / 6.0).abs() < 1e-6
            {
                Pointwise::HardSwish
            } else {
                return None;
            };
            Some((vec![function], product_at, vec![gate_at]))
        }
        _ => None,
    }
}

/// The function that a node is of its input.
fn function(graph: &Graph, node: &Node, from: &str) -> Option<Pointwise> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    let factor = |name: &str, default: f32| match node.attributes.get(name) {
        None => Some(default),
        Some(Attribute::Float(value)) => Some(*value),
        Some(_) => None,
    };
    let by = |op: &str| {
        with_constant(graph, node, from)
            .filter(|_| node.op == op)
            .and_then(|(idx, _)| Some((idx, scalar(graph, &node.inputs[idx])?)))
    };
    match node.op.as_str() {
        "Relu" => Some(Pointwise::Relu),
        "LeakyRelu" => Some(Pointwise::LeakyRelu(factor("alpha", 0.01)?)),
        "Clip" => bounds(graph, node).map(|[min, max]| Pointwise::Clip(min, max)),
        "HardSigmoid" => Some(Pointwise::HardSigmoid(factor("alpha", 0.2)?, factor("beta", 0.5)?)),
        "HardSwish" => Some(Pointwise::HardSwish),
        "Sigmoid" => Some(Pointwise::Sigmoid),
        "Tanh" => Some(Pointwise::Tanh),
        "Mul" => by("Mul").map(|(_, value)| Pointwise::Affine(value, 0.0)),
        "Add" => by("Add").map(|(_, value)| Pointwise::Affine(1.0, value)),
        _ => None,
    }
}

/// The bounds of a `Clip`, if they are known.
pub(super) fn bounds(graph: &Graph, node: &Node) -> Option<[f32; 2]> {
    if !is(node, "Clip") {
        return None;
    }
    let bound = |idx: usize, name: &str, default: f32| match (node.inputs.get(idx), node.attributes.get(name)) {
        (Some(input), _) if !input.is_empty() => scalar(graph, input),
        (_, Some(Attribute::Float(value))) => Some(*value),
        (_, Some(_)) => None,
        (_, None) => Some(default),
    };
    Some([bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?])
}

#[cfg(test)]
mod tests {
    use crate::graph::Attribute;
    use crate::passes::testing::{Case, node, node_with};

    fn convolution() -> Case {
        let weights: Vec<f32> = (0..3 * 2 * 9).map(|at| (at as f32 * 0.7).sin()).collect();
        Case::new(&[("x", &[2, 2, 5, 6])]).constant("w", &[3, 2, 3, 3], &weights).with(node("Conv", &["x", "w"], "c"))
    }

    #[test]
    fn functions_are_appended_in_order() {
        let case = convolution()
            .constant("two", &[], &[2.0])
            .constant("low", &[], &[-0.5])
            .with(node("Relu", &["c"], "d"))
            .with(node("Mul", &["d", "two"], "e"))
            .with(node("Add", &["low", "e"], "f"))
            .with(node("Clip", &["f", "low", "two"], "g"))
            .with(node("Sigmoid", &["g"], "h"))
            .with(node_with("LeakyRelu", &["h"], "y", &[("alpha", Attribute::Float(0.3))]));
        assert_eq!(case.ops_after(), ["Conv"]);
    }

    #[test]
    fn a_value_times_a_function_of_it_is_a_function() {
        let sixth = ("alpha", Attribute::Float(1.0 / 6.0));
        let gates = [node("Sigmoid", &["c"], "g"), node_with("HardSigmoid", &["c"], "g", &[sixth])];
        for gate in gates {
            for inputs in [["c", "g"], ["g", "c"]] {
                let case = convolution().with(gate.clone()).with(node("Mul", &inputs, "y"));
                assert_eq!(case.ops_after(), ["Conv"], "{gate:?}");
            }
        }
        let case = convolution().with(node("HardSigmoid", &["c"], "g")).with(node("Mul", &["c", "g"], "y"));
        assert_eq!(case.ops_after(), ["Conv", "HardSigmoid", "Mul"], "another slope is another function");
    }
}
