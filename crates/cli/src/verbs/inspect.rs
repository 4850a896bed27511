//! `ballast inspect`: what a model file is made of, and what would run where. Nothing is run.

use super::gguf;
use crate::failure::Failure;
use crate::options::{locate, open_gguf};
use crate::output;
use ballast::gguf::Gguf;
use ballast::tensor_model::manifest::DeclaredSpec;
use ballast::tensor_model::{TensorSurvey, survey};
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

fn to_text(survey: &TensorSurvey) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        writeln!(text, "{name:<13} {value}").expect("writing to a String cannot fail");
    };
    row("format", format!("{}, {} bytes", survey.format, survey.file_bytes));
    let not_told = || "not told".to_owned();
    row("producer", if survey.producer.is_empty() { not_told() } else { survey.producer.clone() });
    row("licence", survey.licence.clone().unwrap_or_else(not_told));
    for (domain, version) in &survey.opsets {
        row("operators of", format!("{} version {version}", if domain.is_empty() { "ai.onnx" } else { domain }));
    }
    survey.inputs.iter().for_each(|spec| row("input", spec_text(spec)));
    survey.outputs.iter().for_each(|spec| row("output", spec_text(spec)));
    for (dtype, n) in &survey.parameters {
        row("weights", format!("{n} of {dtype}"));
    }
    row("weights", format!("{} bytes", survey.parameter_bytes));
    let memory = survey.memory_bytes.map(|bytes| format!("about {bytes} bytes, inputs and outputs aside"));
    row("memory", memory.unwrap_or_else(|| "not planned: the model is refused".to_owned()));
    survey.runs_on.iter().for_each(|place| row("runs on", place.clone()));
    survey.refused.iter().for_each(|why| row("refused", why.clone()));
    survey.metadata.iter().for_each(|(key, value)| row("metadata", format!("{key} = {value:?}")));
    for operator in &survey.operators {
        let mark = if operator.known { "" } else { "  (this engine does not have it)" };
        row("operator", format!("{:>6} {}{mark}", operator.count, operator.name));
    }
    text
}

fn spec_text(spec: &DeclaredSpec) -> String {
    let dims = spec.shape.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |extent| extent.to_string()));
    format!("{}  {} [{}]", spec.name, spec.dtype, dims.collect::<Vec<_>>().join(", "))
}
