//! What a model's description says of its inputs, outputs and states. (Field numbers as in `FeatureTypes.proto` and
//! `Model.proto`)

use crate::error::GraphError;
use crate::protobuf::Message;
use ballast_backend::DType;

/// Most features of a description.
const FEATURES_MAX: usize = 1 << 16;

/// Most extents that a feature is told to have.
const EXTENTS_MAX: usize = 1 << 16;

/// An input, an output or a state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// What it is, in the author's words.
    pub description: String,
    /// What it is.
    pub kind: FeatureKind,
    /// Whether Apple's systems take a run without it.
    pub is_optional: bool,
    /// What every element of a tensor is that is left out; `None`: the description has no value for it.
    pub default: Option<f64>,
}

/// What a feature is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FeatureKind {
    /// A tensor.
    Array {
        /// Type of its elements.
        dtype: DType,
        /// Its shape, or the one of several that it has by default.
        shape: Vec<usize>,
        /// Which others it may have.
        extents: Extents,
    },
    /// A picture.
    Image {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
        /// What a pixel is.
        pixels: PixelFormat,
        /// Which other sizes it may have, as `[width, height]`.
        extents: Extents,
    },
    /// A tensor that the model keeps from run to run.
    State {
        /// Type of its elements.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// One integer.
    Integer,
    /// One float.
    Double,
    /// One text.
    Text,
    /// Values by key, such as a classifier's probabilities.
    Dictionary,
    /// Values in a row.
    Sequence,
    /// Something that is not known here.
    #[default]
    Other,
}

/// Which extents a feature may have besides its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Extents {
    /// None.
    #[default]
    Fixed,
    /// One of these shapes.
    OneOf(Vec<Vec<usize>>),
    /// For each dimension the least and the most; `None`: no bound.
    Ranges(Vec<(usize, Option<usize>)>),
}

/// What a pixel of an image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelFormat {
    /// One value of 8 bits.
    Grayscale,
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One value of 16-bit float.
    GrayscaleF16,
    /// Not told.
    #[default]
    Unknown,
}

/// Inputs, outputs and states of one function.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) inputs: Vec<Feature>,
    pub(crate) outputs: Vec<Feature>,
    pub(crate) states: Vec<Feature>,
}

/// All functions' descriptions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Descriptions {
    /// Those of a model that has one function only.
    pub(crate) own: Description,
    pub(crate) functions: Vec<Description>,
    pub(crate) default_function: Option<String>,
}

impl Descriptions {
    /// The description of a function.
    pub(crate) fn of(&self, name: &str) -> Option<&Description> {
        if self.functions.is_empty() { Some(&self.own) } else { self.functions.iter().find(|of| of.name == name) }
    }

    /// Takes up one field of a model's description; metadata are not among them.
    pub(crate) fn add(&mut self, field: crate::protobuf::Field<'_>) -> Result<(), GraphError> {
        match field.number {
            1 => push(&mut self.own.inputs, Feature::read(field.message("input's description")?)?)?,
            10 => push(&mut self.own.outputs, Feature::read(field.message("output's description")?)?)?,
            13 => push(&mut self.own.states, Feature::read(field.message("state's description")?)?)?,
            20 => push(&mut self.functions, function(field.message("function's description")?)?)?,
            21 => self.default_function = Some(field.text()?),
            _ => {}
        }
        Ok(())
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), GraphError> {
    if list.len() == FEATURES_MAX {
        let what = "features of a description".to_owned();
        return Err(GraphError::TooMany { what, max: FEATURES_MAX as u64, got: FEATURES_MAX as u64 + 1 });
    }
    list.push(item);
    Ok(())
}

fn function(message: Message<'_>) -> Result<Description, GraphError> {
    let mut description = Description::default();
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => description.name = field.text()?,
            2 => push(&mut description.inputs, Feature::read(field.message("input's description")?)?)?,
            3 => push(&mut description.outputs, Feature::read(field.message("output's description")?)?)?,
            6 => push(&mut description.states, Feature::read(field.message("state's description")?)?)?,
            _ => {}
        }
    }
    Ok(description)
}

impl Feature {
    fn read(message: Message<'_>) -> Result<Self, GraphError> {
        let mut feature = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => feature.name = field.text()?,
                2 => feature.description = field.text()?,
                3 => {
                    for field in field.message("type of a feature")?.fields() {
                        let field = field?;
                        match field.number {
                            1000 => feature.is_optional = field.int()? != 0,
                            5 => {
                                let message = field.message("array")?;
                                feature.default = default_value(&message)?;
                                feature.kind = array(message)?;
                            }
                            number => feature.kind = kind(number, field)?.unwrap_or(feature.kind),
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(feature)
    }
}

fn kind(number: u32, field: crate::protobuf::Field<'_>) -> Result<Option<FeatureKind>, GraphError> {
    Ok(Some(match number {
        1 => FeatureKind::Integer,
        2 => FeatureKind::Double,
        3 => FeatureKind::Text,
        4 => image(field.message("image")?)?,
        5 => array(field.message("array")?)?,
        6 => FeatureKind::Dictionary,
        7 => FeatureKind::Sequence,
        8 => state(field.message("state")?)?,
        _ => return Ok(None),
    }))
}

fn state(message: Message<'_>) -> Result<FeatureKind, GraphError> {
    let mut kind = FeatureKind::Other;
    for field in message.fields() {
        let field = field?;
        if field.number == 1
            && let FeatureKind::Array { dtype, shape, .. } = array(field.message("array")?)?
        {
            kind = FeatureKind::State { dtype, shape };
        }
    }
    Ok(kind)
}

/// What elements are where the tensor is left out.
fn default_value(message: &Message<'_>) -> Result<Option<f64>, GraphError> {
    let mut value = None;
    for field in message.fields() {
        let field = field?;
        match field.number {
            41 => value = Some(field.int()? as f64),
            51 => value = Some(f64::from(field.float()?)),
            61 => value = Some(field.double()?),
            _ => {}
        }
    }
    Ok(value)
}

fn array(message: Message<'_>) -> Result<FeatureKind, GraphError> {
    let (mut dims, mut code, mut extents) = (Vec::new(), 0, Extents::Fixed);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => field.ints(&mut dims)?,
            2 => code = field.int()?,
            21 => extents = one_of(field.message("shapes")?, |message| sizes(message, "extents of a shape"))?,
            31 => extents = Extents::Ranges(ranges(field.message("ranges of a shape")?)?),
            _ => {}
        }
    }
    // Values are the number of bits, and what they mean above. (`ArrayFeatureType.ArrayDataType`)
    let dtype = match code {
        0x1_0020 => DType::F32,
        0x1_0040 => DType::F64,
        0x1_0010 => DType::F16,
        0x2_0020 => DType::I32,
        0x2_0008 => DType::I8,
        _ => return Ok(FeatureKind::Other),
    };
    Ok(FeatureKind::Array { dtype, shape: naturals(&dims)?, extents })
}

fn naturals(values: &[i64]) -> Result<Vec<usize>, GraphError> {
    let naturals: Result<Vec<usize>, _> = values.iter().map(|&value| usize::try_from(value)).collect();
    naturals.map_err(|_| GraphError::malformed("description", "extents of 0 or more", format!("{values:?}")))
}

/// The numbers of a message whose only field they are.
fn sizes(message: Message<'_>, _what: &'static str) -> Result<Vec<usize>, GraphError> {
    let mut values = Vec::new();
    for field in message.fields() {
        let field = field?;
        if field.number == 1 {
            field.ints(&mut values)?;
        }
    }
    naturals(&values)
}

fn one_of(
    message: Message<'_>,
    read: impl Fn(Message<'_>) -> Result<Vec<usize>, GraphError>,
) -> Result<Extents, GraphError> {
    let mut shapes = Vec::new();
    for field in message.fields() {
        let field = field?;
        if field.number == 1 {
            if shapes.len() == EXTENTS_MAX {
                let what = "shapes of a feature".to_owned();
                return Err(GraphError::TooMany { what, max: EXTENTS_MAX as u64, got: EXTENTS_MAX as u64 + 1 });
            }
            shapes.push(read(field.message("shape")?)?);
        }
    }
    Ok(Extents::OneOf(shapes))
}

/// The least and the most of each dimension.
fn ranges(message: Message<'_>) -> Result<Vec<(usize, Option<usize>)>, GraphError> {
    let mut ranges = Vec::new();
    for field in message.fields() {
        let field = field?;
        if field.number == 1 && ranges.len() < ballast_backend::RANK_MAX {
            ranges.push(range(field.message("range")?)?);
        }
    }
    Ok(ranges)
}

/// A negative upper bound is none.
fn range(message: Message<'_>) -> Result<(usize, Option<usize>), GraphError> {
    let mut range = (0, Some(0));
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => range.0 = naturals(&[field.int()?])?[0],
            2 => range.1 = usize::try_from(field.int()?).ok(),
            _ => {}
        }
    }
    Ok(range)
}

fn image(message: Message<'_>) -> Result<FeatureKind, GraphError> {
    let (mut width, mut height, mut pixels, mut extents) = (0, 0, PixelFormat::Unknown, Extents::Fixed);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => width = naturals(&[field.int()?])?[0],
            2 => height = naturals(&[field.int()?])?[0],
            3 => {
                pixels = match field.int()? {
                    10 => PixelFormat::Grayscale,
                    20 => PixelFormat::Rgb,
                    30 => PixelFormat::Bgr,
                    40 => PixelFormat::GrayscaleF16,
                    _ => PixelFormat::Unknown,
                }
            }
            21 => extents = one_of(field.message("sizes of an image")?, pair)?,
            31 => extents = Extents::Ranges(image_ranges(field.message("ranges of an image")?)?),
            _ => {}
        }
    }
    Ok(FeatureKind::Image { width, height, pixels, extents })
}

/// Width and height.
fn pair(message: Message<'_>) -> Result<Vec<usize>, GraphError> {
    let mut pair = vec![0, 0];
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => pair[0] = naturals(&[field.int()?])?[0],
            2 => pair[1] = naturals(&[field.int()?])?[0],
            _ => {}
        }
    }
    Ok(pair)
}

fn image_ranges(message: Message<'_>) -> Result<Vec<(usize, Option<usize>)>, GraphError> {
    let mut ranges = vec![(0, None); 2];
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => ranges[0] = range(field.message("range of widths")?)?,
            2 => ranges[1] = range(field.message("range of heights")?)?,
            _ => {}
        }
    }
    Ok(ranges)
}
