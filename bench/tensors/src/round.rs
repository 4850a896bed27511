//! What both peers share: arguments, inputs, and the timing of one round.
//!
//! The contract is that of `time_model --json`: `MODEL.onnx --threads N --rounds N --shape NAME=1,3,224,224
//! --inputs FOLDER --outputs FOLDER`, inputs and outputs as `0.raw` and on, little-endian, in the model's order; one line
//! of JSON with times in milliseconds and memory in MiB.

use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Runs that do not count; the first of them is told by itself.
const N_WARM: usize = 2;

/// One tensor as bytes, and its shape.
pub(crate) struct Given {
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// What the program was asked for.
pub(crate) struct Arguments {
    pub(crate) model: PathBuf,
    pub(crate) n_threads: usize,
    pub(crate) library: Option<PathBuf>,
    n_rounds: usize,
    shapes: BTreeMap<String, Vec<usize>>,
    inputs: PathBuf,
    outputs: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn parse() -> Result<Self, Box<dyn Error>> {
        let mut given = std::env::args().skip(1);
        let mut arguments = Self {
            model: given.next().ok_or("usage: MODEL.onnx --inputs FOLDER [OPTION..]")?.into(),
            n_threads: 1,
            library: None,
            n_rounds: 20,
            shapes: BTreeMap::new(),
            inputs: PathBuf::new(),
            outputs: None,
        };
        while let Some(option) = given.next() {
            if option == "--json" {
                continue;
            }
            let value = given.next().ok_or(format!("{option} needs a value"))?;
            match option.as_str() {
                "--threads" => arguments.n_threads = value.parse()?,
                "--rounds" => arguments.n_rounds = value.parse()?,
                "--inputs" => arguments.inputs = value.into(),
                "--outputs" => arguments.outputs = Some(value.into()),
                "--library" => arguments.library = Some(value.into()),
                "--shape" => {
                    let (name, extents) = value.rsplit_once('=').ok_or("--shape NAME=EXTENT,..")?;
                    let extents = extents.split(',').filter(|extent| !extent.is_empty()).map(str::parse);
                    arguments.shapes.insert(name.to_owned(), extents.collect::<Result<_, _>>()?);
                }
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        Ok(arguments)
    }

    /// The input of this place and name.
    pub(crate) fn input(&self, idx: usize, name: &str) -> Result<Given, Box<dyn Error>> {
        let shape = self.shapes.get(name).ok_or(format!("no --shape for the input {name:?}"))?.clone();
        Ok(Given { shape, bytes: std::fs::read(self.inputs.join(format!("{idx}.raw")))? })
    }
}

/// When the program began to load, and what it held then.
pub(crate) struct Start {
    at: Instant,
    resident_kib: u64,
}

impl Start {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), resident_kib: status_kib("VmRSS:") }
    }

    /// Times `run`, which returns the outputs as bytes where its argument asks for them, and prints the line.
    pub(crate) fn measure(
        self,
        arguments: &Arguments,
        mut run: impl FnMut(Ask) -> Result<Vec<Vec<u8>>, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let loaded = self.at.elapsed();
        let mut took: Vec<Duration> = Vec::with_capacity(N_WARM + arguments.n_rounds);
        for _ in 0..N_WARM + arguments.n_rounds {
            let start = Instant::now();
            run(Ask::Nothing)?;
            took.push(start.elapsed());
        }
        let peak_kib = status_kib("VmHWM:").saturating_sub(self.resident_kib);
        if let Some(folder) = &arguments.outputs {
            for (idx, bytes) in run(Ask::Outputs)?.iter().enumerate() {
                std::fs::write(folder.join(format!("{idx}.raw")), bytes)?;
            }
        }
        let first = took[0];
        let timed = &mut took[N_WARM..];
        timed.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let line = json!({
            "load_ms": ms(loaded),
            "first_ms": ms(first),
            "median_ms": timed.get(timed.len() / 2).copied().map(ms),
            "memory_mib": peak_kib as f64 / 1024.0,
        });
        println!("{line}");
        Ok(())
    }
}

/// Whether a run is to give its outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Nothing,
    Outputs,
}

/// A line of the kernel's account of this process; 0 where there is none.
fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
