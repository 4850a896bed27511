//! How an input is made.

use super::super::error::TensorIoError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Largest side of a picture that a model is given, and largest frame, text or cut of bytes.
const EXTENT_MAX: usize = 1 << 16;

/// How an input is made.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum InputRule {
    /// Of a picture.
    Picture(PictureRule),
    /// Of a text. The rule stands at the input that gets the tokens.
    Text(TextRule),
    /// Of a sound.
    Audio(AudioRule),
    /// Of a file's bytes.
    Bytes(BytesRule),
    /// Of an array as it is.
    Npy {},
    /// Always the same; no file is asked for.
    Constant(ConstantRule),
    /// An output of the frame before; no file is asked for.
    State(StateRule),
}

/// A picture's pixels: `(pixel * scale - mean) / std`, channel by channel.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PictureRule {
    /// How its size becomes the model's.
    pub resize: Resize,
    /// How pixels are computed where sizes differ.
    #[serde(default)]
    pub filter: Filter,
    /// Where the channels stand.
    pub layout: Layout,
    /// Which channels, in which order.
    #[serde(default)]
    pub channels: Channels,
    /// What pixels of 0 to 255 are multiplied with first.
    #[serde(default = "one")]
    pub scale: f32,
    /// Subtracted then; empty: 0. One for all channels, or one for each.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// Divided by last; empty: 1.
    #[serde(default)]
    pub std: Vec<f32>,
    /// Type of the elements; the model's must be this.
    #[serde(default)]
    pub dtype: Option<String>,
}

fn one() -> f32 {
    1.0
}

/// How a picture's size becomes the model's.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "how", rename_all = "snake_case", deny_unknown_fields)]
pub enum Resize {
    /// To this size, whatever becomes of its proportions.
    Stretch {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// Until its short side has `short_side` pixels, then the middle is cut out.
    Crop {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Pixels of the short side.
        short_side: usize,
    },
    /// As large as fits, the rest filled.
    Fit {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Where the picture stands.
        #[serde(default)]
        anchor: Anchor,
        /// Pixel value of the rest.
        #[serde(default)]
        pad: f32,
    },
    /// To this height, as wide as its proportions say; what is less than `width_min` is filled on the right.
    Height {
        /// Rows.
        height: usize,
        /// Fewest columns.
        #[serde(default)]
        width_min: usize,
        /// Most columns; wider ones are narrowed.
        width_max: usize,
        /// Pixel value of the rest.
        #[serde(default)]
        pad: f32,
    },
    /// To sides that are multiples of `of`, near its own size.
    Multiple {
        /// Both sides are multiples of this.
        of: usize,
        /// Pixels that the short side has at least.
        #[serde(default)]
        short_side_min: usize,
        /// Pixels that the long side has at most.
        long_side_max: usize,
    },
}

/// Where a picture stands that is smaller than its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// At the upper left.
    #[default]
    Corner,
    /// In the middle.
    Center,
}

/// How pixels are computed where sizes differ. All look at every pixel they cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Linear.
    #[default]
    Bilinear,
    /// Catmull and Rom's.
    Bicubic,
    /// Lanczos's, of three lobes.
    Lanczos,
}

/// Where the channels stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Before rows and columns.
    Nchw,
    /// Behind them.
    Nhwc,
}

/// Which channels, in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Brightness alone.
    Gray,
}

impl Channels {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

/// A text's tokens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TextRule {
    /// A `tokenizer.json` of the WordPiece kind.
    pub tokenizer: PathBuf,
    /// Most tokens; longer texts are cut.
    pub length_max: usize,
    /// Fill up to this many tokens with 0, for models of one shape.
    #[serde(default)]
    pub pad_to: Option<usize>,
    /// The input that gets ones where there are tokens.
    #[serde(default)]
    pub mask: Option<String>,
    /// The input that gets the tokens' types.
    #[serde(default)]
    pub types: Option<String>,
}

/// A sound's samples, from -1 to 1, its channels mixed to one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AudioRule {
    /// Samples a second that the model is made for; others are refused.
    pub sample_rate: u32,
    /// Samples of one prediction; left out: all of them are one.
    #[serde(default)]
    pub frame_len: Option<usize>,
    /// Samples from one frame to the next; left out: `frame_len`.
    #[serde(default)]
    pub hop: Option<usize>,
    /// Silence in front of the first sample, for models whose frames begin with what came before.
    #[serde(default)]
    pub pad_start: usize,
}

/// Bytes from the beginning, the middle and the end of a file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BytesRule {
    /// Bytes from the beginning.
    pub first: usize,
    /// Bytes from the middle.
    #[serde(default)]
    pub middle: usize,
    /// Bytes from the end.
    pub last: usize,
    /// What stands for bytes that are not there: behind the first and the middle, before the last.
    pub pad: i32,
    /// Bytes looked at for each part, before white space is left out.
    #[serde(default)]
    pub block: Option<usize>,
    /// Whether white space at the very beginning and end is left out.
    #[serde(default)]
    pub strip: bool,
}

/// A value that is always the same.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConstantRule {
    /// A number, a truth value, a text, or lists of them as deep as the input has dimensions.
    pub value: serde_json::Value,
}

/// What a model remembers from one frame to the next.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StateRule {
    /// The output that is the next frame's input.
    pub from: String,
    /// Shape of the zeros that the first frame gets.
    pub shape: Vec<usize>,
}

impl InputRule {
    /// Other inputs that the rule fills.
    pub(in crate::tensor_model) fn also_fills(&self) -> Vec<&str> {
        match self {
            Self::Text(rule) => rule.mask.iter().chain(&rule.types).map(String::as_str).collect(),
            Self::Picture(_) | Self::Audio(_) | Self::Bytes(_) | Self::Npy {} | Self::Constant(_) | Self::State(_) => {
                Vec::new()
            }
        }
    }

    pub(super) fn check(&self, name: &str) -> Result<(), TensorIoError> {
        let extents = match self {
            Self::Picture(rule) => return rule.check(name),
            Self::Text(rule) => vec![("length_max", rule.length_max), ("pad_to", rule.pad_to.unwrap_or(1))],
            Self::Audio(rule) => vec![
                ("frame_len", rule.frame_len.unwrap_or(1)),
                ("hop", rule.hop.unwrap_or(1)),
                ("sample_rate", usize::try_from(rule.sample_rate).unwrap_or(usize::MAX).div_ceil(16)),
                ("pad_start", rule.pad_start + 1),
            ],
            Self::Bytes(rule) => {
                vec![
                    ("first, middle, last", rule.first.saturating_add(rule.middle).saturating_add(rule.last)),
                    ("block", rule.block.unwrap_or(1)),
                ]
            }
            Self::Npy {} | Self::Constant(_) | Self::State(_) => Vec::new(),
        };
        check_extents(name, &extents)
    }
}

fn check_extents(name: &str, extents: &[(&str, usize)]) -> Result<(), TensorIoError> {
    match extents.iter().find(|(_, extent)| !(1..=EXTENT_MAX).contains(extent)) {
        None => Ok(()),
        Some((part, got)) => {
            Err(TensorIoError::manifest(format!("inputs.{name}.{part}"), format!("1 to {EXTENT_MAX}"), got))
        }
    }
}

impl PictureRule {
    fn check(&self, name: &str) -> Result<(), TensorIoError> {
        for (part, values) in [("mean", &self.mean), ("std", &self.std)] {
            if ![0, 1, self.channels.count()].contains(&values.len()) {
                let expected = format!("none, one or {} numbers", self.channels.count());
                return Err(TensorIoError::manifest(format!("inputs.{name}.{part}"), expected, values.len()));
            }
        }
        if self.std.contains(&0.0) {
            return Err(TensorIoError::manifest(format!("inputs.{name}.std"), "numbers other than 0", "0"));
        }
        let extents = match self.resize {
            Resize::Stretch { height, width } | Resize::Fit { height, width, .. } => {
                vec![("height", height), ("width", width)]
            }
            Resize::Crop { height, width, short_side } => {
                if short_side < height.max(width) {
                    let expected = "a short_side that has what is cut out";
                    return Err(TensorIoError::manifest(format!("inputs.{name}.resize"), expected, short_side));
                }
                vec![("height", height), ("width", width), ("short_side", short_side)]
            }
            Resize::Height { height, width_min, width_max, .. } => {
                vec![("height", height), ("width_min", width_min.max(1)), ("width_max", width_max.max(width_min))]
            }
            Resize::Multiple { of, short_side_min, long_side_max } => {
                let is_room = long_side_max >= of && long_side_max >= short_side_min;
                vec![("of", of), ("long_side_max", if is_room { long_side_max } else { 0 })]
            }
        };
        check_extents(name, &extents)
    }
}
