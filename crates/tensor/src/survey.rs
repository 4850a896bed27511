//! What a model is made of, and which of it the engine does not have.

use crate::error::GraphError;
use crate::executor::{ExecutorOptions, Planned, context};
use crate::forecast::{Forecast, forecast_graph};
use crate::graph::{Attribute, Captures, Graph, Model, Node, NodeSpec, Port};
use crate::ops;
use crate::package::WeightsSurvey;
use ballast_backend::{DType, Pulse, TensorSpec};
use ballast_threads::ComputePool;
use std::collections::BTreeMap;

/// What a model is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSurvey {
    /// Who made it, in the file's words.
    pub producer: String,
    /// What the file says about itself.
    pub metadata: BTreeMap<String, String>,
    /// Versions of the operators, by domain; the empty one is ONNX's own.
    pub opsets: BTreeMap<String, i64>,
    /// Names of the inputs; `None`: no tensor, or of a rank that is not told.
    pub inputs: Vec<(String, Option<TensorSpec>)>,
    /// The outputs.
    pub outputs: Vec<(String, Option<TensorSpec>)>,
    /// How often operators occur, in graphs within operators too, by domain and name.
    pub operators: BTreeMap<(String, String), OperatorUse>,
    /// Weights by type, as they are in memory.
    pub parameters: BTreeMap<DType, WeightsSurvey>,
    /// Why the engine refuses the model; empty: it runs.
    pub refused: Vec<String>,
    /// Bytes of what operators keep, as planned; `None`: the model is refused.
    pub planned_bytes: Option<u64>,
    /// What the rules for Apple's neural engine say of the graph once it is a program of f16: a prediction. A package's own
    /// survey says it of the program that it has.
    pub forecast: Forecast,
}

/// An operator's place in a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorUse {
    /// How often it occurs.
    pub count: usize,
    /// Whether the engine has it, with whatever attributes.
    pub is_known: bool,
}

impl Model {
    /// What the file says about itself.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What the model is made of. It is planned, not run.
    #[must_use]
    pub fn survey(&self, options: &ExecutorOptions) -> ModelSurvey {
        let ports = |ports: &[Port]| ports.iter().map(|port| (port.name.clone(), port.spec.clone())).collect();
        let mut survey = ModelSurvey {
            producer: self.producer.clone(),
            metadata: self.metadata.clone(),
            opsets: self.opsets.clone(),
            inputs: ports(&self.graph.inputs),
            outputs: ports(&self.graph.outputs),
            forecast: forecast_graph(&self.graph),
            ..ModelSurvey::default()
        };
        self.count(&self.graph, options, &mut survey);
        match Planned::new(self, options) {
            Ok(planned) => survey.planned_bytes = Some(planned.constant_bytes() as u64),
            Err(GraphError::Unsupported { what }) => survey.refused = what,
            Err(other) => survey.refused = vec![other.to_string()],
        }
        survey
    }

    fn count(&self, graph: &Graph, options: &ExecutorOptions, survey: &mut ModelSurvey) {
        for array in graph.constants.values() {
            let weights = survey.parameters.entry(array.dtype()).or_default();
            weights.n_tensors += 1;
            weights.n_elements += array.len() as u64;
            weights.bytes += array.size_bytes() as u64;
        }
        for node in &graph.nodes {
            let uses = survey.operators.entry((node.domain.clone(), node.op.clone()));
            let uses = uses.or_insert_with(|| OperatorUse { count: 0, is_known: self.is_known(node, options) });
            uses.count += 1;
            for attribute in node.attributes.values() {
                if let Attribute::Graph(graph) = attribute {
                    self.count(graph, options, survey);
                }
            }
        }
    }

    /// Whether there is an operator of this name. One with graphs in it that cannot be made is known all the same.
    fn is_known(&self, node: &Node, options: &ExecutorOptions) -> bool {
        if ops::find(&node.domain, &node.op).is_some() {
            return true;
        }
        let version = self.opsets.get(&node.domain).copied().unwrap_or(1);
        let spec = NodeSpec::new(node, version, vec![None; node.inputs.len()], Captures::default());
        let (mut pool, pulse) = (ComputePool::new(options.n_threads), Pulse::new());
        !matches!(ops::control::build(&spec, &self.opsets, &mut context(options, &mut pool, &pulse)), Ok(None))
    }
}
