//! Rewrites graphs before they are planned, so that they compute the same with less: each file has one rule.
//!
//! Rules look at constants and at who uses a value, never at shapes, which are known only when a graph is run. What they
//! join is an operator of the domain that no file has.

mod epilogue;
mod gelu;
mod hard_swish;
mod identity;
mod layer_norm;
mod links;
mod residual;
mod row_bias;
mod scale;
#[cfg(test)]
mod testing;

use crate::graph::{Attribute, Graph, Model};
use crate::ops::fused;
use crate::plan::captures;
use links::Links;

/// Rewrites the neighbourhood of a node, if it is one that the rule is for. Nodes that are joined to another are left
/// without outputs.
type Rule = fn(&mut Graph, &Links, usize) -> Option<()>;

/// Those that come first may make what later ones are for.
const RULES: [Rule; 8] = [
    identity::rule,
    hard_swish::rule,
    gelu::rule,
    layer_norm::rule,
    scale::rule,
    row_bias::rule,
    epilogue::rule,
    residual::rule,
];

/// The model with its graphs rewritten.
pub(crate) fn rewritten(model: &Model) -> Model {
    let mut model = model.clone();
    rewrite(&mut model.graph);
    model.opsets.insert(fused::DOMAIN.to_owned(), 1);
    model
}

fn rewrite(graph: &mut Graph) {
    lift_constants(graph);
    for node in &mut graph.nodes {
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(inner) = attribute {
                for name in captures(inner) {
                    if let Some(constant) = graph.constants.get(&name) {
                        inner.constants.insert(name, constant.clone());
                    }
                }
                rewrite(inner);
            }
        }
    }
    for rule in RULES {
        apply(graph, rule);
    }
    // What is appended to a residual sum is appended to its product.
    apply(graph, epilogue::rule);
}

/// Applies a rule to every node, and to what it makes of one again.
fn apply(graph: &mut Graph, rule: Rule) {
    let mut links = Links::new(graph);
    for at in 0..graph.nodes.len() {
        // Every application takes a node away.
        while rule(graph, &links, at).is_some() {
            links = Links::new(graph);
        }
    }
    graph.nodes.retain(|node| !node.outputs.is_empty());
}

/// Makes constants of nodes that give nothing else.
fn lift_constants(graph: &mut Graph) {
    for node in &mut graph.nodes {
        if node.op == "Constant"
            && matches!(node.domain.as_str(), "" | "ai.onnx")
            && let (Some(Attribute::Array(array)), [name], 1) =
                (node.attributes.get("value"), &node.outputs[..], node.attributes.len())
        {
            graph.constants.insert(name.clone(), array.clone());
            node.outputs.clear();
        }
    }
    graph.nodes.retain(|node| !node.outputs.is_empty());
}

#[cfg(test)]
mod tests {
    use super::rewritten;
    use crate::array::Array;
    use crate::graph::{Attribute, Graph, Model, Port, ValueKind};
    use crate::passes::testing::{node, node_with};

    #[test]
    fn graphs_within_are_rewritten_with_the_constants_around_them() {
        let port = |name: &str| Port { name: name.to_owned(), spec: None, kind: ValueKind::Tensor };
        let nodes = vec![node("Conv", &["x", "w"], "c"), node("Relu", &["c"], "r")];
        let branch = Attribute::Graph(Box::new(Graph { outputs: vec![port("r")], nodes, ..Graph::default() }));
        let branches = [("then_branch", branch.clone()), ("else_branch", branch)];
        let mut model = Model::default();
        model.graph.nodes = vec![node_with("If", &["is_so"], "y", &branches)];
        model.graph.constants.insert("w".to_owned(), Array::new(&[1, 1, 1], vec![2.0_f32]));
        let rewritten = rewritten(&model);
        for attribute in rewritten.graph.nodes[0].attributes.values() {
            let Attribute::Graph(inner) = attribute else { panic!("{attribute:?}") };
            assert_eq!(inner.nodes.len(), 1, "the function is part of the convolution");
        }
    }
}
