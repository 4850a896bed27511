//! `config.pbtxt`: the fields that are obeyed. Every other is refused by name, since a model that is served in another
//! way than its configuration says is served wrongly.

use super::text::{self, Field, Value};
use std::time::Duration;

/// Most items of a batch that a configuration may ask for.
const BATCH_MAX: u64 = 4096;
/// Most compute threads of an instance that a configuration may ask for.
const THREADS_MAX: usize = 1024;
/// The parameter by which Triton's backend of ONNX Runtime is told how many threads an operator has; 0: as is usual.
const THREADS: &str = "intra_op_thread_count";

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not well-formed.
    #[error("line {line}: expected {expected}")]
    Syntax {
        /// Where.
        line: usize,
        /// What belongs there.
        expected: &'static str,
    },
    /// A field that is not known, or not obeyed.
    #[error("line {line}: {field}: there is no such field, or it is not obeyed here")]
    Unknown {
        /// Where.
        line: usize,
        /// Its name, with those that it stands in.
        field: String,
    },
    /// A field's value is not one of its.
    #[error("line {line}: {field}: expected {expected}")]
    Wrong {
        /// Where.
        line: usize,
        /// Its name, with those that it stands in.
        field: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A field stands twice that may stand once.
    #[error("line {line}: {field}: it is given twice")]
    Twice {
        /// Where.
        line: usize,
        /// Its name.
        field: String,
    },
    /// It has another name than its folder.
    #[error("expected name {expected:?}, got {got:?}")]
    Name {
        /// The folder's.
        expected: String,
        /// The configuration's.
        got: String,
    },
}

/// How a model is served, as its configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// The model's name; `None`: that of its folder.
    pub name: Option<String>,
    /// Most items of a batch; 0: the model has no batches.
    pub max_batch_size: usize,
    /// Inputs that are named; empty: as the model says.
    pub input: Vec<ConfigInput>,
    /// Outputs that are named; empty: as the model says.
    pub output: Vec<ConfigOutput>,
    /// How requests are joined; `None`: they are not.
    pub dynamic_batching: Option<ConfigDynamicBatching>,
    /// Which versions are served.
    pub version_policy: VersionPolicy,
    /// Instances of the model; `None`: as many as is usual.
    pub n_instances: Option<usize>,
    /// Compute threads of an instance; `None`: as many as is usual.
    pub n_threads: Option<usize>,
    /// The file in the folder of a version; `None`: by the usual names.
    pub default_model_filename: Option<String>,
}

/// An input as a configuration describes it, without the dimension of the batch where there are batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigInput {
    /// Its name in the model.
    pub name: String,
    /// Such as `TYPE_FP32`.
    pub data_type: String,
    /// Extents; -1: open.
    pub dims: Vec<i64>,
}

/// An output as a configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigOutput {
    /// Its name in the model.
    pub name: String,
    /// Such as `TYPE_FP32`.
    pub data_type: String,
    /// Extents; -1: open.
    pub dims: Vec<i64>,
    /// A file with the names of its classes, in the model's folder.
    pub label_filename: Option<String>,
}

/// How requests are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigDynamicBatching {
    /// Numbers of items that are run at once when they are there.
    pub preferred_batch_size: Vec<usize>,
    /// How long a request may wait for others.
    pub max_queue_delay: Duration,
    /// Most requests that wait; `None`: as many as is usual.
    pub max_queue_size: Option<usize>,
}

/// Which versions are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The so many highest.
    Latest(usize),
    /// All.
    All,
    /// These.
    Specific(Vec<u64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        Self::Latest(1)
    }
}

impl VersionPolicy {
    /// Those of `versions` that are served.
    pub(super) fn of(&self, mut versions: Vec<u64>) -> Vec<u64> {
        versions.sort_unstable();
        match self {
            Self::All => {}
            Self::Latest(n) => drop(versions.drain(..versions.len().saturating_sub(*n))),
            Self::Specific(these) => versions.retain(|version| these.contains(version)),
        }
        versions
    }
}

const TYPES: [&str; 14] = [
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    "TYPE_FP32",
    "TYPE_FP64",
    "TYPE_STRING",
    "TYPE_BF16",
];

impl RepositoryConfig {
    /// What a text in the text format of protocol buffers says.
    ///
    /// # Errors
    /// Where it is not well-formed, or which field is wrong, not known or not obeyed.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut message = Message { place: String::new(), line: 1, fields: text::parse(text)? };
        config.name = message.text("name")?;
        for (field, served) in [
            ("platform", &["onnxruntime_onnx", "onnx", "coreml"][..]),
            ("backend", &["onnxruntime", "ballast", "coreml"][..]),
        ] {
            message.one_of(field, served)?;
        }
        config.max_batch_size = message.count("max_batch_size", BATCH_MAX)?.unwrap_or(0);
        config.default_model_filename = message.file("default_model_filename")?;
        for input in message.messages("input")? {
            config.input.push(input_of(input)?);
        }
        for output in message.messages("output")? {
            config.output.push(output_of(output)?);
        }
        if let Some(batching) = message.message("dynamic_batching")? {
            config.dynamic_batching = Some(batching_of(batching)?);
        }
        if let Some(policy) = message.message("version_policy")? {
            config.version_policy = policy_of(policy)?;
        }
        for group in message.messages("instance_group")? {
            config.n_instances = Some(config.n_instances.unwrap_or(0) + instances_of(group)?);
        }
        for parameter in message.messages("parameters")? {
            let n_threads = threads_of(parameter)?;
            if config.n_threads.replace(n_threads).is_some() {
                return Err(ConfigError::Twice { line: message.line, field: format!("parameters.{THREADS}") });
            }
        }
        // Said to be as usual.
        config.n_threads = config.n_threads.filter(|n_threads| *n_threads > 0);
        if config.dynamic_batching.is_some() && config.max_batch_size == 0 {
            return Err(message.wrong("max_batch_size", "1 or more where there is dynamic_batching"));
        }
        message.finish()?;
        Ok(config)
    }
}

/// The parameter that is obeyed; every other is refused by its name.
fn threads_of(mut message: Message) -> Result<usize, ConfigError> {
    let line = message.line;
    let key = message.text("key")?.unwrap_or_default();
    let field = message.name(&key);
    if key != THREADS {
        return Err(ConfigError::Unknown { line, field });
    }
    let mut value = message.message("value")?;
    let text = value.as_mut().map(|value| value.text("string_value")).transpose()?.flatten();
    value.map_or(Ok(()), Message::finish)?;
    message.finish()?;
    let number = text.and_then(|text| text.parse().ok()).filter(|number| *number <= THREADS_MAX);
    number.ok_or(ConfigError::Wrong { line, field, expected: "a string_value of 0 to 1024" })
}

fn input_of(mut message: Message) -> Result<ConfigInput, ConfigError> {
    let (name, data_type, dims) = tensor_of(&mut message)?;
    message.finish()?;
    Ok(ConfigInput { name, data_type, dims })
}

fn output_of(mut message: Message) -> Result<ConfigOutput, ConfigError> {
    let (name, data_type, dims) = tensor_of(&mut message)?;
    let label_filename = message.file("label_filename")?;
    message.finish()?;
    Ok(ConfigOutput { name, data_type, dims, label_filename })
}

fn tensor_of(message: &mut Message) -> Result<(String, String, Vec<i64>), ConfigError> {
    let name = message.text("name")?.ok_or_else(|| message.wrong("name", "the name of a tensor"))?;
    let data_type = message.one_of("data_type", &TYPES)?;
    let data_type = data_type.ok_or_else(|| message.wrong("data_type", "a type such as TYPE_FP32"))?;
    let dims = message.numbers("dims")?;
    match dims.iter().find(|extent| **extent < -1 || **extent == 0) {
        Some(_) => Err(message.wrong("dims", "extents of 1 or more, or -1 where it is open")),
        None => Ok((name, data_type, dims)),
    }
}

fn batching_of(mut message: Message) -> Result<ConfigDynamicBatching, ConfigError> {
    let sizes = message.numbers("preferred_batch_size")?;
    let sizes: Option<Vec<usize>> =
        sizes.into_iter().map(|size| usize::try_from(size).ok().filter(|size| *size > 0)).collect();
    let preferred_batch_size = sizes.ok_or_else(|| message.wrong("preferred_batch_size", "numbers of 1 or more"))?;
    let delay = message.count("max_queue_delay_microseconds", u64::MAX)?.unwrap_or(0);
    let mut batching = ConfigDynamicBatching {
        preferred_batch_size,
        max_queue_delay: Duration::from_micros(u64::try_from(delay).unwrap_or(u64::MAX)),
        max_queue_size: None,
    };
    // Answers of a connection are in order whatever is said.
    message.one_of("preserve_ordering", &["false"])?;
    if let Some(mut policy) = message.message("default_queue_policy")? {
        batching.max_queue_size = policy.count("max_queue_size", u64::from(u32::MAX))?.filter(|size| *size > 0);
        policy.finish()?;
    }
    message.finish()?;
    Ok(batching)
}

fn policy_of(mut message: Message) -> Result<VersionPolicy, ConfigError> {
    let mut policies = Vec::new();
    if let Some(mut latest) = message.message("latest")? {
        policies.push(VersionPolicy::Latest(latest.count("num_versions", u64::MAX)?.unwrap_or(1)));
        latest.finish()?;
    }
    if let Some(all) = message.message("all")? {
        all.finish()?;
        policies.push(VersionPolicy::All);
    }
    if let Some(mut specific) = message.message("specific")? {
        let versions = specific.numbers("versions")?;
        let versions: Option<Vec<u64>> = versions.into_iter().map(|version| u64::try_from(version).ok()).collect();
        policies.push(VersionPolicy::Specific(versions.ok_or_else(|| specific.wrong("versions", "versions"))?));
        specific.finish()?;
    }
    let wrong = message.wrong("", "one of latest, all and specific");
    message.finish()?;
    if policies.len() > 1 { Err(wrong) } else { Ok(policies.pop().unwrap_or_default()) }
}

/// Instances of a group; GPUs are not chosen here.
fn instances_of(mut message: Message) -> Result<usize, ConfigError> {
    message.one_of("kind", &["KIND_AUTO", "KIND_CPU"])?;
    message.text("name")?;
    let count = message.count("count", 64)?.unwrap_or(1);
    let wrong = message.wrong("count", "1 or more");
    message.finish()?;
    if count == 0 { Err(wrong) } else { Ok(count) }
}

/// The fields of a message, taken out one by one.
struct Message {
    place: String,
    line: usize,
    fields: Vec<Field>,
}

impl Message {
    fn name(&self, field: &str) -> String {
        let names: Vec<&str> = [self.place.as_str(), field].into_iter().filter(|name| !name.is_empty()).collect();
        names.join(".")
    }

    fn wrong(&self, field: &str, expected: &'static str) -> ConfigError {
        ConfigError::Wrong { line: self.line, field: self.name(field), expected }
    }

    fn take_all(&mut self, field: &str) -> Vec<Field> {
        let (taken, left) = std::mem::take(&mut self.fields).into_iter().partition(|it| it.name == field);
        self.fields = left;
        taken
    }

    fn take(&mut self, field: &str) -> Result<Option<Field>, ConfigError> {
        let mut all = self.take_all(field);
        match all.get(1) {
            Some(second) => Err(ConfigError::Twice { line: second.line, field: self.name(field) }),
            None => Ok(all.pop()),
        }
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, ConfigError> {
        match self.take(field)? {
            None => Ok(None),
            Some(Field { value: Value::Text(text), .. }) => Ok(Some(text)),
            Some(Field { line, .. }) => {
                Err(ConfigError::Wrong { line, field: self.name(field), expected: "a text in quotes" })
            }
        }
    }

    /// The name of a file in the same folder.
    fn file(&mut self, field: &str) -> Result<Option<String>, ConfigError> {
        let Some(name) = self.text(field)?.filter(|name| !name.is_empty()) else { return Ok(None) };
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(self.wrong(field, "the name of a file, without a folder"));
        }
        Ok(Some(name))
    }

    /// A word or a text that is one of these; an empty one is none.
    fn one_of(&mut self, field: &str, known: &[&str]) -> Result<Option<String>, ConfigError> {
        match self.take(field)? {
            None => Ok(None),
            Some(Field { value: Value::Text(word) | Value::Word(word), .. }) if word.is_empty() => Ok(None),
            Some(Field { value: Value::Text(word) | Value::Word(word), .. }) if known.contains(&word.as_str()) => {
                Ok(Some(word))
            }
            Some(Field { line, .. }) => {
                let expected = "a value that is served here";
                Err(ConfigError::Wrong { line, field: self.name(field), expected })
            }
        }
    }

    fn count(&mut self, field: &str, max: u64) -> Result<Option<usize>, ConfigError> {
        let Some(Field { line, value, .. }) = self.take(field)? else { return Ok(None) };
        let number = if let Value::Word(word) = &value { word.parse::<u64>().ok() } else { None };
        let number = number.filter(|number| *number <= max).and_then(|number| usize::try_from(number).ok());
        let expected = "a whole number, 0 or more, within its bound";
        number.map(Some).ok_or_else(|| ConfigError::Wrong { line, field: self.name(field), expected })
    }

    fn numbers(&mut self, field: &str) -> Result<Vec<i64>, ConfigError> {
        let name = self.name(field);
        let number = |Field { line, value, .. }: Field| {
            let number = if let Value::Word(word) = &value { word.parse().ok() } else { None };
            number.ok_or_else(|| ConfigError::Wrong { line, field: name.clone(), expected: "whole numbers" })
        };
        self.take_all(field).into_iter().map(number).collect()
    }

    fn messages(&mut self, field: &str) -> Result<Vec<Self>, ConfigError> {
        let name = self.name(field);
        let message = |Field { line, value, .. }: Field| match value {
            Value::Message(fields) => Ok(Self { place: name.clone(), line, fields }),
            Value::Word(_) | Value::Text(_) => {
                Err(ConfigError::Wrong { line, field: name.clone(), expected: "a message in brackets" })
            }
        };
        self.take_all(field).into_iter().map(message).collect()
    }

    fn message(&mut self, field: &str) -> Result<Option<Self>, ConfigError> {
        let mut all = self.messages(field)?;
        match all.get(1) {
            Some(second) => Err(ConfigError::Twice { line: second.line, field: self.name(field) }),
            None => Ok(all.pop()),
        }
    }

    fn finish(self) -> Result<(), ConfigError> {
        match self.fields.first() {
            Some(field) => Err(ConfigError::Unknown { line: field.line, field: self.name(&field.name) }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_obeyed_is_read() {
        let text = r#"
            name: "resnet"
            platform: "onnxruntime_onnx"   # Triton's word for it
            max_batch_size: 8
            input [
              { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] },
              { name: "n" data_type: TYPE_INT64 dims: 1 }
            ]
            output { name: "y", data_type: TYPE_FP32, dims: [ 10 ], label_filename: "labels.txt" }
            dynamic_batching {
              preferred_batch_size: [ 4, 8 ]
              max_queue_delay_microseconds: 100
              default_queue_policy { max_queue_size: 16 }
            }
            version_policy: { specific { versions: [ 1, 3 ] } }
            instance_group [ { kind: KIND_CPU count: 2 } ]
            parameters { key: "intra_op_thread_count" value: { string_value: "3" } }
            default_model_filename: "net.onnx"
        "#;
        let config = RepositoryConfig::parse(text).unwrap();
        let expected = RepositoryConfig {
            name: Some("resnet".to_owned()),
            max_batch_size: 8,
            input: vec![
                ConfigInput { name: "x".into(), data_type: "TYPE_FP32".into(), dims: vec![3, -1] },
                ConfigInput { name: "n".into(), data_type: "TYPE_INT64".into(), dims: vec![1] },
            ],
            output: vec![ConfigOutput {
                name: "y".into(),
                data_type: "TYPE_FP32".into(),
                dims: vec![10],
                label_filename: Some("labels.txt".into()),
            }],
            dynamic_batching: Some(ConfigDynamicBatching {
                preferred_batch_size: vec![4, 8],
                max_queue_delay: Duration::from_micros(100),
                max_queue_size: Some(16),
            }),
            version_policy: VersionPolicy::Specific(vec![1, 3]),
            n_instances: Some(2),
            n_threads: Some(3),
            default_model_filename: Some("net.onnx".to_owned()),
        };
        assert_eq!(config, expected);
        assert_eq!(RepositoryConfig::parse(""), Ok(RepositoryConfig::default()));
    }

    #[test]
    fn what_is_not_obeyed_is_refused_by_name() {
        for (text, field) in [
            ("sequence_batching {}", "sequence_batching"),
            ("ensemble_scheduling { step [] }", "ensemble_scheduling"),
            ("optimization { cuda { graphs: true } }", "optimization"),
            ("response_cache { enable: true }", "response_cache"),
            ("model_warmup []\nparameters { key: \"a\" value { string_value: \"1\" } }", "parameters.a"),
            ("model_warmup { name: \"w\" }", "model_warmup"),
            ("parameters { key: \"intra_op_thread_count\" value { number: 1 } }", "value.number"),
            ("model_transaction_policy { decoupled: true }", "model_transaction_policy"),
            ("instance_group { kind: KIND_CPU passive: true }", "instance_group.passive"),
            ("cc_model_filenames { key: \"a\" value: \"b\" }", "cc_model_filenames"),
            ("input { name: \"x\" data_type: TYPE_FP32 dims: 1 format: FORMAT_NCHW }", "input.format"),
            ("input { name: \"x\" data_type: TYPE_FP32 dims: 1 reshape { shape: [] } }", "input.reshape"),
            ("input { name: \"x\" data_type: TYPE_FP32 dims: 1 optional: true }", "input.optional"),
            ("dynamic_batching { priority_levels: 2 }", "dynamic_batching.priority_levels"),
            (
                "dynamic_batching { default_queue_policy { timeout_action: DELAY } }",
                "default_queue_policy.timeout_action",
            ),
            ("instance_group { gpus: [0] }", "instance_group.gpus"),
        ] {
            let Err(ConfigError::Unknown { field: got, .. }) = RepositoryConfig::parse(text) else { panic!("{text}") };
            assert!(got.ends_with(field), "{text}: {got}");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused_by_name() {
        for (text, field) in [
            ("platform: \"tensorrt_plan\"", "platform"),
            ("backend: \"python\"", "backend"),
            ("max_batch_size: -1", "max_batch_size"),
            ("max_batch_size: 5000", "max_batch_size"),
            ("dynamic_batching { max_queue_delay_microseconds: 1 }", "max_batch_size"),
            ("name: resnet", "name"),
            ("input { data_type: TYPE_FP32 }", "input.name"),
            ("input { name: \"x\" data_type: TYPE_FP8 }", "input.data_type"),
            ("input { name: \"x\" data_type: TYPE_FP32 dims: 0 }", "input.dims"),
            ("input { name: \"x\" data_type: TYPE_FP32 dims: a }", "input.dims"),
            ("input: 1", "input"),
            ("output { name: \"y\" data_type: TYPE_FP32 label_filename: \"../x\" }", "output.label_filename"),
            ("dynamic_batching { preferred_batch_size: 0 }", "dynamic_batching.preferred_batch_size"),
            ("dynamic_batching { preserve_ordering: true }", "dynamic_batching.preserve_ordering"),
            ("version_policy { all {} latest {} }", "version_policy"),
            ("instance_group { kind: KIND_GPU }", "instance_group.kind"),
            ("instance_group { count: 0 }", "instance_group.count"),
            (
                "parameters { key: \"intra_op_thread_count\" value { string_value: \"x\" } }",
                "parameters.intra_op_thread_count",
            ),
            ("parameters { key: \"intra_op_thread_count\" }", "parameters.intra_op_thread_count"),
            ("default_model_filename: \"/etc/passwd\"", "default_model_filename"),
        ] {
            let Err(ConfigError::Wrong { field: got, .. }) = RepositoryConfig::parse(text) else { panic!("{text}") };
            assert_eq!(got, field, "{text}");
        }
        let threads = "parameters { key: \"intra_op_thread_count\" value { string_value: \"0\" } }";
        assert_eq!(RepositoryConfig::parse(threads), Ok(RepositoryConfig::default()));
        for twice in ["name: \"a\" name: \"b\"".to_owned(), threads.repeat(2)] {
            assert!(matches!(RepositoryConfig::parse(&twice), Err(ConfigError::Twice { .. })), "{twice}");
        }
    }

    #[test]
    fn policies_choose_versions() {
        let of = |policy: VersionPolicy| policy.of(vec![3, 1, 2]);
        assert_eq!(of(VersionPolicy::default()), [3]);
        assert_eq!((of(VersionPolicy::Latest(2)), of(VersionPolicy::All)), (vec![2, 3], vec![1, 2, 3]));
        assert_eq!(of(VersionPolicy::Specific(vec![1, 9])), [1]);
    }
}
