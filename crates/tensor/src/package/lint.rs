//! The rules of [`crate::forecast`] on a program, whose values all tell their types.

use crate::forecast::{
    ARG_REDUCE_MAX, DIMS_MAX, Findings, Forecast, KERNEL_WIDTH_MAX, OPERAND_BYTES_MAX, PredictionRule, broken,
    is_too_large,
};
use crate::mil::{Binding, Block, ElementType, Function, Operation, TensorType};
use std::collections::BTreeMap;

/// Operations that the accelerator has no path for.
const WITHOUT_PATH: &[&str] = &["scatter", "scatter_along_axis", "scatter_nd", "reduce_prod", "lstm", "gru", "rnn"];

/// Applies all rules.
pub(super) fn predict(function: &Function) -> Forecast {
    let mut types = BTreeMap::new();
    types.extend(function.inputs.iter().filter_map(|input| Some((input.name.as_str(), input.of.tensor()?))));
    let mut findings = Findings::default();
    look(&function.block, &mut types, &mut findings);
    findings.finish()
}

type Types<'a> = BTreeMap<&'a str, &'a TensorType>;

fn look<'a>(block: &'a Block, types: &mut Types<'a>, findings: &mut Findings) {
    types.extend(block.inputs.iter().filter_map(|input| Some((input.name.as_str(), input.of.tensor()?))));
    for operation in &block.operations {
        types.extend(operation.outputs.iter().filter_map(|output| Some((output.name.as_str(), output.of.tensor()?))));
        for inner in &operation.blocks {
            look(inner, types, findings);
        }
        if !operation.is_constant() {
            findings.note(&operation.kind, operation.label(), broken(&rules(operation, types)));
        }
    }
}

/// Which rules an operation breaks.
fn rules(operation: &Operation, types: &Types<'_>) -> [(PredictionRule, bool); 8] {
    let outputs = || operation.outputs.iter().filter_map(|output| output.of.tensor());
    let operands = || operation.inputs.values().flatten().filter_map(|binding| of(binding, types));
    let all = || operands().chain(outputs());
    let named =
        |name: &str| operation.inputs.get(name).and_then(|of| of.first()).and_then(|binding| of(binding, types));
    let is_wide = |of: &TensorType| of.element.is_float() && of.element != ElementType::F16;
    let is_conv = operation.kind.starts_with("conv");
    let kernel_width = named("weight").filter(|of| is_conv && of.rank() > 2).and_then(|of| of.dims.last().copied()?);
    let is_arg = matches!(operation.kind.as_str(), "reduce_argmax" | "reduce_argmin");
    [
        (PredictionRule::NotF16, outputs().any(is_wide)),
        (PredictionRule::OpenExtents, all().any(|of| of.dims.contains(&None))),
        (PredictionRule::TooManyDims, all().any(|of| of.rank() > DIMS_MAX)),
        (PredictionRule::ExtentTooLarge, all().any(|of| is_too_large(&of.dims))),
        (PredictionRule::KernelTooWide, kernel_width.is_some_and(|width| width > KERNEL_WIDTH_MAX)),
        (PredictionRule::ArgReduceTooLong, is_arg && named("x").is_some_and(|of| searched(operation, of))),
        (PredictionRule::NoPath, WITHOUT_PATH.contains(&operation.kind.as_str())),
        (PredictionRule::OperandTooLarge, operands().any(|of| bytes(of) > OPERAND_BYTES_MAX)),
    ]
}

fn of<'a>(binding: &'a Binding, types: &Types<'a>) -> Option<&'a TensorType> {
    match binding {
        Binding::Name(name) => types.get(name.as_str()).copied(),
        Binding::Literal(literal) => literal.of.tensor(),
    }
}

/// Whether the extreme is searched among too many: the dimension is not looked up, the longest one counts.
fn searched(operation: &Operation, of: &TensorType) -> bool {
    let reduced = operation.outputs.first().and_then(|output| output.of.tensor());
    let is_longer = |(dim, extent): (usize, &Option<usize>)| {
        let kept = reduced.is_some_and(|reduced| reduced.rank() == of.rank() && reduced.dims[dim] == *extent);
        extent.is_some_and(|extent| extent > ARG_REDUCE_MAX) && !kept
    };
    of.dims.iter().enumerate().any(is_longer)
}

fn bytes(of: &TensorType) -> usize {
    let len = of.dims.iter().try_fold(1_usize, |len, dim| len.checked_mul((*dim)?));
    len.map_or(0, |len| len.saturating_mul(of.element.bits()) / 8)
}
