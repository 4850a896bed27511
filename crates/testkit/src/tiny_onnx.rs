//! Small ONNX models, written by hand: nodes, weights, inputs and outputs as a test names them.

use ballast_backend::{DType, Dim, Tensor, TensorData};

/// An ONNX model that is being written.
#[derive(Clone, Debug, Default)]
pub struct TinyOnnx {
    nodes: Vec<Vec<u8>>,
    weights: Vec<Vec<u8>>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    opset: u64,
}

/// What a node is told besides its inputs.
#[derive(Clone, Debug)]
pub enum OnnxAttribute {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A text.
    Text(String),
    /// Integers.
    Ints(Vec<i64>),
}

impl TinyOnnx {
    /// A model of this version of the operators.
    #[must_use]
    pub fn new(opset: u64) -> Self {
        Self { opset, ..Self::default() }
    }

    /// Adds a node.
    #[must_use]
    pub fn node(mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, OnnxAttribute)]) -> Self {
        let mut node = Vec::new();
        inputs.iter().for_each(|name| bytes(&mut node, 1, name.as_bytes()));
        outputs.iter().for_each(|name| bytes(&mut node, 2, name.as_bytes()));
        bytes(&mut node, 4, op.as_bytes());
        attributes.iter().for_each(|(name, value)| bytes(&mut node, 5, &attribute(name, value)));
        self.nodes.push(node);
        self
    }

    /// Adds a weight.
    ///
    /// # Panics
    /// If its elements are of another type than f32, i64 or u8.
    #[must_use]
    pub fn weight(mut self, name: &str, tensor: &Tensor) -> Self {
        let mut weight = Vec::new();
        tensor.shape().iter().for_each(|&extent| number(&mut weight, 1, extent as u64));
        number(&mut weight, 2, code(tensor.dtype()));
        bytes(&mut weight, 8, name.as_bytes());
        let raw: Vec<u8> = if let TensorData::F32(values) = tensor.data() {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        } else if let TensorData::I64(values) = tensor.data() {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        } else if let TensorData::U8(values) = tensor.data() {
            values.clone()
        } else {
            panic!("weights of {} are not written", tensor.dtype())
        };
        bytes(&mut weight, 9, &raw);
        self.weights.push(weight);
        self
    }

    /// Adds an input.
    #[must_use]
    pub fn input(mut self, name: &str, dtype: DType, shape: &[Dim]) -> Self {
        self.inputs.push(port(name, dtype, shape));
        self
    }

    /// Adds an output.
    #[must_use]
    pub fn output(mut self, name: &str, dtype: DType, shape: &[Dim]) -> Self {
        self.outputs.push(port(name, dtype, shape));
        self
    }

    /// The file.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut graph = Vec::new();
        for (field, messages) in [(1, &self.nodes), (5, &self.weights), (11, &self.inputs), (12, &self.outputs)] {
            messages.iter().for_each(|message| bytes(&mut graph, field, message));
        }
        bytes(&mut graph, 2, b"tiny");
        let mut opset = Vec::new();
        number(&mut opset, 2, self.opset);
        let mut model = Vec::new();
        number(&mut model, 1, 8);
        bytes(&mut model, 2, b"testkit");
        bytes(&mut model, 7, &graph);
        bytes(&mut model, 8, &opset);
        model
    }
}

fn attribute(name: &str, value: &OnnxAttribute) -> Vec<u8> {
    let mut attribute = Vec::new();
    bytes(&mut attribute, 1, name.as_bytes());
    let code = match value {
        OnnxAttribute::Float(value) => {
            key(&mut attribute, 2, 5);
            attribute.extend(value.to_le_bytes());
            1
        }
        OnnxAttribute::Int(value) => {
            number(&mut attribute, 3, value.cast_unsigned());
            2
        }
        OnnxAttribute::Text(text) => {
            bytes(&mut attribute, 4, text.as_bytes());
            3
        }
        OnnxAttribute::Ints(values) => {
            values.iter().for_each(|value| number(&mut attribute, 8, value.cast_unsigned()));
            7
        }
    };
    number(&mut attribute, 20, code);
    attribute
}

fn port(name: &str, dtype: DType, shape: &[Dim]) -> Vec<u8> {
    let mut dims = Vec::new();
    for dim in shape {
        let mut extent = Vec::new();
        match dim {
            Dim::Fixed(n) => number(&mut extent, 1, *n as u64),
            Dim::Any => bytes(&mut extent, 2, b"n"),
        }
        bytes(&mut dims, 1, &extent);
    }
    let (mut tensor, mut kind, mut port) = (Vec::new(), Vec::new(), Vec::new());
    number(&mut tensor, 1, code(dtype));
    bytes(&mut tensor, 2, &dims);
    bytes(&mut kind, 1, &tensor);
    bytes(&mut port, 1, name.as_bytes());
    bytes(&mut port, 2, &kind);
    port
}

/// ONNX's number of a type.
fn code(dtype: DType) -> u64 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Str => 8,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::U32 => 12,
        DType::U64 => 13,
        DType::Bf16 => 16,
    }
}

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

pub(crate) fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    key(out, field, 0);
    varint(out, value);
}

pub(crate) fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).expect("seven bits are a byte")
}
