//! A model's outputs as people read them: labels, boxes, text, probabilities over time, vectors.

use super::boxes::{self, FoundBox};
use super::elements::numbers;
use super::error::TensorIoError;
use super::files::{malformed, read_bounded, read_text};
use super::manifest::{CtcRule, LabelsRule, Names, OutputRule, SeriesRule, VectorRule};
use super::picture::Placement;
use super::regions;
use ballast_backend::{Tensor, TensorData, TensorMap};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Most bytes of a file with names.
const NAMES_BYTES_MAX: u64 = 64 << 20;

/// Values of a raw tensor that are told.
const SHOWN_MAX: usize = 8;

/// An output, read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reading {
    /// The highest scores of those that have names, best first.
    Labels {
        /// The scores.
        labels: Vec<Scored>,
    },
    /// A probability for each frame.
    Series {
        /// What it is the probability of.
        name: String,
        /// From where on it counts as there.
        threshold: f32,
        /// Seconds from one to the next, where that is known.
        step_seconds: Option<f64>,
        /// The probabilities.
        values: Vec<f32>,
    },
    /// Things in the picture, in its own pixels; the likeliest first.
    Boxes {
        /// The things.
        boxes: Vec<FoundBox>,
    },
    /// A line of text.
    Text {
        /// The line.
        text: String,
        /// Mean probability of its characters; `None`: there are none.
        confidence: Option<f32>,
    },
    /// A vector.
    Vector {
        /// Its entries.
        values: Vec<f32>,
    },
    /// A tensor that nothing is declared of.
    Raw {
        /// Type of its elements.
        dtype: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its first elements.
        first: Vec<serde_json::Value>,
    },
}

/// A name and its score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// The name, or its number.
    pub name: String,
    /// Its place among the names.
    pub idx: usize,
    /// The score.
    pub score: f32,
}

/// What outputs are read with.
pub(super) struct Source<'a> {
    /// The outputs, frame by frame; at least one.
    pub(super) outputs: &'a [TensorMap],
    pub(super) placement: Option<Placement>,
    pub(super) step_seconds: Option<f64>,
    pub(super) folder: &'a Path,
    pub(super) metadata: &'a BTreeMap<String, String>,
}

impl Source<'_> {
    /// Reads an output by its rule: of a row of frames the last, unless the rule is about all of them.
    pub(super) fn read(&self, name: &str, rule: &OutputRule) -> Result<Reading, TensorIoError> {
        match rule {
            OutputRule::Raw {} => Ok(raw(self.tensor(name)?)),
            OutputRule::Labels(rule) => self.labels(name, rule),
            OutputRule::Series(rule) => self.series(name, rule),
            OutputRule::Vector(rule) => self.vector(name, rule),
            OutputRule::Ctc(rule) => self.text(name, rule),
            OutputRule::Boxes(rule) => {
                let names = rule.names.as_ref().map(|names| self.names(name, names)).transpose()?.unwrap_or_default();
                Ok(Reading::Boxes { boxes: boxes::read(self, name, rule, &names)? })
            }
            OutputRule::Regions(rule) => Ok(Reading::Boxes { boxes: regions::read(self, name, rule)? }),
        }
    }

    /// The last frame's output of this name.
    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor, TensorIoError> {
        let found = self.outputs.last().and_then(|outputs| outputs.get(name));
        found.ok_or_else(|| TensorIoError::output(name, "a tensor", "nothing"))
    }

    /// Its numbers.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f32>, TensorIoError> {
        numbers(self.tensor(name)?).ok_or_else(|| TensorIoError::output(name, "numbers", "texts"))
    }

    /// Its numbers, where it is a row of them, alone or in dimensions of one.
    fn row(&self, name: &str) -> Result<Vec<f32>, TensorIoError> {
        let shape = self.tensor(name)?.shape();
        let n_wide = shape.iter().filter(|&&extent| extent != 1).count();
        if n_wide > 1 {
            return Err(TensorIoError::output(name, "one row of numbers", format!("{shape:?}")));
        }
        self.numbers(name)
    }

    fn names(&self, output: &str, names: &Names) -> Result<Vec<String>, TensorIoError> {
        match names {
            Names::List(names) => Ok(names.clone()),
            Names::Metadata { metadata } => {
                let known: Vec<&String> = self.metadata.keys().collect();
                let missing = || TensorIoError::output(output, format!("metadata among {known:?}"), metadata);
                let text = self.metadata.get(metadata).ok_or_else(missing)?;
                Ok(text.split('\n').map(str::to_owned).collect())
            }
            Names::File { file, pointer: None } => {
                let text = read_text(&self.folder.join(file), NAMES_BYTES_MAX)?;
                Ok(text.lines().map(str::to_owned).collect())
            }
            Names::File { file, pointer: Some(pointer) } => {
                let path = self.folder.join(file);
                let bytes = read_bounded(&path, NAMES_BYTES_MAX)?;
                let value: serde_json::Value =
                    serde_json::from_slice(&bytes).map_err(|error| malformed(&path, "JSON", error))?;
                let list = value.pointer(pointer).and_then(serde_json::Value::as_array);
                let names = list.and_then(|list| {
                    list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
                });
                names.ok_or_else(|| malformed(&path, format!("a list of names at {pointer}"), "something else"))
            }
        }
    }

    fn labels(&self, name: &str, rule: &LabelsRule) -> Result<Reading, TensorIoError> {
        let mut scores = self.row(name)?;
        if rule.softmax {
            softmax(&mut scores);
        }
        let names = rule.names.as_ref().map(|names| self.names(name, names)).transpose()?;
        if let Some(names) = names.as_ref().filter(|names| names.len() != scores.len()) {
            return Err(TensorIoError::output(name, format!("{} scores, one a name", names.len()), scores.len()));
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let named = |idx: usize| names.as_ref().map_or_else(|| idx.to_string(), |names| names[idx].clone());
        let labels = order.into_iter().take(rule.top_k);
        Ok(Reading::Labels { labels: labels.map(|idx| Scored { name: named(idx), idx, score: scores[idx] }).collect() })
    }

    fn series(&self, name: &str, rule: &SeriesRule) -> Result<Reading, TensorIoError> {
        let of_frame = |outputs: &TensorMap| {
            let missing = || TensorIoError::output(name, "numbers", "something else");
            outputs.get(name).and_then(numbers).ok_or_else(missing)
        };
        let values = self.outputs.iter().map(of_frame).collect::<Result<Vec<_>, _>>()?.concat();
        let SeriesRule { name, threshold } = rule.clone();
        Ok(Reading::Series { name, threshold, step_seconds: self.step_seconds, values })
    }

    fn vector(&self, name: &str, rule: &VectorRule) -> Result<Reading, TensorIoError> {
        let mut values = self.row(name)?;
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if rule.normalize && length > 0.0 {
            values.iter_mut().for_each(|value| *value /= length);
        }
        Ok(Reading::Vector { values })
    }

    /// The likeliest character of each place, repetitions and blanks left out. (Graves et al., "Connectionist Temporal
    /// Classification", best path)
    fn text(&self, name: &str, rule: &CtcRule) -> Result<Reading, TensorIoError> {
        let mut characters = self.names(name, &rule.characters)?;
        if rule.space {
            characters.push(" ".to_owned());
        }
        let shape = self.tensor(name)?.shape().to_vec();
        let n_classes = characters.len() + 1;
        let is_fit = matches!(shape[..], [1, _, n] | [_, n] if n == n_classes);
        if !is_fit || rule.blank >= n_classes {
            return Err(TensorIoError::output(name, format!("places of {n_classes} characters"), format!("{shape:?}")));
        }
        characters.insert(rule.blank, String::new());
        let values = self.numbers(name)?;
        let (mut text, mut scores, mut before) = (String::new(), Vec::new(), rule.blank);
        for place in values.chunks_exact(n_classes) {
            let best = (0..n_classes).max_by(|&a, &b| place[a].total_cmp(&place[b]).then(b.cmp(&a)));
            let best = best.unwrap_or(rule.blank);
            if best != rule.blank && best != before {
                text += &characters[best];
                scores.push(place[best]);
            }
            before = best;
        }
        #[expect(clippy::cast_precision_loss, reason = "a line has few characters")]
        let confidence = (!scores.is_empty()).then(|| scores.iter().sum::<f32>() / scores.len() as f32);
        Ok(Reading::Text { text, confidence })
    }
}

/// Logits become probabilities.
pub(super) fn softmax(values: &mut [f32]) {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - max).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
}

fn raw(tensor: &Tensor) -> Reading {
    let first = match tensor.data() {
        TensorData::Str(texts) => texts.iter().take(SHOWN_MAX).map(|text| text.clone().into()).collect(),
        TensorData::I64(values) => values.iter().take(SHOWN_MAX).map(|&value| value.into()).collect(),
        TensorData::U64(values) => values.iter().take(SHOWN_MAX).map(|&value| value.into()).collect(),
        TensorData::F64(values) => values.iter().take(SHOWN_MAX).map(|&value| value.into()).collect(),
        TensorData::F32(_)
        | TensorData::F16(_)
        | TensorData::Bf16(_)
        | TensorData::I32(_)
        | TensorData::I16(_)
        | TensorData::I8(_)
        | TensorData::U32(_)
        | TensorData::U16(_)
        | TensorData::U8(_)
        | TensorData::Bool(_) => {
            let numbers = numbers(tensor).unwrap_or_default();
            numbers.into_iter().take(SHOWN_MAX).map(Into::into).collect()
        }
    };
    Reading::Raw { dtype: tensor.dtype().as_str().to_owned(), shape: tensor.shape().to_vec(), first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(shape: Vec<usize>, rows: &[&[f32]]) -> Vec<TensorMap> {
        let tensor = |row: &&[f32]| Tensor::new(shape.clone(), TensorData::F32(row.to_vec())).unwrap();
        rows.iter().map(|row| TensorMap::from([("y".to_owned(), tensor(row))])).collect()
    }

    fn read(outputs: &[TensorMap], rule: &str) -> Result<Reading, String> {
        let metadata = BTreeMap::from([("character".to_owned(), "a\nb".to_owned())]);
        let folder = Path::new("");
        let source = Source { outputs, placement: None, step_seconds: Some(0.5), folder, metadata: &metadata };
        source.read("y", &serde_json::from_str(rule).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_the_best_scores_in_their_order() {
        let outputs = frames(vec![1, 3], &[&[1.0, 3.0, 2.0]]);
        let found = read(&outputs, r#"{"kind": "labels", "names": ["x", "y", "z"], "top_k": 2}"#).unwrap();
        let scored = |name: &str, idx, score| Scored { name: name.to_owned(), idx, score };
        assert_eq!(found, Reading::Labels { labels: vec![scored("y", 1, 3.0), scored("z", 2, 2.0)] });
        let Ok(Reading::Labels { labels }) = read(&outputs, r#"{"kind": "labels", "softmax": true}"#) else {
            panic!("expected labels")
        };
        assert!((labels.iter().map(|label| label.score).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!((labels[0].name.as_str(), labels.len()), ("1", 3));
        assert!(read(&outputs, r#"{"kind": "labels", "names": ["x"]}"#).unwrap_err().contains("1 scores"));
        let wide = frames(vec![2, 2], &[&[0.0; 4]]);
        assert!(read(&wide, r#"{"kind": "labels"}"#).unwrap_err().contains("one row"));
    }

    #[test]
    fn names_come_from_metadata_and_from_files() {
        let outputs = frames(vec![2], &[&[1.0, 0.0]]);
        let metadata = r#"{"kind": "labels", "top_k": 1, "names": {"metadata": "character"}}"#;
        assert!(matches!(read(&outputs, metadata), Ok(Reading::Labels { labels }) if labels[0].name == "a"));
        assert!(read(&outputs, r#"{"kind": "labels", "names": {"metadata": "none"}}"#).is_err());
        let dir = tempfile::tempdir().unwrap();
        let (lines, json) = (dir.path().join("names.txt"), dir.path().join("names.json"));
        std::fs::write(&lines, "c\nd\n").unwrap();
        std::fs::write(&json, r#"{"deep": {"names": ["e", "f"]}}"#).unwrap();
        let lines = format!(r#"{{"kind": "labels", "names": {{"file": {lines:?}}}}}"#);
        assert!(matches!(read(&outputs, &lines), Ok(Reading::Labels { labels }) if labels[0].name == "c"));
        let at =
            |pointer: &str| format!(r#"{{"kind": "labels", "names": {{"file": {json:?}, "pointer": "{pointer}"}}}}"#);
        assert!(matches!(read(&outputs, &at("/deep/names")), Ok(Reading::Labels { labels }) if labels[0].name == "e"));
        assert!(read(&outputs, &at("/deep")).is_err());
    }

    #[test]
    fn a_series_has_a_value_for_each_frame() {
        let outputs = frames(vec![1, 1], &[&[0.1], &[0.9]]);
        let expected = Reading::Series {
            name: "speech".to_owned(),
            threshold: 0.4,
            step_seconds: Some(0.5),
            values: vec![0.1, 0.9],
        };
        assert_eq!(read(&outputs, r#"{"kind": "series", "name": "speech", "threshold": 0.4}"#).unwrap(), expected);
    }

    #[test]
    fn text_leaves_out_blanks_and_repetitions() {
        // Places: a a blank a b b, of the classes blank, a, b.
        let places: Vec<f32> = [1, 1, 0, 1, 2, 2]
            .iter()
            .flat_map(|&best| (0..3).map(move |c| if c == best { 0.5 } else { 0.25 }))
            .collect();
        let outputs = frames(vec![1, 6, 3], &[&places]);
        let rule = r#"{"kind": "ctc", "characters": {"metadata": "character"}}"#;
        assert_eq!(read(&outputs, rule).unwrap(), Reading::Text { text: "aab".to_owned(), confidence: Some(0.5) });
        let spaced = r#"{"kind": "ctc", "characters": ["a"], "space": true}"#;
        assert!(matches!(read(&outputs, spaced), Ok(Reading::Text { text, .. }) if text == "aa "));
        let last = r#"{"kind": "ctc", "characters": ["x", "y"], "blank": 2}"#;
        assert!(matches!(read(&outputs, last), Ok(Reading::Text { text, .. }) if text == "yxy"));
        assert!(read(&outputs, r#"{"kind": "ctc", "characters": ["a"]}"#).is_err());
        assert!(read(&outputs, r#"{"kind": "ctc", "characters": ["a", "b"], "blank": 3}"#).is_err());
        let blank = frames(vec![1, 3], &[&[1.0, 0.0, 0.0]]);
        assert_eq!(read(&blank, rule).unwrap(), Reading::Text { text: String::new(), confidence: None });
    }

    #[test]
    fn vectors_have_length_one_if_asked_for() {
        let outputs = frames(vec![1, 2], &[&[3.0, 4.0]]);
        assert_eq!(read(&outputs, r#"{"kind": "vector"}"#).unwrap(), Reading::Vector { values: vec![3.0, 4.0] });
        let normal = r#"{"kind": "vector", "normalize": true}"#;
        assert_eq!(read(&outputs, normal).unwrap(), Reading::Vector { values: vec![0.6, 0.8] });
    }

    #[test]
    fn what_nothing_is_declared_of_is_told_in_short() {
        let outputs = frames(vec![3, 3], &[&[0.5; 9]]);
        let Ok(Reading::Raw { dtype, shape, first }) = read(&outputs, r#"{"kind": "raw"}"#) else {
            panic!("expected raw")
        };
        assert_eq!((dtype.as_str(), shape, first.len()), ("f32", vec![3, 3], SHOWN_MAX));
    }
}
