//! Tensors by name: what tensor-model engines take and give.

use std::collections::BTreeMap;
use std::fmt;

/// Most dimensions of a tensor.
pub const RANK_MAX: usize = 8;

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary16, kept as its bits.
    F16,
    /// The upper half of binary32, kept as its bits.
    Bf16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value, one byte each.
    Bool,
    /// Text.
    Str,
}

impl DType {
    /// All types.
    pub const EVERY: [Self; 14] = [
        Self::F32,
        Self::F64,
        Self::F16,
        Self::Bf16,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U64,
        Self::U32,
        Self::U16,
        Self::U8,
        Self::Bool,
        Self::Str,
    ];

    /// Bytes of one element; of a text, of its handle.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::Str => size_of::<String>(),
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
            Self::Str => "str",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Elements of a tensor, row-major, in a vector of their own type, so that views are aligned.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Elements of [`DType::F32`].
    F32(Vec<f32>),
    /// Elements of [`DType::F64`].
    F64(Vec<f64>),
    /// Bits of elements of [`DType::F16`].
    F16(Vec<u16>),
    /// Bits of elements of [`DType::Bf16`].
    Bf16(Vec<u16>),
    /// Elements of [`DType::I64`].
    I64(Vec<i64>),
    /// Elements of [`DType::I32`].
    I32(Vec<i32>),
    /// Elements of [`DType::I16`].
    I16(Vec<i16>),
    /// Elements of [`DType::I8`].
    I8(Vec<i8>),
    /// Elements of [`DType::U64`].
    U64(Vec<u64>),
    /// Elements of [`DType::U32`].
    U32(Vec<u32>),
    /// Elements of [`DType::U16`].
    U16(Vec<u16>),
    /// Elements of [`DType::U8`].
    U8(Vec<u8>),
    /// Elements of [`DType::Bool`].
    Bool(Vec<bool>),
    /// Elements of [`DType::Str`].
    Str(Vec<String>),
}

impl TensorData {
    /// `len` zeros, `false` or empty texts.
    #[must_use]
    pub fn zeros(dtype: DType, len: usize) -> Self {
        match dtype {
            DType::F32 => Self::F32(vec![0.0; len]),
            DType::F64 => Self::F64(vec![0.0; len]),
            DType::F16 => Self::F16(vec![0; len]),
            DType::Bf16 => Self::Bf16(vec![0; len]),
            DType::I64 => Self::I64(vec![0; len]),
            DType::I32 => Self::I32(vec![0; len]),
            DType::I16 => Self::I16(vec![0; len]),
            DType::I8 => Self::I8(vec![0; len]),
            DType::U64 => Self::U64(vec![0; len]),
            DType::U32 => Self::U32(vec![0; len]),
            DType::U16 => Self::U16(vec![0; len]),
            DType::U8 => Self::U8(vec![0; len]),
            DType::Bool => Self::Bool(vec![false; len]),
            DType::Str => Self::Str(vec![String::new(); len]),
        }
    }

    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::F16(_) => DType::F16,
            Self::Bf16(_) => DType::Bf16,
            Self::I64(_) => DType::I64,
            Self::I32(_) => DType::I32,
            Self::I16(_) => DType::I16,
            Self::I8(_) => DType::I8,
            Self::U64(_) => DType::U64,
            Self::U32(_) => DType::U32,
            Self::U16(_) => DType::U16,
            Self::U8(_) => DType::U8,
            Self::Bool(_) => DType::Bool,
            Self::Str(_) => DType::Str,
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::F16(bits) => bits.len(),
            Self::Bf16(bits) => bits.len(),
            Self::I64(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U64(values) => values.len(),
            Self::U32(values) => values.len(),
            Self::U16(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Str(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dense tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of `shape` over `data`.
    ///
    /// # Errors
    /// If there are more than [`RANK_MAX`] dimensions, or `data` has another number of elements than `shape` says.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Self, TensorError> {
        if shape.len() > RANK_MAX {
            return Err(TensorError::Rank { got: shape.len() });
        }
        match element_count(&shape) {
            Some(n_elements) if n_elements == data.len() => Ok(Self { shape, data }),
            expected => Err(TensorError::Elements { expected, got: data.len(), shape }),
        }
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// If there are more than [`RANK_MAX`] dimensions, or more elements than can be counted.
    pub fn zeros(shape: Vec<usize>, dtype: DType) -> Result<Self, TensorError> {
        let Some(n_elements) = element_count(&shape) else {
            return Err(TensorError::Elements { expected: None, got: 0, shape });
        };
        Self::new(shape, TensorData::zeros(dtype, n_elements))
    }

    /// Extent of each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements, for writing in place. Their number and type are fixed: whoever replaces the vector by one of
    /// another length breaks the tensor, which [`IoSchema::check_inputs`] finds.
    pub fn data_mut(&mut self) -> &mut TensorData {
        &mut self.data
    }

    /// The elements, if they are f32.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let TensorData::F32(values) = &self.data { Some(values) } else { None }
    }

    /// Bytes of all elements.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.data.len() * self.dtype().size_bytes()
    }

    /// The shape and the elements.
    #[must_use]
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }
}

/// Product of the extents; `None` if it does not fit.
#[must_use]
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent))
}

/// Tensors by name, in the order of their names.
pub type TensorMap = BTreeMap<String, Tensor>;

/// Extent of one dimension of a model's input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Exactly this many.
    Fixed(usize),
    /// Whatever the caller brings.
    Any,
}

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the model.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Its dimensions.
    pub shape: Vec<Dim>,
    /// Whether the first dimension counts independent items.
    pub batch_capable: bool,
}

impl TensorSpec {
    /// Whether a tensor of `dtype` and `shape` is one of these.
    #[must_use]
    pub fn fits(&self, dtype: DType, shape: &[usize]) -> bool {
        let fits = |(dim, &extent): (&Dim, &usize)| matches!(dim, Dim::Any) || *dim == Dim::Fixed(extent);
        self.dtype == dtype && self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(fits)
    }
}

/// What a model takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoSchema {
    /// Every input, each needed.
    pub inputs: Vec<TensorSpec>,
    /// Every output.
    pub outputs: Vec<TensorSpec>,
}

impl IoSchema {
    /// Checks that `inputs` has every input of the model and nothing else.
    ///
    /// # Errors
    /// Which input is missing, not known, or has another type or shape.
    pub fn check_inputs(&self, inputs: &TensorMap) -> Result<(), TensorError> {
        for spec in &self.inputs {
            let Some(tensor) = inputs.get(&spec.name) else {
                return Err(TensorError::InputMissing { name: spec.name.clone() });
            };
            if !spec.fits(tensor.dtype(), tensor.shape()) || element_count(tensor.shape()) != Some(tensor.data.len()) {
                return Err(TensorError::InputMismatch {
                    expected: Box::new(spec.clone()),
                    dtype: tensor.dtype(),
                    shape: tensor.shape.clone(),
                });
            }
        }
        match inputs.keys().find(|name| self.inputs.iter().all(|spec| spec.name != **name)) {
            Some(name) => Err(TensorError::InputUnknown { name: name.clone() }),
            None => Ok(()),
        }
    }
}

/// A tensor that is not what its place needs. All are [`crate::ErrorKind::Invalid`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// Too many dimensions.
    Rank {
        /// How many.
        got: usize,
    },
    /// Shape and elements do not agree.
    Elements {
        /// What the shape says; `None`: more than can be counted.
        expected: Option<usize>,
        /// What there is.
        got: usize,
        /// The shape.
        shape: Vec<usize>,
    },
    /// An input of the model was not given.
    InputMissing {
        /// Its name.
        name: String,
    },
    /// An input was given that the model does not have.
    InputUnknown {
        /// Its name.
        name: String,
    },
    /// An input of another type or shape.
    InputMismatch {
        /// What the model takes.
        expected: Box<TensorSpec>,
        /// The type given.
        dtype: DType,
        /// The shape given.
        shape: Vec<usize>,
    },
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank { got } => write!(f, "tensor: expected at most {RANK_MAX} dimensions, got {got}"),
            Self::Elements { expected: Some(expected), got, shape } => {
                write!(f, "tensor: expected {expected} elements for the shape {shape:?}, got {got}")
            }
            Self::Elements { expected: None, shape, .. } => {
                write!(f, "tensor: expected a number of elements that can be counted, got the shape {shape:?}")
            }
            Self::InputMissing { name } => write!(f, "input {name:?}: expected a tensor, got none"),
            Self::InputUnknown { name } => write!(f, "input {name:?}: the model has no input of this name"),
            Self::InputMismatch { expected, dtype, shape } => {
                let TensorSpec { name, dtype: wanted, shape: dims, .. } = &**expected;
                write!(f, "input {name:?}: expected {wanted} {dims:?}, got {dtype} {shape:?}")
            }
        }
    }
}

impl std::error::Error for TensorError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> IoSchema {
        let spec =
            |name: &str, shape| TensorSpec { name: name.to_owned(), dtype: DType::F32, shape, batch_capable: true };
        IoSchema { inputs: vec![spec("x", vec![Dim::Any, Dim::Fixed(2)])], outputs: vec![spec("y", vec![Dim::Any])] }
    }

    fn inputs(name: &str, shape: Vec<usize>, dtype: DType) -> TensorMap {
        TensorMap::from([(name.to_owned(), Tensor::zeros(shape, dtype).unwrap())])
    }

    #[test]
    fn a_tensor_has_as_many_elements_as_its_shape() {
        assert!(Tensor::new(vec![2, 3], TensorData::zeros(DType::I8, 6)).is_ok());
        assert!(Tensor::new(Vec::new(), TensorData::zeros(DType::I8, 1)).is_ok());
        assert!(Tensor::new(vec![2, 3], TensorData::zeros(DType::I8, 5)).is_err());
        assert!(Tensor::zeros(vec![usize::MAX, 2], DType::F32).is_err());
        assert_eq!(Tensor::zeros(vec![1; 9], DType::F32), Err(TensorError::Rank { got: 9 }));
    }

    #[test]
    fn inputs_are_checked_against_the_schema() {
        let check = |inputs: TensorMap| schema().check_inputs(&inputs);
        assert_eq!(check(inputs("x", vec![5, 2], DType::F32)), Ok(()));
        assert!(matches!(check(inputs("x", vec![5, 3], DType::F32)), Err(TensorError::InputMismatch { .. })));
        assert!(matches!(check(inputs("x", vec![5, 2], DType::F16)), Err(TensorError::InputMismatch { .. })));
        assert!(matches!(check(TensorMap::new()), Err(TensorError::InputMissing { .. })));
        let mut more = inputs("x", vec![5, 2], DType::F32);
        more.extend(inputs("z", vec![1], DType::F32));
        assert!(matches!(check(more), Err(TensorError::InputUnknown { .. })));
        let mut torn = inputs("x", vec![5, 2], DType::F32);
        *torn.get_mut("x").unwrap().data_mut() = TensorData::F32(vec![0.0; 9]);
        assert!(check(torn).is_err());
    }
}
