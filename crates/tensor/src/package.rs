//! Core ML packages on the CPU: `.mlpackage` folders and bare `.mlmodel` files that hold an ML Program.
//!
//! ```text
//! folder --manifest--> model file --description--> inputs, outputs, states
//!                          |--------program--------lower--> Model
//!                                        weights ----'
//! ```
//!
//! What a package takes and gives is what its description says. An image is a tensor `[1, channels, height, width]` of
//! the values 0 to 255 of its pixels, the channels in the order that its colour space names: a program scales them
//! itself. What an image is that comes out are the values before a device rounds them to pixels. An input that the
//! description calls optional may be left out of [`crate::Executor::run`] where the description has a value for it; any
//! other must be given, and the runtime around an engine asks for all. A classifier's dictionary is a tensor of its
//! values in the order of the classes, which [`PackageSurvey`] lists. Flexible extents may be any: the ranges that the
//! description tells are those that Apple's systems prepare for.

pub(crate) mod blob;
mod description;
mod lint;
mod manifest;
mod model_file;
mod storage;
mod survey;

use crate::array::{Array, Data};
use crate::error::GraphError;
use crate::graph::Model;
use crate::mil::decode::Decoder;
use crate::mil::lower::{PortTypes, lower};
use crate::mil::{Function, Program};
use crate::onnx::read_file;
use ballast_backend::{DType, element_count};
use blob::Blobs;
use description::Description;
use manifest::Place;
use model_file::ModelFile;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use description::{Extents, Feature, FeatureKind, PixelFormat};
pub use model_file::PackageMetadata;
pub use storage::WeightsSurvey;
pub use survey::{FunctionSurvey, OperationSurvey, PackageSurvey};

/// Version of ONNX's operators that programs are lowered to, and of those that ONNX has no words for.
const OPSETS: [(&str, i64); 2] = [("", 21), ("mil", 1)];

/// Bounds of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageLimits {
    /// Most bytes of the manifest.
    pub manifest_bytes_max: u64,
    /// Most bytes of the model's file, weights aside.
    pub model_bytes_max: u64,
    /// Most files that a manifest lists, and most files of weights.
    pub files_max: usize,
    /// Most operations of all functions together, and of a function with its loops lowered.
    pub operations_max: usize,
    /// Most names, types and values of all operations together.
    pub parts_max: usize,
    /// Most bytes of one tensor.
    pub tensor_bytes_max: usize,
    /// Most bytes of all constants together, as they are when they are expanded.
    pub constants_bytes_max: usize,
}

impl Default for PackageLimits {
    fn default() -> Self {
        Self {
            manifest_bytes_max: 1 << 20,
            model_bytes_max: 256 << 20,
            files_max: 64,
            operations_max: 1 << 18,
            parts_max: 1 << 21,
            tensor_bytes_max: 2 << 30,
            constants_bytes_max: 16 << 30,
        }
    }
}

/// A package that was read, its weights aside.
#[derive(Debug)]
pub struct Package {
    file: ModelFile,
    blobs: Blobs,
    limits: PackageLimits,
}

impl Package {
    /// Reads the `.mlpackage` folder or the `.mlmodel` file at `path`.
    ///
    /// # Errors
    /// Files that cannot be read, that lie outside of the package, or are not what they should be.
    pub fn open(path: &Path, limits: PackageLimits) -> Result<Self, GraphError> {
        let Place { model, folder, root } = manifest::find(path, &limits)?;
        let bytes = read_file(&model, limits.model_bytes_max)?;
        let file = ModelFile::read(&bytes, &limits)?;
        Ok(Self { file, blobs: Blobs::below(&folder, &root, limits.files_max), limits })
    }

    /// Reads a model's file that is in memory, with its files of weights by their paths from the model's folder, such as
    /// `weights/weight.bin`.
    ///
    /// # Errors
    /// Bytes that are not what they should be.
    pub fn from_bytes(
        model: &[u8],
        weights: &BTreeMap<String, Vec<u8>>,
        limits: PackageLimits,
    ) -> Result<Self, GraphError> {
        Ok(Self { file: ModelFile::read(model, &limits)?, blobs: Blobs::held(weights), limits })
    }

    /// What the package says of itself, and what can be said of it without running it.
    #[must_use]
    pub fn survey(&self) -> PackageSurvey {
        survey::survey(&self.file)
    }

    /// The name of the function that is meant unless another is asked for; `None`: there is none, or no program.
    #[must_use]
    pub fn default_function(&self) -> Option<&str> {
        let program = self.file.find_program()?;
        chosen(program, self.file.description.default_function.as_deref(), None).ok().map(|(name, _)| name)
    }

    /// The function of this name, or the default one, with its weights.
    ///
    /// # Errors
    /// A model that is no ML Program, a function that it does not have, all that cannot be computed, and weights that are
    /// not what the program says.
    pub fn model(&mut self, function: Option<&str>) -> Result<Model, GraphError> {
        let program = self.file.program()?;
        let (name, function) = chosen(program, self.file.description.default_function.as_deref(), function)?;
        let description = self.file.description.of(name);
        let (types, defaults) = (port_types(description, function), defaults(description, function, &self.limits)?);
        let decoder = Decoder::new(&mut self.blobs, self.limits.constants_bytes_max, self.limits.tensor_bytes_max);
        let lowered = lower(function, &types, decoder, self.limits.operations_max)?;
        let opsets = OPSETS.iter().map(|(domain, version)| ((*domain).to_owned(), *version));
        Ok(Model {
            graph: lowered.graph,
            opsets: opsets.collect(),
            producer: self
                .file
                .metadata
                .user_defined
                .get("com.github.apple.coremltools.version")
                .cloned()
                .unwrap_or_default(),
            metadata: self.file.metadata.user_defined.clone(),
            states: lowered.states,
            defaults,
        })
    }
}

/// The function that is meant: the one named, the one that the description calls the default, `main`, or the only one.
fn chosen<'a>(
    program: &'a Program,
    default: Option<&'a str>,
    wanted: Option<&'a str>,
) -> Result<(&'a str, &'a Function), GraphError> {
    let only = || program.functions.keys().next().filter(|_| program.functions.len() == 1).map(String::as_str);
    let default = default.filter(|name| !name.is_empty());
    let main = Some("main").filter(|name| program.functions.contains_key(*name));
    let name = wanted.or(default).or(main).or_else(only).unwrap_or_default();
    let found = program.functions.get_key_value(name);
    let missing =
        || GraphError::malformed("program", format!("a function {name:?}"), format!("{:?}", program.functions.keys()));
    found.map(|(name, function)| (name.as_str(), function)).ok_or_else(missing)
}

/// The types that the description tells; values of images are f32.
fn port_types(description: Option<&Description>, function: &Function) -> PortTypes {
    let features = description.into_iter().flat_map(|of| of.inputs.iter().chain(&of.outputs));
    let types = features.filter_map(|feature| match &feature.kind {
        FeatureKind::Array { dtype, .. } => Some((feature.name.clone(), *dtype)),
        FeatureKind::Image { .. } => Some((feature.name.clone(), DType::F32)),
        FeatureKind::State { .. }
        | FeatureKind::Integer
        | FeatureKind::Double
        | FeatureKind::Text
        | FeatureKind::Dictionary
        | FeatureKind::Sequence
        | FeatureKind::Other => None,
    });
    let known = |name: &str| {
        function.inputs.iter().any(|input| input.name == name)
            || function.block.outputs.iter().any(|output| output == name)
    };
    types.filter(|(name, _)| known(name)).collect()
}

/// The values of inputs that may be left out: each one number for all elements.
fn defaults(
    description: Option<&Description>,
    function: &Function,
    limits: &PackageLimits,
) -> Result<BTreeMap<String, Array>, GraphError> {
    let mut defaults = BTreeMap::new();
    for Feature { name, kind, default, is_optional, .. } in description.into_iter().flat_map(|of| &of.inputs) {
        let FeatureKind::Array { dtype, shape, .. } = kind else { continue };
        let Some(value) = default.filter(|_| *is_optional && function.inputs.iter().any(|input| input.name == *name))
        else {
            continue;
        };
        let len = element_count(shape).filter(|len| len.saturating_mul(dtype.size_bytes()) <= limits.tensor_bytes_max);
        let too_large =
            || GraphError::malformed(format!("input {name:?}"), "a shape within bounds", format!("{shape:?}"));
        let data = constant(value, *dtype, len.ok_or_else(too_large)?).ok_or_else(|| {
            GraphError::malformed(format!("input {name:?}"), format!("a value of {dtype}"), value.to_string())
        })?;
        defaults.insert(name.clone(), Array::of_data(shape, data));
    }
    Ok(defaults)
}

/// As many of one number; `None`: the type does not have it, or is none that descriptions have.
fn constant(value: f64, dtype: DType, len: usize) -> Option<Data> {
    #[expect(clippy::cast_possible_truncation, reason = "the number is the nearest that the type has")]
    let near = value as f32;
    Some(match dtype {
        DType::F32 => Data::F32(Arc::new(vec![near; len])),
        DType::F64 => Data::F64(Arc::new(vec![value; len])),
        DType::F16 => Data::F16(Arc::new(vec![half::f16::from_f32(near); len])),
        #[expect(clippy::cast_possible_truncation, reason = "it is checked to be the same")]
        DType::I32 if f64::from(value as i32) == value => Data::I32(Arc::new(vec![value as i32; len])),
        #[expect(clippy::cast_possible_truncation, reason = "it is checked to be the same")]
        DType::I8 if f64::from(value as i8) == value => Data::I8(Arc::new(vec![value as i8; len])),
        DType::I32
        | DType::I8
        | DType::I64
        | DType::I16
        | DType::U64
        | DType::U32
        | DType::U16
        | DType::U8
        | DType::Bf16
        | DType::Bool
        | DType::Str => return None,
    })
}

impl Model {
    /// Reads the default function of a Core ML package: a `.mlpackage` folder, or a `.mlmodel` file that holds an ML
    /// Program. [`Package`] tells more of it.
    ///
    /// # Errors
    /// As [`Package::open`] and [`Package::model`].
    pub fn open_package(path: &Path, limits: PackageLimits) -> Result<Self, GraphError> {
        Package::open(path, limits)?.model(None)
    }
}
