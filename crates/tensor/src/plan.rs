//! Makes plans: operators in their order, with the places of what they take and give.
//!
//! What does not depend on inputs is computed here, once; what nobody needs is left out. Every operator that the engine
//! does not have is named, not the first alone.

use crate::array::{Array, Value};
use crate::error::{GraphError, OpError};
use crate::graph::{Attribute, Graph, Node, NodeSpec};
use crate::operator::{Inputs, Operator};
use crate::ops;
use crate::run::Context;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Constants that were computed are kept up to this many bytes each.
const FOLDED_BYTES_MAX: usize = 64 << 20;

/// What is wrong with a model is listed up to this many.
const FAULTS_MAX: usize = 32;

/// A graph that can be run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) n_slots: usize,
    pub(crate) constants: Vec<(usize, Value)>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) output_names: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// One operator of a plan.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) label: String,
    pub(crate) op: String,
    pub(crate) operator: Box<dyn Operator>,
    /// Slot, and whether nobody needs it after this.
    pub(crate) inputs: SmallVec<[Option<(usize, bool)>; 4]>,
    pub(crate) outputs: SmallVec<[Option<usize>; 2]>,
}

/// Versions of operators by domain.
pub(crate) type Opsets = BTreeMap<String, i64>;

/// Names that a graph takes from around it.
pub(crate) fn captures(graph: &Graph) -> BTreeSet<String> {
    let mut known: BTreeSet<&str> = graph.inputs.iter().map(|port| port.name.as_str()).collect();
    known.extend(graph.constants.keys().map(String::as_str));
    let mut wanted = BTreeSet::new();
    for node in &graph.nodes {
        let inner: Vec<String> = inner_captures(node).into_iter().collect();
        let names = node.inputs.iter().chain(&inner);
        let free = names.filter(|name| !name.is_empty() && !known.contains(name.as_str()));
        wanted.extend(free.cloned().collect::<Vec<_>>());
        known.extend(node.outputs.iter().map(String::as_str));
    }
    let outputs = graph.outputs.iter().filter(|port| !known.contains(port.name.as_str()));
    wanted.extend(outputs.map(|port| port.name.clone()));
    wanted
}

fn inner_captures(node: &Node) -> BTreeSet<String> {
    let graphs = node
        .attributes
        .values()
        .filter_map(|attribute| if let Attribute::Graph(graph) = attribute { Some(&**graph) } else { None });
    graphs.flat_map(captures).collect()
}

/// A graph on its way to a plan.
struct Planner<'a> {
    opsets: &'a Opsets,
    slots: HashMap<String, usize>,
    constants: HashMap<usize, Value>,
    steps: Vec<Step>,
    faults: Vec<String>,
}

impl Plan {
    /// Plans `graph`; `captures` are inputs behind its own.
    ///
    /// # Errors
    /// All operators that the engine does not have, or a graph that contradicts itself.
    pub(crate) fn new(
        graph: &Graph,
        captures: &[String],
        opsets: &Opsets,
        context: &mut Context<'_>,
    ) -> Result<Self, GraphError> {
        let mut planner =
            Planner { opsets, slots: HashMap::new(), constants: HashMap::new(), steps: Vec::new(), faults: Vec::new() };
        let own = graph.inputs.iter().map(|port| &port.name).filter(|name| !graph.constants.contains_key(*name));
        let inputs = own.chain(captures).map(|name| planner.define(name)).collect::<Result<Vec<_>, _>>()?;
        for (name, array) in &graph.constants {
            let slot = planner.define(name)?;
            planner.constants.insert(slot, array.clone().into());
        }
        let wanted = wanted(graph);
        for (node, _) in graph.nodes.iter().zip(&wanted).filter(|(_, is_wanted)| **is_wanted) {
            planner.add(node, context)?;
        }
        if !planner.faults.is_empty() {
            planner.faults.truncate(FAULTS_MAX);
            return Err(GraphError::Unsupported { what: planner.faults });
        }
        let output_names: Vec<String> = graph.outputs.iter().map(|port| port.name.clone()).collect();
        let outputs = output_names.iter().map(|name| planner.slot(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(planner.finish(inputs, outputs, output_names))
    }
}

/// Which nodes give something that is wanted.
fn wanted(graph: &Graph) -> Vec<bool> {
    let mut names: BTreeSet<String> = graph.outputs.iter().map(|port| port.name.clone()).collect();
    let mut wanted = vec![false; graph.nodes.len()];
    for (node, is_wanted) in graph.nodes.iter().zip(&mut wanted).rev() {
        if node.outputs.iter().any(|name| names.contains(name)) {
            *is_wanted = true;
            names.extend(node.inputs.iter().filter(|name| !name.is_empty()).cloned());
            names.extend(inner_captures(node));
        }
    }
    wanted
}

impl Planner<'_> {
    fn define(&mut self, name: &str) -> Result<usize, GraphError> {
        let slot = self.slots.len();
        if self.slots.insert(name.to_owned(), slot).is_some() {
            return Err(GraphError::malformed("graph", "each value once", format!("{name:?} again")));
        }
        Ok(slot)
    }

    fn slot(&self, name: &str) -> Result<usize, GraphError> {
        let unknown = || GraphError::malformed("graph", "values that come before they are used", format!("{name:?}"));
        self.slots.get(name).copied().ok_or_else(unknown)
    }

    fn add(&mut self, node: &Node, context: &mut Context<'_>) -> Result<(), GraphError> {
        let captures: Vec<String> = inner_captures(node).into_iter().collect();
        let names = node.inputs.iter().chain(&captures);
        let slot = |name: &String| (!name.is_empty()).then(|| self.slot(name)).transpose();
        let inputs = names.map(slot).collect::<Result<SmallVec<[Option<usize>; 4]>, _>>()?;
        let constants = inputs.iter().map(|slot| self.constant((*slot)?)).collect();
        let outputs: SmallVec<[Option<usize>; 2]> = node
            .outputs
            .iter()
            .map(|name| (!name.is_empty()).then(|| self.define(name)).transpose())
            .collect::<Result<_, _>>()?;
        let Some(version) = self.opsets.get(&node.domain).copied() else {
            self.faults.push(format!("operators of the domain {:?}, which the model does not import", node.domain));
            return Ok(());
        };
        let spec = NodeSpec::new(node, version, constants, captures);
        let operator = match build(&spec, self.opsets, context) {
            Ok(operator) => operator,
            Err(error) => {
                self.faults.push(format!("{} ({}, version {version}): {error}", node.op, node.label()));
                return Ok(());
            }
        };
        let needed = |(idx, slot): (usize, Option<usize>)| Some((slot.filter(|_| !operator.keeps(idx))?, false));
        let inputs = inputs.into_iter().enumerate().map(needed).collect();
        let (label, op) = (node.label().to_owned(), node.op.clone());
        let step = Step { label, op, operator, inputs, outputs };
        match self.folded(&step, context) {
            Some(values) => {
                let outputs = step.outputs.iter().zip(values);
                self.constants.extend(outputs.filter_map(|(slot, value)| Some(((*slot)?, value))));
            }
            None => self.steps.push(step),
        }
        Ok(())
    }

    fn constant(&self, slot: usize) -> Option<Array> {
        if let Some(Value::Array(array)) = self.constants.get(&slot) { Some(array.clone()) } else { None }
    }

    /// What the step comes to, if that does not depend on the graph's inputs. A step that fails here fails again when it
    /// is run, if it is run.
    fn folded(&self, step: &Step, context: &mut Context<'_>) -> Option<Vec<Value>> {
        if !step.operator.is_pure() {
            return None;
        }
        let known = |input: &Option<(usize, bool)>| match input {
            Some((slot, _)) => self.constants.get(slot).cloned().map(Some),
            None => Some(None),
        };
        let inputs = step.inputs.iter().map(known).collect::<Option<_>>()?;
        let outputs = step.operator.run(Inputs(inputs), context).ok()?;
        let is_small = |value: &Value| !matches!(value, Value::Array(array) if array.size_bytes() > FOLDED_BYTES_MAX);
        outputs.iter().all(is_small).then(|| outputs.into_vec())
    }

    fn finish(mut self, inputs: Vec<usize>, outputs: Vec<usize>, output_names: Vec<String>) -> Plan {
        let mut used: BTreeSet<usize> = outputs.iter().copied().collect();
        for step in self.steps.iter_mut().rev() {
            // The last of a step's inputs takes the value, so that one that comes twice is there for both.
            let mut here = BTreeSet::new();
            for (slot, is_last) in step.inputs.iter_mut().rev().flatten() {
                *is_last = !used.contains(slot) && here.insert(*slot);
            }
            used.extend(here);
        }
        let mut constants: Vec<(usize, Value)> =
            self.constants.drain().filter(|(slot, _)| used.contains(slot)).collect();
        constants.sort_unstable_by_key(|(slot, _)| *slot);
        Plan { n_slots: self.slots.len(), constants, inputs, outputs, output_names, steps: self.steps }
    }
}

fn build(spec: &NodeSpec<'_>, opsets: &Opsets, context: &mut Context<'_>) -> Result<Box<dyn Operator>, OpError> {
    let Some(build) = ops::find(&spec.node.domain, &spec.node.op) else {
        return ops::control::build(spec, opsets, context)?.ok_or_else(|| OpError::unsupported("this operator"));
    };
    let operator = build(spec)?;
    match spec.unasked() {
        None => Ok(operator),
        Some(name) => Err(OpError::unsupported(format!("the attribute {name:?}"))),
    }
}
