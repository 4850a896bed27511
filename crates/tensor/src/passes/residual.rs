//! Begins a convolution with what is added to it.

use super::links::{Links, is, output};
use crate::graph::{Graph, Node};
use crate::ops::fused;

pub(super) fn rule(graph: &mut Graph, links: &Links, at: usize) -> Option<()> {
    let conv = graph.nodes.get(at)?;
    let is_of_f32 = graph.constants.get(conv.inputs.get(1)?)?.values::<f32>().is_some();
    let is_bare = (is(conv, "Conv") || conv.domain == fused::DOMAIN && conv.op == "Conv")
        && conv.inputs.len() <= 3
        && !conv.attributes.contains_key(fused::THEN);
    let from = output(conv).filter(|_| is_bare && is_of_f32)?;
    let add_at = links.only_user(from)?;
    let add = &graph.nodes[add_at];
    let other = add.inputs.iter().find(|name| *name != from).filter(|_| is(add, "Add") && add.inputs.len() == 2)?;
    let mut joined = conv.clone();
    joined.inputs.resize(3, String::new());
    joined.inputs.push(other.clone());
    joined.domain = fused::DOMAIN.to_owned();
    joined.outputs = add.outputs.clone();
    // The other side may come between the two.
    graph.nodes[add_at] = joined;
    graph.nodes[at] = Node::default();
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::passes::testing::{Case, node};

    fn convolution(other: &[usize]) -> Case {
        let weights: Vec<f32> = (0..4).map(|at| (at as f32 * 0.7).sin()).collect();
        Case::new(&[("x", &[2, 2, 5, 6]), ("other", other)])
            .constant("w", &[2, 2, 1, 1], &weights)
            .with(node("Conv", &["x", "w"], "c"))
            .with(node("Tanh", &["other"], "o"))
            .with(node("Add", &["o", "c"], "s"))
            .with(node("Relu", &["s"], "y"))
    }

    #[test]
    fn a_convolution_begins_with_what_is_added_whatever_its_shape() {
        for other in [&[2, 2, 5, 6][..], &[2, 2, 1, 1], &[6], &[3, 1, 2, 5, 6], &[1, 1, 1, 1]] {
            assert_eq!(convolution(other).ops_after(), ["Tanh", "Conv"], "{other:?}");
        }
    }
}
