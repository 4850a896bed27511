//! Joins a layer norm from its operators. (arXiv:1607.06450)

use super::links::{Links, is, output, scalar, with_constant};
use crate::graph::{Attribute, Graph, Node};
use crate::ops::fused;

pub(super) fn rule(graph: &mut Graph, links: &Links, at: usize) -> Option<()> {
    let x = mean_of(graph, graph.nodes.get(at)?)?.to_owned();
    let mean = output(&graph.nodes[at])?;
    let sub_at = links.only_user(mean)?;
    let sub = &graph.nodes[sub_at];
    let centred = output(sub).filter(|_| is(sub, "Sub") && sub.inputs == [x.as_str(), mean])?;
    let users = links.users(centred);
    let power_at = *users.iter().find(|user| is(&graph.nodes[**user], "Pow") || is(&graph.nodes[**user], "Mul"))?;
    let power = &graph.nodes[power_at];
    let is_square = is(power, "Pow") && power.inputs[0] == centred && scalar(graph, &power.inputs[1]) == Some(2.0)
        || is(power, "Mul") && power.inputs == [centred, centred];
    let variance_at = links.only_user(output(power)?).filter(|_| is_square)?;
    mean_of(graph, &graph.nodes[variance_at])?;
    let add_at = links.only_user(output(&graph.nodes[variance_at])?)?;
    let add = &graph.nodes[add_at];
    let (idx, _) = with_constant(graph, add, output(&graph.nodes[variance_at])?).filter(|_| is(add, "Add"))?;
    let epsilon = scalar(graph, &add.inputs[idx])?;
    let sqrt_at = links.only_user(output(add)?).filter(|user| is(&graph.nodes[*user], "Sqrt"))?;
    let deviation = output(&graph.nodes[sqrt_at])?;
    let div_at = links.only_user(deviation)?;
    let div = &graph.nodes[div_at];
    if !is(div, "Div")
        || div.inputs != [centred, deviation]
        || !users.iter().all(|user| [power_at, div_at].contains(user))
    {
        return None;
    }
    let (weight, mul_at) = row(graph, links, output(div)?, "Mul")?;
    let (bias, last_at) = row(graph, links, output(&graph.nodes[mul_at])?, "Add")?;
    let joined = Node {
        name: graph.nodes[last_at].name.clone(),
        op: fused::LAYER_NORM.to_owned(),
        domain: fused::DOMAIN.to_owned(),
        inputs: vec![x, weight, bias],
        outputs: vec![output(&graph.nodes[last_at])?.to_owned()],
        attributes: [("epsilon".to_owned(), Attribute::Float(epsilon))].into_iter().collect(),
    };
    graph.nodes[last_at] = joined;
    for gone in [at, sub_at, power_at, variance_at, add_at, sqrt_at, div_at, mul_at] {
        graph.nodes[gone] = Node::default();
    }
    Some(())
}

/// What a node is the mean of over the last dimension, which it keeps.
fn mean_of<'a>(graph: &Graph, node: &'a Node) -> Option<&'a str> {
    let axes = match node.attributes.get("axes") {
        Some(Attribute::Ints(axes)) => axes.clone(),
        None => graph.constants.get(node.inputs.get(1)?)?.values::<i64>()?.to_vec(),
        Some(_) => return None,
    };
    let keeps = !matches!(node.attributes.get("keepdims"), Some(Attribute::Int(0)));
    (is(node, "ReduceMean") && axes == [-1] && keeps).then(|| node.inputs[0].as_str())
}

/// The constant of more than one element for each column that the only user of a value combines with it.
fn row(graph: &Graph, links: &Links, from: &str, op: &str) -> Option<(String, usize)> {
    let user_at = links.only_user(from)?;
    let user = &graph.nodes[user_at];
    let (idx, array) = with_constant(graph, user, from).filter(|_| is(user, op))?;
    (array.rank() == 1 && array.len() > 1).then(|| (user.inputs[idx].clone(), user_at))
}

#[cfg(test)]
mod tests {
    use crate::graph::Attribute;
    use crate::passes::testing::{Case, node, node_with};

    fn norm(axes: i64) -> Case {
        let axes = || ("axes", Attribute::Ints(vec![axes]));
        Case::new(&[("x", &[2, 3, 4])])
            .constant("two", &[], &[2.0])
            .constant("epsilon", &[], &[1e-5])
            .constant("w", &[4], &[1.0, -2.0, 0.5, 3.0])
            .constant("b", &[4], &[0.1, 0.2, 0.3, 0.4])
            .with(node_with("ReduceMean", &["x"], "mean", &[axes()]))
            .with(node("Sub", &["x", "mean"], "c"))
            .with(node("Pow", &["c", "two"], "s"))
            .with(node_with("ReduceMean", &["s"], "v", &[axes()]))
            .with(node("Add", &["v", "epsilon"], "e"))
            .with(node("Sqrt", &["e"], "d"))
            .with(node("Div", &["c", "d"], "n"))
            .with(node("Mul", &["n", "w"], "m"))
            .with(node("Add", &["m", "b"], "y"))
    }

    #[test]
    fn a_norm_of_nine_operators_becomes_one() {
        assert_eq!(norm(-1).ops_after(), ["LayerNorm"]);
    }

    #[test]
    fn a_norm_along_another_dimension_stays() {
        assert_eq!(norm(1).ops_after().len(), 9);
    }
}
