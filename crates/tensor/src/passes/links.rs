//! Who uses which value.

use crate::array::Array;
use crate::graph::{Attribute, Graph, Node};
use crate::plan::captures;
use std::collections::{BTreeMap, BTreeSet};

/// The uses of every value of a graph.
pub(super) struct Links {
    uses: BTreeMap<String, Vec<usize>>,
    /// Values that others see: outputs, and what graphs within nodes take.
    visible: BTreeSet<String>,
}

impl Links {
    pub(super) fn new(graph: &Graph) -> Self {
        let mut uses: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut visible: BTreeSet<String> = graph.outputs.iter().map(|port| port.name.clone()).collect();
        for (at, node) in graph.nodes.iter().enumerate() {
            for name in node.inputs.iter().filter(|name| !name.is_empty()) {
                uses.entry(name.clone()).or_default().push(at);
            }
            for attribute in node.attributes.values() {
                if let Attribute::Graph(graph) = attribute {
                    visible.extend(captures(graph));
                }
            }
        }
        Self { uses, visible }
    }

    /// Whether others than nodes of the graph see a value.
    pub(super) fn is_visible(&self, name: &str) -> bool {
        self.visible.contains(name)
    }

    /// The nodes that use a value, one that uses it twice twice; none if others see it.
    pub(super) fn users(&self, name: &str) -> &[usize] {
        if self.visible.contains(name) { &[] } else { self.uses.get(name).map_or(&[], Vec::as_slice) }
    }

    /// The one node that uses a value.
    pub(super) fn only_user(&self, name: &str) -> Option<usize> {
        if let [user] = self.users(name) { Some(*user) } else { None }
    }
}

/// Whether a node is an operator of ONNX's own.
pub(super) fn is(node: &Node, op: &str) -> bool {
    node.op == op && matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// The only output of a node.
pub(super) fn output(node: &Node) -> Option<&str> {
    let mut outputs = node.outputs.iter().filter(|name| !name.is_empty());
    let first = outputs.next()?;
    outputs.next().is_none().then_some(first.as_str())
}

/// A constant of f32 with one element, which adds no dimensions.
pub(super) fn scalar(graph: &Graph, name: &str) -> Option<f32> {
    let array = graph.constants.get(name)?;
    if let Some([value]) = array.values::<f32>() { (array.rank() <= 1).then_some(*value) } else { None }
}

/// The other input of a node of two, and the constant that one of them is.
pub(super) fn with_constant<'a>(graph: &'a Graph, node: &'a Node, value: &str) -> Option<(usize, &'a Array)> {
    let [a, b] = &node.inputs[..] else { return None };
    let (idx, name) = if a == value { (1, b) } else { (0, a) };
    let array = graph.constants.get(name)?;
    array.values::<f32>().map(|_| (idx, array))
}

/// A name that no value of the graph has.
pub(super) fn fresh(graph: &Graph, near: &str) -> String {
    let mut name = format!("{near}/ballast");
    while graph.constants.contains_key(&name) {
        name.push('\'');
    }
    name
}
