//! Joins functions of one number that are written as several operators: `x clip(x + 3, 0, 6) / 6`, `x sigmoid(x)`.

use super::epilogue::bounds;
use super::links::{Links, is, output, scalar, with_constant};
use crate::graph::{Graph, Node};
use crate::ops::fused;
use ballast_kernels::Pointwise;

pub(super) fn rule(graph: &mut Graph, links: &Links, at: usize) -> Option<()> {
    let add = graph.nodes.get(at)?;
    if !is(add, "Add") {
        return None;
    }
    // Which of the inputs is the number.
    let x = add.inputs.iter().find(|name| !graph.constants.contains_key(*name))?.clone();
    let (_, three) = with_constant(graph, add, &x)?;
    if three.values::<f32>() != Some(&[3.0]) || three.rank() > 1 {
        return None;
    }
    let clip_at = links.only_user(output(add)?)?;
    let clip = &graph.nodes[clip_at];
    if bounds(graph, clip)? != [0.0, 6.0] {
        return None;
    }
    let clipped = output(clip)?;
    let mul_at = links.only_user(clipped)?;
    let mul = &graph.nodes[mul_at];
    let is_product = is(mul, "Mul") && mul.inputs.contains(&x) && mul.inputs.iter().any(|name| name == clipped);
    let product = output(mul).filter(|_| is_product)?;
    let last_at = links.only_user(product)?;
    let last = &graph.nodes[last_at];
    let is_sixth = is(last, "Div") && last.inputs[0] == product && scalar(graph, &last.inputs[1]) == Some(6.0)
        || is(last, "Mul")
            && with_constant(graph, last, product)
                .is_some_and(|(_, sixth)| sixth.rank() <= 1 && sixth.values::<f32>() == Some(&[1.0 / 6.0]));
    if !is_sixth {
        return None;
    }
    let mut joined = Node {
        name: last.name.clone(),
        op: fused::POINTWISE.to_owned(),
        domain: fused::DOMAIN.to_owned(),
        inputs: vec![x],
        outputs: vec![output(last)?.to_owned()],
        attributes: Default::default(),
    };
    fused::append(Pointwise::HardSwish, &mut joined.attributes);
    graph.nodes[last_at] = joined;
    for gone in [at, clip_at, mul_at] {
        graph.nodes[gone] = Node::default();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::passes::testing::{Case, node};

    #[test]
    fn a_hard_swish_of_four_operators_becomes_one() {
        for last in ["Div", "Mul"] {
            let case = Case::new(&[("x", &[3, 40])])
                .constant("three", &[], &[3.0])
                .constant("zero", &[], &[0.0])
                .constant("six", &[], &[6.0])
                .constant("factor", &[1], &[if last == "Div" { 6.0 } else { 1.0 / 6.0 }])
                .with(node("Add", &["x", "three"], "a"))
                .with(node("Clip", &["a", "zero", "six"], "b"))
                .with(node("Mul", &["x", "b"], "c"))
                .with(node(last, &["c", "factor"], "y"));
            assert_eq!(case.ops_after(), ["Pointwise"], "{last}");
        }
    }

    #[test]
    fn other_numbers_are_no_hard_swish() {
        let case = Case::new(&[("x", &[3, 40])])
            .constant("three", &[], &[3.0])
            .constant("zero", &[], &[0.0])
            .constant("six", &[], &[5.0])
            .with(node("Add", &["x", "three"], "a"))
            .with(node("Clip", &["a", "zero", "six"], "b"))
            .with(node("Mul", &["x", "b"], "c"))
            .with(node("Div", &["c", "six"], "y"));
        assert_eq!(case.ops_after(), ["Add", "Clip", "Mul", "Div"]);
    }
}
