//! The rules on a graph in ONNX's vocabulary, as it would be after a conversion to a program of f16.
//!
//! A graph tells types and extents at its ends and of its constants only; between them, extents count as open behind an
//! input whose extents are, and nothing else is asked.

use super::{
    ARG_REDUCE_MAX, DIMS_MAX, Findings, Forecast, KERNEL_WIDTH_MAX, OPERAND_BYTES_MAX, PredictionRule, broken,
    is_too_large,
};
use crate::graph::{Attribute, Graph, Node, Port};
use ballast_backend::Dim;
use std::collections::{BTreeMap, BTreeSet};

/// Operators that the accelerator has no path for.
const WITHOUT_PATH: &[&str] = &["GRU", "LSTM", "RNN", "ReduceProd", "Scatter", "ScatterElements", "ScatterND"];

/// What is known of the values of a graph and of those around it.
#[derive(Debug, Default)]
struct Values<'a> {
    dims: BTreeMap<&'a str, Vec<Option<usize>>>,
    /// Those whose extents depend on an input that leaves its own open.
    open: BTreeSet<&'a str>,
}

/// Applies all rules that can be asked.
pub(crate) fn forecast_graph(graph: &Graph) -> Forecast {
    let (mut values, mut findings) = (Values::default(), Findings::default());
    look(graph, &mut values, &mut findings);
    findings.finish()
}

fn dims(port: &Port) -> Option<Vec<Option<usize>>> {
    let extent = |dim: &Dim| if let Dim::Fixed(extent) = dim { Some(*extent) } else { None };
    Some(port.spec.as_ref()?.shape.iter().map(extent).collect())
}

fn look<'a>(graph: &'a Graph, values: &mut Values<'a>, findings: &mut Findings) {
    for port in &graph.inputs {
        let dims = dims(port);
        if dims.as_ref().is_none_or(|dims| dims.contains(&None)) && !graph.constants.contains_key(&port.name) {
            values.open.insert(&port.name);
        }
        values.dims.extend(dims.map(|dims| (port.name.as_str(), dims)));
    }
    let constants = graph.constants.iter();
    values
        .dims
        .extend(constants.map(|(name, array)| (name.as_str(), array.shape().iter().copied().map(Some).collect())));
    values.dims.extend(graph.outputs.iter().filter_map(|port| Some((port.name.as_str(), dims(port)?))));
    for node in &graph.nodes {
        let is_open = node.inputs.iter().any(|name| values.open.contains(name.as_str()));
        if is_open {
            values.open.extend(node.outputs.iter().map(String::as_str));
        }
        for attribute in node.attributes.values() {
            if let Attribute::Graph(inner) = attribute {
                look(inner, values, findings);
            }
        }
        if node.op != "Constant" {
            findings.note(&node.op, node.label(), broken(&rules(node, graph, values, is_open)));
        }
    }
}

/// Which rules an operator breaks.
fn rules(node: &Node, graph: &Graph, values: &Values<'_>, is_open: bool) -> [(PredictionRule, bool); 7] {
    let all = || node.inputs.iter().chain(&node.outputs).filter_map(|name| values.dims.get(name.as_str()));
    let weight = |idx: usize| graph.constants.get(node.inputs.get(idx)?);
    let is_conv = matches!(node.op.as_str(), "Conv" | "ConvTranspose" | "ConvInteger" | "QLinearConv");
    let kernel = weight(if node.op == "QLinearConv" { 3 } else { 1 }).filter(|array| is_conv && array.rank() > 2);
    let is_wide = kernel.and_then(|array| array.shape().last().copied()).is_some_and(|width| width > KERNEL_WIDTH_MAX);
    // A weight is two bytes each once it is f16.
    let is_heavy = (0..node.inputs.len()).filter_map(weight).any(|array| array.len() * 2 > OPERAND_BYTES_MAX);
    let searched = node.inputs.first().and_then(|name| values.dims.get(name.as_str()));
    let is_arg = matches!(node.op.as_str(), "ArgMax" | "ArgMin");
    let axis = node.attributes.get("axis");
    [
        (PredictionRule::OpenExtents, is_open),
        (PredictionRule::TooManyDims, all().any(|dims| dims.len() > DIMS_MAX)),
        (PredictionRule::ExtentTooLarge, all().any(|dims| is_too_large(dims))),
        (PredictionRule::KernelTooWide, is_wide),
        (PredictionRule::ArgReduceTooLong, is_arg && searched.is_some_and(|dims| is_long(dims, axis))),
        (PredictionRule::NoPath, node.domain.is_empty() && WITHOUT_PATH.contains(&node.op.as_str())),
        (PredictionRule::OperandTooLarge, is_heavy),
    ]
}

/// Whether the dimension that is searched, 0 unless an attribute says so, is too long.
fn is_long(dims: &[Option<usize>], axis: Option<&Attribute>) -> bool {
    let axis = if let Some(Attribute::Int(axis)) = axis { *axis } else { 0 };
    let at = if axis < 0 {
        isize::try_from(axis).ok().and_then(|axis| dims.len().checked_add_signed(axis))
    } else {
        usize::try_from(axis).ok()
    };
    let extent = at.and_then(|at| dims.get(at).copied().flatten());
    extent.is_some_and(|extent| extent > ARG_REDUCE_MAX)
}
