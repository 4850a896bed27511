//! From files to an answer: inputs made, the model run frame after frame, outputs read.

use super::TensorModel;
use super::draw::{Drawn, draw_boxes};
use super::error::TensorIoError;
use super::inputs::Frames;
use super::manifest::OutputRule;
use super::reading::{Reading, Source};
use crate::Error;
use ballast_backend::{ReasonCode, TensorMap};
use std::path::PathBuf;
use std::time::Duration;

/// A file, and the input that it is for; `None`: the only one that is open.
pub type FileInput = (Option<String>, PathBuf);

/// Most bytes of outputs that one answer keeps.
const OUTPUT_BYTES_MAX: usize = 1 << 30;

/// What a model answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Every output as the manifest says to read it, by name. States are not told.
    pub readings: Vec<(String, Reading)>,
    /// The outputs themselves, frame by frame.
    pub outputs: Vec<TensorMap>,
    /// How long the model ran, frame by frame.
    pub took: Vec<Duration>,
    /// The engine that answered last.
    pub engine: &'static str,
    /// What did not go as it should and was made good, each once.
    pub degraded: Vec<ReasonCode>,
}

impl TensorModel {
    /// Makes inputs of files as the manifest says, runs the model, and reads its outputs. Must not be called from async
    /// code.
    ///
    /// # Errors
    /// Files that are not what they should be or that nothing says how to read; what [`TensorModel::predict`] fails
    /// for; outputs that are not what the manifest says.
    pub fn ask(&self, files: &[FileInput]) -> Result<Answer, Error> {
        self.run(&self.frames(files)?)
    }

    /// The inputs that files become.
    ///
    /// # Errors
    /// As [`TensorModel::ask`].
    pub fn frames(&self, files: &[FileInput]) -> Result<Frames, Error> {
        Frames::gather(files, self.manifest(), (self.folder(), self.schema()))
    }

    /// Runs the model on inputs that were made, and reads its outputs.
    ///
    /// # Errors
    /// As [`TensorModel::ask`].
    pub fn run(&self, frames: &Frames) -> Result<Answer, Error> {
        let mut answer =
            Answer { readings: Vec::new(), outputs: Vec::new(), took: Vec::new(), engine: "", degraded: Vec::new() };
        let mut kept_bytes = 0_usize;
        for idx in 0..frames.len() {
            let inputs = frames.frame(idx, answer.outputs.last())?;
            let prediction = self.predict(inputs)?;
            answer.took.push(prediction.latency.run);
            answer.engine = prediction.engine;
            for reason in prediction.degraded {
                if !answer.degraded.contains(&reason) {
                    answer.degraded.push(reason);
                }
            }
            let outputs = prediction.outputs.into_tensors();
            kept_bytes += outputs.values().map(ballast_backend::Tensor::size_bytes).sum::<usize>();
            if kept_bytes > OUTPUT_BYTES_MAX {
                let expected = format!("at most {OUTPUT_BYTES_MAX} bytes of outputs, all frames together");
                return Err(TensorIoError::output("", expected, kept_bytes).into());
            }
            answer.outputs.push(outputs);
        }
        answer.readings = self.read(frames, &answer.outputs)?;
        Ok(answer)
    }

    fn read(&self, frames: &Frames, outputs: &[TensorMap]) -> Result<Vec<(String, Reading)>, Error> {
        let manifest = self.manifest();
        let states: Vec<&str> = manifest.states().map(|state| state.from.as_str()).collect();
        let rules = manifest.outputs.values();
        let beside: Vec<&str> = rules.flat_map(OutputRule::also_reads).collect();
        let source = Source {
            outputs,
            placement: frames.picture.as_ref().map(|(_, placement)| *placement),
            step_seconds: frames.step_seconds(),
            folder: self.folder(),
            metadata: &self.facts.metadata,
        };
        let mut readings = Vec::new();
        for spec in &self.schema().outputs {
            let name = spec.name.as_str();
            let rule = manifest.outputs.get(name);
            if rule.is_none() && (states.contains(&name) || beside.contains(&name)) {
                continue;
            }
            let rule = rule.unwrap_or(&OutputRule::Raw {});
            readings.push((name.to_owned(), source.read(name, rule)?));
        }
        Ok(readings)
    }

    /// The picture of the inputs with every box of the answer drawn on it, as a PNG; `None`: there is no picture.
    ///
    /// # Errors
    /// A picture that cannot be encoded.
    pub fn draw(&self, frames: &Frames, answer: &Answer) -> Result<Option<Drawn>, Error> {
        let Some((picture, _)) = &frames.picture else { return Ok(None) };
        let boxes = answer.readings.iter().filter_map(|(_, reading)| match reading {
            Reading::Boxes { boxes } => Some(boxes),
            Reading::Labels { .. }
            | Reading::Series { .. }
            | Reading::Text { .. }
            | Reading::Vector { .. }
            | Reading::Raw { .. } => None,
        });
        let boxes: Vec<_> = boxes.flatten().cloned().collect();
        Ok(Some(draw_boxes(picture, &boxes)?))
    }
}
