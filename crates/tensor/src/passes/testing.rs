//! Graphs that are run as they are and rewritten.

use super::rewritten;
use crate::array::{Array, Value};
use crate::executor::{Executor, ExecutorOptions, Planned};
use crate::graph::{Attribute, Model, Node, Port, ValueKind};
use crate::testing::Random;
use ballast_backend::Pulse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A graph whose output is `y`.
pub(super) struct Case {
    model: Model,
    inputs: Vec<Array>,
}

pub(super) fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    node_with(op, inputs, output, &[])
}

pub(super) fn node_with(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute)]) -> Node {
    Node {
        op: op.to_owned(),
        inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
        outputs: vec![output.to_owned()],
        attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        ..Node::default()
    }
}

fn port(name: &str) -> Port {
    Port { name: name.to_owned(), spec: None, kind: ValueKind::Tensor }
}

impl Case {
    /// A graph with inputs of these shapes, with random elements.
    pub(super) fn new(inputs: &[(&str, &[usize])]) -> Self {
        let mut model = Model { opsets: BTreeMap::from([(String::new(), 14)]), ..Model::default() };
        model.graph.inputs = inputs.iter().map(|(name, _)| port(name)).collect();
        model.graph.outputs = vec![port("y")];
        let mut random = Random::new(3);
        let array = |shape: &[usize]| {
            let values: Vec<f32> = random.floats(shape.iter().product()).iter().map(|value| 5.0 * value).collect();
            Array::new(shape, values)
        };
        Self { model, inputs: inputs.iter().map(|(_, shape)| *shape).map(array).collect() }
    }

    pub(super) fn constant(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.model.graph.constants.insert(name.to_owned(), Array::new(shape, values.to_vec()));
        self
    }

    pub(super) fn with(mut self, node: Node) -> Self {
        self.model.graph.nodes.push(node);
        self
    }

    /// The operators of the rewritten graph, which gives what the graph does.
    pub(super) fn ops_after(&self) -> Vec<String> {
        let after = rewritten(&self.model);
        let (before, rewritten) = (self.run(&self.model), self.run(&after));
        assert_eq!(before.shape(), rewritten.shape());
        let pairs = before.values::<f32>().expect("floats").iter().zip(rewritten.values::<f32>().expect("floats"));
        for (at, (before, after)) in pairs.enumerate() {
            assert!((before - after).abs() <= 1e-5 * (1.0 + before.abs()), "element {at}: {before}, then {after}");
        }
        after.graph.nodes.iter().map(|node| node.op.clone()).collect()
    }

    fn run(&self, model: &Model) -> Array {
        let options = ExecutorOptions::default();
        let planned = Planned::as_is(model, &options).expect("a graph that can be planned");
        let mut executor = Executor::of(Arc::new(planned), options);
        let inputs = self.inputs.iter().map(|input| Some(Value::Array(input.clone()))).collect();
        match executor.run_values(inputs, &Pulse::new(), None).expect("a graph that runs").remove(0) {
            Value::Array(array) => array,
            other @ (Value::Sequence(_) | Value::Optional(_)) => panic!("{other:?}"),
        }
    }
}
