//! Rules for what Apple's neural engine runs, applied to a program: predictions, made on any system.
//!
//! The rules are what others found by trying (<https://ane-guide.readthedocs.io>), not what Apple says; only a compute
//! plan on the device says where an operation runs.

use crate::mil::{Binding, Block, Function, Operation, TensorType};
use std::collections::BTreeMap;

/// Most elements of an image's side.
const SIDE_MAX: usize = 16_384;
/// Most channels.
const CHANNELS_MAX: usize = 65_536;
/// Widest kernel of a convolution.
const KERNEL_WIDTH_MAX: usize = 13;
/// Most elements that the place of an extreme is searched among.
const ARG_REDUCE_MAX: usize = 2048;
/// Most bytes of an operand that stays near the compute units.
const OPERAND_BYTES_MAX: usize = 2 << 20;

/// Operations that the accelerator has no path for.
const WITHOUT_PATH: &[&str] = &["scatter", "scatter_along_axis", "scatter_nd", "reduce_prod", "lstm", "gru", "rnn"];

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PredictionRule {
    /// Only f16 is computed with.
    NotF16,
    /// Sides of images up to 16,384, channels up to 65,536.
    ExtentTooLarge,
    /// Kernels of convolutions up to a width of 13.
    KernelTooWide,
    /// The place of an extreme among 2,048 elements at most.
    ArgReduceTooLong,
    /// Operands of more than 2 MiB come from main memory piece by piece: slower, but computed.
    OperandTooLarge,
    /// Operations without a path: scattering, products of all elements, recurrent layers.
    NoPath,
}

impl PredictionRule {
    /// What it predicts, in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotF16 => "prediction: not f16, so not on the neural engine",
            Self::ExtentTooLarge => "prediction: an extent beyond what the neural engine takes",
            Self::KernelTooWide => "prediction: a kernel wider than 13, so not on the neural engine",
            Self::ArgReduceTooLong => {
                "prediction: an extreme among more than 2048 elements, so not on the neural engine"
            }
            Self::OperandTooLarge => "prediction: operands above 2 MiB, which are read piece by piece",
            Self::NoPath => "prediction: operations that the neural engine does not have",
        }
    }
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Which rule.
    pub rule: PredictionRule,
    /// How many operations it concerns.
    pub n_operations: usize,
    /// The first of them: its operation and the name of its output.
    pub example: String,
}

/// Applies all rules.
pub(super) fn predict(function: &Function) -> Vec<Prediction> {
    let mut types = BTreeMap::new();
    types.extend(function.inputs.iter().filter_map(|input| Some((input.name.as_str(), input.of.tensor()?))));
    let mut found = BTreeMap::new();
    look(&function.block, &mut types, &mut found);
    let predictions = found.into_iter();
    predictions.map(|(rule, (n_operations, example))| Prediction { rule, n_operations, example }).collect()
}

type Types<'a> = BTreeMap<&'a str, &'a TensorType>;

fn look<'a>(block: &'a Block, types: &mut Types<'a>, found: &mut BTreeMap<PredictionRule, (usize, String)>) {
    types.extend(block.inputs.iter().filter_map(|input| Some((input.name.as_str(), input.of.tensor()?))));
    for operation in &block.operations {
        types.extend(operation.outputs.iter().filter_map(|output| Some((output.name.as_str(), output.of.tensor()?))));
        for inner in &operation.blocks {
            look(inner, types, found);
        }
        if operation.kind == "const" || operation.kind.starts_with("constexpr_") {
            continue;
        }
        for rule in rules(operation, types) {
            let example = || (0, format!("{} ({})", operation.kind, operation.label()));
            found.entry(rule).or_insert_with(example).0 += 1;
        }
    }
}

/// The rules that an operation breaks.
fn rules(operation: &Operation, types: &Types<'_>) -> Vec<PredictionRule> {
    let outputs = || operation.outputs.iter().filter_map(|output| output.of.tensor());
    let operands = || operation.inputs.values().flatten().filter_map(|binding| of(binding, types));
    let all = || operands().chain(outputs());
    let named =
        |name: &str| operation.inputs.get(name).and_then(|of| of.first()).and_then(|binding| of(binding, types));
    let is_wide = |of: &TensorType| of.element.is_float() && of.element.as_str() != "fp16";
    let is_conv = operation.kind.starts_with("conv");
    let kernel_width = named("weight").filter(|of| is_conv && of.rank() > 2).and_then(|of| of.dims.last().copied()?);
    let is_arg = matches!(operation.kind.as_str(), "reduce_argmax" | "reduce_argmin");
    let broken = [
        (PredictionRule::NotF16, outputs().any(is_wide)),
        (PredictionRule::ExtentTooLarge, all().any(is_too_large)),
        (PredictionRule::KernelTooWide, kernel_width.is_some_and(|width| width > KERNEL_WIDTH_MAX)),
        (PredictionRule::ArgReduceTooLong, is_arg && named("x").is_some_and(|of| searched(operation, of))),
        (PredictionRule::OperandTooLarge, operands().any(|of| bytes(of) > OPERAND_BYTES_MAX)),
        (PredictionRule::NoPath, WITHOUT_PATH.contains(&operation.kind.as_str())),
    ];
    broken.into_iter().filter(|(_, is_broken)| *is_broken).map(|(rule, _)| rule).collect()
}

fn of<'a>(binding: &'a Binding, types: &Types<'a>) -> Option<&'a TensorType> {
    match binding {
        Binding::Name(name) => types.get(name.as_str()).copied(),
        Binding::Literal(literal) => literal.of.tensor(),
    }
}

fn is_too_large(of: &TensorType) -> bool {
    let [.., Some(height), Some(width)] = of.dims.as_slice() else { return false };
    let channels = if of.rank() > 3 { of.dims[1].unwrap_or_default() } else { 0 };
    *height > SIDE_MAX || *width > SIDE_MAX || channels > CHANNELS_MAX
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
