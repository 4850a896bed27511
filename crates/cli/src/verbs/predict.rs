//! `ballast predict`: runs a tensor model on people's files.

use crate::failure::Failure;
use crate::options::{TensorArgs, input_file, positive};
use crate::output;
use ballast::TensorModel;
use ballast::tensor_model::{Answer, FileInput, Frames, Reading, TraceEntry, npy};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "Examples:\n  \
    ballast predict model.onnx --input x.npy --output npy --to outputs\n  \
    ballast predict resnet.onnx --input cat.jpg --top-k 3\n  \
    ballast predict detector.onnx --input street.png --output png --to boxes.png\n  \
    ballast predict vad.onnx --manifest vad.json --input talk.wav --json\n\
    An array (.npy) and values (.json) go as they are; how anything else becomes an input is declared in a manifest.";

/// Operators that a trace shows.
const TRACED_MAX: usize = 20;

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// An ONNX file or a Core ML package.
    model: PathBuf,
    /// A file for an input; the name may be left out where only one input is open. May be given several times.
    #[arg(short = 'i', long = "input", value_name = "[NAME=]FILE", value_parser = input_file)]
    inputs: Vec<FileInput>,
    /// What to print or write.
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    output: Form,
    /// Where npy and png are written: a folder, a file.
    #[arg(long, value_name = "PATH", required_if_eq_any([("output", "npy"), ("output", "png")]))]
    to: Option<PathBuf>,
    /// Print one JSON object; the same as --output json.
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Labels that are told [default: as the manifest says, else 5].
    #[arg(short = 'k', long, value_name = "N", value_parser = positive)]
    top_k: Option<usize>,
    /// Run so often, and print the median time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    rounds: usize,
    /// Print what each operator took, the longest first.
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    load: TensorArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A table for people.
    Table,
    /// One JSON object.
    Json,
    /// Every output as an array of NumPy's, in a folder.
    Npy,
    /// The picture with the boxes drawn on it, in a file.
    Png,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut model = TensorModel::open(&self.model, &self.load.options())?;
        if let Some(top_k) = self.top_k {
            model = model.with_top_k(top_k);
        }
        let frames = model.frames(&self.inputs)?;
        let mut answer = model.run(&frames)?;
        let mut totals: Vec<Duration> = vec![answer.took.iter().sum()];
        for _ in 1..self.rounds {
            answer = model.run(&frames)?;
            totals.push(answer.took.iter().sum());
        }
        totals.sort_unstable();
        let median = totals[totals.len() / 2];
        let trace =
            if self.trace { Some(model.trace(frames.frame(0, None).map_err(ballast::Error::from)?)?) } else { None };
        for reason in &answer.degraded {
            output::note(&format!("note: {reason}"));
        }
        match if self.json { Form::Json } else { self.output } {
            Form::Json => output::json(&to_json(&answer, &frames, median, trace.as_deref())?),
            Form::Table => {
                output::write(&to_text(&answer))?;
                self.tell(median, trace.as_deref())
            }
            Form::Npy => {
                write_arrays(&answer, self.place())?;
                self.tell(median, trace.as_deref())
            }
            Form::Png => {
                let no_picture = || {
                    let why = "the model's inputs are none";
                    Failure::usage("--output png: expected a picture to draw on").because(why)
                };
                let drawn = model.draw(&frames, &answer)?.ok_or_else(no_picture)?;
                write_file(self.place(), &drawn.png)?;
                output::write(&to_text(&answer))?;
                self.tell(median, trace.as_deref())
            }
        }
    }

    fn place(&self) -> &Path {
        self.to.as_deref().unwrap_or(Path::new("."))
    }

    /// Times and traces are for the person, not part of the answer.
    fn tell(&self, median: Duration, trace: Option<&[TraceEntry]>) -> Result<(), Failure> {
        if self.rounds > 1 {
            let (rounds, ms) = (self.rounds, median.as_secs_f64() * 1e3);
            output::note(&format!("median of {rounds} rounds: {ms:.3} ms"));
        }
        if let Some(trace) = trace {
            output::write(&trace_text(trace))?;
        }
        Ok(())
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("{} cannot be written", path.display())).because(error.to_string())
    };
    std::fs::write(path, bytes).map_err(failed)
}

/// Writes every output to a file of its name; frames are numbered if there are several.
fn write_arrays(answer: &Answer, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    for (frame, outputs) in answer.outputs.iter().enumerate() {
        for (name, tensor) in outputs {
            let name: String =
                name.chars().map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
            let number = if answer.outputs.len() > 1 { format!(".{frame:05}") } else { String::new() };
            let path = folder.join(format!("{}{number}.npy", name.trim_start_matches('.')));
            write_file(&path, &npy::write(tensor))?;
            if frame == 0 {
                let shape = tensor.shape();
                output::line(&format!("{}  {} {shape:?}", path.display(), npy::numpy_name(tensor.dtype())))?;
            }
        }
    }
    Ok(())
}

fn to_json(answer: &Answer, frames: &Frames, median: Duration, trace: Option<&[TraceEntry]>) -> Result<Value, Failure> {
    let outputs: serde_json::Map<String, Value> = answer
        .readings
        .iter()
        .map(|(name, reading)| Ok((name.clone(), serde_json::to_value(reading)?)))
        .collect::<Result<_, Failure>>()?;
    let mut found = json!({
        "outputs": outputs,
        "engine": answer.engine,
        "degraded": answer.degraded.iter().map(|reason| reason.as_str()).collect::<Vec<_>>(),
        "frames": frames.len(),
        "ms": median.as_secs_f64() * 1e3,
    });
    if let Some(trace) = trace {
        let entry = |entry: &TraceEntry| {
            let ms = entry.took.as_secs_f64() * 1e3;
            json!({ "node": entry.node, "op": entry.op, "ms": ms, "output_bytes": entry.output_bytes })
        };
        found["trace"] = trace.iter().map(entry).collect();
    }
    Ok(found)
}

fn to_text(answer: &Answer) -> String {
    answer.readings.iter().map(|(name, reading)| format!("{name}\n{}", reading_text(reading))).collect()
}

fn reading_text(reading: &Reading) -> String {
    match reading {
        Reading::Labels { labels } => {
            let width = labels.iter().map(|label| label.name.chars().count()).max().unwrap_or(0);
            labels.iter().map(|label| format!("  {:<width$}  {:.6}\n", label.name, label.score)).collect()
        }
        Reading::Text { text, confidence } => {
            let confidence = confidence.map_or_else(|| "no characters".to_owned(), |share| format!("{share:.4}"));
            format!("  {text}\n  confidence  {confidence}\n")
        }
        Reading::Boxes { boxes } if boxes.is_empty() => "  nothing found\n".to_owned(),
        Reading::Boxes { boxes } => {
            let row = |(idx, found): (usize, &ballast::tensor_model::FoundBox)| {
                let [left, top, right, bottom] = found.corners;
                let (number, name, score) = (idx + 1, &found.name, found.score);
                format!("  {number:>3}  {name:<16}  {score:.4}  {left:.0},{top:.0} - {right:.0},{bottom:.0}\n")
            };
            boxes.iter().enumerate().map(row).collect()
        }
        Reading::Series { name, threshold, step_seconds, values } => {
            series_text(name, *threshold, *step_seconds, values)
        }
        Reading::Vector { values } => {
            let shown: Vec<String> = values.iter().take(8).map(|value| format!("{value:.6}")).collect();
            let more = if values.len() > 8 { ", ..." } else { "" };
            format!("  {} numbers: {}{more}\n", values.len(), shown.join(", "))
        }
        Reading::Raw { dtype, shape, first } => {
            let shown: Vec<String> = first.iter().map(ToString::to_string).collect();
            let n_elements: usize = shape.iter().product();
            let more = if n_elements > first.len() { ", ..." } else { "" };
            format!("  {dtype} {shape:?}: {}{more}\n", shown.join(", "))
        }
    }
}

/// The stretches over the threshold, and the highest value.
fn series_text(name: &str, threshold: f32, step_seconds: Option<f64>, values: &[f32]) -> String {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut text = format!("  {} frames, highest {max:.4}\n", values.len());
    let is_over: Vec<bool> = values.iter().map(|&value| value >= threshold).collect();
    let mut start = None;
    for (idx, over) in is_over.iter().copied().chain([false]).enumerate() {
        match (over, start) {
            (true, None) => start = Some(idx),
            (false, Some(from)) => {
                text += &match step_seconds {
                    Some(step) => format!("  {name}  {:.2} s - {:.2} s\n", from as f64 * step, idx as f64 * step),
                    None => format!("  {name}  frames {from} - {idx}\n"),
                };
                start = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    if is_over.iter().any(|&over| over) { text } else { text + &format!("  no {name}\n") }
}

/// Operators by their share of the time, and nodes that took longest.
fn trace_text(trace: &[TraceEntry]) -> String {
    let total: Duration = trace.iter().map(|entry| entry.took).sum();
    let share = |took: Duration| 100.0 * took.as_secs_f64() / total.as_secs_f64().max(1e-12);
    let mut by_op: BTreeMap<&str, (Duration, usize)> = BTreeMap::new();
    for entry in trace {
        let (took, count) = by_op.entry(&entry.op).or_default();
        *took += entry.took;
        *count += 1;
    }
    let mut ops: Vec<_> = by_op.into_iter().collect();
    ops.sort_by_key(|(_, (took, _))| std::cmp::Reverse(*took));
    let mut text = format!("{:<24} {:>6} {:>10} {:>6}\n", "operator", "count", "ms", "%");
    for (op, (took, count)) in ops {
        text += &format!("{op:<24} {count:>6} {:>10.3} {:>6.1}\n", took.as_secs_f64() * 1e3, share(took));
    }
    let mut nodes: Vec<&TraceEntry> = trace.iter().collect();
    nodes.sort_by_key(|entry| std::cmp::Reverse(entry.took));
    text += &format!("\n{:<40} {:<24} {:>10} {:>6}\n", "node", "operator", "ms", "%");
    for entry in nodes.into_iter().take(TRACED_MAX) {
        let ms = entry.took.as_secs_f64() * 1e3;
        text += &format!("{:<40} {:<24} {ms:>10.3} {:>6.1}\n", entry.node, entry.op, share(entry.took));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast::tensor_model::Scored;

    #[test]
    fn stretches_over_the_threshold_are_told_in_seconds() {
        let text = series_text("speech", 0.5, Some(0.5), &[0.1, 0.9, 0.6, 0.2, 0.7]);
        assert_eq!(text, "  5 frames, highest 0.9000\n  speech  0.50 s - 1.50 s\n  speech  2.00 s - 2.50 s\n");
        assert!(series_text("speech", 0.5, None, &[0.1]).ends_with("no speech\n"));
        assert!(series_text("speech", 0.5, None, &[0.6]).contains("frames 0 - 1"));
    }

    #[test]
    fn labels_stand_in_columns() {
        let scored = |name: &str, score| Scored { name: name.to_owned(), idx: 0, score };
        let labels = vec![scored("rust", 0.75), scored("c", 0.25)];
        assert_eq!(reading_text(&Reading::Labels { labels }), "  rust  0.750000\n  c     0.250000\n");
        assert_eq!(reading_text(&Reading::Boxes { boxes: Vec::new() }), "  nothing found\n");
    }

    #[test]
    fn a_trace_adds_up_by_operator() {
        let entry = |node: &str, op: &str, ms| TraceEntry {
            node: node.to_owned(),
            op: op.to_owned(),
            took: Duration::from_millis(ms),
            output_bytes: 0,
        };
        let text = trace_text(&[entry("a", "Conv", 30), entry("b", "Relu", 20), entry("c", "Conv", 50)]);
        let conv: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(conv, ["Conv", "2", "80.000", "80.0"]);
        assert!(text.find("c  ").unwrap() < text.find("a  ").unwrap());
    }
}
