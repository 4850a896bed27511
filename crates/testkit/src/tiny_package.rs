//! Small Core ML packages, written by hand: inputs, outputs, states, constants and operations as a test names them. (Field
//! numbers as in `Model.proto`, `FeatureTypes.proto` and `MIL.proto`; the file of weights as in Core ML Tools'
//! `MILBlob/Blob/StorageFormat.hpp`)

use crate::tiny_onnx::{bytes, number};
use ballast_backend::{DType, Dim, Tensor, TensorData};
use std::fs;
use std::io;
use std::path::Path;

/// Version of the operations.
const OPSET: &str = "CoreML8";

/// Bytes of the header of a file of weights, and of each of its entries; elements begin at multiples of it.
const ENTRY_BYTES: usize = 64;

/// An ML Program that is being written, with one function `main`.
#[derive(Clone, Debug, Default)]
pub struct TinyPackage {
    described: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    operations: Vec<Vec<u8>>,
    outputs: Vec<String>,
    weights: Vec<u8>,
    n_weights: u32,
}

impl TinyPackage {
    /// A model that takes, gives and does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { weights: vec![0; ENTRY_BYTES], ..Self::default() }
    }

    /// Adds an input. An extent that may be any is described as 1 by default, and 1 or more.
    #[must_use]
    pub fn input(mut self, name: &str, dtype: DType, shape: &[Dim]) -> Self {
        let mut array = array_feature(dtype, &extents(shape, 1));
        if shape.contains(&Dim::Any) {
            bytes(&mut array, 31, &ranges(shape));
        }
        self.describe(1, name, 5, &array);
        self.inputs.push(named(name, &tensor_type(mil_code(dtype), shape)));
        self
    }

    /// Adds an input that is described as a picture of three colours.
    #[must_use]
    pub fn picture(mut self, name: &str, width: u64, height: u64) -> Self {
        let mut image = Vec::new();
        number(&mut image, 1, width);
        number(&mut image, 2, height);
        number(&mut image, 3, 20);
        self.describe(1, name, 4, &image);
        let extent = |n: u64| Dim::Fixed(usize::try_from(n).expect("a small picture"));
        let shape = [Dim::Fixed(1), Dim::Fixed(3), extent(height), extent(width)];
        self.inputs.push(named(name, &tensor_type(mil_code(DType::F32), &shape)));
        self
    }

    /// Names a value as an output. One of which an extent may be any is described without a shape, as converters do.
    #[must_use]
    pub fn output(mut self, name: &str, dtype: DType, shape: &[Dim]) -> Self {
        let told = if shape.contains(&Dim::Any) { Vec::new() } else { extents(shape, 1) };
        let array = array_feature(dtype, &told);
        self.describe(10, name, 5, &array);
        self.outputs.push(name.to_owned());
        self
    }

    /// Adds a state of f16, for `read_state` and `write_state`.
    #[must_use]
    pub fn state(mut self, name: &str, shape: &[usize]) -> Self {
        let fixed: Vec<Dim> = shape.iter().map(|&extent| Dim::Fixed(extent)).collect();
        let mut feature = Vec::new();
        bytes(&mut feature, 1, &array_feature(DType::F16, &extents(&fixed, 1)));
        self.describe(13, name, 8, &feature);
        let (mut kept, mut of) = (Vec::new(), Vec::new());
        bytes(&mut kept, 1, &tensor_type(mil_code(DType::F16), &fixed));
        bytes(&mut of, 5, &kept);
        self.inputs.push(named(name, &of));
        self
    }

    /// Adds a constant of f32 that lies in the file of weights.
    ///
    /// # Panics
    /// If its elements are of another type.
    #[must_use]
    pub fn weight(mut self, name: &str, tensor: &Tensor) -> Self {
        let values = tensor.as_f32().expect("weights of f32 are written");
        let at = self.weights.len();
        let mut entry = Vec::with_capacity(ENTRY_BYTES);
        entry.extend(0xDEAD_BEEF_u32.to_le_bytes());
        entry.extend(2_u32.to_le_bytes());
        entry.extend((values.len() as u64 * 4).to_le_bytes());
        entry.extend(((at + ENTRY_BYTES) as u64).to_le_bytes());
        self.weights.extend(entry);
        self.weights.resize(at + ENTRY_BYTES, 0);
        self.weights.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.weights.resize(self.weights.len().next_multiple_of(ENTRY_BYTES), 0);
        self.n_weights += 1;
        let (mut place, mut value) = (Vec::new(), Vec::new());
        bytes(&mut place, 1, b"@model_path/weights/weight.bin");
        number(&mut place, 2, at as u64);
        bytes(&mut value, 2, &of_tensor(tensor));
        bytes(&mut value, 5, &place);
        self.operations.push(constant(name, &of_tensor(tensor), &value));
        self
    }

    /// Adds a constant that stands in the program.
    ///
    /// # Panics
    /// If its elements are neither f32 nor i32.
    #[must_use]
    pub fn constant(mut self, name: &str, tensor: &Tensor) -> Self {
        let (mut packed, mut elements) = (Vec::new(), Vec::new());
        if let TensorData::F32(values) = tensor.data() {
            let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            bytes(&mut packed, 1, &raw);
            bytes(&mut elements, 1, &packed);
        } else if let TensorData::I32(values) = tensor.data() {
            values.iter().for_each(|value| number(&mut packed, 1, i64::from(*value).cast_unsigned()));
            bytes(&mut elements, 2, &packed);
        } else {
            panic!("constants of {} are not written", tensor.dtype())
        }
        self.operations.push(constant(name, &of_tensor(tensor), &immediate(&of_tensor(tensor), &elements)));
        self
    }

    /// Adds a constant text, such as the type that `cast` makes.
    #[must_use]
    pub fn text(mut self, name: &str, text: &str) -> Self {
        let (mut texts, mut elements) = (Vec::new(), Vec::new());
        bytes(&mut texts, 1, text.as_bytes());
        bytes(&mut elements, 4, &texts);
        let of = tensor_type(mil_code(DType::Str), &[]);
        self.operations.push(constant(name, &of, &immediate(&of, &elements)));
        self
    }

    /// Adds an operation that takes values by their names and gives at most one.
    #[must_use]
    pub fn operation(mut self, kind: &str, inputs: &[(&str, &str)], output: Option<(&str, DType, &[Dim])>) -> Self {
        let mut operation = Vec::new();
        bytes(&mut operation, 1, kind.as_bytes());
        for (input, name) in inputs {
            let (mut binding, mut argument) = (Vec::new(), Vec::new());
            bytes(&mut binding, 1, name.as_bytes());
            bytes(&mut argument, 1, &binding);
            bytes(&mut operation, 2, &entry(input, &argument));
        }
        if let Some((name, dtype, shape)) = output {
            bytes(&mut operation, 3, &named(name, &tensor_type(mil_code(dtype), shape)));
        }
        self.operations.push(operation);
        self
    }

    /// The model's file.
    #[must_use]
    pub fn model_file(&self) -> Vec<u8> {
        let (mut block, mut function, mut program, mut model) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        self.outputs.iter().for_each(|name| bytes(&mut block, 2, name.as_bytes()));
        self.operations.iter().for_each(|operation| bytes(&mut block, 3, operation));
        self.inputs.iter().for_each(|input| bytes(&mut function, 1, input));
        bytes(&mut function, 2, OPSET.as_bytes());
        bytes(&mut function, 3, &entry(OPSET, &block));
        number(&mut program, 1, 1);
        bytes(&mut program, 2, &entry("main", &function));
        number(&mut model, 1, 9);
        bytes(&mut model, 2, &self.described);
        bytes(&mut model, 502, &program);
        model
    }

    /// Writes the folder of the package.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let data = folder.join("Data/com.apple.CoreML");
        fs::create_dir_all(data.join("weights"))?;
        let manifest = r#"{"fileFormatVersion":"1.0.0","itemInfoEntries":{"A":{"path":"com.apple.CoreML/model.mlmodel"}},"rootModelIdentifier":"A"}"#;
        fs::write(folder.join("Manifest.json"), manifest)?;
        fs::write(data.join("model.mlmodel"), self.model_file())?;
        let mut weights = self.weights.clone();
        weights[..4].copy_from_slice(&self.n_weights.to_le_bytes());
        weights[4..8].copy_from_slice(&2_u32.to_le_bytes());
        fs::write(data.join("weights/weight.bin"), weights)
    }

    /// Describes a feature: the list it is in, its name, and what it is in the field of its kind.
    fn describe(&mut self, list: u64, name: &str, kind: u64, what: &[u8]) {
        let (mut of, mut feature) = (Vec::new(), Vec::new());
        bytes(&mut of, kind, what);
        bytes(&mut feature, 1, name.as_bytes());
        bytes(&mut feature, 3, &of);
        bytes(&mut self.described, list, &feature);
    }
}

fn extents(shape: &[Dim], open: u64) -> Vec<u64> {
    shape.iter().map(|dim| if let Dim::Fixed(extent) = dim { *extent as u64 } else { open }).collect()
}

fn array_feature(dtype: DType, shape: &[u64]) -> Vec<u8> {
    let mut array = Vec::new();
    shape.iter().for_each(|&extent| number(&mut array, 1, extent));
    number(&mut array, 2, feature_code(dtype));
    array
}

/// What each extent may be; no upper bound is -1.
fn ranges(shape: &[Dim]) -> Vec<u8> {
    let mut ranges = Vec::new();
    for dim in shape {
        let (least, most) = match dim {
            Dim::Fixed(extent) => (*extent as u64, *extent as u64),
            Dim::Any => (1, (-1_i64).cast_unsigned()),
        };
        let mut range = Vec::new();
        number(&mut range, 1, least);
        number(&mut range, 2, most);
        bytes(&mut ranges, 1, &range);
    }
    ranges
}

fn of_tensor(tensor: &Tensor) -> Vec<u8> {
    let shape: Vec<Dim> = tensor.shape().iter().map(|&extent| Dim::Fixed(extent)).collect();
    tensor_type(mil_code(tensor.dtype()), &shape)
}

fn tensor_type(code: u64, shape: &[Dim]) -> Vec<u8> {
    let (mut tensor, mut of) = (Vec::new(), Vec::new());
    number(&mut tensor, 1, code);
    number(&mut tensor, 2, shape.len() as u64);
    for dim in shape {
        let (mut extent, mut dimension) = (Vec::new(), Vec::new());
        match dim {
            Dim::Fixed(n) => {
                number(&mut extent, 1, *n as u64);
                bytes(&mut dimension, 1, &extent);
            }
            Dim::Any => bytes(&mut dimension, 2, &[]),
        }
        bytes(&mut tensor, 3, &dimension);
    }
    bytes(&mut of, 1, &tensor);
    of
}

fn named(name: &str, of: &[u8]) -> Vec<u8> {
    let mut named = Vec::new();
    bytes(&mut named, 1, name.as_bytes());
    bytes(&mut named, 2, of);
    named
}

/// An entry of a map.
fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    named(name, value)
}

fn immediate(of: &[u8], elements: &[u8]) -> Vec<u8> {
    let (mut here, mut value) = (Vec::new(), Vec::new());
    bytes(&mut here, 1, elements);
    bytes(&mut value, 2, of);
    bytes(&mut value, 3, &here);
    value
}

fn constant(name: &str, of: &[u8], value: &[u8]) -> Vec<u8> {
    let mut operation = Vec::new();
    bytes(&mut operation, 1, b"const");
    bytes(&mut operation, 3, &named(name, of));
    bytes(&mut operation, 5, &entry("val", value));
    operation
}

/// The number that programs have for a type.
fn mil_code(dtype: DType) -> u64 {
    match dtype {
        DType::Bool => 1,
        DType::Str => 2,
        DType::F16 => 10,
        DType::F32 => 11,
        DType::F64 => 12,
        DType::Bf16 => 13,
        DType::I8 => 21,
        DType::I16 => 22,
        DType::I32 => 23,
        DType::I64 => 24,
        DType::U8 => 31,
        DType::U16 => 32,
        DType::U32 => 33,
        DType::U64 => 34,
    }
}

/// The number that descriptions have for a type; there are five.
fn feature_code(dtype: DType) -> u64 {
    match dtype {
        DType::F32 => 0x1_0020,
        DType::F64 => 0x1_0040,
        DType::F16 => 0x1_0010,
        DType::I32 => 0x2_0020,
        DType::I8 => 0x2_0008,
        DType::Bf16
        | DType::I64
        | DType::I16
        | DType::U64
        | DType::U32
        | DType::U16
        | DType::U8
        | DType::Bool
        | DType::Str => panic!("descriptions have no {dtype}"),
    }
}
