//! Operators with graphs in them: `If`, `Loop`, `Scan`.

use crate::array::Value;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs};
use crate::plan::{Opsets, Plan};
use crate::run::Context;

/// Makes one of these operators; `None` if it is none.
pub(crate) fn build(
    spec: &NodeSpec<'_>,
    opsets: &Opsets,
    context: &mut Context<'_>,
) -> Result<Option<Box<dyn Operator>>, OpError> {
    if !matches!(spec.node.domain.as_str(), "" | "ai.onnx") {
        return Ok(None);
    }
    match spec.node.op.as_str() {
        "If" => Ok(Some(Box::new(If::new(spec, opsets, context)?))),
        _ => Ok(None),
    }
}

/// Plans a graph of a node, whose inputs are followed by the node's captures.
fn plan(spec: &NodeSpec<'_>, name: &'static str, opsets: &Opsets, context: &mut Context<'_>) -> Result<Plan, OpError> {
    let graph = NodeSpec::needed(spec.graph(name)?, name, "a graph")?;
    Plan::new(graph, &spec.captures, opsets, context).map_err(|error| OpError::Within(Box::new(error)))
}

/// One graph or the other. (ONNX `If`)
#[derive(Debug)]
struct If {
    then: Plan,
    otherwise: Plan,
}

impl If {
    fn new(spec: &NodeSpec<'_>, opsets: &Opsets, context: &mut Context<'_>) -> Result<Self, OpError> {
        let then = plan(spec, "then_branch", opsets, context)?;
        Ok(Self { then, otherwise: plan(spec, "else_branch", opsets, context)? })
    }
}

impl Operator for If {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let condition = match inputs.values::<bool>(0)? {
            [condition] => *condition,
            other => return Err(OpError::input(0, "one truth value", other.len().to_string())),
        };
        let captured: Vec<Option<Value>> = inputs.0.drain(1..).collect();
        let plan = if condition { &self.then } else { &self.otherwise };
        Ok(Outputs::from_vec(context.run_within(plan, captured)?))
    }
}
