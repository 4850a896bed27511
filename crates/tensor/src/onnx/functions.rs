//! Functions that a model brings along: a node that calls one becomes the function's nodes when the model is read.

use super::{Reader, opset};
use crate::error::GraphError;
use crate::graph::{Attribute, Graph, Node};
use crate::plan::Opsets;
use crate::protobuf::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Deepest nesting of functions that call functions.
const DEPTH_MAX: usize = 16;

/// Most bytes of bodies and names that calls come to: a small file could make them many.
const EXPANDED_BYTES_MAX: usize = 256 << 20;

/// A function as it stands in the file.
#[derive(Debug)]
pub(super) struct Function<'a> {
    message: Message<'a>,
    n_bytes: usize,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// Attributes that it takes.
    attributes: BTreeSet<String>,
    opsets: Opsets,
}

/// Domain, name and overload.
type Key = (String, String, String);

/// The functions of a model, and how far their calls have come.
#[derive(Debug, Default)]
pub(super) struct Functions<'a> {
    by_key: BTreeMap<Key, Rc<Function<'a>>>,
    /// What the function that is read was given; `None` outside of functions.
    given: Option<BTreeMap<String, Attribute>>,
    depth: usize,
    n_calls: usize,
    n_bytes: usize,
}

impl<'a> Functions<'a> {
    pub(super) fn add(&mut self, message: Message<'a>) -> Result<(), GraphError> {
        let (mut name, mut domain, mut overload) = (String::new(), String::new(), String::new());
        let (mut inputs, mut outputs, mut attributes) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut opsets = Opsets::new();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => name = field.text()?,
                4 => inputs.push(field.text()?),
                5 => outputs.push(field.text()?),
                6 => {
                    attributes.insert(field.text()?);
                }
                9 => {
                    let (domain, version) = opset(field.message("opset import")?)?;
                    opsets.insert(domain, version);
                }
                10 => domain = field.text()?,
                11 => {
                    attributes.insert(attribute_name(field.message("attribute of a function")?)?);
                }
                13 => overload = field.text()?,
                _ => {}
            }
        }
        if domain == "ai.onnx" {
            domain.clear();
        }
        let function = Function { message, n_bytes: message.len(), inputs, outputs, attributes, opsets };
        let again = || GraphError::malformed("model", "each function once", format!("{name:?} again"));
        match self.by_key.insert((domain, name.clone(), overload), Rc::new(function)) {
            Some(_) => Err(again()),
            None => Ok(()),
        }
    }

    /// Adds the versions of operators that functions need to those of the model.
    ///
    /// # Errors
    /// If a function needs another version than the model.
    pub(super) fn check(&self, opsets: &mut Opsets) -> Result<(), GraphError> {
        for ((domain, name, _), function) in &self.by_key {
            for (of, &version) in &function.opsets {
                let is_own = self.by_key.keys().any(|(domain, ..)| domain == of);
                let known = *opsets.entry(of.clone()).or_insert(version);
                if known != version && !is_own {
                    let what = format!(
                        "the function {domain:?} {name:?} with version {version} of operators in a model with {known}"
                    );
                    return Err(GraphError::Unsupported { what: vec![what] });
                }
            }
        }
        Ok(())
    }

    pub(super) fn find(&self, node: &Node, overload: String) -> Option<Rc<Function<'a>>> {
        if self.by_key.is_empty() {
            return None;
        }
        self.by_key.get(&(node.domain.clone(), node.op.clone(), overload)).cloned()
    }

    /// The attribute that the function was given under this name.
    pub(super) fn given(&self, name: &str) -> Result<Option<Attribute>, GraphError> {
        let outside = || GraphError::malformed("attribute", "one that refers to a function's within it", "one outside");
        Ok(self.given.as_ref().ok_or_else(outside)?.get(name).cloned())
    }

    fn count_bytes(&mut self, n_bytes: usize) -> Result<(), GraphError> {
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        if self.n_bytes <= EXPANDED_BYTES_MAX {
            return Ok(());
        }
        let what = "bytes of functions where they are called".to_owned();
        Err(GraphError::TooMany { what, max: EXPANDED_BYTES_MAX as u64, got: self.n_bytes as u64 })
    }
}

fn attribute_name(message: Message<'_>) -> Result<String, GraphError> {
    let mut name = String::new();
    for field in message.fields() {
        let field = field?;
        if field.number == 1 {
            name = field.text()?;
        }
    }
    Ok(name)
}

impl<'a> Reader<'a> {
    /// The nodes of a function in the place of a node that calls it.
    pub(super) fn call(&mut self, node: &Node, function: &Function<'a>) -> Result<Vec<Node>, GraphError> {
        if self.functions.depth == DEPTH_MAX {
            let (max, got) = (DEPTH_MAX as u64, DEPTH_MAX as u64 + 1);
            return Err(GraphError::TooMany { what: "functions within functions".to_owned(), max, got });
        }
        self.functions.count_bytes(function.n_bytes)?;
        let mut given = self.defaults(function)?;
        for (name, attribute) in &node.attributes {
            let is_graph = matches!(attribute, Attribute::Graph(_));
            if is_graph || !function.attributes.contains(name) {
                let what = format!("attribute {name:?} of a call of the function {:?}", node.op);
                return Err(GraphError::Unsupported { what: vec![what] });
            }
            given.insert(name.clone(), attribute.clone());
        }
        let around = self.functions.given.replace(given);
        self.functions.depth += 1;
        let mut nodes = Vec::new();
        for field in function.message.fields() {
            let field = field?;
            if field.number == 7 {
                nodes.append(&mut self.nodes(field.message("node")?)?);
            }
        }
        self.functions.depth -= 1;
        self.functions.given = around;
        self.functions.n_calls += 1;
        let mut names = Names { known: BTreeMap::new(), call: self.functions.n_calls, functions: &mut self.functions };
        for (idx, name) in function.inputs.iter().enumerate() {
            names.known.insert(name.clone(), node.inputs.get(idx).cloned().unwrap_or_default());
        }
        for (name, outer) in function.outputs.iter().zip(&node.outputs).filter(|(_, outer)| !outer.is_empty()) {
            names.known.insert(name.clone(), outer.clone());
        }
        nodes.iter_mut().try_for_each(|node| names.rename_node(node))?;
        Ok(nodes)
    }

    /// Attributes that are not given, where the function says what they are then.
    fn defaults(&mut self, function: &Function<'a>) -> Result<BTreeMap<String, Attribute>, GraphError> {
        let mut defaults = BTreeMap::new();
        for field in function.message.fields() {
            let field = field?;
            if field.number == 11 {
                defaults.extend(self.attribute(field.message("attribute of a function")?)?);
            }
        }
        Ok(defaults)
    }
}

/// What the values of a function are called where it is called.
struct Names<'f, 'a> {
    /// Inputs and outputs: as the caller names them.
    known: BTreeMap<String, String>,
    /// Sets the others apart from those of other calls.
    call: usize,
    functions: &'f mut Functions<'a>,
}

impl Names<'_, '_> {
    fn rename(&mut self, name: &mut String) -> Result<(), GraphError> {
        if name.is_empty() {
            return Ok(());
        }
        let outer = self.known.get(name);
        self.functions.count_bytes(outer.unwrap_or(name).len())?;
        *name = outer.cloned().unwrap_or_else(|| format!("call {}: {name}", self.call));
        Ok(())
    }

    fn rename_node(&mut self, node: &mut Node) -> Result<(), GraphError> {
        node.inputs.iter_mut().chain(&mut node.outputs).try_for_each(|name| self.rename(name))?;
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(graph) = attribute {
                self.rename_graph(graph)?;
            }
        }
        Ok(())
    }

    fn rename_graph(&mut self, graph: &mut Graph) -> Result<(), GraphError> {
        for port in graph.inputs.iter_mut().chain(&mut graph.outputs) {
            self.rename(&mut port.name)?;
            if let Some(spec) = &mut port.spec {
                spec.name.clone_from(&port.name);
            }
        }
        for (mut name, array) in std::mem::take(&mut graph.constants) {
            self.rename(&mut name)?;
            graph.constants.insert(name, array);
        }
        graph.nodes.iter_mut().try_for_each(|node| self.rename_node(node))
    }
}

#[cfg(test)]
mod tests;
