//! Reads ONNX models from untrusted bytes. (<https://onnx.ai/onnx/repo-docs/IR.html>; field numbers as in `onnx.proto`)

mod functions;
mod tensor;
mod types;

use crate::array::{Array, Value};
use crate::error::GraphError;
use crate::graph::{Attribute, Graph, Model, Node, Port, ValueKind};
use crate::protobuf::{Field, Message};
use functions::Functions;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
pub(crate) use tensor::{of_bytes, read_optional, read_sequence, read_tensor};
pub(crate) use types::{dtype as dtype_of_code, type_name};

/// Bounds of a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Most bytes of the file.
    pub file_bytes_max: u64,
    /// Most nodes of all graphs together.
    pub nodes_max: usize,
    /// Most bytes of one tensor.
    pub tensor_bytes_max: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        // A protobuf cannot be longer than 2 GiB.
        Self { file_bytes_max: 2 << 30, nodes_max: 1 << 20, tensor_bytes_max: 2 << 30 }
    }
}

/// Reads a model.
pub(crate) struct Reader<'a> {
    pub(crate) limits: ReadLimits,
    /// Where files with tensors lie; `None`: there are none.
    pub(crate) folder: Option<&'a Path>,
    n_nodes: usize,
    functions: Functions<'a>,
}

impl<'a> Reader<'a> {
    fn new(limits: ReadLimits, folder: Option<&'a Path>) -> Self {
        Self { limits, folder, n_nodes: 0, functions: Functions::default() }
    }
}

impl Model {
    /// Reads an ONNX model and the files beside it that its tensors lie in.
    ///
    /// # Errors
    /// A file that cannot be read, or is not an ONNX model.
    pub fn open_onnx(path: &Path, limits: ReadLimits) -> Result<Self, GraphError> {
        let bytes = read_file(path, limits.file_bytes_max)?;
        Reader::new(limits, path.parent()).model(&bytes)
    }

    /// Reads an ONNX model whose tensors are all in it.
    ///
    /// # Errors
    /// Bytes that are not an ONNX model.
    pub fn from_onnx(bytes: &[u8], limits: ReadLimits) -> Result<Self, GraphError> {
        Reader::new(limits, None).model(bytes)
    }
}

pub(crate) fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, GraphError> {
    let fault = |error: std::io::Error| GraphError::File { path: PathBuf::from(path), fault: error.to_string() };
    let (file, n_bytes) = open_file(path)?;
    if n_bytes > bytes_max {
        return Err(GraphError::TooMany { what: "bytes of the file".to_owned(), max: bytes_max, got: n_bytes });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(n_bytes).unwrap_or(0));
    // A file that grows meanwhile is read no further.
    file.take(n_bytes).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}

/// Opens a regular file, and tells its length: a pipe would be waited for, a device might never end.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64), GraphError> {
    let fault = |fault: String| GraphError::File { path: PathBuf::from(path), fault };
    let metadata = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?;
    if !metadata.is_file() {
        return Err(fault("expected a regular file, got something else".to_owned()));
    }
    let file = File::open(path).map_err(|error| fault(error.to_string()))?;
    Ok((file, metadata.len()))
}

impl<'a> Reader<'a> {
    fn model(&mut self, bytes: &'a [u8]) -> Result<Model, GraphError> {
        let mut model = Model::default();
        // Functions come behind the graph that calls them.
        for field in Message::new(bytes, "model").fields() {
            let field = field?;
            match field.number {
                8 => {
                    let (domain, version) = opset(field.message("opset import")?)?;
                    if let Some(other) = model.opsets.insert(domain.clone(), version).filter(|other| *other != version)
                    {
                        let got = format!("{other} and {version} of {domain:?}");
                        return Err(GraphError::malformed("model", "one version of each domain's operators", got));
                    }
                }
                25 => self.functions.add(field.message("function")?)?,
                _ => {}
            }
        }
        self.functions.check(&mut model.opsets)?;
        let mut has_graph = false;
        for field in Message::new(bytes, "model").fields() {
            let field = field?;
            match field.number {
                2 => model.producer = field.text()?,
                7 if has_graph => return Err(GraphError::malformed("model", "one graph", "a second one")),
                7 => (model.graph, has_graph) = (self.graph(field.message("graph")?)?, true),
                14 => {
                    let (key, value) = pair(field.message("metadata")?)?;
                    model.metadata.insert(key, value);
                }
                _ => {}
            }
        }
        if !has_graph || model.opsets.is_empty() {
            return Err(GraphError::malformed(
                "model",
                "an ONNX model with a graph and versions of operators",
                "neither or one",
            ));
        }
        Ok(model)
    }

    fn graph(&mut self, message: Message<'_>) -> Result<Graph, GraphError> {
        let mut graph = Graph::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => graph.nodes.append(&mut self.nodes(field.message("node")?)?),
                5 => {
                    let (name, array) = read_tensor(field.message("initializer")?, self)?;
                    if graph.constants.insert(name.clone(), array).is_some() {
                        return Err(GraphError::malformed("graph", "each constant once", format!("{name:?} again")));
                    }
                }
                11 => graph.inputs.push(types::port(field.message("input")?)?),
                12 => graph.outputs.push(types::port(field.message("output")?)?),
                15 => {
                    return Err(GraphError::Unsupported { what: vec!["sparse initializers".to_owned()] });
                }
                _ => {}
            }
        }
        // Before version 4 of the format constants were listed among the inputs, too.
        graph.inputs.retain(|port: &Port| !graph.constants.contains_key(&port.name));
        Ok(graph)
    }

    /// A node, or the nodes of the function that it calls.
    fn nodes(&mut self, message: Message<'_>) -> Result<Vec<Node>, GraphError> {
        self.n_nodes += 1;
        if self.n_nodes > self.limits.nodes_max {
            let (max, got) = (self.limits.nodes_max as u64, self.n_nodes as u64);
            return Err(GraphError::TooMany { what: "nodes".to_owned(), max, got });
        }
        let (mut node, mut overload) = (Node::default(), String::new());
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => node.inputs.push(field.text()?),
                2 => node.outputs.push(field.text()?),
                3 => node.name = field.text()?,
                4 => node.op = field.text()?,
                5 => {
                    let Some((name, attribute)) = self.attribute(field.message("attribute")?)? else { continue };
                    if node.attributes.insert(name.clone(), attribute).is_some() {
                        return Err(GraphError::malformed("node", "each attribute once", format!("{name:?} again")));
                    }
                }
                7 => node.domain = field.text()?,
                8 => overload = field.text()?,
                _ => {}
            }
        }
        if node.domain == "ai.onnx" {
            node.domain.clear();
        }
        match self.functions.find(&node, overload) {
            Some(function) => self.call(&node, &function),
            None => Ok(vec![node]),
        }
    }

    /// A name and its attribute; nothing if it refers to one that the function was not given.
    fn attribute(&mut self, message: Message<'_>) -> Result<Option<(String, Attribute)>, GraphError> {
        let mut parts = AttributeParts::default();
        for field in message.fields() {
            self.attribute_part(field?, &mut parts)?;
        }
        let AttributeParts { name, code, int, float, text, ints, floats, texts, array, graph, refers_to } = parts;
        if let Some(other) = refers_to {
            return Ok(self.functions.given(&other)?.map(|attribute| (name, attribute)));
        }
        let absent = |what: &str| GraphError::malformed(format!("attribute {name:?}"), what, "nothing");
        let attribute = match code {
            1 => Attribute::Float(float),
            2 => Attribute::Int(int),
            3 => Attribute::Text(text),
            4 => Attribute::Array(array.ok_or_else(|| absent("a tensor"))?),
            5 => Attribute::Graph(Box::new(graph.ok_or_else(|| absent("a graph"))?)),
            6 => Attribute::Floats(floats),
            7 => Attribute::Ints(ints),
            8 => Attribute::Texts(texts),
            13 => Attribute::Type,
            other => {
                return Err(GraphError::Unsupported { what: vec![format!("attribute {name:?} of type {other}")] });
            }
        };
        Ok(Some((name, attribute)))
    }

    fn attribute_part(&mut self, field: Field<'_>, parts: &mut AttributeParts) -> Result<(), GraphError> {
        match field.number {
            1 => parts.name = field.text()?,
            2 => parts.float = field.float()?,
            3 => parts.int = field.int()?,
            4 => parts.text = field.text()?,
            5 => parts.array = Some(read_tensor(field.message("tensor of an attribute")?, self)?.1),
            6 => parts.graph = Some(self.graph(field.message("graph of an attribute")?)?),
            7 => field.floats(&mut parts.floats)?,
            8 => field.ints(&mut parts.ints)?,
            9 => parts.texts.push(field.text()?),
            20 => parts.code = field.int()?,
            21 => parts.refers_to = Some(field.text()?),
            _ => {}
        }
        Ok(())
    }
}

/// The fields of an attribute as they come.
#[derive(Default)]
struct AttributeParts {
    name: String,
    code: i64,
    int: i64,
    float: f32,
    text: String,
    ints: Vec<i64>,
    floats: Vec<f32>,
    texts: Vec<String>,
    array: Option<Array>,
    graph: Option<Graph>,
    /// The name of an attribute of the function around.
    refers_to: Option<String>,
}

fn opset(message: Message<'_>) -> Result<(String, i64), GraphError> {
    let mut opset = (String::new(), 0);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => opset.0 = field.text()?,
            2 => opset.1 = field.int()?,
            _ => {}
        }
    }
    if opset.0 == "ai.onnx" {
        opset.0.clear();
    }
    Ok(opset)
}

/// A key and its value.
pub(crate) fn pair(message: Message<'_>) -> Result<(String, String), GraphError> {
    let mut pair = (String::new(), String::new());
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => pair.0 = field.text()?,
            2 => pair.1 = field.text()?,
            _ => {}
        }
    }
    Ok(pair)
}

/// A value of a test: a tensor, a sequence or an optional value, as `kind` says.
pub(crate) fn read_value(bytes: &[u8], kind: ValueKind) -> Result<Value, GraphError> {
    let mut reader = Reader::new(ReadLimits::default(), None);
    match kind {
        ValueKind::Tensor => Ok(read_tensor(Message::new(bytes, "tensor"), &mut reader)?.1.into()),
        ValueKind::Sequence => read_sequence(Message::new(bytes, "sequence"), &mut reader),
        ValueKind::Optional => read_optional(Message::new(bytes, "optional value"), &mut reader),
    }
}
