//! Runs an ONNX model some times and prints the median of what it took: `time_model MODEL.onnx [OPTION..]`.
//!
//! - `--threads N`: compute threads, 1 else;
//! - `--rounds N`: runs that count, 20 else; two that do not go before them;
//! - `--shape NAME=1,3,224,224`: the shape of an input; dimensions that the model leaves open are 1 else;
//! - `--inputs FOLDER`: elements of the inputs, `0.raw` and on, little-endian; numbers of a seed else;
//! - `--outputs FOLDER`: writes what the model gives there, `0.raw` and on;
//! - `--trace`: what each operator takes, and all of one kind together;
//! - `--json`: prints one line of JSON, in place of the median: times in milliseconds, memory in MiB.
//!
//! Used by `oracles/tensor_parity.py` and `oracles/tensor_speed.py`.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not written here is told by its name")]
#![expect(clippy::print_stdout, reason = "the lines are what the program is for")]
#![expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]

use ballast_backend::{Clock, DType, Dim, Pulse, Tensor, TensorData, TensorMap, TensorSpec};
use ballast_tensor::{Executor, ExecutorOptions, Model, ReadLimits, Tracing};
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs that do not count.
const N_WARM: usize = 2;

struct Arguments {
    model: PathBuf,
    n_threads: NonZeroUsize,
    n_rounds: usize,
    shapes: BTreeMap<String, Vec<usize>>,
    inputs: Option<PathBuf>,
    outputs: Option<PathBuf>,
    has_trace: bool,
    is_json: bool,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let model = given.next().ok_or("usage: time_model MODEL.onnx [OPTION..]")?.into();
    let mut arguments = Arguments {
        model,
        n_threads: NonZeroUsize::MIN,
        n_rounds: 20,
        shapes: BTreeMap::new(),
        inputs: None,
        outputs: None,
        has_trace: false,
        is_json: false,
    };
    while let Some(option) = given.next() {
        match option.as_str() {
            "--trace" => arguments.has_trace = true,
            "--json" => arguments.is_json = true,
            _ => {
                let value = given.next().ok_or(format!("{option} needs a value"))?;
                set(&mut arguments, &option, value)?;
            }
        }
    }
    Ok(arguments)
}

fn set(arguments: &mut Arguments, option: &str, value: String) -> Result<(), Box<dyn Error>> {
    match option {
        "--threads" => arguments.n_threads = value.parse()?,
        "--rounds" => arguments.n_rounds = value.parse()?,
        "--inputs" => arguments.inputs = Some(value.into()),
        "--outputs" => arguments.outputs = Some(value.into()),
        "--shape" => {
            let (name, extents) = value.rsplit_once('=').ok_or("--shape NAME=EXTENT,..")?;
            let extents = extents.split(',').filter(|extent| !extent.is_empty()).map(str::parse);
            arguments.shapes.insert(name.to_owned(), extents.collect::<Result<_, _>>()?);
        }
        _ => return Err(format!("unknown option {option}").into()),
    }
    Ok(())
}

/// The time since it was made.
struct SinceStart(Instant);

impl Clock for SinceStart {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Numbers between 0 and 1 that are the same every time.
fn seeded(len: usize) -> impl Iterator<Item = f32> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    })
    .take(len)
}

fn tensor(spec: &TensorSpec, shape: Vec<usize>, raw: Option<Vec<u8>>) -> Result<Tensor, Box<dyn Error>> {
    let len: usize = shape.iter().product();
    let raw = match raw {
        Some(raw) => raw,
        None => match spec.dtype {
            DType::F32 => seeded(len).flat_map(f32::to_le_bytes).collect(),
            DType::I64 => seeded(len).flat_map(|x| i64::from(x > 0.5).to_le_bytes()).collect(),
            DType::I32 => seeded(len).flat_map(|x| i32::from(x > 0.5).to_le_bytes()).collect(),
            other => return Err(format!("no numbers of a seed for {}", other.as_str()).into()),
        },
    };
    let data = match spec.dtype {
        DType::F32 => TensorData::F32(raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        DType::I64 => TensorData::I64(raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        DType::I32 => TensorData::I32(raw.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()),
        other => return Err(format!("inputs of {} are not read", other.as_str()).into()),
    };
    Ok(Tensor::new(shape, data)?)
}

fn inputs(arguments: &Arguments, specs: &[TensorSpec]) -> Result<TensorMap, Box<dyn Error>> {
    let mut inputs = TensorMap::new();
    for (idx, spec) in specs.iter().enumerate() {
        let open = || spec.shape.iter().map(|dim| if let Dim::Fixed(extent) = dim { *extent } else { 1 }).collect();
        let shape = arguments.shapes.get(&spec.name).cloned().unwrap_or_else(open);
        let raw =
            arguments.inputs.as_ref().map(|folder| std::fs::read(folder.join(format!("{idx}.raw")))).transpose()?;
        inputs.insert(spec.name.clone(), tensor(spec, shape, raw)?);
    }
    Ok(inputs)
}

fn write(folder: &Path, outputs: &TensorMap, specs: &[TensorSpec]) -> Result<(), Box<dyn Error>> {
    for (idx, spec) in specs.iter().enumerate() {
        let output = outputs.get(&spec.name).ok_or("an output is missing")?;
        let raw: Vec<u8> = match output.data() {
            TensorData::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            TensorData::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            other => return Err(format!("outputs of {} are not written", other.dtype().as_str()).into()),
        };
        std::fs::write(folder.join(format!("{idx}.raw")), raw)?;
    }
    Ok(())
}

fn print_trace(tracing: &Tracing) {
    let mut by_op: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for entry in &tracing.entries {
        println!("{:9.1} us  {:20} {}", entry.took.as_secs_f64() * 1e6, entry.op, entry.node);
        let (n, took) = by_op.entry(&entry.op).or_default();
        (*n, *took) = (*n + 1, *took + entry.took);
    }
    let mut by_op: Vec<_> = by_op.into_iter().collect();
    by_op.sort_by_key(|(_, (_, took))| std::cmp::Reverse(*took));
    println!("\nby operator:");
    for (op, (n, took)) in by_op {
        println!("{:9.1} us  {op} ({n})", took.as_secs_f64() * 1e6);
    }
}

/// A line of the kernel's account of this process in KiB; 0 where there is none.
fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let (resident_kib, start) = (status_kib("VmRSS:"), Instant::now());
    let model = Model::open_onnx(&arguments.model, ReadLimits::default())?;
    let options = ExecutorOptions { n_threads: arguments.n_threads, ..ExecutorOptions::default() };
    let mut executor = Executor::new(&model, options)?;
    drop(model);
    let loaded = start.elapsed();
    let schema = executor.schema().ok_or("the model does not tell its inputs")?.clone();
    let inputs = inputs(&arguments, &schema.inputs)?;
    let mut took = Vec::with_capacity(N_WARM + arguments.n_rounds);
    for round in 0..N_WARM + arguments.n_rounds {
        let (inputs, start) = (inputs.clone(), Instant::now());
        let outputs = executor.run(inputs, &Pulse::new(), None)?;
        took.push(start.elapsed());
        if let (0, Some(folder)) = (round, &arguments.outputs) {
            write(folder, &outputs, &schema.outputs)?;
        }
    }
    let memory_mib = status_kib("VmHWM:").saturating_sub(resident_kib) as f64 / 1024.0;
    if arguments.has_trace {
        let mut tracing = Tracing { clock: Arc::new(SinceStart(Instant::now())), entries: Vec::new() };
        executor.run(inputs, &Pulse::new(), Some(&mut tracing))?;
        print_trace(&tracing);
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (warm, timed) = took.split_at_mut(N_WARM);
    timed.sort_unstable();
    let median_ms = timed.get(timed.len() / 2).copied().map(ms);
    if arguments.is_json {
        let (load_ms, first_ms) = (ms(loaded), ms(warm[0]));
        let line =
            json!({ "load_ms": load_ms, "first_ms": first_ms, "median_ms": median_ms, "memory_mib": memory_mib });
        println!("{line}");
    } else if let Some(median_ms) = median_ms {
        println!("median {median_ms:.3} ms");
    }
    Ok(())
}
