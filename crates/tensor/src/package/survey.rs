//! What can be said of a package without running it, on any system.

use super::description::{Description, Feature};
use super::lint::predict;
use super::model_file::{ModelFile, PackageMetadata};
use super::storage::{Storage, WeightsSurvey};
use crate::forecast::Forecast;
use crate::mil::lower::is_known;
use crate::mil::{Binding, Block, Content, Function, Literal, Operation, Type};
use std::collections::BTreeMap;

/// What a package is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PackageSurvey {
    /// What kind of model, such as `ML Program`.
    pub kind: &'static str,
    /// Version of the format.
    pub specification_version: i64,
    /// The oldest systems that read this version; `None`: a version that is not known.
    pub minimum_os: Option<&'static str>,
    /// Whether it can be trained on a device.
    pub is_updatable: bool,
    /// What its author says of it.
    pub metadata: PackageMetadata,
    /// Its functions. A model that is no program has one, without operations.
    pub functions: Vec<FunctionSurvey>,
}

/// What a function is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionSurvey {
    /// Its name; empty for a model that is no program.
    pub name: String,
    /// Version of its operations, such as `CoreML7`.
    pub opset: String,
    /// What it takes.
    pub inputs: Vec<Feature>,
    /// What it gives.
    pub outputs: Vec<Feature>,
    /// What it keeps from run to run.
    pub states: Vec<Feature>,
    /// How often it has each operation, constants aside.
    pub operations: BTreeMap<String, OperationSurvey>,
    /// How its weights are stored, such as `fp16` or `lut4`.
    pub weights: BTreeMap<String, WeightsSurvey>,
    /// The classes of a classifier, in their order.
    pub classes: Vec<String>,
    /// What the rules for Apple's neural engine say: predictions, and no measurements.
    pub forecast: Forecast,
}

/// How a function uses one kind of operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationSurvey {
    /// How often.
    pub count: usize,
    /// How many of its results have each type: its precision.
    pub results: BTreeMap<&'static str, usize>,
    /// Whether the CPU engine has it, with whatever parameters.
    pub is_known: bool,
}

/// The oldest systems that read a version of the format. (Core ML Tools, `_SPECIFICATION_VERSION_*`)
fn minimum_os(specification_version: i64) -> Option<&'static str> {
    Some(match specification_version {
        1 => "iOS 11, macOS 10.13",
        2 => "iOS 11.2, macOS 10.13.2",
        3 => "iOS 12, macOS 10.14",
        4 => "iOS 13, macOS 10.15",
        5 => "iOS 14, macOS 11",
        6 => "iOS 15, macOS 12",
        7 => "iOS 16, macOS 13",
        8 => "iOS 17, macOS 14",
        9 => "iOS 18, macOS 15",
        10 => "iOS 26, macOS 26",
        _ => return None,
    })
}

pub(super) fn survey(file: &ModelFile) -> PackageSurvey {
    let functions = match file.find_program() {
        None => vec![of_description("", Some(&file.description.own))],
        Some(program) => {
            let functions = program.functions.iter();
            functions.map(|(name, function)| of_function(name, function, file.description.of(name))).collect()
        }
    };
    PackageSurvey {
        kind: file.kind_name(),
        specification_version: file.specification_version,
        minimum_os: minimum_os(file.specification_version),
        is_updatable: file.is_updatable,
        metadata: file.metadata.clone(),
        functions,
    }
}

fn of_description(name: &str, description: Option<&Description>) -> FunctionSurvey {
    let Description { inputs, outputs, states, .. } = description.cloned().unwrap_or_default();
    FunctionSurvey { name: name.to_owned(), inputs, outputs, states, ..FunctionSurvey::default() }
}

fn of_function(name: &str, function: &Function, description: Option<&Description>) -> FunctionSurvey {
    let mut survey = of_description(name, description);
    survey.opset.clone_from(&function.opset);
    let mut storage = Storage::default();
    survey.count(&function.block, &mut storage);
    survey.weights = storage.finish();
    survey.forecast = predict(function);
    survey
}

impl FunctionSurvey {
    fn count(&mut self, block: &Block, storage: &mut Storage) {
        for operation in &block.operations {
            storage.note(operation);
            self.list_classes(operation);
            if !operation.is_constant() {
                let seen = self.operations.entry(operation.kind.clone()).or_default();
                seen.count += 1;
                seen.is_known = is_known(&operation.kind);
                for of in operation.outputs.iter().filter_map(|output| output.of.tensor()) {
                    *seen.results.entry(of.element.as_str()).or_default() += 1;
                }
            }
            for block in &operation.blocks {
                self.count(block, storage);
            }
        }
    }

    /// Keeps a classifier's classes, which are the only lists that a program has.
    fn list_classes(&mut self, operation: &Operation) {
        let given = operation.inputs.values().flatten().filter_map(|binding| match binding {
            Binding::Literal(literal) => Some(literal),
            Binding::Name(_) => None,
        });
        for Literal { content, of } in operation.attributes.values().chain(given) {
            match (content, of) {
                (Content::Texts(classes), Type::List(_)) => self.classes.clone_from(classes),
                (Content::Numbers(classes), Type::List(_)) => {
                    self.classes = classes.iter().map(ToString::to_string).collect();
                }
                _ => {}
            }
        }
    }
}
