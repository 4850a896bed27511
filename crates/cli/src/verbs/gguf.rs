//! `ballast gguf`: what a GGUF file holds, and its tensors as numbers.

mod json;
mod npy;

use crate::failure::Failure;
use crate::options::open_gguf;
use crate::output;
use ballast::gguf::{Gguf, TensorInfo, Value};
use clap::{Args as ClapArgs, Subcommand};
use std::path::{Path, PathBuf};

/// Arrays up to this length are printed whole without being asked.
const SHORT_ARRAY_LEN: usize = 16;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a file's metadata and tensor table.
    Show {
        /// A GGUF file; of several shards, any one.
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Print arrays whole, however long.
        #[arg(long)]
        full: bool,
    },
    /// Write a tensor's elements as f32 to a NumPy file.
    Dequantize {
        /// A GGUF file; of several shards, any one.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The file to write.
        #[arg(long, value_name = "FILE.npy")]
        out: PathBuf,
    },
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Show { file, json: true, full } => output::json(&json::file(&open_gguf(&file)?, full)),
            Verb::Show { file, json: false, full } => show(&open_gguf(&file)?, full),
            Verb::Dequantize { file, tensor, out } => dequantize(&file, &tensor, &out),
        }
    }
}

/// A file's metadata and tensor table, arrays as digests.
pub(super) fn to_json(gguf: &Gguf) -> serde_json::Value {
    json::file(gguf, false)
}

fn dequantize(file: &Path, name: &str, out: &Path) -> Result<(), Failure> {
    let gguf = open_gguf(file)?;
    let tensor = gguf
        .tensor(name)
        .ok_or_else(|| Failure::failed(format!("no tensor {name:?} in the file")).try_this("ballast gguf show FILE"))?;
    let values = ballast::wiring::tensor_to_f32(&gguf, tensor)?;
    npy::write(out, &tensor.shape, &values)
        .map_err(|error| Failure::failed(format!("{} cannot be written", out.display())).because(error.to_string()))
}

/// Prints a file's metadata and tensor table.
pub(super) fn show(gguf: &Gguf, full: bool) -> Result<(), Failure> {
    output::line(&format!(
        "GGUF version {}, {} bytes, {} tensors",
        gguf.version(),
        gguf.file_bytes(),
        gguf.tensors().len()
    ))?;
    for (key, value) in gguf.metadata().iter() {
        output::line(&format!("{key} = {}", value_to_text(value, full)))?;
    }
    for tensor in gguf.tensors() {
        let TensorInfo { name, shape, tensor_type, n_bytes, .. } = tensor;
        output::line(&format!("{name}  {shape:?}  {}  {n_bytes} bytes", tensor_type.name()))?;
    }
    Ok(())
}

fn value_to_text(value: &Value, full: bool) -> String {
    let Value::Array(array) = value else { return json::scalar(value).to_string() };
    if full || array.len() <= SHORT_ARRAY_LEN {
        return json::items(array).to_string();
    }
    format!("{} x {}", array.len(), array.item_type().name())
}
