//! Makes plans: operators in their order, with the places of what they take and give.
//!
//! What does not depend on inputs is computed here, once; what nobody needs is left out. Every operator that the engine
//! does not have is named, not the first alone.

use crate::array::{Array, Value};
use crate::error::{GraphError, OpError};
use crate::graph::{Attribute, Captures, Graph, Node, NodeSpec};
use crate::operator::{Inputs, Operator};
use crate::ops;
use crate::run::Context;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Constants that were computed are kept up to this many bytes each.
const FOLDED_BYTES_MAX: usize = 64 << 20;

/// Constants that were computed are kept up to this many bytes together; the others are computed again in every run.
const ALL_FOLDED_BYTES_MAX: usize = 1 << 30;

/// What is wrong with a model is listed up to this many.
const FAULTS_MAX: usize = 32;

/// A graph that can be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Places of what a run is given and computes.
    pub(crate) n_slots: usize,
    pub(crate) constants: Vec<Value>,
    /// Slots.
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<Source>,
    pub(crate) output_names: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It is left out.
    Nothing,
    /// The constant of this number.
    Constant(usize),
    /// What is at a slot; `is_last`: nobody needs it after this.
    Computed { slot: usize, is_last: bool },
}

/// One operator of a plan.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) label: String,
    pub(crate) op: String,
    pub(crate) operator: Box<dyn Operator>,
    pub(crate) inputs: SmallVec<[Source; 4]>,
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
    /// Plans `graph`; captures that are not known are inputs behind its own.
    ///
    /// # Errors
    /// All operators that the engine does not have, or a graph that contradicts itself.
    pub(crate) fn new(
        graph: &Graph,
        captures: &Captures,
        opsets: &Opsets,
        context: &mut Context<'_>,
    ) -> Result<Self, GraphError> {
        let mut planner =
            Planner { opsets, slots: HashMap::new(), constants: HashMap::new(), steps: Vec::new(), faults: Vec::new() };
        let own = graph.inputs.iter().map(|port| &port.name).filter(|name| !graph.constants.contains_key(*name));
        let inputs = own.chain(&captures.inputs).map(|name| planner.define(name)).collect::<Result<Vec<_>, _>>()?;
        for (name, array) in graph.constants.iter().chain(captures.constants.iter().map(|(name, array)| (name, array)))
        {
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
        let captures = self.captures(node)?;
        let names = node.inputs.iter().chain(&captures.inputs);
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
        let needed = |(idx, slot): (usize, Option<usize>)| {
            let slot = slot.filter(|_| !operator.keeps(idx));
            slot.map_or(Source::Nothing, |slot| Source::Computed { slot, is_last: false })
        };
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

    /// What the graphs of a node take from around it.
    fn captures(&self, node: &Node) -> Result<Captures, GraphError> {
        let mut captures = Captures::default();
        for name in inner_captures(node) {
            match self.constant(self.slot(&name)?) {
                Some(array) => captures.constants.push((name, array)),
                None => captures.inputs.push(name),
            }
        }
        Ok(captures)
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
        let known = |input: &Source| match input {
            Source::Nothing | Source::Constant(_) => Some(None),
            Source::Computed { slot, .. } => self.constants.get(slot).cloned().map(Some),
        };
        let inputs = step.inputs.iter().map(known).collect::<Option<_>>()?;
        let inputs = Inputs(inputs);
        context.text_bytes = inputs.text_bytes();
        let outputs = step.operator.run(inputs, context).ok()?;
        let bytes: usize = outputs.iter().map(Value::size_bytes).sum();
        let all_bytes = context.folded_bytes.saturating_add(bytes);
        let is_small = bytes <= FOLDED_BYTES_MAX && all_bytes <= ALL_FOLDED_BYTES_MAX.min(context.limits.run_bytes_max);
        if is_small {
            context.folded_bytes = all_bytes;
        }
        is_small.then(|| outputs.into_vec())
    }

    fn finish(self, inputs: Vec<usize>, outputs: Vec<usize>, output_names: Vec<String>) -> Plan {
        let computed = |slot: usize| Source::Computed { slot, is_last: false };
        let mut outputs: Vec<Source> = outputs.into_iter().map(computed).collect();
        let mut steps = self.steps;
        let mut used = BTreeSet::new();
        mark_last(&mut outputs, &mut used);
        for step in steps.iter_mut().rev() {
            mark_last(&mut step.inputs, &mut used);
        }
        let mut constants: Vec<(usize, Value)> =
            self.constants.into_iter().filter(|(slot, _)| used.contains(slot)).collect();
        constants.sort_unstable_by_key(|(slot, _)| *slot);
        let mut places = Places::new(constants.iter().map(|(slot, _)| *slot));
        let inputs = inputs.into_iter().map(|slot| places.take(slot)).collect();
        for step in &mut steps {
            places.settle(&mut step.inputs);
            let place = |slot: &Option<usize>| Some(places.take(slot.filter(|slot| used.contains(slot))?));
            step.outputs = step.outputs.iter().map(place).collect();
        }
        places.settle(&mut outputs);
        let constants = constants.into_iter().map(|(_, value)| value).collect();
        Plan { n_slots: places.n_slots, constants, inputs, outputs, output_names, steps }
    }
}

/// Marks what is used here and nowhere in `used`, which are those that come later. The last of several takes the value,
/// so that one that comes twice is there for both.
fn mark_last(sources: &mut [Source], used: &mut BTreeSet<usize>) {
    for source in sources.iter_mut().rev() {
        if let Source::Computed { slot, is_last } = source {
            *is_last = used.insert(*slot);
        }
    }
}

/// Where values are while a plan runs: those that nobody needs any more make room for others.
struct Places {
    /// By a slot of the planner's.
    known: HashMap<usize, Source>,
    free: Vec<usize>,
    n_slots: usize,
}

impl Places {
    fn new(constants: impl Iterator<Item = usize>) -> Self {
        let known = constants.enumerate().map(|(idx, slot)| (slot, Source::Constant(idx))).collect();
        Self { known, free: Vec::new(), n_slots: 0 }
    }

    /// A place for a value.
    fn take(&mut self, slot: usize) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.n_slots += 1;
            self.n_slots - 1
        });
        self.known.insert(slot, Source::Computed { slot: place, is_last: false });
        place
    }

    /// Where the values are; what is used for the last time leaves its place.
    fn settle(&mut self, sources: &mut [Source]) {
        for source in sources {
            let Source::Computed { slot, is_last: ends } = *source else { continue };
            *source = match self.known.get(&slot) {
                Some(Source::Computed { slot, .. }) => Source::Computed { slot: *slot, is_last: ends },
                Some(other) => *other,
                None => Source::Nothing,
            };
            if let Source::Computed { slot, is_last: true } = *source {
                self.free.push(slot);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::{Places, Source, mark_last};
    use std::collections::BTreeSet;

    #[test]
    fn a_value_leaves_its_place_where_it_is_used_last() {
        let computed = |slot| Source::Computed { slot, is_last: false };
        let (mut outputs, mut used) = ([computed(3)], BTreeSet::new());
        mark_last(&mut outputs, &mut used);
        let mut twice = [computed(7), computed(2), computed(7), Source::Nothing];
        mark_last(&mut twice, &mut used);
        let ends = |sources: &[Source]| {
            sources.iter().map(|s| matches!(s, Source::Computed { is_last: true, .. })).collect::<Vec<_>>()
        };
        assert_eq!(ends(&twice), [false, true, true, false], "the last of those that come twice");

        let mut places = Places::new([2].into_iter());
        assert_eq!((places.take(7), places.take(5)), (0, 1));
        places.settle(&mut twice);
        assert_eq!(twice[0], Source::Computed { slot: 0, is_last: false });
        assert_eq!(twice[1], Source::Constant(0));
        assert_eq!(twice[2], Source::Computed { slot: 0, is_last: true });
        assert_eq!((places.take(3), places.n_slots), (0, 2), "where 7 was");
        places.settle(&mut outputs);
        assert_eq!(outputs, [Source::Computed { slot: 0, is_last: true }]);
    }
}
