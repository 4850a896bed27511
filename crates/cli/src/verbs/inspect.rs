//! `ballast inspect`: what a model file is made of, and what would run where. Nothing is run.

use super::gguf;
use crate::failure::Failure;
use crate::options::{locate, open_gguf};
use crate::output;
use ballast::gguf::Gguf;
use ballast::tensor_model::manifest::DeclaredSpec;
use ballast::tensor_model::{ForecastFacts, PackageFacts, RecordedFacts, TensorSurvey, WeightFacts, survey};
use ballast::{LoadOptions, ModelSurvey, wiring};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A GGUF file, an ONNX file, a Core ML package, or the name of a model on this machine.
    model: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let path = Path::new(&self.model);
        if path.exists() && !is_gguf(path) {
            let found = survey(path)?;
            return if self.json {
                output::json(&serde_json::to_value(&found)?)
            } else {
                output::write(&to_text(&found))
            };
        }
        let located = locate(&self.model)?;
        let file = open_gguf(located.path())?;
        // A file that no engine runs can be looked into all the same.
        let planned = ballast::survey(located.path(), &LoadOptions::default()).map_err(|error| error.to_string());
        if self.json {
            return output::json(&gguf_json(&file, &planned));
        }
        output::write(&gguf_text(&file, &planned))?;
        gguf::show(&file, false)
    }
}

fn is_gguf(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    read.is_ok() && head == *b"GGUF"
}

fn gguf_json(file: &Gguf, planned: &Result<ModelSurvey, String>) -> Value {
    let mut found = json!({ "format": "gguf", "parameters": wiring::tensor_types(file), "file": gguf::to_json(file) });
    match planned {
        Ok(survey) => {
            found["architecture"] = survey.architecture.clone().into();
            found["precision"] = survey.quantization.into();
            found["n_parameters"] = survey.n_parameters.into();
            found["memory_bytes"] = survey.planned_bytes.into();
            found["context_len"] = survey.context_len.into();
            found["runs_on"] = json!(["llm-cpu: all of it"]);
            found["refused"] = json!([]);
        }
        Err(why) => {
            found["runs_on"] = json!(["llm-cpu: refused"]);
            found["refused"] = json!([why]);
        }
    }
    found
}

fn gguf_text(file: &Gguf, planned: &Result<ModelSurvey, String>) -> String {
    let mut text = match planned {
        Ok(survey) => format!(
            "format        gguf, {}\nprecision     {}\nparameters    {}\nmemory        {} bytes planned, {} tokens of context\nruns on       llm-cpu: all of it\n",
            survey.architecture, survey.quantization, survey.n_parameters, survey.planned_bytes, survey.context_len
        ),
        Err(why) => format!("format        gguf\nruns on       llm-cpu: refused\nrefused       {why}\n"),
    };
    for (name, n) in wiring::tensor_types(file) {
        writeln!(text, "weights       {n} of {name}").expect("writing to a String cannot fail");
    }
    text
}

/// Rows of a name and a value.
#[derive(Default)]
struct Rows(String);

impl Rows {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{name:<13} {value}").expect("writing to a String cannot fail");
    }
}

fn to_text(survey: &TensorSurvey) -> String {
    let mut rows = Rows::default();
    rows.add("format", format!("{}, {} bytes", survey.format, survey.file_bytes));
    let not_told = || "not told".to_owned();
    rows.add("producer", if survey.producer.is_empty() { not_told() } else { survey.producer.clone() });
    rows.add("licence", survey.licence.clone().unwrap_or_else(not_told));
    for (domain, version) in survey.opsets.iter().filter(|_| survey.package.is_none()) {
        rows.add("operators of", format!("{} version {version}", if domain.is_empty() { "ai.onnx" } else { domain }));
    }
    if let Some(package) = &survey.package {
        package_rows(&mut rows, package);
    }
    survey.inputs.iter().for_each(|spec| rows.add("input", spec_text(spec)));
    survey.outputs.iter().for_each(|spec| rows.add("output", spec_text(spec)));
    for WeightFacts { storage, n_tensors, n_elements, bytes } in &survey.weights {
        rows.add("weights", format!("{n_elements} of {storage} in {n_tensors} tensors, {bytes} bytes"));
    }
    rows.add("weights", format!("{} bytes", survey.parameter_bytes));
    if let Some(recorded) = &survey.recorded {
        rows.add("recorded", recorded_text(recorded));
    }
    let memory = survey.memory_bytes.map(|bytes| format!("about {bytes} bytes, inputs and outputs aside"));
    rows.add("memory", memory.unwrap_or_else(|| "not planned: the model is refused".to_owned()));
    survey.runs_on.iter().for_each(|place| rows.add("runs on", place));
    survey.refused.iter().for_each(|why| rows.add("refused", why));
    forecast_rows(&mut rows, &survey.forecast);
    survey.metadata.iter().for_each(|(key, value)| rows.add("metadata", format!("{key} = {value:?}")));
    for operator in &survey.operators {
        let mark = if operator.known { "" } else { "  (this engine does not have it)" };
        let results: Vec<String> = operator.results.iter().map(|(dtype, n)| format!("{n} {dtype}")).collect();
        let precision = if results.is_empty() { String::new() } else { format!("  {}", results.join(", ")) };
        rows.add("operator", format!("{:>6} {}{precision}{mark}", operator.count, operator.name));
    }
    rows.0
}

/// What only a Core ML package tells.
fn package_rows(rows: &mut Rows, package: &PackageFacts) {
    let systems = package.minimum_os.unwrap_or("systems that are not known here");
    rows.add("kind", format!("{}, version {}: {systems} or newer", package.kind, package.specification_version));
    for function in &package.functions {
        let default = if function.is_default { ", run unless another is asked for" } else { "" };
        let name = if function.name.is_empty() { "(no program)" } else { function.name.as_str() };
        let opset =
            if function.opset.is_empty() { String::new() } else { format!(", operations of {}", function.opset) };
        rows.add("function", format!("{name}{opset}{default}"));
        for (what, features) in [("takes", &function.inputs), ("gives", &function.outputs), ("keeps", &function.states)]
        {
            features.iter().for_each(|feature| rows.add("", format!("{what} {feature}")));
        }
        if function.n_classes > 0 {
            rows.add("", format!("{} classes", function.n_classes));
        }
    }
}

/// What rules say of the neural engine, each finding with the operations that it names.
fn forecast_rows(rows: &mut Rows, forecast: &ForecastFacts) {
    let Some(share) = forecast.share_pct else { return };
    let ForecastFacts { label, n_operations, n_predicted, basis, .. } = forecast;
    rows.add(
        label,
        format!(
            "{n_predicted} of {n_operations} operations on the neural engine, {share:.1} %: by rules, from {basis}"
        ),
    );
    for finding in &forecast.findings {
        let more = finding.n_operations.saturating_sub(finding.operations.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = if finding.keeps_off { "kept off" } else { "slower" };
        let (n, names) = (finding.n_operations, finding.operations.join(", "));
        rows.add("", format!("{what}: {n} by {}: {names}{more}", finding.reason));
    }
}

fn recorded_text(recorded: &RecordedFacts) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.3e}"));
    let (l_inf, rmse) = (number(recorded.accuracy_delta_l_inf), number(recorded.accuracy_delta_rmse));
    let of = recorded.reference.as_deref().unwrap_or("a model that is not named");
    format!("from {of}: L-inf {l_inf}, RMSE {rmse} (the manifest says so)")
}

fn spec_text(spec: &DeclaredSpec) -> String {
    let dims = spec.shape.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |extent| extent.to_string()));
    format!("{}  {} [{}]", spec.name, spec.dtype, dims.collect::<Vec<_>>().join(", "))
}
