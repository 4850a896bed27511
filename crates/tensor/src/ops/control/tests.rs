//! Behaviour of operators with graphs in them.

use crate::array::{Array, Value};
use crate::error::GraphError;
use crate::graph::{Attribute, Captures, Graph, Node, Port, ValueKind};
use crate::plan::{Opsets, Plan};
use crate::testing::{run_op, with_context};
use ballast_backend::{DType, Dim, TensorSpec};
use std::collections::BTreeMap;

fn port(name: &str) -> Port {
    let shape = vec![Dim::Fixed(1)];
    let spec = TensorSpec { name: name.to_owned(), dtype: DType::I64, shape, batch_capable: false };
    Port { name: name.to_owned(), spec: Some(spec), kind: ValueKind::Tensor }
}

fn node(op: &str, inputs: &[&str], output: &str) -> Node {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Node { op: op.to_owned(), inputs: names(inputs), outputs: names(&[output]), ..Node::default() }
}

fn ints(values: &[i64]) -> Value {
    Array::new(&[values.len()], values.to_vec()).into()
}

fn values(value: &Value) -> Vec<i64> {
    match value {
        Value::Array(array) => array.values().unwrap().to_vec(),
        other @ (Value::Sequence(_) | Value::Optional(_)) => panic!("{other:?}"),
    }
}

/// Adds the number of the run to a sum, and goes on as long as it is below `limit`, which is a constant of the graph.
fn summing(limit: i64) -> Attribute {
    let nodes = vec![
        node("Unsqueeze", &["i", "zero"], "step"),
        node("Add", &["sum", "step"], "next"),
        node("Less", &["next", "limit"], "is_below"),
        node("Squeeze", &["is_below"], "again"),
        node("Identity", &["next"], "each"),
    ];
    let constants = BTreeMap::from([
        ("limit".to_owned(), Array::new(&[1], vec![limit])),
        ("zero".to_owned(), Array::new(&[1], vec![0_i64])),
    ]);
    let inputs = ["i", "condition", "sum"].map(port).to_vec();
    let outputs = ["again", "next", "each"].map(port).to_vec();
    Attribute::Graph(Box::new(Graph { inputs, outputs, constants, nodes }))
}

fn looped(n_max: Option<i64>, condition: Option<bool>, limit: i64) -> Result<Vec<Value>, GraphError> {
    let inputs =
        vec![n_max.map(|n| Array::scalar(n).into()), condition.map(|on| Array::scalar(on).into()), Some(ints(&[0]))];
    run_op(("Loop", 13), &[("body", summing(limit))], inputs, 2)
}

#[test]
fn a_loop_ends_by_its_number_or_its_condition() {
    for (n_max, condition, limit, each) in [
        (Some(4), None, 1000, vec![0, 1, 3, 6]),
        (None, Some(true), 5, vec![0, 1, 3, 6]),
        (Some(2), Some(true), 1000, vec![0, 1]),
        (Some(9), Some(false), 1000, vec![]),
        (Some(0), None, 1000, vec![]),
        (Some(-3), None, 1000, vec![]),
    ] {
        let outputs = looped(n_max, condition, limit).unwrap();
        assert_eq!(values(&outputs[1]), each, "{n_max:?} {condition:?} {limit}");
        assert_eq!(values(&outputs[0]), [each.last().copied().unwrap_or(0)]);
        assert!(matches!(&outputs[1], Value::Array(array) if array.shape() == [each.len(), 1]));
    }
}

#[test]
fn graphs_with_other_inputs_than_the_loop_gives_are_refused() {
    let inputs = vec![Some(Array::scalar(1_i64).into()), None];
    let error = run_op(("Loop", 13), &[("body", summing(1))], inputs, 1).unwrap_err();
    assert!(error.to_string().contains("3 inputs"), "{error}");
    let error = run_op(("Loop", 13), &[], vec![None, None], 1).unwrap_err();
    assert!(error.to_string().contains("body"), "{error}");
}

#[test]
fn a_scan_goes_along_any_axis_in_both_directions() {
    let nodes = vec![node("Add", &["sum", "x"], "next"), node("Identity", &["next"], "each")];
    let graph = Graph {
        inputs: ["sum", "x"].map(port).to_vec(),
        outputs: ["next", "each"].map(port).to_vec(),
        nodes,
        ..Graph::default()
    };
    let scan = |directions: [i64; 2], axes: [i64; 2], x: Array| {
        let attributes = [
            ("body", Attribute::Graph(Box::new(graph.clone()))),
            ("num_scan_inputs", Attribute::Int(1)),
            ("scan_input_directions", Attribute::Ints(vec![directions[0]])),
            ("scan_output_directions", Attribute::Ints(vec![directions[1]])),
            ("scan_input_axes", Attribute::Ints(vec![axes[0]])),
            ("scan_output_axes", Attribute::Ints(vec![axes[1]])),
        ];
        run_op(("Scan", 11), &attributes, vec![Some(ints(&[0])), Some(x.into())], 2).map(|outputs| {
            assert_eq!(values(&outputs[0]).len(), 1);
            values(&outputs[1])
        })
    };
    let x = || Array::new(&[3, 1], vec![1_i64, 10, 100]);
    assert_eq!(scan([0, 0], [0, 0], x()).unwrap(), [1, 11, 111]);
    assert_eq!(scan([1, 0], [0, 0], x()).unwrap(), [100, 110, 111]);
    assert_eq!(scan([0, 1], [0, 0], x()).unwrap(), [111, 11, 1]);
    assert_eq!(scan([0, 0], [-1, 1], x().reshaped(&[1, 3]).unwrap()).unwrap(), [1, 11, 111]);
    assert!(scan([2, 0], [0, 0], x()).is_err());
    assert!(scan([0, 0], [2, 0], x()).is_err());
}

#[test]
fn values_from_around_are_seen_within() {
    let nodes = vec![node("Add", &["each", "x1"], "sum")];
    let graph = Graph { inputs: vec![port("each")], outputs: vec![port("sum")], nodes, ..Graph::default() };
    let sequence = Value::Sequence(vec![ints(&[1]), ints(&[2])].into());
    // The second input of the node is what the graph captures by its name.
    let body = [("body", Attribute::Graph(Box::new(Graph { inputs: vec![port("each"), port("unused")], ..graph })))];
    let outputs = run_op(("SequenceMap", 17), &body, vec![Some(sequence), Some(ints(&[5]))], 1).unwrap();
    let Value::Sequence(sums) = &outputs[0] else { panic!("a sequence") };
    assert_eq!(sums.iter().map(values).collect::<Vec<_>>(), [[6], [7]]);
}

#[test]
fn what_loops_is_not_run_ahead() {
    let body = Graph {
        inputs: ["i", "condition", "sum"].map(port).to_vec(),
        outputs: ["condition", "sum"].map(port).to_vec(),
        ..Graph::default()
    };
    let mut looping = node("Loop", &["n", "", "start"], "end");
    looping.attributes.insert("body".to_owned(), Attribute::Graph(Box::new(body)));
    let branch = Graph { outputs: vec![port("end")], nodes: vec![looping], ..Graph::default() };
    let mut choice = node("If", &["is_so"], "y");
    for name in ["then_branch", "else_branch"] {
        choice.attributes.insert(name.to_owned(), Attribute::Graph(Box::new(branch.clone())));
    }
    let constants = BTreeMap::from([
        ("is_so".to_owned(), Array::scalar(true)),
        ("n".to_owned(), Array::scalar(3_i64)),
        ("start".to_owned(), Array::new(&[1], vec![7_i64])),
    ]);
    let graph = Graph { outputs: vec![port("y")], constants, nodes: vec![choice], ..Graph::default() };
    let opsets = Opsets::from([(String::new(), 13)]);
    with_context(1, |context| {
        let plan = Plan::new(&graph, &Captures::default(), &opsets, context).unwrap();
        assert_eq!(plan.steps.len(), 1, "nobody knows how long a loop takes");
        assert_eq!(values(&plan.run(Vec::new(), context).unwrap()[0]), [7]);
    });
}

#[test]
fn constants_from_around_are_known_within() {
    let branch = |op: &str| {
        let outputs = vec![port("sum")];
        Attribute::Graph(Box::new(Graph { outputs, nodes: vec![node(op, &["x", "known"], "sum")], ..Graph::default() }))
    };
    let mut choice = node("If", &["is_so"], "y");
    choice.attributes.insert("then_branch".to_owned(), branch("Add"));
    choice.attributes.insert("else_branch".to_owned(), branch("Mul"));
    let constants = BTreeMap::from([("known".to_owned(), Array::new(&[1], vec![5_i64]))]);
    let inputs = ["is_so", "x"].map(port).to_vec();
    let graph = Graph { inputs, outputs: vec![port("y")], constants, nodes: vec![choice] };
    let opsets = Opsets::from([(String::new(), 13)]);
    with_context(1, |context| {
        let plan = Plan::new(&graph, &Captures::default(), &opsets, context).unwrap();
        assert_eq!(plan.steps[0].inputs.len(), 2, "the condition and x");
        assert!(plan.constants.is_empty(), "only the graphs within need it");
        for (is_so, expected) in [(true, 8), (false, 15)] {
            let given = vec![Some(Array::scalar(is_so).into()), Some(ints(&[3]))];
            assert_eq!(values(&plan.run(given, context).unwrap()[0]), [expected]);
        }
    });
}
