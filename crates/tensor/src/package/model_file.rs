//! The model's file: what it says of itself, and the program in it. (Field numbers as in `Model.proto`)

use super::PackageLimits;
use super::description::Descriptions;
use crate::error::GraphError;
use crate::mil::Program;
use crate::mil::read::Budget;
use crate::onnx::pair;
use crate::protobuf::Message;
use std::collections::BTreeMap;

/// Most entries that an author adds to the metadata.
const USER_DEFINED_MAX: usize = 1 << 16;

/// The field of ML Programs.
const ML_PROGRAM: u32 = 502;

/// What a package's author says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageMetadata {
    /// Who made it.
    pub author: String,
    /// Its licence.
    pub license: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub description: String,
    /// Whatever else.
    pub user_defined: BTreeMap<String, String>,
}

/// A model's file, read.
#[derive(Debug)]
pub(crate) struct ModelFile {
    pub(crate) specification_version: i64,
    pub(crate) description: Descriptions,
    pub(crate) metadata: PackageMetadata,
    /// The field that the model is in.
    pub(crate) kind: u32,
    pub(crate) is_updatable: bool,
    program: Option<Program>,
}

/// Kinds of models that are no programs: the field, the name, and what they are instead.
const OTHER_KINDS: &[(u32, &str, &str)] = &[
    (200, "pipeline classifier", "a pipeline of models"),
    (201, "pipeline regressor", "a pipeline of models"),
    (202, "pipeline", "a pipeline of models"),
    (300, "generalised linear regressor", "no neural network"),
    (301, "support vector regressor", "no neural network"),
    (302, "tree ensemble regressor", "trees"),
    (303, "neural network regressor", "of the format before ML Programs"),
    (304, "Bayesian probit regressor", "no neural network"),
    (400, "generalised linear classifier", "no neural network"),
    (401, "support vector classifier", "no neural network"),
    (402, "tree ensemble classifier", "trees"),
    (403, "neural network classifier", "of the format before ML Programs"),
    (404, "nearest neighbours classifier", "no neural network"),
    (500, "neural network", "of the format before ML Programs"),
    (501, "item similarity recommender", "no neural network"),
    (555, "custom model", "code of an application's own"),
    (556, "linked model", "a reference to another model"),
    (560, "class confidence thresholding", "no neural network"),
    (600, "one-hot encoder", "a step of preparation"),
    (601, "imputer", "a step of preparation"),
    (602, "feature vectorizer", "a step of preparation"),
    (603, "dictionary vectorizer", "a step of preparation"),
    (604, "scaler", "a step of preparation"),
    (606, "categorical mapping", "a step of preparation"),
    (607, "normalizer", "a step of preparation"),
    (609, "array feature extractor", "a step of preparation"),
    (610, "non-maximum suppression", "a step behind a detector"),
    (900, "identity", "nothing to compute"),
    (2000, "text classifier", "a model of Apple's own"),
    (2001, "word tagger", "a model of Apple's own"),
    (2002, "vision feature print", "a model of Apple's own"),
    (2003, "sound analysis preprocessing", "a model of Apple's own"),
    (2004, "gazetteer", "a model of Apple's own"),
    (2005, "word embedding", "a model of Apple's own"),
    (2006, "audio feature print", "a model of Apple's own"),
    (3000, "serialized model", "a model of Apple's own"),
];

impl ModelFile {
    pub(crate) fn read(bytes: &[u8], limits: &PackageLimits) -> Result<Self, GraphError> {
        if bytes.len() as u64 > limits.model_bytes_max {
            let what = "bytes of the model's file".to_owned();
            return Err(GraphError::TooMany { what, max: limits.model_bytes_max, got: bytes.len() as u64 });
        }
        let mut file = Self {
            specification_version: 0,
            description: Descriptions::default(),
            metadata: PackageMetadata::default(),
            kind: 0,
            is_updatable: false,
            program: None,
        };
        let mut budget = Budget::new(limits.operations_max, limits.parts_max);
        for field in Message::new(bytes, "model").fields() {
            let field = field?;
            match field.number {
                1 => file.specification_version = field.int()?,
                2 => file.describe(field.message("description")?)?,
                10 => file.is_updatable = field.int()? != 0,
                ML_PROGRAM => {
                    file.kind = field.number;
                    file.program = Some(Program::read(field.message("program")?, &mut budget)?);
                }
                number if other_kind(number).is_some() => file.kind = number,
                _ => {}
            }
        }
        if file.kind == 0 || file.specification_version < 1 {
            let got = format!("version {} and no model that is known", file.specification_version);
            return Err(GraphError::malformed("model", "a Core ML model", got));
        }
        Ok(file)
    }

    fn describe(&mut self, message: Message<'_>) -> Result<(), GraphError> {
        for field in message.fields() {
            let field = field?;
            if field.number == 100 {
                self.metadata = metadata(field.message("metadata")?)?;
            } else {
                self.description.add(field)?;
            }
        }
        Ok(())
    }

    /// What the model is.
    pub(crate) fn kind_name(&self) -> &'static str {
        if self.kind == ML_PROGRAM { "ML Program" } else { other_kind(self.kind).map_or("unknown", |(name, _)| name) }
    }

    /// The program, if that is what the model is.
    pub(crate) fn find_program(&self) -> Option<&Program> {
        self.program.as_ref().filter(|_| self.kind == ML_PROGRAM)
    }

    /// The program.
    pub(crate) fn program(&self) -> Result<&Program, GraphError> {
        let refused = || {
            let (name, reason) = other_kind(self.kind).unwrap_or(("model", "of a kind that is not known"));
            GraphError::Unsupported {
                what: vec![format!("a Core ML {name} ({reason}); ML Programs only are computed")],
            }
        };
        self.find_program().ok_or_else(refused)
    }
}

fn other_kind(number: u32) -> Option<(&'static str, &'static str)> {
    OTHER_KINDS.iter().find(|(of, ..)| *of == number).map(|(_, name, reason)| (*name, *reason))
}

fn metadata(message: Message<'_>) -> Result<PackageMetadata, GraphError> {
    let mut metadata = PackageMetadata::default();
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => metadata.description = field.text()?,
            2 => metadata.version = field.text()?,
            3 => metadata.author = field.text()?,
            4 => metadata.license = field.text()?,
            100 => {
                let (key, value) = pair(field.message("metadata of the author's own")?)?;
                metadata.user_defined.insert(key, value);
                if metadata.user_defined.len() > USER_DEFINED_MAX {
                    let what = "entries of metadata".to_owned();
                    return Err(GraphError::TooMany {
                        what,
                        max: USER_DEFINED_MAX as u64,
                        got: USER_DEFINED_MAX as u64 + 1,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(metadata)
}
