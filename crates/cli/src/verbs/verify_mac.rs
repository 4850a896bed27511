//! `ballast verify-mac`: what only a Mac can tell of a Core ML package, measured there.

use crate::failure::Failure;
use crate::options::{TensorArgs, input_file, positive};
use crate::output;
use ballast::tensor_model::FileInput;
use ballast::{MacReport, VerifyMacOptions, verify_mac};
use clap::Args as ClapArgs;
use std::path::PathBuf;

const EXAMPLES: &str = "Prints the report as JSON, and what follows from it for people on standard error. The report's \
    digest shows later that\nnobody altered it by accident. A package that no unit answers is a failure; a figure beyond a \
    gate's limit is none.\nExamples:\n  \
    ballast verify-mac model.mlpackage > report.json\n  \
    ballast verify-mac model.mlpackage --loads 20 --predictions 200 --json report.json";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A Core ML package.
    model: PathBuf,
    /// A file for an input [default: numbers from a seed]. May be given several times.
    #[arg(short = 'i', long = "input", value_name = "[NAME=]FILE", value_parser = input_file)]
    inputs: Vec<FileInput>,
    /// Times that it is compiled and opened.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = positive)]
    loads: usize,
    /// Predictions on each choice of units.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = positive)]
    predictions: usize,
    /// Write the report there, and the rest to standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Same seed, same numbers.
    #[arg(short = 's', long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Extent of dimensions that the model leaves open, for numbers from a seed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    any_dim: usize,
    #[command(flatten)]
    load: TensorArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let options = VerifyMacOptions {
            n_loads: self.loads,
            n_predictions: self.predictions,
            files: self.inputs,
            seed: self.seed,
            any_dim: self.any_dim,
            load: self.load.options(),
        };
        let report = verify_mac(&self.model, &options)?;
        match &self.json {
            None => {
                output::line(&report.json)?;
                output::note(&to_text(&report));
            }
            Some(path) => {
                std::fs::write(path, format!("{}\n", report.json)).map_err(|error| {
                    Failure::failed(format!("{} cannot be written", path.display())).because(error.to_string())
                })?;
                output::line(&to_text(&report))?;
            }
        }
        if report.is_answered { Ok(()) } else { Err(Failure::failed("core ml did not answer on any units")) }
    }
}

fn to_text(report: &MacReport) -> String {
    let gates: Vec<String> = report.gates.iter().map(super::gate::to_text).collect();
    format!("{}\ndevice matrix:\n{}", gates.join("\n"), report.device_row)
}
