//! Tensor models beside the language models: those that are named, and a repository in Triton's layout.

use super::models::NamedModel;
use crate::failure::{Exit, Failure};
use crate::options::{positive, tensor_cache_dir};
use ballast::repository::{ModelRepository, RepositoryConfig, RepositoryError, RepositoryModel};
use ballast::tensor_model::{TensorLoadOptions, TensorModel, format_of};
use ballast::{ErrorKind, SystemClock};
use ballast_backend::{DType, Dim, IoSchema, TensorSpec};
use ballast_server::{
    Batching, ServedTensors, ServerOptions, StockError, TensorHouseOptions, TensorModel as ServedModel, TensorStock,
};
use clap::{Args as ClapArgs, ValueEnum};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct TensorServeArgs {
    /// A tensor model for the Open Inference Protocol: an ONNX file or a Core ML package. May be given several times.
    #[arg(long = "tensor-model", value_name = "[NAME=]PATH", value_parser = named, help_heading = "Tensor models")]
    tensor_models: Vec<NamedModel>,
    /// A folder of tensor models: DIR/NAME/VERSION/model.onnx or model.mlpackage, and DIR/NAME/config.pbtxt where there
    /// is one.
    #[arg(long, value_name = "DIR", help_heading = "Tensor models")]
    model_repository: Option<PathBuf>,
    /// Which models of the repository are loaded at the start.
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Start::All, help_heading = "Tensor models")]
    load_tensor_models: Start,
    /// Instances of each tensor model, where its configuration says nothing.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive, help_heading = "Tensor models")]
    tensor_instances: usize,
    /// Compute threads of an instance of a tensor model [default: the CPUs this process may use].
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Tensor models")]
    tensor_threads: Option<usize>,
}

/// Which models of a repository are loaded at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Start {
    /// All: one that cannot be loaded ends the start.
    All,
    /// None: callers load what they want.
    None,
}

impl TensorServeArgs {
    /// Whether there are tensor models to serve.
    pub(crate) fn is_any(&self) -> bool {
        self.model_repository.is_some() || !self.tensor_models.is_empty()
    }

    /// What a person is told of them.
    pub(crate) fn told(&self) -> impl Iterator<Item = String> {
        let folder = self.model_repository.iter().map(|folder| format!("the tensor models of {}", folder.display()));
        self.tensor_models.iter().map(|named| named.id.clone()).chain(folder)
    }

    /// Each name means one model: two files of one name would have one served and the other forgotten.
    fn check_names(&self) -> Result<(), Failure> {
        let mut known = BTreeSet::new();
        match self.tensor_models.iter().find(|named| !known.insert(&named.id)) {
            Some(named) => Err(Failure::usage(format!("two tensor models have the name {}", named.id))
                .try_this(format!("--tensor-model another={}", named.model))),
            None => Ok(()),
        }
    }

    /// Serves them; those that are to be loaded at the start are loaded now.
    pub(crate) async fn set(&self, options: &mut ServerOptions) -> Result<(), Failure> {
        if !self.is_any() {
            return Ok(());
        }
        self.check_names()?;
        let named = self.tensor_models.iter().map(|named| (named.id.clone(), PathBuf::from(&named.model)));
        let mut load = TensorLoadOptions {
            n_threads: self.tensor_threads,
            compile_cache_dir: tensor_cache_dir(),
            ..TensorLoadOptions::default()
        };
        load.pool.n_instances = self.tensor_instances;
        let repository = self.model_repository.as_ref().map(ModelRepository::new);
        let stock = Arc::new(Stock { named: named.collect(), repository, load });
        let in_repository = |stock: &Stock| stock.repository.as_ref().map(ModelRepository::names).transpose();
        let found =
            in_repository(&stock).map_err(|error| Failure::new(Exit::of_kind(error.kind()), error.to_string()))?;
        let mut names: Vec<String> = stock.named.keys().cloned().collect();
        for name in found.into_iter().flatten() {
            if stock.named.contains_key(&name) {
                let what = format!("the repository has a tensor model {name}, and another is named so");
                return Err(Failure::usage(what).try_this("--tensor-model another=PATH"));
            }
            if self.load_tensor_models == Start::All {
                names.push(name);
            }
        }
        let served = ServedTensors::new(TensorHouseOptions::default(), Arc::new(SystemClock::start()), Some(stock));
        for name in names {
            let loaded = served.load(&name).await;
            loaded.map_err(|error| {
                Failure::new(Exit::of_kind(error.kind), format!("tensor model {name}: {}", error.message))
            })?;
        }
        options.tensors = Some(served);
        Ok(())
    }
}

/// Builds tensor models from files.
struct Stock {
    named: BTreeMap<String, PathBuf>,
    repository: Option<ModelRepository>,
    load: TensorLoadOptions,
}

impl TensorStock for Stock {
    fn list(&self) -> Result<Vec<String>, StockError> {
        let in_repository = self.repository.as_ref().map(ModelRepository::names).transpose();
        // A folder that came later may have the name of a file, which is the one that is served.
        let mut names: BTreeSet<String> = self.named.keys().cloned().collect();
        names.extend(in_repository.map_err(|error| told(&error))?.into_iter().flatten());
        Ok(names.into_iter().collect())
    }

    fn load(&self, name: &str) -> Result<Vec<ServedModel>, StockError> {
        if let Some(path) = self.named.get(name) {
            let opened = self.open(path, &RepositoryConfig::default())?;
            return Ok(vec![served(name, (1, path), &opened, Batching::default(), BTreeMap::new())]);
        }
        let repository = self.repository.as_ref().ok_or_else(|| StockError {
            kind: ErrorKind::Invalid,
            message: "there is no model of this name".to_owned(),
        })?;
        let RepositoryModel { versions, config, labels, .. } = repository.model(name).map_err(|error| told(&error))?;
        let version = |(version, path): (&u64, &PathBuf)| {
            let opened = self.open(path, &config)?;
            check(&config, opened.schema())?;
            Ok(served(name, (*version, path), &opened, batching(&config), labels.clone()))
        };
        versions.iter().map(version).collect()
    }

    fn unloaded(&self, name: &str) {
        tracing::info!(model = name, "the tensor model is served no longer");
    }
}

impl Stock {
    fn open(&self, path: &Path, config: &RepositoryConfig) -> Result<TensorModel, StockError> {
        let mut options = self.load.clone();
        options.pool.n_instances = config.n_instances.unwrap_or(options.pool.n_instances);
        options.n_threads = config.n_threads.or(options.n_threads);
        TensorModel::open(path, &options).map_err(|error| StockError { kind: error.kind(), message: error.to_string() })
    }
}

fn told(error: &RepositoryError) -> StockError {
    // The folder's place is the operator's alone.
    tracing::warn!(%error, "a model of the repository cannot be served");
    let is_of_files = matches!(error, RepositoryError::Read { .. } | RepositoryError::TooLong { .. });
    let message = if is_of_files { "its files cannot be read".to_owned() } else { error.to_string() };
    StockError { kind: error.kind(), message }
}

fn served(
    name: &str,
    (version, path): (u64, &Path),
    model: &TensorModel,
    batching: Batching,
    labels: BTreeMap<String, Vec<String>>,
) -> ServedModel {
    let platform = format_of(path).map_or("unknown", ballast::tensor_model::ModelFmt::as_str).to_owned();
    ServedModel { name: name.to_owned(), version, engine: model.engine().clone(), platform, batching, labels }
}

fn batching(config: &RepositoryConfig) -> Batching {
    let defaults = Batching { max_batch: config.max_batch_size, ..Batching::default() };
    match &config.dynamic_batching {
        None => Batching { joins: false, ..defaults },
        Some(dynamic) => Batching {
            max_wait: dynamic.max_queue_delay,
            preferred: dynamic.preferred_batch_size.clone(),
            queue_max: dynamic.max_queue_size.unwrap_or(defaults.queue_max),
            ..defaults
        },
    }
}

/// Whether the model is what its configuration says.
fn check(config: &RepositoryConfig, schema: &IoSchema) -> Result<(), StockError> {
    let inputs = config.input.iter().map(|port| (&port.name, &port.data_type, &port.dims, &schema.inputs));
    let outputs = config.output.iter().map(|port| (&port.name, &port.data_type, &port.dims, &schema.outputs));
    for (name, data_type, dims, specs) in inputs.chain(outputs) {
        let spec = specs.iter().find(|spec| spec.name == *name);
        let fits = spec.is_some_and(|spec| data_type_of(spec.dtype) == *data_type && dims_fit(spec, dims, config));
        if !fits {
            let got =
                spec.map_or("nothing".to_owned(), |spec| format!("{} {:?}", data_type_of(spec.dtype), spec.shape));
            let message = format!("config.pbtxt: {name}: expected {data_type} {dims:?}, the model has {got}");
            return Err(StockError { kind: ErrorKind::Invalid, message });
        }
    }
    Ok(())
}

/// The configuration leaves the dimension of the batch out, and writes -1 for an open one.
fn dims_fit(spec: &TensorSpec, dims: &[i64], config: &RepositoryConfig) -> bool {
    let own = if config.max_batch_size > 0 { spec.shape.get(1..).unwrap_or_default() } else { &spec.shape };
    let fits = |(own, dim): (&Dim, &i64)| match own {
        Dim::Any => true,
        Dim::Fixed(extent) => *dim == -1 || usize::try_from(*dim) == Ok(*extent),
    };
    own.len() == dims.len() && own.iter().zip(dims).all(fits)
}

fn data_type_of(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "TYPE_FP32",
        DType::F64 => "TYPE_FP64",
        DType::F16 => "TYPE_FP16",
        DType::Bf16 => "TYPE_BF16",
        DType::I64 => "TYPE_INT64",
        DType::I32 => "TYPE_INT32",
        DType::I16 => "TYPE_INT16",
        DType::I8 => "TYPE_INT8",
        DType::U64 => "TYPE_UINT64",
        DType::U32 => "TYPE_UINT32",
        DType::U16 => "TYPE_UINT16",
        DType::U8 => "TYPE_UINT8",
        DType::Bool => "TYPE_BOOL",
        DType::Str => "TYPE_STRING",
    }
}

/// `NAME=PATH`, or a path whose file has the name.
fn named(text: &str) -> Result<NamedModel, String> {
    let (id, model) = match text.split_once('=') {
        Some((id, model)) if !id.contains(['/', '\\']) => (id.to_owned(), model),
        Some(_) | None => (Path::new(text).file_stem().unwrap_or_default().to_string_lossy().into_owned(), text),
    };
    if id.is_empty() || model.is_empty() {
        return Err(format!("expected PATH or NAME=PATH, got {text:?}"));
    }
    Ok(NamedModel { id, model: model.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_models_have_the_name_given_or_that_of_their_file() {
        let of = |text| named(text).map(|named| (named.id, named.model)).ok();
        let pair = |id: &str, model: &str| Some((id.to_owned(), model.to_owned()));
        assert_eq!(of("a=x/y.onnx"), pair("a", "x/y.onnx"));
        assert_eq!(of("x/y.onnx"), pair("y", "x/y.onnx"));
        assert_eq!(of("./o=dd/y.mlpackage"), pair("y", "./o=dd/y.mlpackage"));
        assert_eq!((of("=x"), of("x="), of("")), (None, None, None));
    }

    #[test]
    fn a_configuration_that_contradicts_its_model_is_refused() {
        let spec = |name: &str, shape: &[Dim]| TensorSpec {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: shape.to_vec(),
            batch_capable: true,
        };
        let inputs = vec![spec("x", &[Dim::Any, Dim::Fixed(3), Dim::Any])];
        let schema = IoSchema { inputs, outputs: vec![spec("y", &[Dim::Any, Dim::Fixed(2)])] };
        let checked = |text: &str| check(&RepositoryConfig::parse(text).unwrap(), &schema);
        let input = |data_type: &str, dims: &str| {
            format!("max_batch_size: 8 input [ {{ name: \"x\" data_type: {data_type} dims: [ {dims} ] }} ]")
        };
        assert_eq!(checked(""), Ok(()));
        assert_eq!(checked(&input("TYPE_FP32", "3, -1")), Ok(()));
        assert_eq!(checked(&input("TYPE_FP32", "3, 7")), Ok(()));
        for wrong in [input("TYPE_FP16", "3, -1"), input("TYPE_FP32", "4, -1"), input("TYPE_FP32", "3")] {
            assert!(checked(&wrong).is_err(), "{wrong}");
        }
        assert!(checked("output [ { name: \"z\" data_type: TYPE_FP32 dims: [ 2 ] } ]").is_err());
    }

    #[test]
    fn batches_are_joined_as_the_configuration_says() {
        let of = |text: &str| batching(&RepositoryConfig::parse(text).unwrap());
        let alone = of("max_batch_size: 4");
        assert_eq!((alone.max_batch, alone.joins), (4, false), "nothing is said of joining them");
        assert!(of("max_batch_size: 4 dynamic_batching {}").joins);
        let text =
            "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 500 }";
        let joined = of(text);
        assert_eq!((joined.max_batch, joined.preferred, joined.max_wait.as_micros()), (8, vec![4, 8], 500));
    }
}
