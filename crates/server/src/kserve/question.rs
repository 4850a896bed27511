//! What is asked of a model, whatever it came as: tensors by name, the outputs that are wanted, and how soon.

use super::datatype;
use super::outline::TENSORS_MAX;
use crate::fields::{Fields, ParamError};
use ballast_backend::{DType, Dim, IoSchema, RANK_MAX, Tensor, TensorData, TensorMap, TensorSpec, element_count};
use ballast_runtime::Priority;
use serde_json::Value;
use std::time::Duration;

/// Priorities there are on this wire: 1 is served first, the middle one is usual.
pub(super) const PRIORITY_LEVELS: u64 = 21;
/// The usual priority.
pub(super) const PRIORITY_DEFAULT: u64 = 11;
/// Most classes that a classification tells.
const CLASSES_MAX: u64 = 65_536;
/// Longest identifier of a request.
const ID_BYTES_MAX: usize = 1024;

/// A request for inference.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    /// The caller's name for it; empty: none.
    pub(super) id: String,
    pub(super) inputs: TensorMap,
    /// In the order in which they are told.
    pub(super) outputs: Vec<Wanted>,
    pub(super) asks: Asks,
}

/// What a request's parameters ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asks {
    /// `None`: as the header says.
    pub(super) priority: Option<Priority>,
    /// `None`: as long as requests have.
    pub(super) timeout: Option<Duration>,
    /// Whether outputs that say nothing of it are told as bytes.
    pub(super) is_binary: bool,
}

/// An output, and how it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// Whether it is told as bytes.
    pub(super) is_binary: bool,
    /// The so many highest values, with their places and labels, in place of the values.
    pub(super) n_classes: Option<usize>,
}

/// What an input says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// Where it stands, such as `inputs[0]`.
    pub(super) place: String,
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) n_elements: usize,
    /// Bytes of its values behind the JSON; `None`: they are in it.
    pub(super) n_bytes: Option<usize>,
}

/// Parameters that ask for memory that caller and server share.
const SHARED_MEMORY: [&str; 3] = ["shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"];
const NO_SHARED_MEMORY: &str = "send tensors in the request, and read them from the answer";

/// The parameters of a request.
///
/// # Errors
/// Names one that is not known, not supported or wrong.
pub(super) fn asks(parameters: Option<Value>, timeout_max: Duration) -> Result<Asks, ParamError> {
    let mut asks = Asks::default();
    let Some(parameters) = parameters else { return Ok(asks) };
    let mut fields = Fields::new("parameters".to_owned(), parameters)?;
    asks.priority = priority(&mut fields)?;
    asks.timeout = timeout(&mut fields, timeout_max)?;
    asks.is_binary = fields.bool("binary_data_output")?.unwrap_or(false);
    content_type(&mut fields, None)?;
    let alone = "requests are answered one by one: there are no sequences here";
    fields.refuse(&[
        ("sequence_id", |id| id.as_u64() == Some(0) || id.as_str() == Some(""), alone),
        ("sequence_start", |start| start.as_bool() == Some(false), alone),
        ("sequence_end", |end| end.as_bool() == Some(false), alone),
    ])?;
    fields.finish()?;
    Ok(asks)
}

fn priority(fields: &mut Fields) -> Result<Option<Priority>, ParamError> {
    let Some(value) = fields.take("priority") else { return Ok(None) };
    let number = value.as_u64().filter(|number| *number <= PRIORITY_LEVELS);
    let wrong =
        || ParamError::wrong(fields.name("priority"), "a whole number from 0 to 21, 1 being served first", &value);
    match number.ok_or_else(wrong)? {
        0 => Ok(None),
        number => {
            let level = i8::try_from(PRIORITY_DEFAULT).unwrap_or(0) - i8::try_from(number).unwrap_or(0);
            Ok(Priority::new(level))
        }
    }
}

/// In microseconds; 0 asks for nothing.
fn timeout(fields: &mut Fields, max: Duration) -> Result<Option<Duration>, ParamError> {
    let Some(value) = fields.take("timeout") else { return Ok(None) };
    let asked = value.as_u64().map(Duration::from_micros).filter(|asked| *asked <= max);
    let expected = || format!("microseconds, a whole number up to {}", max.as_micros());
    let asked = asked.ok_or_else(|| ParamError::wrong(fields.name("timeout"), expected(), &value))?;
    Ok((!asked.is_zero()).then_some(asked))
}

/// MLServer's word for how an array became a tensor: as it is, or as texts.
fn content_type(fields: &mut Fields, dtype: Option<DType>) -> Result<(), ParamError> {
    let Some(value) = fields.take("content_type") else { return Ok(()) };
    match (value.as_str(), dtype) {
        (Some("np"), _) | (Some("str"), None | Some(DType::Str)) => Ok(()),
        _ => Err(ParamError::Unsupported {
            param: fields.name("content_type"),
            supported: "np, and str for BYTES: send tensors as they are",
        }),
    }
}

/// What an input says of itself.
///
/// # Errors
/// Names the field that is wrong.
pub(super) fn declared(place: String, fields: Value) -> Result<Declared, ParamError> {
    let mut fields = Fields::new(place.clone(), fields)?;
    let name = fields.needed_string("name", "the name of an input")?;
    let dtype = datatype_of(&mut fields)?;
    let shape = match fields.take("shape") {
        Some(Value::Array(extents)) if extents.len() <= RANK_MAX => {
            extents.iter().map(|extent| extent.as_u64().and_then(|extent| usize::try_from(extent).ok())).collect()
        }
        Some(_) => None,
        None => return Err(ParamError::Missing { param: fields.name("shape"), expected: "a list of extents" }),
    };
    let wrong = |got: String| ParamError::Wrong { param: fields.name("shape"), expected: SHAPE.to_owned(), got };
    let shape: Vec<usize> = shape.ok_or_else(|| wrong("something else".to_owned()))?;
    let n_elements = element_count(&shape).ok_or_else(|| wrong(format!("{shape:?}")))?;
    let parameters = fields.take("parameters");
    fields.finish()?;
    let n_bytes = input_parameters(&place, parameters, dtype)?;
    Ok(Declared { place, name, dtype, shape, n_elements, n_bytes })
}

const SHAPE: &str = "at most 8 whole numbers, 0 or more, whose product can be counted";

fn datatype_of(fields: &mut Fields) -> Result<DType, ParamError> {
    let name = fields.needed_string("datatype", "the datatype of the input")?;
    datatype::of(&name).ok_or_else(|| {
        let names: Vec<&str> = DType::EVERY.iter().map(|dtype| datatype::name(*dtype)).collect();
        ParamError::wrong(fields.name("datatype"), format!("one of {}", names.join(", ")), &name.into())
    })
}

/// Bytes of the input's values behind the JSON.
fn input_parameters(place: &str, parameters: Option<Value>, dtype: DType) -> Result<Option<usize>, ParamError> {
    let Some(parameters) = parameters else { return Ok(None) };
    let mut fields = Fields::new(format!("{place}.parameters"), parameters)?;
    let n_bytes = fields.count("binary_data_size")?;
    content_type(&mut fields, Some(dtype))?;
    refuse_shared_memory(&mut fields)?;
    fields.finish()?;
    Ok(n_bytes)
}

fn refuse_shared_memory(fields: &mut Fields) -> Result<(), ParamError> {
    fields.refuse(&SHARED_MEMORY.map(|name| (name, crate::fields::never as fn(&Value) -> bool, NO_SHARED_MEMORY)))
}

/// The outputs that are wanted: `outputs` as they were sent, or all.
///
/// # Errors
/// Names the field that is wrong.
pub(super) fn wanted(outputs: Option<Value>, asks: Asks, schema: &IoSchema) -> Result<Vec<Wanted>, ParamError> {
    let Some(outputs) = outputs.filter(|outputs| outputs.as_array().is_none_or(|all| !all.is_empty())) else {
        let all = |spec: &TensorSpec| Wanted { name: spec.name.clone(), is_binary: asks.is_binary, n_classes: None };
        return Ok(schema.outputs.iter().map(all).collect());
    };
    let Value::Array(outputs) = outputs else {
        return Err(ParamError::wrong("outputs".to_owned(), "a list of outputs", &outputs));
    };
    if outputs.len() > TENSORS_MAX {
        return Err(ParamError::wrong("outputs".to_owned(), "at most 256 outputs", &Value::Array(outputs)));
    }
    let mut all: Vec<Wanted> = Vec::new();
    for (idx, output) in outputs.into_iter().enumerate() {
        let wanted = one_wanted(format!("outputs[{idx}]"), output, asks)?;
        let is_known = schema.outputs.iter().any(|spec| spec.name == wanted.name);
        let is_new = all.iter().all(|other| other.name != wanted.name);
        if !(is_known && is_new) {
            let names: Vec<&str> = schema.outputs.iter().map(|spec| spec.name.as_str()).collect();
            let expected = format!("each output of the model at most once: {}", names.join(", "));
            return Err(ParamError::wrong(format!("outputs[{idx}].name"), expected, &wanted.name.into()));
        }
        all.push(wanted);
    }
    Ok(all)
}

fn one_wanted(place: String, output: Value, asks: Asks) -> Result<Wanted, ParamError> {
    let mut fields = Fields::new(place.clone(), output)?;
    let name = fields.needed_string("name", "the name of an output")?;
    let parameters = fields.take("parameters");
    fields.finish()?;
    let mut wanted = Wanted { name, is_binary: asks.is_binary, n_classes: None };
    if let Some(parameters) = parameters {
        let mut fields = Fields::new(format!("{place}.parameters"), parameters)?;
        wanted.is_binary = fields.bool("binary_data")?.unwrap_or(asks.is_binary);
        wanted.n_classes = match fields.take("classification") {
            None => None,
            Some(value) => match value.as_u64() {
                Some(0) => None,
                Some(n) if n <= CLASSES_MAX => usize::try_from(n).ok(),
                _ => {
                    let param = fields.name("classification");
                    return Err(ParamError::wrong(param, "a number of classes up to 65536", &value));
                }
            },
        };
        content_type(&mut fields, None)?;
        refuse_shared_memory(&mut fields)?;
        fields.finish()?;
    }
    Ok(wanted)
}

/// The caller's name for its request.
///
/// # Errors
/// If it is too long.
pub(super) fn id(id: Option<String>) -> Result<String, ParamError> {
    let id = id.unwrap_or_default();
    if id.len() <= ID_BYTES_MAX {
        return Ok(id);
    }
    Err(ParamError::wrong("id".to_owned(), "at most 1024 bytes", &id.into()))
}

impl Declared {
    /// Whether the model has such an input: before its values are read.
    ///
    /// # Errors
    /// If it has none of this name, or one of another datatype or shape.
    pub(super) fn check(&self, schema: &IoSchema) -> Result<(), ParamError> {
        let Some(spec) = schema.inputs.iter().find(|spec| spec.name == self.name) else {
            let names: Vec<&str> = schema.inputs.iter().map(|spec| spec.name.as_str()).collect();
            let expected = format!("an input of the model: {}", names.join(", "));
            return Err(ParamError::wrong(format!("{}.name", self.place), expected, &self.name.clone().into()));
        };
        if spec.fits(self.dtype, &self.shape) {
            return Ok(());
        }
        let expected = format!("{} of shape {:?}", datatype::name(spec.dtype), extents(spec));
        let got = format!("{} of shape {:?}", datatype::name(self.dtype), self.shape);
        Err(ParamError::Wrong { param: format!("input '{}'", self.name), expected, got })
    }

    /// The tensor, with its values.
    ///
    /// # Errors
    /// If they are not as many as the shape says.
    pub(super) fn tensor(self, data: TensorData) -> Result<(String, Tensor), ParamError> {
        let wrong = |error: ballast_backend::TensorError| ParamError::Wrong {
            param: self.place.clone(),
            expected: "values for the shape".to_owned(),
            got: error.to_string(),
        };
        let tensor = Tensor::new(self.shape.clone(), data).map_err(wrong)?;
        Ok((self.name, tensor))
    }

    /// What is wrong with its values.
    pub(super) fn wrong(&self, error: impl std::error::Error) -> ParamError {
        let error = error.to_string();
        let (expected, got) = error.split_once(", got ").unwrap_or((&error, "something else"));
        let expected = expected.trim_start_matches("expected ").to_owned();
        ParamError::Wrong { param: format!("{}.data", self.place), expected, got: got.to_owned() }
    }
}

/// Extents as the protocol has them: -1 where the caller decides.
pub(super) fn extents(spec: &TensorSpec) -> Vec<i64> {
    let extent = |dim: &Dim| match dim {
        Dim::Fixed(extent) => i64::try_from(*extent).unwrap_or(i64::MAX),
        Dim::Any => -1,
    };
    spec.shape.iter().map(extent).collect()
}

/// Every input of the model, once each.
///
/// # Errors
/// If one is missing, or there twice.
pub(super) fn gathered(tensors: Vec<(String, Tensor)>, schema: &IoSchema) -> Result<TensorMap, ParamError> {
    let n_tensors = tensors.len();
    let inputs: TensorMap = tensors.into_iter().collect();
    if inputs.len() != n_tensors {
        let got = format!("{n_tensors} for {} names", inputs.len());
        return Err(ParamError::Wrong { param: "inputs".to_owned(), expected: "each input once".to_owned(), got });
    }
    match schema.inputs.iter().find(|spec| !inputs.contains_key(&spec.name)) {
        Some(spec) => {
            Err(ParamError::Missing { param: format!("input '{}'", spec.name), expected: "every input of the model" })
        }
        None => Ok(inputs),
    }
}
