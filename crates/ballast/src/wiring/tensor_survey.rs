//! What a tensor model is made of and which engines would run it, as the engines' readers tell it. Nothing is run.

use super::read_tensor_model;
use crate::tensor_model::manifest::DeclaredSpec;
use crate::tensor_model::{
    FindingFacts, ForecastFacts, FunctionFacts, OperatorCount, PackageFacts, TensorSurvey, WeightFacts,
};
use crate::{Error, accelerator};
use ballast_backend::{ModelFmt, TensorSpec};
use ballast_tensor::package::{Extents, Feature, FeatureKind, FunctionSurvey, PixelFormat};
use ballast_tensor::{
    ExecutorOptions, Forecast, GraphError, ModelSurvey, OperatorUse, Package, PackageLimits, PackageSurvey,
};
use std::path::Path;

/// Folders within folders that are looked into.
const PACKAGE_DEPTH_MAX: usize = 8;

/// Bytes of a file, or of all files of a folder; 0 where they cannot be told.
fn bytes_on_disk(path: &Path, depth_max: usize) -> u64 {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && depth_max > 0 => {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes_on_disk(&entry.path(), depth_max - 1)).sum()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

/// What a tensor model is made of, and which engines would run it.
pub(crate) fn tensor_model_survey(path: &Path, format: ModelFmt) -> Result<TensorSurvey, Error> {
    if format == ModelFmt::MlPackage {
        return of_package(path);
    }
    let survey = read_tensor_model(path, format)?.survey(&ExecutorOptions::default());
    let basis = "the graph, as if it were converted to a program of f16";
    let forecast = forecast(&survey.forecast, basis);
    let operator = |((domain, name), uses): (&(String, String), &OperatorUse)| OperatorCount {
        name: if domain.is_empty() { name.clone() } else { format!("{domain}.{name}") },
        count: uses.count,
        known: uses.is_known,
        results: Vec::new(),
    };
    let operators = survey.operators.iter().map(operator).collect();
    let weights = survey.parameters.iter().map(|(dtype, weights)| WeightFacts {
        storage: dtype.as_str().to_owned(),
        n_tensors: weights.n_tensors,
        n_elements: weights.n_elements,
        bytes: weights.bytes,
    });
    let weights = weights.collect();
    Ok(filled(survey, format, path, Found { forecast, operators, weights, package: None }))
}

/// What every format tells in its own way.
struct Found {
    forecast: ForecastFacts,
    operators: Vec<OperatorCount>,
    weights: Vec<WeightFacts>,
    package: Option<PackageFacts>,
}

fn filled(survey: ModelSurvey, format: ModelFmt, path: &Path, found: Found) -> TensorSurvey {
    let Found { forecast, mut operators, weights, package } = found;
    let file_bytes = bytes_on_disk(path, PACKAGE_DEPTH_MAX);
    let specs = |ports: &[(String, Option<TensorSpec>)]| {
        let spec = |(name, spec): &(String, Option<TensorSpec>)| match spec {
            Some(spec) => DeclaredSpec::of(spec),
            None => DeclaredSpec { name: name.clone(), dtype: "not told".to_owned(), shape: Vec::new() },
        };
        ports.iter().map(spec).collect()
    };
    operators.sort_by_key(|operator| std::cmp::Reverse(operator.count));
    let cpu = if survey.refused.is_empty() { "tensor-cpu: all of it" } else { "tensor-cpu: refused" };
    let mut runs_on: Vec<String> = [cpu.to_owned()].into_iter().chain(accelerator::told(format)).collect();
    if forecast.n_operations > 0 {
        let ForecastFacts { n_operations, n_predicted, .. } = forecast;
        runs_on
            .push(format!("Apple's neural engine: {n_predicted} of {n_operations} operations (prediction, not run)"));
    }
    TensorSurvey {
        format: format.as_str(),
        file_bytes,
        producer: survey.producer,
        opsets: survey.opsets,
        metadata: survey.metadata,
        licence: None,
        inputs: specs(&survey.inputs),
        outputs: specs(&survey.outputs),
        operators,
        refused: survey.refused,
        parameters: weights.iter().map(|weights| (weights.storage.clone(), weights.n_elements)).collect(),
        parameter_bytes: weights.iter().map(|weights| weights.bytes).sum(),
        weights,
        memory_bytes: survey.planned_bytes.map(|bytes| bytes.saturating_add(file_bytes)),
        runs_on,
        forecast,
        package,
        recorded: None,
    }
}

fn forecast(forecast: &Forecast, basis: &'static str) -> ForecastFacts {
    let findings = forecast.predictions.iter().map(|found| FindingFacts {
        reason: found.rule.as_str(),
        keeps_off: found.rule.keeps_off(),
        n_operations: found.n_operations,
        operations: found.examples.clone(),
    });
    ForecastFacts {
        label: "prediction",
        basis,
        n_operations: forecast.n_operations,
        n_predicted: forecast.n_predicted,
        share_pct: forecast.share_pct(),
        findings: findings.collect(),
    }
}

/// A package: what it is, whether or not the CPU engine runs it.
fn of_package(path: &Path) -> Result<TensorSurvey, Error> {
    let mut package = Package::open(path, PackageLimits::default())?;
    let survey = package.survey();
    let model = match package.model(None) {
        Ok(model) => model.survey(&ExecutorOptions::default()),
        Err(GraphError::Unsupported { what }) => ModelSurvey { refused: what, ..ModelSurvey::default() },
        Err(other) => return Err(other.into()),
    };
    let default = package.default_function().unwrap_or_default();
    let nothing = FunctionSurvey::default();
    let function = survey.functions.iter().find(|function| function.name == default).unwrap_or(&nothing);
    let operators = function.operations.iter().map(|(kind, seen)| OperatorCount {
        name: kind.clone(),
        count: seen.count,
        known: seen.is_known,
        results: seen.results.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
    });
    let weights = function.weights.iter().map(|(storage, weights)| WeightFacts {
        storage: storage.clone(),
        n_tensors: weights.n_tensors,
        n_elements: weights.n_elements,
        bytes: weights.bytes,
    });
    let found = Found {
        forecast: forecast(&function.forecast, "the program"),
        operators: operators.collect(),
        weights: weights.collect(),
        package: Some(facts(&survey, default)),
    };
    let mut filled = filled(model, ModelFmt::MlPackage, path, found);
    filled.metadata = told(&survey);
    Ok(filled)
}

/// What the package's author says of it, under the names that the format has.
fn told(survey: &PackageSurvey) -> std::collections::BTreeMap<String, String> {
    let mut metadata = survey.metadata.user_defined.clone();
    let of = &survey.metadata;
    for (key, text) in
        [("author", &of.author), ("license", &of.license), ("version", &of.version), ("description", &of.description)]
    {
        if !text.is_empty() {
            metadata.insert(key.to_owned(), text.clone());
        }
    }
    metadata
}

fn facts(survey: &PackageSurvey, default: &str) -> PackageFacts {
    let function = |function: &FunctionSurvey| FunctionFacts {
        name: function.name.clone(),
        is_default: function.name == default,
        opset: function.opset.clone(),
        inputs: function.inputs.iter().map(feature).collect(),
        outputs: function.outputs.iter().map(feature).collect(),
        states: function.states.iter().map(feature).collect(),
        n_classes: function.classes.len(),
    };
    PackageFacts {
        kind: survey.kind,
        specification_version: survey.specification_version,
        minimum_os: survey.minimum_os,
        is_updatable: survey.is_updatable,
        functions: survey.functions.iter().map(function).collect(),
    }
}

/// A feature in words, such as `x: f32 [1, 3, 224, 224]`.
fn feature(feature: &Feature) -> String {
    let kind = match &feature.kind {
        FeatureKind::Array { dtype, shape, extents } => format!("{dtype} {shape:?}{}", flexible(extents)),
        FeatureKind::Image { width, height, pixels, extents } => {
            let pixels = match pixels {
                PixelFormat::Grayscale => "grayscale",
                PixelFormat::Rgb => "RGB",
                PixelFormat::Bgr => "BGR",
                PixelFormat::GrayscaleF16 => "grayscale of f16",
                PixelFormat::Unknown => "pixels of an unknown form",
            };
            format!("image, {width} wide and {height} high, {pixels}{}", flexible(extents))
        }
        FeatureKind::State { dtype, shape } => format!("state, {dtype} {shape:?}"),
        FeatureKind::Integer => "an integer".to_owned(),
        FeatureKind::Double => "a float".to_owned(),
        FeatureKind::Text => "a text".to_owned(),
        FeatureKind::Dictionary => "a dictionary".to_owned(),
        FeatureKind::Sequence => "a sequence".to_owned(),
        FeatureKind::Other => "of a kind that is not known".to_owned(),
    };
    let optional = if feature.is_optional { ", optional" } else { "" };
    format!("{}: {kind}{optional}", feature.name)
}

/// Which other extents a feature may have, in words.
fn flexible(extents: &Extents) -> String {
    match extents {
        Extents::Fixed => String::new(),
        Extents::OneOf(shapes) => {
            let shapes: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
            format!(", one of {}", shapes.join(", "))
        }
        Extents::Ranges(ranges) => {
            let range = |(least, most): &(usize, Option<usize>)| match most {
                Some(most) if most == least => least.to_string(),
                Some(most) => format!("{least} to {most}"),
                None => format!("{least} or more"),
            };
            format!(", of [{}]", ranges.iter().map(range).collect::<Vec<_>>().join(", "))
        }
    }
}
