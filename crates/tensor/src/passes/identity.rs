//! Leaves out nodes that give what they take.

use super::links::{Links, is, output};
use crate::graph::{Attribute, Graph};

pub(super) fn rule(graph: &mut Graph, links: &Links, at: usize) -> Option<()> {
    let node = graph.nodes.get(at)?;
    let is_dropout = is(node, "Dropout") && node.inputs.get(2).is_none_or(String::is_empty);
    if !is(node, "Identity") && !is_dropout || node.attributes.values().any(|a| matches!(a, Attribute::Graph(_))) {
        return None;
    }
    let (from, to) = (node.inputs.first()?.clone(), output(node)?.to_owned());
    if from.is_empty() || node.outputs.first() != Some(&to) || links.is_visible(&to) {
        return None;
    }
    for node in &mut graph.nodes {
        node.inputs.iter_mut().filter(|name| **name == to).for_each(|name| name.clone_from(&from));
    }
    graph.nodes[at].outputs.clear();
    graph.nodes[at].inputs.clear();
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::passes::testing::{Case, node};

    #[test]
    fn what_changes_nothing_is_left_out() {
        let case = Case::new(&[("x", &[2, 3])])
            .with(node("Identity", &["x"], "a"))
            .with(node("Dropout", &["a"], "b"))
            .with(node("Relu", &["b"], "c"))
            .with(node("Identity", &["c"], "y"));
        assert_eq!(case.ops_after(), ["Relu", "Identity"], "an output keeps its name");
    }
}
