//! A model's manifest: what it is, and how people's files become its inputs and its outputs become answers.
//!
//! It lies beside the model as `MODEL.ballast.json`. Paths in it are relative to the model's folder. What is `null` or left
//! out was not measured or is not declared; a key that is not known is an error.

mod inputs;
mod outputs;

pub use inputs::{
    Anchor, AudioRule, BytesRule, Channels, ConstantRule, Filter, InputRule, Layout, PictureRule, Resize, StateRule,
    TextRule,
};
pub use outputs::{BoxForm, BoxesRule, CtcRule, LabelsRule, Names, OutputRule, RegionsRule, SeriesRule, VectorRule};

use super::error::TensorIoError;
use super::files::read_bounded;
use ballast_backend::{ComputeUnits, Dim, IoSchema, Quantization, TensorSpec};
use ballast_runtime::parity::Precision;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Most bytes of a manifest.
pub const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// What a model is and how it is used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// Its name.
    pub model: Option<String>,
    /// Where it comes from.
    pub source: Option<String>,
    /// Its licence.
    pub licence: Option<String>,
    /// The format it was made for, such as `mlprogram`.
    pub backend: Option<String>,
    /// Its inputs and outputs; the model's own must be these.
    pub io_schema: Option<DeclaredSchema>,
    /// Shapes to fix, by input, where the model leaves dimensions open.
    pub shapes: Option<BTreeMap<String, Vec<usize>>>,
    /// The precision it computes with: which tolerances its answers are held to.
    pub precision: Option<DeclaredPrecision>,
    /// How its weights may be stored.
    pub quantization: Option<DeclaredQuantization>,
    /// Which units of the machine it may use.
    pub compute_units: Option<DeclaredUnits>,
    /// Share of operations that a neural engine can run, in percent.
    pub ane_op_coverage_pct: Option<f64>,
    /// How many times faster than the CPU, on the first generation.
    pub expected_speedup_m1: Option<f64>,
    /// The second.
    pub expected_speedup_m2: Option<f64>,
    /// The third.
    pub expected_speedup_m3: Option<f64>,
    /// The model that the differences below are from, such as the one of f32.
    pub accuracy_delta_of: Option<String>,
    /// Largest difference of an output from that model's.
    pub accuracy_delta_l_inf: Option<f64>,
    /// Root mean square of the differences.
    pub accuracy_delta_rmse: Option<f64>,
    /// How each input is made.
    pub inputs: BTreeMap<String, InputRule>,
    /// How each output is read.
    pub outputs: BTreeMap<String, OutputRule>,
}

/// Inputs and outputs as a manifest lists them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeclaredSchema {
    /// Inputs.
    pub inputs: Vec<DeclaredSpec>,
    /// Outputs.
    pub outputs: Vec<DeclaredSpec>,
}

/// One input or output.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSpec {
    /// Its name.
    pub name: String,
    /// Type of its elements, such as `f32`.
    pub dtype: String,
    /// Its dimensions; `null`: any extent.
    pub shape: Vec<Option<usize>>,
}

impl DeclaredSpec {
    /// A model's own input or output, as a manifest lists it.
    #[must_use]
    pub fn of(spec: &TensorSpec) -> Self {
        let dim = |dim: &Dim| match dim {
            Dim::Fixed(extent) => Some(*extent),
            Dim::Any => None,
        };
        Self {
            name: spec.name.clone(),
            dtype: spec.dtype.as_str().to_owned(),
            shape: spec.shape.iter().map(dim).collect(),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident => $target:ty { $($(#[$word_doc:meta])* $word:ident = $text:literal => $value:expr,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
        pub enum $name { $($(#[$word_doc])* #[serde(rename = $text)] $word,)+ }

        impl From<$name> for $target {
            fn from(word: $name) -> Self {
                match word { $($name::$word => $value,)+ }
            }
        }
    };
}

words! {
    /// [`Precision`] in a manifest's words.
    DeclaredPrecision => Precision {
        /// 32-bit floats.
        Fp32 = "fp32" => Precision::F32,
        /// 16-bit floats.
        Fp16 = "fp16" => Precision::F16,
        /// 8-bit integers.
        Int8 = "int8" => Precision::Int8,
    }
}

words! {
    /// [`Quantization`] in a manifest's words.
    DeclaredQuantization => Quantization {
        /// 32-bit floats.
        Fp32 = "fp32" => Quantization::Fp32,
        /// 16-bit floats.
        Fp16 = "fp16" => Quantization::Fp16,
        /// 8-bit integers.
        Int8 = "int8" => Quantization::Int8,
        /// Look-up tables.
        Palettized = "palettized" => Quantization::Palettized,
    }
}

words! {
    /// [`ComputeUnits`] in a manifest's words.
    DeclaredUnits => ComputeUnits {
        /// Whatever is best.
        All = "all" => ComputeUnits::All,
        /// The CPU alone.
        CpuOnly = "cpu_only" => ComputeUnits::CpuOnly,
        /// CPU and GPU.
        CpuAndGpu = "cpu_gpu" => ComputeUnits::CpuAndGpu,
        /// CPU and neural engine.
        CpuAndNe = "cpu_ane" => ComputeUnits::CpuAndNe,
    }
}

/// Where the manifest of a model lies: its path with `.ballast.json` behind it.
#[must_use]
pub fn manifest_path(model: &Path) -> PathBuf {
    let mut path = model.as_os_str().to_owned();
    path.push(".ballast.json");
    PathBuf::from(path)
}

impl Manifest {
    /// Reads the manifest at `path`.
    ///
    /// # Errors
    /// A file that cannot be read or is no manifest, and numbers in it that cannot be.
    pub fn read(path: &Path) -> Result<Self, TensorIoError> {
        let bytes = read_bounded(path, MANIFEST_BYTES_MAX)?;
        Self::parse(&bytes).map_err(|fault| match fault {
            Fault::Form(source) => TensorIoError::ManifestForm { path: path.to_owned(), source },
            Fault::Value(error) => error,
        })
    }

    /// Reads the manifest beside a model, if there is one.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn beside(model: &Path) -> Result<Option<Self>, TensorIoError> {
        let path = manifest_path(model);
        if path.exists() { Self::read(&path).map(Some) } else { Ok(None) }
    }

    /// What the model remembers from one frame to the next.
    pub(super) fn states(&self) -> impl Iterator<Item = &StateRule> {
        self.inputs.values().filter_map(|rule| match rule {
            InputRule::State(state) => Some(state),
            InputRule::Picture(_)
            | InputRule::Text(_)
            | InputRule::Audio(_)
            | InputRule::Bytes(_)
            | InputRule::Npy {}
            | InputRule::Constant(_) => None,
        })
    }

    /// Whether names are to be looked up in the model file's metadata.
    pub(super) fn wants_metadata(&self) -> bool {
        let names = self.outputs.values().filter_map(|rule| match rule {
            OutputRule::Labels(rule) => rule.names.as_ref(),
            OutputRule::Boxes(rule) => rule.names.as_ref(),
            OutputRule::Ctc(rule) => Some(&rule.characters),
            OutputRule::Series(_) | OutputRule::Regions(_) | OutputRule::Vector(_) | OutputRule::Raw {} => None,
        });
        names.into_iter().any(|names| matches!(names, Names::Metadata { .. }))
    }

    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(Fault::Form)?;
        for (name, rule) in &manifest.inputs {
            rule.check(name).map_err(Fault::Value)?;
        }
        for (name, rule) in &manifest.outputs {
            rule.check(name).map_err(Fault::Value)?;
        }
        Ok(manifest)
    }

    /// Whether the manifest speaks of this model: of its inputs and outputs, and of no others.
    ///
    /// # Errors
    /// What it names that the model does not have, or has otherwise.
    pub fn check(&self, schema: &IoSchema) -> Result<(), TensorIoError> {
        let has = |specs: &[TensorSpec], name: &str| specs.iter().any(|spec| spec.name == name);
        let mut input_names: Vec<&str> = self.inputs.keys().map(String::as_str).collect();
        input_names.extend(self.inputs.values().flat_map(InputRule::also_fills));
        input_names.extend(self.shapes.iter().flat_map(BTreeMap::keys).map(String::as_str));
        if let Some(name) = input_names.into_iter().find(|name| !has(&schema.inputs, name)) {
            return Err(TensorIoError::manifest("inputs", one_of(&schema.inputs), name));
        }
        let output_names = self.outputs.keys().map(String::as_str);
        let output_names = output_names.chain(self.outputs.values().flat_map(OutputRule::also_reads));
        let states = self.states().map(|state| state.from.as_str());
        if let Some(name) = output_names.chain(states).find(|name| !has(&schema.outputs, name)) {
            return Err(TensorIoError::manifest("outputs", one_of(&schema.outputs), name));
        }
        let Some(declared) = &self.io_schema else { return Ok(()) };
        same("io_schema.inputs", &declared.inputs, &schema.inputs)?;
        same("io_schema.outputs", &declared.outputs, &schema.outputs)
    }
}

/// Why text is no manifest.
#[derive(Debug)]
enum Fault {
    Form(serde_json::Error),
    Value(TensorIoError),
}

fn one_of(specs: &[TensorSpec]) -> String {
    let names: Vec<String> = specs.iter().map(|spec| format!("{:?}", spec.name)).collect();
    format!("one of {}", names.join(", "))
}

/// Whether what is declared is what the model has; a dimension that is left open on either side agrees with any.
fn same(part: &str, declared: &[DeclaredSpec], own: &[TensorSpec]) -> Result<(), TensorIoError> {
    let own: Vec<DeclaredSpec> = own.iter().map(DeclaredSpec::of).collect();
    let agrees = |a: &DeclaredSpec, b: &DeclaredSpec| {
        let dims = || a.shape.iter().zip(&b.shape).all(|(a, b)| a.is_none() || b.is_none() || a == b);
        a.name == b.name && a.dtype == b.dtype && a.shape.len() == b.shape.len() && dims()
    };
    let is_found = |spec: &DeclaredSpec| own.iter().any(|own| agrees(spec, own));
    match declared.iter().find(|spec| !is_found(spec)) {
        None if declared.len() == own.len() => Ok(()),
        found => {
            let got = found.map_or_else(|| format!("{} of them", declared.len()), |spec| format!("{spec:?}"));
            Err(TensorIoError::manifest(part, format!("what the model has: {own:?}"), got))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::DType;

    fn spec(name: &str, shape: Vec<Dim>) -> TensorSpec {
        TensorSpec { name: name.to_owned(), dtype: DType::F32, shape, batch_capable: false }
    }

    fn schema() -> IoSchema {
        IoSchema { inputs: vec![spec("x", vec![Dim::Any, Dim::Fixed(3)])], outputs: vec![spec("y", vec![Dim::Any])] }
    }

    fn fault(text: &str) -> String {
        match Manifest::parse(text.as_bytes()) {
            Ok(manifest) => manifest.check(&schema()).map(|()| String::new()).unwrap_or_else(|error| error.to_string()),
            Err(Fault::Form(error)) => error.to_string(),
            Err(Fault::Value(error)) => error.to_string(),
        }
    }

    #[test]
    fn keys_that_are_not_known_are_errors_at_every_depth() {
        assert_eq!(fault("{}"), "");
        assert_eq!(fault(r#"{"model": null, "ane_op_coverage_pct": null, "inputs": {"x": {"kind": "npy"}}}"#), "");
        for bad in [
            r#"{"modle": "m"}"#,
            r#"{"inputs": {"x": {"kind": "npy", "more": 1}}}"#,
            r#"{"inputs": {"x": {"kind": "magic"}}}"#,
            r#"{"inputs": {"x": {"kind": "bytes", "first": 1, "last": 1, "pad": 0, "strpi": true}}}"#,
            r#"{"inputs": {"x": {"kind": "picture", "resize": {"how": "stretch", "height": 1, "width": 1, "wdith": 2}, "layout": "nchw"}}}"#,
            r#"{"outputs": {"y": {"kind": "labels", "names": {"flie": "a"}}}}"#,
            r#"{"io_schema": {"inputs": [], "outputs": [], "states": []}}"#,
        ] {
            assert_ne!(fault(bad), "", "{bad}");
        }
    }

    #[test]
    fn a_manifest_speaks_of_the_models_own_inputs_and_outputs() {
        let cases = [
            (r#"{"inputs": {"z": {"kind": "npy"}}}"#, "one of \"x\""),
            (r#"{"shapes": {"z": [1]}}"#, "one of \"x\""),
            (r#"{"outputs": {"z": {"kind": "vector"}}}"#, "one of \"y\""),
            (r#"{"inputs": {"x": {"kind": "state", "from": "z", "shape": [1]}}}"#, "one of \"y\""),
            (
                r#"{"io_schema": {"inputs": [{"name": "x", "dtype": "f32", "shape": [null, 4]}], "outputs": []}}"#,
                "the model has",
            ),
            (
                r#"{"io_schema": {"inputs": [], "outputs": [{"name": "y", "dtype": "f32", "shape": [null]}]}}"#,
                "the model has",
            ),
        ];
        for (text, part) in cases {
            assert!(fault(text).contains(part), "{text}: {}", fault(text));
        }
        let good = r#"{"io_schema": {"inputs": [{"name": "x", "dtype": "f32", "shape": [1, 3]}],
            "outputs": [{"name": "y", "dtype": "f32", "shape": [null]}]}, "shapes": {"x": [1, 3]}}"#;
        assert_eq!(fault(good), "");
    }

    #[test]
    fn a_manifest_is_written_as_it_is_read() {
        let text = r#"{"model": "m", "precision": "fp16", "quantization": "palettized", "compute_units": "cpu_ane",
            "accuracy_delta_l_inf": 0.001}"#;
        let manifest = Manifest::parse(text.as_bytes()).ok().unwrap();
        assert_eq!(Precision::from(manifest.precision.unwrap()), Precision::F16);
        assert_eq!(Quantization::from(manifest.quantization.unwrap()).as_str(), "palettized");
        assert_eq!(ComputeUnits::from(manifest.compute_units.unwrap()).as_str(), "cpu_ane");
        let again = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(Manifest::parse(&again).ok().unwrap(), manifest);
    }
}
