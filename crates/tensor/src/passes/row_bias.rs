//! Begins a product with what is added to each of its rows.

use super::links::{Links, is, output, with_constant};
use crate::graph::{Graph, Node};
use crate::ops::fused;

pub(super) fn rule(graph: &mut Graph, links: &Links, at: usize) -> Option<()> {
    let product = graph.nodes.get(at)?;
    let weights = graph.constants.get(product.inputs.get(1)?)?;
    let &[_, n_cols] = weights.shape() else { return None };
    if !is(product, "MatMul") || product.inputs.len() != 2 || weights.values::<f32>().is_none() {
        return None;
    }
    let from = output(product)?;
    let add_at = links.only_user(from)?;
    let add = &graph.nodes[add_at];
    let (idx, bias) = with_constant(graph, add, from).filter(|_| is(add, "Add"))?;
    if bias.shape() != [n_cols] {
        return None;
    }
    let mut joined = product.clone();
    joined.inputs.push(add.inputs[idx].clone());
    joined.domain = fused::DOMAIN.to_owned();
    joined.outputs = vec![output(add)?.to_owned()];
    graph.nodes[add_at] = Node::default();
    graph.nodes[at] = joined;
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::passes::testing::{Case, node};

    #[test]
    fn a_product_begins_with_its_bias() {
        let case = Case::new(&[("x", &[3, 5, 2])])
            .constant("w", &[2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
            .constant("b", &[4], &[0.5, -1.0, 2.0, 0.0])
            .with(node("MatMul", &["x", "w"], "p"))
            .with(node("Add", &["b", "p"], "s"))
            .with(node("Relu", &["s"], "y"));
        assert_eq!(case.ops_after(), ["MatMul"]);
    }
}
