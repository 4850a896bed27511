//! Lowers functions of programs to graphs in ONNX's vocabulary.
//!
//! Floats of every width become f32 and integers of every width i32: a program of f16 gives what its source gives, more
//! nearly than on a device that computes in f16, and `Rounding::ToF16` gives about what such a device does. At inputs
//! and outputs the types are those that the model tells.
//!
//! What an operation is told besides tensors must be constant, and every input of an operation must be one that its
//! lowering asks for: nothing is read over. All that cannot be lowered is named in one error.

mod binary;
mod control;
mod conv;
mod gather;
mod generate;
mod image;
mod linear;
mod norm;
mod op;
mod pool;
mod quant;
mod recurrent;
mod reduce;
mod shape;
mod slice;
mod unary;

use super::decode::{Decoder, widened};
use super::{Binding, Block, ElementType, Function, Literal, Operation, TensorType, Type};
use crate::array::Array;
use crate::error::{GraphError, OpError};
use crate::graph::{Attribute, Graph, Node, Port, StatePort, ValueKind};
use crate::mil::expand::expand;
use ballast_backend::{DType, Dim, TensorSpec};
use op::Op;
use std::collections::BTreeMap;

/// Makes the nodes of an operation and returns the values that they come to, one for each output.
pub(super) type Lower = fn(&mut Op<'_, '_>) -> Result<Vec<String>, OpError>;

/// Every operation that is lowered on its own.
const TABLES: &[&[(&str, Lower)]] = &[
    binary::OPS,
    control::OPS,
    conv::OPS,
    gather::OPS,
    generate::OPS,
    image::OPS,
    linear::OPS,
    norm::OPS,
    pool::OPS,
    quant::OPS,
    recurrent::OPS,
    reduce::OPS,
    shape::OPS,
    slice::OPS,
    unary::OPS,
];

/// Faults are listed up to this many.
const FAULTS_MAX: usize = 32;

fn find(kind: &str) -> Option<Lower> {
    TABLES.iter().flat_map(|table| *table).find(|(name, _)| *name == kind).map(|(_, lower)| *lower)
}

/// Whether an operation of this name is lowered, with whatever parameters.
pub(crate) fn is_known(kind: &str) -> bool {
    find(kind).is_some()
}

/// Types that a model tells of its inputs and outputs, where they are others than the function's.
pub(crate) type PortTypes = BTreeMap<String, DType>;

/// A function as a graph, and the states that it keeps.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) graph: Graph,
    pub(crate) states: Vec<StatePort>,
}

/// A value, as far as it is known.
#[derive(Clone, Debug)]
enum Held<'a> {
    /// A constant, not looked at yet.
    Literal(&'a Literal),
    /// A constant, in the types of `decode`.
    Array(Array),
    /// What nodes compute: its name in the graph.
    Graph(String),
    /// A state, by its place among them.
    State(usize),
    /// Nobody knows: what makes it cannot be lowered.
    Missing,
}

#[derive(Clone, Debug)]
struct Known<'a> {
    of: Type,
    held: Held<'a>,
}

/// A function on its way to a graph.
pub(crate) struct Lowering<'a> {
    decoder: Decoder<'a>,
    /// The graph, and those of blocks within operations that are being made.
    graphs: Vec<Graph>,
    known: BTreeMap<String, Known<'a>>,
    /// Names in the graph of constants that have one.
    constants: BTreeMap<String, String>,
    states: Vec<StatePort>,
    faults: Vec<String>,
    n_names: usize,
    n_operations: usize,
    operations_max: usize,
}

/// Lowers `function`. `types` are those of inputs and outputs; more than `operations_max` operations, each as often as
/// it is lowered, are refused.
pub(crate) fn lower<'a>(
    function: &'a Function,
    types: &PortTypes,
    decoder: Decoder<'a>,
    operations_max: usize,
) -> Result<Lowered, GraphError> {
    let mut lowering = Lowering {
        decoder,
        graphs: vec![Graph::default()],
        known: BTreeMap::new(),
        constants: BTreeMap::new(),
        states: Vec::new(),
        faults: Vec::new(),
        n_names: 0,
        n_operations: 0,
        operations_max,
    };
    lowering.inputs(function, types)?;
    lowering.block(&function.block)?;
    lowering.outputs(function, types)?;
    lowering.decoder.check_intact()?;
    let Lowering { graphs, states, mut faults, .. } = lowering;
    if !faults.is_empty() {
        faults.truncate(FAULTS_MAX);
        return Err(GraphError::Unsupported { what: faults });
    }
    let graph = graphs.into_iter().next().expect("the function's graph is the first");
    Ok(Lowered { graph, states })
}

/// The number that ONNX has for a type.
pub(super) fn type_code(dtype: DType) -> i64 {
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

/// The type that a function's values have at its ends; `None`: one that tensors of the engine do not have.
fn port_type(of: &TensorType) -> Option<DType> {
    use super::ElementType as E;
    Some(match of.element {
        E::Bool => DType::Bool,
        E::Text => DType::Str,
        E::F16 => DType::F16,
        E::F32 => DType::F32,
        E::F64 => DType::F64,
        E::Bf16 => DType::Bf16,
        E::I8 => DType::I8,
        E::I16 => DType::I16,
        E::I32 => DType::I32,
        E::I64 => DType::I64,
        E::U8 => DType::U8,
        E::U16 => DType::U16,
        E::U32 => DType::U32,
        E::U64 => DType::U64,
        E::I4 | E::U4 | E::U2 | E::U1 | E::U6 | E::U3 | E::F8E4M3 | E::F8E5M2 => return None,
    })
}

/// The type that a value has within the graph.
fn inner_type(dtype: DType) -> DType {
    match dtype {
        DType::F32 | DType::F64 | DType::F16 | DType::Bf16 => DType::F32,
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U64 | DType::U32 | DType::U16 | DType::U8 => {
            DType::I32
        }
        DType::Bool => DType::Bool,
        DType::Str => DType::Str,
    }
}

/// What an error names that is not supported; any other error stays one.
fn unsupported(error: GraphError) -> Result<Vec<String>, GraphError> {
    if let GraphError::Unsupported { what } = error { Ok(what) } else { Err(error) }
}

fn port(name: &str, dtype: DType, of: &TensorType) -> Port {
    let dims = of.dims.iter().map(|dim| dim.map_or(Dim::Any, Dim::Fixed));
    let shape: Vec<Dim> = dims.collect();
    let batch_capable = matches!(shape.first(), Some(Dim::Any));
    Port {
        name: name.to_owned(),
        spec: Some(TensorSpec { name: name.to_owned(), dtype, shape, batch_capable }),
        kind: ValueKind::Tensor,
    }
}

impl<'a> Lowering<'a> {
    fn graph(&mut self) -> &mut Graph {
        self.graphs.last_mut().expect("there is always a graph")
    }

    fn name(&mut self, of: &str) -> String {
        self.n_names += 1;
        format!("{of}.{}", self.n_names)
    }

    fn know(&mut self, name: &str, of: &Type, held: Held<'a>) {
        self.constants.remove(name);
        self.known.insert(name.to_owned(), Known { of: of.clone(), held });
    }

    fn inputs(&mut self, function: &'a Function, types: &PortTypes) -> Result<(), GraphError> {
        for input in &function.inputs {
            let name = &input.name;
            match &input.of {
                Type::Tensor(of) => {
                    let dtype = types.get(name).copied().or_else(|| port_type(of));
                    let Some(dtype) = dtype else {
                        self.faults.push(format!("input {name:?} of {}", of.element.as_str()));
                        self.know(name, &input.of, Held::Missing);
                        continue;
                    };
                    let given = port(name, dtype, of);
                    self.graph().inputs.push(given);
                    let value = self.cast(name.clone(), dtype, inner_type(dtype));
                    self.know(name, &input.of, Held::Graph(value));
                }
                Type::State(of) => self.state(name, of)?,
                other @ (Type::List(_) | Type::Tuple | Type::Dictionary | Type::Nothing) => {
                    self.faults.push(format!("input {name:?}, which is {}", other.kind()));
                    self.know(name, other, Held::Missing);
                }
            }
        }
        Ok(())
    }

    fn state(&mut self, name: &str, of: &TensorType) -> Result<(), GraphError> {
        let shape = of.shape();
        let shape =
            shape.ok_or_else(|| GraphError::malformed(format!("state {name:?}"), "a shape", "unknown extents"))?;
        let dtype = port_type(of).map_or(DType::F32, inner_type);
        self.decoder.spend(&shape, dtype)?;
        let given = self.name(name);
        let state = StatePort { name: name.to_owned(), dtype, shape, input: given.clone(), output: given };
        self.know(name, &Type::State(of.clone()), Held::State(self.states.len()));
        self.states.push(state);
        Ok(())
    }

    /// Names the outputs as the model does, in the types that it tells, and the states behind them.
    fn outputs(&mut self, function: &'a Function, types: &PortTypes) -> Result<(), GraphError> {
        for name in &function.block.outputs {
            let known = self.value(name)?.clone();
            // A dictionary comes from a classifier only, whose lowering gives its values in their order.
            let dictionary = TensorType { element: ElementType::F32, dims: vec![None] };
            let of = if known.of == Type::Dictionary { Some(&dictionary) } else { known.of.tensor() };
            let Some(of) = of else {
                self.faults.push(format!("output {name:?}, which is {}", known.of.kind()));
                continue;
            };
            let Some(dtype) = types.get(name).copied().or_else(|| port_type(of)) else {
                self.faults.push(format!("output {name:?} of {}", of.element.as_str()));
                continue;
            };
            let Some(value) = self.graph_name(name, &known)? else { continue };
            let node = Node {
                op: "Cast".to_owned(),
                inputs: vec![value],
                outputs: vec![name.clone()],
                attributes: BTreeMap::from([("to".to_owned(), Attribute::Int(type_code(dtype)))]),
                ..Node::default()
            };
            let node = if dtype == inner_type(dtype) {
                Node { op: "Identity".to_owned(), attributes: BTreeMap::new(), ..node }
            } else {
                node
            };
            let wanted = port(name, dtype, of);
            self.graph().nodes.push(node);
            self.graph().outputs.push(wanted);
        }
        Ok(())
    }

    fn cast(&mut self, value: String, from: DType, to: DType) -> String {
        if from == to {
            return value;
        }
        let output = self.name(&value);
        let node = Node {
            op: "Cast".to_owned(),
            inputs: vec![value],
            outputs: vec![output.clone()],
            attributes: BTreeMap::from([("to".to_owned(), Attribute::Int(type_code(to)))]),
            ..Node::default()
        };
        self.graph().nodes.push(node);
        output
    }

    fn value(&self, name: &str) -> Result<&Known<'a>, GraphError> {
        let unknown = || GraphError::malformed("program", "values that come before they are used", format!("{name:?}"));
        self.known.get(name).ok_or_else(unknown)
    }

    /// The name in the graph of a value, which a constant is given here; `None`: nobody knows it.
    fn graph_name(&mut self, name: &str, known: &Known<'a>) -> Result<Option<String>, GraphError> {
        let array = match &known.held {
            Held::Graph(value) => return Ok(Some(value.clone())),
            Held::Missing => return Ok(None),
            Held::State(_) => return Err(GraphError::malformed("program", "a tensor", format!("the state {name:?}"))),
            Held::Literal(literal) => {
                if let Some(value) = self.constants.get(name) {
                    return Ok(Some(value.clone()));
                }
                self.decoder.array(literal)?
            }
            Held::Array(array) => {
                if let Some(value) = self.constants.get(name) {
                    return Ok(Some(value.clone()));
                }
                array.clone()
            }
        };
        let value = self.constant(name, widened(array)?);
        if !name.is_empty() {
            self.constants.insert(name.to_owned(), value.clone());
        }
        Ok(Some(value))
    }

    /// Adds a constant. They are all in the function's own graph: blocks within operations see it, too.
    fn constant(&mut self, of: &str, array: Array) -> String {
        let name = self.name(of);
        self.graphs[0].constants.insert(name.clone(), array);
        name
    }

    fn block(&mut self, block: &'a Block) -> Result<(), GraphError> {
        for operation in &block.operations {
            self.n_operations += 1;
            if self.n_operations > self.operations_max {
                let (max, got) = (self.operations_max as u64, self.n_operations as u64);
                return Err(GraphError::TooMany { what: "operations with those of loops".to_owned(), max, got });
            }
            self.operation(operation)?;
        }
        Ok(())
    }

    fn operation(&mut self, operation: &'a Operation) -> Result<(), GraphError> {
        let error = match self.try_operation(operation) {
            Ok(values) => {
                if values.len() < operation.outputs.len() {
                    let got = operation.outputs.len().to_string();
                    return Err(GraphError::malformed(
                        operation.kind.clone(),
                        format!("{} outputs", values.len()),
                        got,
                    ));
                }
                for (output, held) in operation.outputs.iter().zip(values) {
                    self.know(&output.name, &output.of, held);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        for output in &operation.outputs {
            self.know(&output.name, &output.of, Held::Missing);
        }
        let is_told = matches!(&error, OpError::Unsupported { what } if what.is_empty());
        if let OpError::Within(error) = error {
            self.faults.extend(unsupported(*error)?);
        } else if !is_told {
            self.faults.push(format!("{} ({}): {error}", operation.kind, operation.label()));
        }
        Ok(())
    }

    fn try_operation(&mut self, operation: &'a Operation) -> Result<Vec<Held<'a>>, OpError> {
        if operation.kind == "const" {
            let missing =
                || OpError::Attribute { name: "val".into(), expected: "a value".into(), got: "nothing".into() };
            return Ok(vec![Held::Literal(operation.attributes.get("val").ok_or_else(missing)?)]);
        }
        let lower = find(&operation.kind);
        let mut op = Op::new(self, operation);
        let values: Vec<Held<'a>> = match lower {
            Some(lower) => lower(&mut op)?.into_iter().map(Held::Graph).collect(),
            None => match expand(&operation.kind, &mut op)? {
                Some(arrays) => arrays.into_iter().map(Held::Array).collect(),
                None => return Err(OpError::unsupported("this operation")),
            },
        };
        match op.unasked() {
            None => Ok(values),
            Some(name) => Err(OpError::unsupported(format!("the input {name:?}"))),
        }
    }

    /// What a binding stands for, with its name; a literal has none.
    fn bound(&self, binding: &'a Binding) -> Result<(&'a str, Known<'a>), GraphError> {
        match binding {
            Binding::Name(name) => Ok((name, self.value(name)?.clone())),
            Binding::Literal(literal) => Ok(("", Known { of: literal.of.clone(), held: Held::Literal(literal) })),
        }
    }
}
