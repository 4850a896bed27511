//! Joins `x (1 + erf(x / sqrt(2))) / 2` from its operators. (arXiv:1606.08415)

use super::links::{Links, is, output, scalar};
use crate::graph::{Graph, Node};
use crate::ops::fused;
use ballast_kernels::Pointwise;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

pub(super) fn rule(graph: &mut Graph, links: &Links, at: usize) -> Option<()> {
    let erf = graph.nodes.get(at).filter(|node| is(node, "Erf"))?;
    let scaled = erf.inputs.first()?.clone();
    links.only_user(&scaled)?;
    let scaled_at = graph.nodes.iter().position(|node| output(node) == Some(&scaled))?;
    let scale = &graph.nodes[scaled_at];
    let x = times(graph, scale, FRAC_1_SQRT_2).or_else(|| {
        let divisor = scalar(graph, scale.inputs.get(1)?)?;
        (is(scale, "Div") && (divisor - SQRT_2).abs() < 1e-6).then(|| scale.inputs[0].clone())
    })?;
    let add_at = links.only_user(output(erf)?)?;
    let add = &graph.nodes[add_at];
    let is_one = is(add, "Add") && add.inputs.iter().any(|name| scalar(graph, name) == Some(1.0));
    let one_more = output(add).filter(|_| is_one)?;
    let mul_at = links.only_user(one_more)?;
    let mul = &graph.nodes[mul_at];
    let other = mul.inputs.iter().find(|name| *name != one_more).filter(|_| is(mul, "Mul"))?;
    let (last_at, gone_at) = if *other == x {
        let last_at = links.only_user(output(mul)?)?;
        times(graph, &graph.nodes[last_at], 0.5).filter(|from| Some(from.as_str()) == output(mul))?;
        (last_at, mul_at)
    } else {
        let half_at = graph.nodes.iter().position(|node| output(node) == Some(other))?;
        links.only_user(other)?;
        times(graph, &graph.nodes[half_at], 0.5).filter(|from| *from == x)?;
        (mul_at, half_at)
    };
    let last = &graph.nodes[last_at];
    let mut joined = Node {
        name: last.name.clone(),
        op: fused::POINTWISE.to_owned(),
        domain: fused::DOMAIN.to_owned(),
        inputs: vec![x],
        outputs: vec![output(last)?.to_owned()],
        ..Node::default()
    };
    fused::append(Pointwise::Gelu, &mut joined.attributes);
    graph.nodes[last_at] = joined;
    for gone in [at, scaled_at, add_at, gone_at] {
        graph.nodes[gone] = Node::default();
    }
    Some(())
}

/// What a node multiplies by this number.
fn times(graph: &Graph, node: &Node, factor: f32) -> Option<String> {
    let [a, b] = &node.inputs[..] else { return None };
    let is_factor = |name: &str| scalar(graph, name).is_some_and(|value| (value - factor).abs() < 1e-6);
    match (is_factor(a), is_factor(b)) {
        _ if !is(node, "Mul") => None,
        (true, false) => Some(b.clone()),
        (false, true) => Some(a.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::passes::testing::{Case, node};

    fn begun() -> Case {
        let case = Case::new(&[("x", &[3, 40])])
            .constant("root", &[], &[std::f32::consts::SQRT_2])
            .constant("one", &[], &[1.0])
            .constant("half", &[], &[0.5]);
        case.with(node("Div", &["x", "root"], "a")).with(node("Erf", &["a"], "b")).with(node("Add", &["b", "one"], "c"))
    }

    #[test]
    fn a_gelu_of_five_operators_becomes_one() {
        let halved_last = begun().with(node("Mul", &["x", "c"], "d")).with(node("Mul", &["d", "half"], "y"));
        let halved_first = begun().with(node("Mul", &["half", "x"], "d")).with(node("Mul", &["d", "c"], "y"));
        for case in [halved_last, halved_first] {
            assert_eq!(case.ops_after(), ["Pointwise"]);
        }
    }

    #[test]
    fn another_number_is_no_gelu() {
        let case = begun().with(node("Mul", &["x", "c"], "d")).with(node("Mul", &["d", "one"], "y"));
        assert_eq!(case.ops_after().len(), 5);
    }
}
