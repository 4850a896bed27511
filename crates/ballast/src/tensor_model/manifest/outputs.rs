//! How an output is read.

use super::super::error::TensorIoError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How an output is read.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OutputRule {
    /// A score for each of several names.
    Labels(LabelsRule),
    /// A probability for each frame.
    Series(SeriesRule),
    /// Things in a picture.
    Boxes(BoxesRule),
    /// Parts of a picture that a map of probabilities shows.
    Regions(RegionsRule),
    /// A line of text.
    Ctc(CtcRule),
    /// A vector.
    Vector(VectorRule),
    /// A tensor as it is.
    Raw {},
}

/// Names, one for each score.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Names {
    /// These.
    List(Vec<String>),
    /// Those of a file: its lines, or the list at a place of a JSON file.
    File {
        /// Which.
        file: PathBuf,
        /// The place, such as `/labels` (RFC 6901); left out: the file is lines.
        #[serde(default)]
        pointer: Option<String>,
    },
    /// Lines of the model file's own metadata.
    Metadata {
        /// The key.
        metadata: String,
    },
}

/// A score for each of several names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LabelsRule {
    /// The names, in the order of the scores; left out: they are numbered.
    #[serde(default)]
    pub names: Option<Names>,
    /// Whether the scores are logits that are still to become probabilities.
    #[serde(default)]
    pub softmax: bool,
    /// How many are told.
    #[serde(default = "five")]
    pub top_k: usize,
}

fn five() -> usize {
    5
}

/// A probability for each frame.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesRule {
    /// What it is the probability of.
    pub name: String,
    /// From where on it counts as there.
    #[serde(default = "half")]
    pub threshold: f32,
}

fn half() -> f32 {
    0.5
}

/// Things in a picture: a row of four numbers for each.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BoxesRule {
    /// What the four numbers are.
    pub form: BoxForm,
    /// Whether they are shares of the model's picture instead of its pixels.
    #[serde(default)]
    pub unit: bool,
    /// The output with scores: one for each row, or one for each row and class. Left out: they stand behind the four
    /// numbers of each row, one for each class.
    #[serde(default)]
    pub scores: Option<String>,
    /// The output with the class of each row.
    #[serde(default)]
    pub classes: Option<String>,
    /// Whether rows stand in the last dimension.
    #[serde(default)]
    pub transposed: bool,
    /// Names of the classes.
    #[serde(default)]
    pub names: Option<Names>,
    /// Least score that is told.
    #[serde(default = "half")]
    pub threshold: f32,
    /// Boxes of one class that share more than this of their area are one; left out: all are kept.
    #[serde(default)]
    pub overlap_max: Option<f32>,
}

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxForm {
    /// Left, top, right, bottom.
    Xyxy,
    /// Left, top, width, height.
    Xywh,
    /// Middle, width, height.
    Cxcywh,
    /// Top, left, bottom, right.
    Yxyx,
}

/// Parts of a picture that a map of probabilities shows, as upright boxes around connected pixels.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegionsRule {
    /// What they are called.
    pub name: String,
    /// From where on a pixel belongs to a part.
    #[serde(default = "half")]
    pub threshold: f32,
    /// Least mean probability of a part.
    #[serde(default = "half")]
    pub score_min: f32,
    /// How much larger than what was seen they are told, as area times this over circumference, on each side.
    #[serde(default)]
    pub grow: f32,
    /// Fewest pixels of a side, before it grows.
    #[serde(default = "three")]
    pub side_min: usize,
}

fn three() -> usize {
    3
}

/// A line of text: for each place a probability of each character, one of which is none.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CtcRule {
    /// The characters, without the one that is none.
    pub characters: Names,
    /// Place of the one that is none.
    #[serde(default)]
    pub blank: usize,
    /// Whether a space stands behind the last character.
    #[serde(default)]
    pub space: bool,
}

/// A vector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VectorRule {
    /// Whether it is told with length 1.
    #[serde(default)]
    pub normalize: bool,
}

impl OutputRule {
    /// Other outputs that the rule reads.
    pub(in crate::tensor_model) fn also_reads(&self) -> Vec<&str> {
        match self {
            Self::Boxes(rule) => rule.scores.iter().chain(&rule.classes).map(String::as_str).collect(),
            Self::Labels(_) | Self::Series(_) | Self::Regions(_) | Self::Ctc(_) | Self::Vector(_) | Self::Raw {} => {
                Vec::new()
            }
        }
    }

    pub(super) fn check(&self, name: &str) -> Result<(), TensorIoError> {
        let wrong = |part: &str, expected: &str, got: &dyn std::fmt::Display| {
            Err(TensorIoError::manifest(format!("outputs.{name}.{part}"), expected, got))
        };
        match self {
            Self::Labels(rule) if rule.top_k == 0 => wrong("top_k", "1 or more", &rule.top_k),
            Self::Boxes(BoxesRule { classes: Some(_), scores: None, .. }) => {
                wrong("classes", "an output with scores beside it", &"none")
            }
            Self::Boxes(BoxesRule { overlap_max: Some(share), .. }) if !(0.0..=1.0).contains(share) => {
                wrong("overlap_max", "a share from 0 to 1", share)
            }
            Self::Regions(rule) if !(rule.grow.is_finite() && rule.grow >= 0.0) => {
                wrong("grow", "0 or more", &rule.grow)
            }
            Self::Labels(_)
            | Self::Series(_)
            | Self::Boxes(_)
            | Self::Regions(_)
            | Self::Ctc(_)
            | Self::Vector(_)
            | Self::Raw {} => Ok(()),
        }
    }
}
