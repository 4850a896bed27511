//! Functions of a model's own: what their calls become, and what is refused.

use crate::error::GraphError;
use crate::graph::{Attribute, Model};
use crate::onnx::ReadLimits;

fn key(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

/// Fields of a message: numbers and bytes.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        key(&mut self.0, field << 3 | 2);
        key(&mut self.0, bytes.as_ref().len() as u64);
        self.0.extend(bytes.as_ref());
        self
    }

    fn texts(self, field: u64, texts: &[&str]) -> Self {
        texts.iter().fold(self, |message, text| message.bytes(field, text))
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        key(&mut self.0, field << 3);
        key(&mut self.0, value);
        self
    }
}

fn node(domain: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    Message::default().texts(1, inputs).texts(2, outputs).bytes(4, op).bytes(7, domain)
}

fn int(name: &str, value: u64) -> Vec<u8> {
    Message::default().bytes(1, name).number(3, value).number(20, 2).0
}

/// An attribute that is what the function was given as `other`.
fn referring(name: &str, other: &str) -> Vec<u8> {
    Message::default().bytes(1, name).bytes(21, other).number(20, 2).0
}

fn function(name: &str, nodes: &[Message]) -> Message {
    let opset = Message::default().number(2, 17);
    let head = Message::default().bytes(1, name).bytes(10, "own").texts(4, &["x", "left_out"]).texts(5, &["y"]);
    nodes.iter().fold(head.bytes(9, opset.0), |function, node| function.bytes(7, &node.0))
}

fn read(functions: &[Message], nodes: &[Message]) -> Result<Model, GraphError> {
    let port = |name: &str| Message::default().bytes(1, name).0;
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.bytes(1, &node.0));
    let graph = graph.bytes(11, port("in")).bytes(12, port("out"));
    let (own, operators) = (Message::default().bytes(1, "own").number(2, 1), Message::default().number(2, 17));
    let model = Message::default().bytes(7, graph.0).bytes(8, operators.0).bytes(8, own.0);
    let model = functions.iter().fold(model, |model, function| model.bytes(25, &function.0));
    Model::from_onnx(&model.0, ReadLimits { nodes_max: 10_000, ..ReadLimits::default() })
}

#[test]
fn a_call_becomes_the_nodes_of_the_function() {
    let body = [
        node("", "Shape", &["x"], &["inner"]).bytes(5, referring("start", "from")).bytes(5, referring("end", "to")),
        node("", "Add", &["inner", "left_out"], &["y"]),
    ];
    let function = function("f", &body).texts(6, &["from"]).bytes(11, int("to", 7));
    let nodes = [
        node("own", "f", &["in"], &["middle"]).bytes(5, int("from", 3)),
        node("own", "f", &["middle", "in"], &["out"]),
    ];
    let model = read(&[function], &nodes).unwrap();
    let ops: Vec<&str> = model.graph.nodes.iter().map(|node| node.op.as_str()).collect();
    assert_eq!(ops, ["Shape", "Add", "Shape", "Add"]);
    let [first, added, second, last] = &model.graph.nodes[..] else { panic!("four nodes") };
    assert_eq!(
        (&first.inputs, &added.outputs, &last.outputs),
        (&vec!["in".to_owned()], &vec!["middle".to_owned()], &vec!["out".to_owned()])
    );
    assert_eq!(added.inputs, [first.outputs[0].clone(), String::new()], "an input that is left out stays so");
    assert_eq!(last.inputs, [second.outputs[0].clone(), "in".to_owned()]);
    assert_ne!(first.outputs, second.outputs, "each call has values of its own");
    assert_eq!(
        (first.attributes.get("start"), first.attributes.get("end")),
        (Some(&Attribute::Int(3)), Some(&Attribute::Int(7)))
    );
    assert_eq!(second.attributes.get("start"), None, "what the call does not say the operator has its own default for");
}

#[test]
fn functions_that_call_each_other_come_to_an_end() {
    let endless =
        [function("f", &[node("own", "g", &["x"], &["y"])]), function("g", &[node("own", "f", &["x"], &["y"])])];
    let error = read(&endless, &[node("own", "f", &["in"], &["out"])]).unwrap_err();
    assert!(matches!(&error, GraphError::TooMany { what, max: 16, .. } if what.contains("functions")), "{error}");
    let chain: Vec<Message> = (0..15)
        .map(|at| function(&format!("f{at}"), &[node("own", &format!("f{}", at + 1), &["x"], &["y"])]))
        .chain([function("f15", &[node("", "Neg", &["x"], &["y"])])])
        .collect();
    let model = read(&chain, &[node("own", "f0", &["in"], &["out"])]).unwrap();
    assert_eq!((model.graph.nodes.len(), model.graph.nodes[0].inputs[0].as_str()), (1, "in"));
}

#[test]
fn calls_that_multiply_are_bounded() {
    let calls = |name: &str| -> Vec<Message> { (0..64).map(|_| node("own", name, &["x"], &["y"])).collect() };
    let mut functions = vec![function("f0", &[node("", "Neg", &["x"], &["y"])])];
    functions.extend((1..12).map(|at| function(&format!("f{at}"), &calls(&format!("f{}", at - 1)))));
    let error = read(&functions, &[node("own", "f11", &["in"], &["out"])]).unwrap_err();
    assert!(matches!(error, GraphError::TooMany { .. }), "{error}");
    let long = "x".repeat(1 << 20);
    let many = [function("f", &[node("", "Sum", &vec!["x"; 1000], &["y"])])];
    let error = read(&many, &[node("own", "f", &[&long], &["out"])]).unwrap_err();
    assert!(matches!(&error, GraphError::TooMany { what, .. } if what.contains("bytes")), "{error}");
}

#[test]
fn what_a_function_cannot_be_given_is_named() {
    let plain = function("f", &[node("", "Neg", &["x"], &["y"])]);
    let error = read(std::slice::from_ref(&plain), &[node("own", "f", &["in"], &["out"]).bytes(5, int("speed", 1))])
        .unwrap_err();
    assert!(error.to_string().contains("speed"), "{error}");
    let error = read(&[], &[node("", "Neg", &["in"], &["out"]).bytes(5, referring("a", "b"))]).unwrap_err();
    assert!(matches!(error, GraphError::Malformed { .. }), "{error}");
    let older = plain.bytes(9, Message::default().number(2, 9).0);
    let error = read(&[older], &[node("own", "f", &["in"], &["out"])]).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
}
