//! Writes ONNX models byte by byte, those too that no exporter would write.

#[path = "../packages/writer.rs"]
#[expect(dead_code, reason = "each test uses a part")]
pub(crate) mod packages;

pub(crate) use packages::Proto;

/// Numbers of types in files.
pub(crate) const F32: i64 = 1;
pub(crate) const U8: i64 = 2;
pub(crate) const I64: i64 = 7;
pub(crate) const TEXT: i64 = 8;
pub(crate) const BOOL: i64 = 9;

/// A node.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Proto {
    let of = inputs.iter().fold(Proto::default(), |of, name| of.text(1, name));
    outputs.iter().fold(of, |of, name| of.text(2, name)).text(4, op)
}

/// An attribute of integers, whose list is one where the standard wants one.
pub(crate) fn ints(name: &str, values: &[i64]) -> Proto {
    values.iter().fold(Proto::default().text(1, name), |of, &value| of.int(8, value)).int(20, 7)
}

pub(crate) fn int(name: &str, value: i64) -> Proto {
    Proto::default().text(1, name).int(3, value).int(20, 2)
}

pub(crate) fn text(name: &str, value: &str) -> Proto {
    Proto::default().text(1, name).text(4, value).int(20, 3)
}

pub(crate) fn texts(name: &str, values: &[&str]) -> Proto {
    values.iter().fold(Proto::default().text(1, name), |of, value| of.text(9, value)).int(20, 8)
}

pub(crate) fn within(name: &str, graph: &Proto) -> Proto {
    Proto::default().text(1, name).message(6, graph).int(20, 5)
}

/// A tensor with its elements as bytes.
pub(crate) fn tensor(name: &str, code: i64, dims: &[i64], raw: &[u8]) -> Proto {
    dims.iter().fold(Proto::default(), |of, &dim| of.int(1, dim)).int(2, code).text(8, name).bytes(9, raw)
}

pub(crate) fn numbers(name: &str, values: &[i64]) -> Proto {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, I64, &[i64::try_from(values.len()).expect("few")], &raw)
}

pub(crate) fn zeros(name: &str, dims: &[i64]) -> Proto {
    let n = dims.iter().product::<i64>();
    tensor(name, F32, dims, &vec![0; 4 * usize::try_from(n).expect("few")])
}

/// Elements in a file beside the model.
pub(crate) fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Proto {
    let of = dims.iter().fold(Proto::default(), |of, &dim| of.int(1, dim)).int(2, F32).text(8, name).int(14, 1);
    entries.iter().fold(of, |of, (key, value)| of.message(13, &Proto::default().text(1, key).text(2, value)))
}

/// An input or output of no told type.
pub(crate) fn port(name: &str) -> Proto {
    Proto::default().text(1, name)
}

#[derive(Clone, Default)]
pub(crate) struct Parts<'a> {
    pub(crate) nodes: &'a [Proto],
    pub(crate) constants: &'a [Proto],
    pub(crate) inputs: &'a [&'a str],
    pub(crate) outputs: &'a [&'a str],
}

pub(crate) fn graph(parts: &Parts<'_>) -> Proto {
    let of = parts.nodes.iter().fold(Proto::default().text(2, "hostile"), |of, node| of.message(1, node));
    let of = parts.constants.iter().fold(of, |of, constant| of.message(5, constant));
    let of = parts.inputs.iter().fold(of, |of, name| of.message(11, &port(name)));
    parts.outputs.iter().fold(of, |of, name| of.message(12, &port(name)))
}

/// A file of a graph and functions.
pub(crate) fn model(graph: &Proto, functions: &[Proto]) -> Vec<u8> {
    let opset = |domain: &str, version| Proto::default().text(1, domain).int(2, version);
    let of = Proto::default().int(1, 8).text(2, "hostile").message(7, graph);
    let of = functions.iter().fold(of, |of, function| of.message(25, function));
    of.message(8, &opset("own", 1)).message(8, &opset("", 21)).0
}

/// A file of a graph.
pub(crate) fn file(parts: &Parts<'_>) -> Vec<u8> {
    model(&graph(parts), &[])
}

/// A function of `x` that gives `y`.
pub(crate) fn function(name: &str, nodes: &[Proto]) -> Proto {
    let of = Proto::default().text(1, name).text(4, "x").text(5, "y").text(10, "own");
    nodes.iter().fold(of, |of, node| of.message(7, node))
}

/// A call of a function.
pub(crate) fn call(name: &str, input: &str, output: &str) -> Proto {
    node(name, &[input], &[output]).text(7, "own")
}
