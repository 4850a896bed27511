//! `ballast gate`: a gate of the prior system on a tensor model, every row measured or said not to be.

use crate::failure::Failure;
use crate::options::{TensorArgs, input_file, positive, seconds};
use crate::{output, progress};
use ballast::gate::{Gate, GateOptions, GateReport, GateRow, record, run};
use ballast::tensor_model::FileInput;
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "A: opened again and again. B: in time, and as a reference answers. C: accelerator against CPU.\n\
    D: for long, on four instances. The exit code is 1 if a row is beyond its limit.\n\
    Examples:\n  \
    ballast gate A --model model.onnx --count 100\n  \
    ballast gate B --model model-f16.onnx --reference model-f32.onnx --input x.npy";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which gate.
    #[arg(value_enum, ignore_case = true)]
    gate: GateArg,
    /// An ONNX file or a Core ML package.
    #[arg(short = 'm', long, value_name = "FILE")]
    model: PathBuf,
    /// Openings or predictions [default: 1000; of D 100000].
    #[arg(short = 'n', long, value_name = "N", value_parser = positive)]
    count: Option<usize>,
    /// Another file of the same model, whose answers count as right [default: the model itself, against itself with
    /// floats rounded to 16 bits].
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Keep the differences from the reference in the model's manifest, which is made if there is none.
    #[arg(long, requires = "reference")]
    record: bool,
    /// Seconds that one prediction may take.
    #[arg(long, value_name = "SECONDS", default_value = "0.02", value_parser = seconds)]
    sla: Duration,
    /// A file for an input [default: numbers from a seed]. May be given several times.
    #[arg(short = 'i', long = "input", value_name = "[NAME=]FILE", value_parser = input_file)]
    inputs: Vec<FileInput>,
    /// Same seed, same numbers.
    #[arg(short = 's', long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Extent of dimensions that the model leaves open, for numbers from a seed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    any_dim: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: TensorArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GateArg {
    /// Opened again and again.
    A,
    /// In time and right.
    B,
    /// Accelerator against CPU.
    C,
    /// For long.
    D,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let gate = match self.gate {
            GateArg::A => Gate::A,
            GateArg::B => Gate::B,
            GateArg::C => Gate::C,
            GateArg::D => Gate::D,
        };
        if self.record && gate != Gate::B {
            return Err(Failure::usage("--record: expected gate B, which compares with the reference"));
        }
        let options = GateOptions {
            count: self.count,
            reference: self.reference,
            sla: self.sla,
            files: self.inputs,
            seed: self.seed,
            any_dim: self.any_dim,
            load: self.load.options(),
            ..GateOptions::new(gate)
        };
        let bar = progress::steps("gate", self.count.unwrap_or(gate.count()));
        let report = run(&self.model, &options, &mut |done, _| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        if self.json {
            output::json(&to_json(&report))?;
        } else {
            output::write(&to_text(&report))?;
        }
        if self.record
            && let Some(path) = record(&self.model, &options, &report)?
        {
            output::note(&format!("recorded in {}", path.display()));
        }
        if report.passes() {
            return Ok(());
        }
        let names: Vec<&str> = report.failed().map(|row| row.figure.name).collect();
        Err(Failure::failed(format!("gate {}: beyond its limit: {}", gate.as_str(), names.join("; "))))
    }
}

pub(super) fn to_text(report: &GateReport) -> String {
    let mut text =
        format!("gate {}\n{:<56} {:>10}  {:<12}  {}\n", report.gate.as_str(), "figure", "limit", "verdict", "value");
    for row in &report.rows {
        let (name, limit) = (row.figure.name, row.figure.limit_text());
        text += &format!("{name:<56} {limit:>10}  {:<12}  {}\n", row.figure.verdict.as_str(), row.value_text());
    }
    text
}

fn to_json(report: &GateReport) -> Value {
    let row = |row: &GateRow| {
        json!({
            "name": row.figure.name,
            "limit": row.figure.limit.map(|limit| limit.to_string()),
            "value": row.figure.value,
            "verdict": row.figure.verdict.as_str(),
            "not_measured": row.why_not,
        })
    };
    json!({
        "gate": report.gate.as_str(),
        "count": report.count,
        "seconds": report.took.as_secs_f64(),
        "passes": report.passes(),
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
    })
}
