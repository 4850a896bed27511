//! Encoders of the field's libraries to GGUF files: a folder with `model.safetensors`, `config.json` and a vocabulary
//! becomes one file, with the names and keys that llama.cpp gives them.
//!
//! Every part of the folder is untrusted: lengths are bounded, shapes are compared with the configuration, and what is
//! not understood is refused by name. The file appears under its name when it is complete and was opened once.

mod bert;
mod elements;
mod error;
mod folder;
mod names;
mod vocabulary;

pub use error::ConvertError;
pub use folder::{SAFETENSORS_BYTES_MAX, TEXT_BYTES_MAX};

use ballast_gguf::{Gguf, Metadata, PlannedTensor, StreamWriter, TensorType, Value};
use ballast_llm::EncoderConfig;
use ballast_tokens::WordPiece;
use bert::Bert;
use elements::Elements;
use folder::Folder;
use names::Name;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use vocabulary::Vocabulary;

/// How matrices are stored; vectors, positions and token types are always F32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvertType {
    /// As they are in most folders.
    F32,
    /// Half the size; what rounding costs is far below what embeddings are compared by.
    #[default]
    F16,
    /// A quarter: 32 entries share a scale. A matrix whose rows are no whole number of 32 is stored as F16.
    Q8_0,
}

impl ConvertType {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8_0];

    /// Lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// The number of `general.file_type`.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
        }
    }

    fn of(self, name: &Name, shape: &[usize]) -> TensorType {
        let is_matrix = shape.len() == 2 && !name.is_table;
        match self {
            Self::Q8_0 if is_matrix && shape[1].is_multiple_of(32) => TensorType::Q8_0,
            Self::F16 | Self::Q8_0 if is_matrix => TensorType::F16,
            Self::F32 | Self::F16 | Self::Q8_0 => TensorType::F32,
        }
    }
}

/// What was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// Tensors in the file.
    pub n_tensors: usize,
    /// Tensors of the folder that no embedding needs.
    pub n_left_out: usize,
    /// Tokens of the vocabulary.
    pub n_tokens: usize,
    /// Bytes of the file.
    pub n_bytes: u64,
    /// What the file says of itself.
    pub config: EncoderConfig,
}

/// Converts the model in `folder`, or the `.safetensors` file in its folder, to a file at `out`.
///
/// # Errors
/// If a part is missing, too long, not well-formed or contradicts another; if the model is not a BERT encoder; if the
/// file cannot be written. Nothing is left at `out` then.
pub fn convert(folder: &Path, out: &Path, weight_type: ConvertType) -> Result<Converted, ConvertError> {
    let folder = Folder::open(folder)?;
    let bert = Bert::read(&folder)?;
    let bytes = folder.weights()?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|source| ConvertError::Safetensors { source })?;
    let (named, n_left_out) = named(&tensors, &bert)?;
    let vocabulary = Vocabulary::read(&folder, bert.vocab_size)?;

    let mut metadata = bert.metadata(&folder.name(), weight_type.file_type());
    metadata.extend(vocabulary.metadata());
    let part = out.with_extension("part");
    let written = write(&part, &metadata, &named, weight_type).and_then(|()| check(&part, bert.vocab_size));
    let (config, n_bytes) = written.inspect_err(|_| drop(fs::remove_file(&part)))?;
    fs::rename(&part, out).map_err(|source| ConvertError::Write { source })?;
    Ok(Converted { n_tensors: named.len(), n_left_out, n_tokens: vocabulary.len(), n_bytes, config })
}

/// The tensors that an encoder needs, by their names in the file, and how many are left out.
fn named<'a>(tensors: &'a SafeTensors<'_>, bert: &Bert) -> Result<(BTreeMap<Name, Elements<'a>>, usize), ConvertError> {
    let (mut named, mut n_left_out) = (BTreeMap::new(), 0);
    for (name, view) in tensors.iter() {
        match Name::of(name, bert.n_labels > 0) {
            Some(Some(to)) => {
                let elements = Elements::new(name, view)?;
                if named.insert(to, elements).is_some() {
                    return Err(ConvertError::TensorTwice { name: name.to_owned() });
                }
            }
            Some(None) => n_left_out += 1,
            None => return Err(ConvertError::TensorUnknown { name: name.to_owned() }),
        }
    }
    Ok((named, n_left_out))
}

fn write(
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &BTreeMap<Name, Elements<'_>>,
    weight_type: ConvertType,
) -> Result<(), ConvertError> {
    let plan = |(name, elements): (&Name, &Elements<'_>)| PlannedTensor {
        name: name.text.clone(),
        shape: elements.shape().iter().rev().map(|extent| *extent as u64).collect(),
        tensor_type: weight_type.of(name, elements.shape()),
    };
    let plan: Vec<PlannedTensor> = tensors.iter().map(plan).collect();
    let file = File::create(path).map_err(|source| ConvertError::Write { source })?;
    let mut writer = StreamWriter::begin(BufWriter::new(file), metadata, &plan)?;
    for (elements, planned) in tensors.values().zip(&plan) {
        elements.write_as(planned.tensor_type, |bytes| writer.write(bytes))?;
    }
    let file = writer.finish()?.into_inner().map_err(|error| ConvertError::Write { source: error.into_error() })?;
    file.sync_all().map_err(|source| ConvertError::Write { source })
}

/// Opens what was written: shapes that contradict the configuration are found here, by the engine that would run it.
fn check(path: &Path, vocab_size: usize) -> Result<(EncoderConfig, u64), ConvertError> {
    let config = EncoderConfig::check(&Gguf::open(path)?)?;
    if config.vocab_size != vocab_size {
        let got = format!("{} for {vocab_size}", config.vocab_size);
        return Err(ConvertError::Vocabulary {
            expected: "as many rows of the embedding as the configuration says",
            got,
        });
    }
    let n_bytes = fs::metadata(path).map_err(|source| ConvertError::Write { source })?.len();
    Ok((config, n_bytes))
}

/// The tokenizer of a `tokenizer.json` of the WordPiece kind.
///
/// # Errors
/// A file that cannot be read, or another kind of tokenizer.
pub(crate) fn word_piece(path: &Path) -> Result<WordPiece, crate::Error> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let vocabulary = Vocabulary::of_file(&Folder::open(path)?, name)?;
    Ok(WordPiece::from_gguf(&Metadata::new(vocabulary.metadata())?)?)
}

#[cfg(test)]
mod tests;
