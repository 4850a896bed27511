//! People's files as a model's inputs.
//!
//! An array (`.npy`) and values (`.json`) go as they are; for anything else the manifest says how.

use super::elements::{of_integers, of_numbers};
use super::error::TensorIoError;
use super::files::{malformed, read_bounded, read_text};
use super::manifest::{InputRule, Manifest};
use super::picture::{self, Placement};
use super::sound::Sound;
use super::{FileInput, bytes, json, npy, text};
use crate::Error;
use ballast_backend::{DType, Dim, IoSchema, Tensor, TensorMap, TensorSpec};
use image::RgbImage;
use std::path::Path;

/// Most bytes of a file that becomes an input.
pub const INPUT_BYTES_MAX: u64 = 512 << 20;

/// Most bytes of a text.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// What a model is run on: once, or frame after frame.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    fixed: TensorMap,
    sound: Option<Sounding>,
    states: Vec<State>,
    /// The picture that answers are drawn on.
    pub(super) picture: Option<(RgbImage, Placement)>,
}

#[derive(Clone, Debug)]
struct Sounding {
    input: String,
    sound: Sound,
    dtype: DType,
    rank: usize,
}

#[derive(Clone, Debug)]
struct State {
    input: String,
    from: String,
    first: Tensor,
}

impl Frames {
    /// A single frame of tensors that are there already.
    #[must_use]
    pub fn once(inputs: TensorMap) -> Self {
        Self { fixed: inputs, ..Self::default() }
    }

    /// How many predictions they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sound.as_ref().map_or(1, |sounding| sounding.sound.n_frames())
    }

    /// Whether there is nothing to run: never, since a sound without samples is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Seconds from one frame to the next; `None`: they are no sound.
    #[must_use]
    pub fn step_seconds(&self) -> Option<f64> {
        self.sound.as_ref().map(|sounding| sounding.sound.step_seconds())
    }

    /// The inputs of a frame, given the outputs of the one before it.
    ///
    /// # Errors
    /// An output that should be there and is not.
    pub fn frame(&self, idx: usize, before: Option<&TensorMap>) -> Result<TensorMap, TensorIoError> {
        let mut inputs = self.fixed.clone();
        for State { input, from, first } in &self.states {
            let state = match before {
                None => first.clone(),
                Some(outputs) => {
                    let missing = || TensorIoError::output(from, "a state for the next frame", "nothing");
                    outputs.get(from).cloned().ok_or_else(missing)?
                }
            };
            inputs.insert(input.clone(), state);
        }
        if let Some(Sounding { input, sound, dtype, rank }) = &self.sound {
            let samples = sound.frame(idx);
            let shape = if *rank == 1 { vec![samples.len()] } else { vec![1, samples.len()] };
            let wrong =
                || TensorIoError::input(input, "numbers in one or two dimensions", format!("{rank} of {dtype}"));
            let data = of_numbers(&samples, *dtype).filter(|_| (1..=2).contains(rank)).ok_or_else(wrong)?;
            let tensor = Tensor::new(shape, data).map_err(|error| TensorIoError::input(input, "samples", error))?;
            inputs.insert(input.clone(), tensor);
        }
        Ok(inputs)
    }

    /// Makes inputs of files, and of what the manifest declares without one.
    pub(super) fn gather(
        files: &[FileInput],
        manifest: &Manifest,
        (folder, schema): (&Path, &IoSchema),
    ) -> Result<Self, Error> {
        let mut gathering = Gathering { frames: Self::default(), manifest, folder, schema };
        gathering.declared()?;
        for (name, path) in files {
            let spec = gathering.spec_for(name.as_deref())?;
            gathering.file(spec, path)?;
        }
        Ok(gathering.frames)
    }
}

struct Gathering<'a> {
    frames: Frames,
    manifest: &'a Manifest,
    folder: &'a Path,
    schema: &'a IoSchema,
}

impl<'a> Gathering<'a> {
    /// What needs no file.
    fn declared(&mut self) -> Result<(), TensorIoError> {
        for spec in &self.schema.inputs {
            match self.manifest.inputs.get(&spec.name) {
                Some(InputRule::Constant(rule)) => {
                    let made = json::tensor(&rule.value, spec.dtype);
                    let tensor = made.map_err(|(expected, got)| TensorIoError::input(&spec.name, expected, got))?;
                    self.frames.fixed.insert(spec.name.clone(), tensor);
                }
                Some(InputRule::State(rule)) => {
                    let first = Tensor::zeros(rule.shape.clone(), spec.dtype)
                        .map_err(|error| TensorIoError::input(&spec.name, "a state's shape", error))?;
                    self.frames.states.push(State { input: spec.name.clone(), from: rule.from.clone(), first });
                }
                Some(
                    InputRule::Picture(_)
                    | InputRule::Text(_)
                    | InputRule::Audio(_)
                    | InputRule::Bytes(_)
                    | InputRule::Npy {},
                )
                | None => {}
            }
        }
        Ok(())
    }

    /// Whether an input is still to come from a file.
    fn is_open(&self, name: &str) -> bool {
        let Frames { fixed, sound, states, .. } = &self.frames;
        let is_filled = fixed.contains_key(name)
            || states.iter().any(|state| state.input == name)
            || sound.as_ref().is_some_and(|sounding| sounding.input == name);
        let by_another = |rule: &InputRule| rule.also_fills().contains(&name);
        !is_filled && !self.manifest.inputs.values().any(by_another)
    }

    /// The input that a file is for: the one named, or the only one that is still open.
    fn spec_for(&self, name: Option<&str>) -> Result<&'a TensorSpec, TensorIoError> {
        let names = |specs: &[&TensorSpec]| specs.iter().map(|spec| format!("{:?}", spec.name)).collect::<Vec<_>>();
        let all: Vec<&TensorSpec> = self.schema.inputs.iter().collect();
        if let Some(name) = name {
            let found = self.schema.inputs.iter().find(|spec| spec.name == name);
            return found.ok_or_else(|| TensorIoError::input(name, format!("one of {}", names(&all).join(", ")), "it"));
        }
        let open: Vec<&TensorSpec> = self.schema.inputs.iter().filter(|spec| self.is_open(&spec.name)).collect();
        match open[..] {
            [spec] => Ok(spec),
            [] => Err(TensorIoError::input("", "no more files: every input has its own", "one more")),
            _ => {
                let expected = format!("NAME=FILE, where NAME is one of {}", names(&open).join(", "));
                Err(TensorIoError::input("", expected, "a file without a name"))
            }
        }
    }

    fn file(&mut self, spec: &TensorSpec, path: &Path) -> Result<(), Error> {
        let extension =
            path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
        let name = &spec.name;
        match (self.manifest.inputs.get(name), extension.as_str()) {
            (Some(InputRule::Bytes(rule)), _) => {
                let content = read_bounded(path, INPUT_BYTES_MAX)?;
                let values = bytes::cut(&content, rule);
                let len = values.len();
                let data = of_integers(&values, spec.dtype).ok_or_else(|| {
                    TensorIoError::input(name, format!("bytes and {} as {}", rule.pad, spec.dtype), "others")
                })?;
                let shape = if spec.shape.len() == 1 { vec![len] } else { vec![1, len] };
                let tensor = Tensor::new(shape, data).map_err(|error| TensorIoError::input(name, "bytes", error))?;
                self.frames.fixed.insert(name.clone(), tensor);
            }
            (_, "npy") => {
                let array = npy::read(&read_bounded(path, INPUT_BYTES_MAX)?);
                let tensor = array.map_err(|error| malformed(path, "an array of NumPy's", error))?;
                self.frames.fixed.insert(name.clone(), tensor);
            }
            (_, "json") => self.json(spec, path)?,
            (Some(InputRule::Picture(rule)), _) => {
                let decoded = picture::decode(path, &read_bounded(path, INPUT_BYTES_MAX)?)?;
                let made = picture::tensor(&decoded, rule, (spec.dtype, spec.shape.len()));
                let (tensor, placement) =
                    made.map_err(|got| TensorIoError::input(name, "what the manifest declares", got))?;
                self.frames.fixed.insert(name.clone(), tensor);
                self.frames.picture = Some((decoded, placement));
            }
            (Some(InputRule::Audio(rule)), _) => {
                let sound = Sound::read(path, &read_bounded(path, INPUT_BYTES_MAX)?, rule)?;
                if self.frames.sound.is_some() {
                    return Err(TensorIoError::input(name, "one sound", "two").into());
                }
                let (input, dtype, rank) = (name.clone(), spec.dtype, spec.shape.len());
                self.frames.sound = Some(Sounding { input, sound, dtype, rank });
            }
            (Some(InputRule::Text(rule)), _) => {
                let content = read_text(path, TEXT_BYTES_MAX)?;
                let tensors = text::tensors(content.trim_end(), name, rule, (self.folder, self.schema))?;
                self.frames.fixed.extend(tensors);
            }
            (Some(InputRule::Npy {}), _) => {
                return Err(malformed(path, "an array of NumPy's (.npy), as the manifest declares", extension).into());
            }
            (Some(InputRule::Constant(_) | InputRule::State(_)), _) => {
                return Err(TensorIoError::input(name, "no file: the manifest declares its value", "one").into());
            }
            (None, _) => return Err(undeclared(spec, path, &extension).into()),
        }
        Ok(())
    }

    /// Values for one input, or by name for several.
    fn json(&mut self, spec: &TensorSpec, path: &Path) -> Result<(), TensorIoError> {
        let bytes = read_bounded(path, INPUT_BYTES_MAX)?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| malformed(path, "JSON", error))?;
        let named: Vec<_> = if let serde_json::Value::Object(fields) = value {
            fields.into_iter().collect()
        } else {
            vec![(spec.name.clone(), value)]
        };
        for (name, value) in named {
            let spec = self.spec_for(Some(&name))?;
            let made = json::tensor(&value, spec.dtype);
            let tensor = made.map_err(|(expected, got)| TensorIoError::input(&name, expected, got))?;
            self.frames.fixed.insert(name, tensor);
        }
        Ok(())
    }
}

/// What to declare, so that such a file can be read.
fn undeclared(spec: &TensorSpec, path: &Path, extension: &str) -> TensorIoError {
    let rule = match extension {
        "png" | "jpg" | "jpeg" => {
            r#"{"kind": "picture", "resize": {"how": "stretch", "height": 224, "width": 224}, "layout": "nchw", "scale": 0.00392157}"#
        }
        "wav" => r#"{"kind": "audio", "sample_rate": 16000}"#,
        "txt" => r#"{"kind": "text", "tokenizer": "tokenizer.json", "length_max": 512}"#,
        _ => r#"{"kind": "bytes", "first": 1024, "last": 1024, "pad": 256}"#,
    };
    let extent = |dim: &Dim| match dim {
        Dim::Fixed(extent) => extent.to_string(),
        Dim::Any => "?".to_owned(),
    };
    let dims: Vec<String> = spec.shape.iter().map(extent).collect();
    TensorIoError::Undeclared {
        name: spec.name.clone(),
        path: path.to_owned(),
        takes: format!("{} [{}]", spec.dtype, dims.join(", ")),
        declare: format!("{{\"inputs\": {{{:?}: {rule}}}}}", spec.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::TensorData;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn spec(name: &str, dtype: DType, shape: Vec<Dim>) -> TensorSpec {
        TensorSpec { name: name.to_owned(), dtype, shape, batch_capable: false }
    }

    fn schema(specs: &[(&str, DType)]) -> IoSchema {
        let inputs = specs.iter().map(|(name, dtype)| spec(name, *dtype, vec![Dim::Any, Dim::Any]));
        IoSchema { inputs: inputs.collect(), outputs: vec![spec("s_out", DType::F32, vec![Dim::Any])] }
    }

    fn file(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn gathered(schema: &IoSchema, manifest: &str, files: &[FileInput]) -> Result<Frames, String> {
        let manifest: Manifest = serde_json::from_str(manifest).unwrap();
        Frames::gather(files, &manifest, (Path::new(""), schema)).map_err(|error| error.to_string())
    }

    #[test]
    fn arrays_and_values_go_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let tensor = Tensor::new(vec![1, 2], TensorData::F32(vec![1.0, 2.0])).unwrap();
        let npy = file(&dir, "a.NPY", npy::write(&tensor));
        let json = file(&dir, "a.json", "[[1, 2]]");
        let both = file(&dir, "both.json", r#"{"x": [[1, 2]], "y": [[true]]}"#);
        let one = schema(&[("x", DType::F32)]);
        for path in [npy, json] {
            let frames = gathered(&one, "{}", &[(None, path)]).unwrap();
            assert_eq!((frames.len(), frames.is_empty(), frames.step_seconds()), (1, false, None));
            assert_eq!(frames.frame(0, None).unwrap(), TensorMap::from([("x".to_owned(), tensor.clone())]));
        }
        let two = schema(&[("x", DType::F32), ("y", DType::Bool)]);
        let frames = gathered(&two, "{}", &[(Some("x".to_owned()), both)]).unwrap();
        assert_eq!(frames.frame(0, None).unwrap().len(), 2);
    }

    #[test]
    fn a_file_without_a_name_is_for_the_only_input_that_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "a.json", "[[1]]");
        let two = schema(&[("x", DType::F32), ("y", DType::F32)]);
        let fault = gathered(&two, "{}", &[(None, path.clone())]).unwrap_err();
        assert!(fault.contains("NAME=FILE") && fault.contains("\"x\", \"y\""), "{fault}");
        assert!(gathered(&two, "{}", &[(Some("z".to_owned()), path.clone())]).unwrap_err().contains("\"x\", \"y\""));
        let constant = r#"{"inputs": {"y": {"kind": "constant", "value": [[7]]}}}"#;
        let frames = gathered(&two, constant, &[(None, path.clone())]).unwrap();
        assert_eq!(frames.frame(0, None).unwrap()["y"], Tensor::new(vec![1, 1], TensorData::F32(vec![7.0])).unwrap());
        let again = [(None, path.clone()), (None, path.clone())];
        assert!(gathered(&two, constant, &again).unwrap_err().contains("no more files"));
        let named = [(Some("x".to_owned()), path.clone()), (None, path)];
        assert_eq!(gathered(&two, "{}", &named).unwrap().frame(0, None).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_declared_says_what_to_declare() {
        let dir = tempfile::tempdir().unwrap();
        let one = schema(&[("x", DType::F32)]);
        for (name, word) in [("a.png", "picture"), ("a.wav", "audio"), ("a.txt", "text"), ("a", "bytes")] {
            let path = file(&dir, name, "content");
            let fault = gathered(&one, "{}", &[(None, path)]).unwrap_err();
            assert!(fault.contains(&format!("\"kind\": \"{word}\"")) && fault.contains("f32 [?, ?]"), "{fault}");
        }
        let path = file(&dir, "b.bin", "content");
        let npy = r#"{"inputs": {"x": {"kind": "npy"}}}"#;
        assert!(gathered(&one, npy, &[(None, path.clone())]).unwrap_err().contains(".npy"));
        let bytes = r#"{"inputs": {"x": {"kind": "bytes", "first": 2, "last": 1, "pad": 256}}}"#;
        let frames = gathered(&one, bytes, &[(None, path)]).unwrap();
        let expected = Tensor::new(vec![1, 3], TensorData::F32(vec![99.0, 111.0, 116.0])).unwrap();
        assert_eq!(frames.frame(0, None).unwrap()["x"], expected);
    }

    #[test]
    fn states_are_zeros_at_first_and_then_what_the_frame_before_gave() {
        let one = schema(&[("s", DType::F32)]);
        let manifest = r#"{"inputs": {"s": {"kind": "state", "from": "s_out", "shape": [2, 1]}}}"#;
        let frames = gathered(&one, manifest, &[]).unwrap();
        assert_eq!(frames.frame(0, None).unwrap()["s"], Tensor::zeros(vec![2, 1], DType::F32).unwrap());
        let kept = Tensor::new(vec![2, 1], TensorData::F32(vec![3.0, 4.0])).unwrap();
        let outputs = TensorMap::from([("s_out".to_owned(), kept.clone())]);
        assert_eq!(frames.frame(1, Some(&outputs)).unwrap()["s"], kept);
        assert!(frames.frame(1, Some(&TensorMap::new())).is_err());
        let path = PathBuf::from("a.png");
        assert!(gathered(&one, manifest, &[(Some("s".to_owned()), path)]).unwrap_err().contains("no file"));
    }
}
