//! Dense arrays, row-major, whose elements are shared until somebody writes.

use crate::error::OpError;
use ballast_backend::{DType, RANK_MAX, Tensor, TensorData, element_count};
use half::{bf16, f16};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// Extent of each dimension.
pub(crate) type Shape = SmallVec<[usize; 6]>;

/// A type that elements have.
pub(crate) trait Element: Clone + Default + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// Its name.
    const DTYPE: DType;

    /// Elements of this type as those of an array.
    fn wrap(values: Arc<Vec<Self>>) -> Data;

    /// The elements, if they have this type.
    fn view(data: &Data) -> Option<&Arc<Vec<Self>>>;

    /// The elements, if they have this type.
    fn view_mut(data: &mut Data) -> Option<&mut Arc<Vec<Self>>>;
}

macro_rules! elements {
    ($($variant:ident $element:ty),+ $(,)?) => {
        /// Elements of an array.
        #[derive(Clone, PartialEq)]
        pub(crate) enum Data {
            $(
                #[doc = concat!("Elements of [`DType::", stringify!($variant), "`].")]
                $variant(Arc<Vec<$element>>),
            )+
        }

        impl Data {
            pub(crate) fn dtype(&self) -> DType {
                match self {
                    $(Self::$variant(_) => DType::$variant,)+
                }
            }

            pub(crate) fn len(&self) -> usize {
                match self {
                    $(Self::$variant(values) => values.len(),)+
                }
            }

            /// `len` zeros, `false` or empty texts.
            pub(crate) fn zeros(dtype: DType, len: usize) -> Self {
                match dtype {
                    $(DType::$variant => Self::$variant(Arc::new(vec![<$element>::default(); len])),)+
                }
            }
        }

        $(
            impl Element for $element {
                const DTYPE: DType = DType::$variant;

                fn wrap(values: Arc<Vec<Self>>) -> Data {
                    Data::$variant(values)
                }

                fn view(data: &Data) -> Option<&Arc<Vec<Self>>> {
                    if let Data::$variant(values) = data { Some(values) } else { None }
                }

                fn view_mut(data: &mut Data) -> Option<&mut Arc<Vec<Self>>> {
                    if let Data::$variant(values) = data { Some(values) } else { None }
                }
            }
        )+
    };
}

elements! {
    F32 f32, F64 f64, F16 f16, Bf16 bf16, I64 i64, I32 i32, I16 i16, I8 i8, U64 u64, U32 u32, U16 u16, U8 u8,
    Bool bool, Str String,
}

/// Runs an expression for the elements of an array, whatever their type: `for_data!(array.data(), values => values.len())`.
macro_rules! for_data {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            $crate::array::Data::F32($values) => $body,
            $crate::array::Data::F64($values) => $body,
            $crate::array::Data::F16($values) => $body,
            $crate::array::Data::Bf16($values) => $body,
            $crate::array::Data::I64($values) => $body,
            $crate::array::Data::I32($values) => $body,
            $crate::array::Data::I16($values) => $body,
            $crate::array::Data::I8($values) => $body,
            $crate::array::Data::U64($values) => $body,
            $crate::array::Data::U32($values) => $body,
            $crate::array::Data::U16($values) => $body,
            $crate::array::Data::U8($values) => $body,
            $crate::array::Data::Bool($values) => $body,
            $crate::array::Data::Str($values) => $body,
        }
    };
}
pub(crate) use for_data;

/// A dense array, row-major. Clones share the elements.
#[derive(Clone, PartialEq)]
pub(crate) struct Array {
    shape: Shape,
    data: Data,
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype(), &self.shape[..])
    }
}

impl Array {
    /// An array of `shape` over `values`.
    ///
    /// # Panics
    /// If there are not as many values as `shape` says: an operator's own fault.
    pub(crate) fn new<T: Element>(shape: &[usize], values: Vec<T>) -> Self {
        Self::of_data(shape, T::wrap(Arc::new(values)))
    }

    /// One value without dimensions.
    pub(crate) fn scalar<T: Element>(value: T) -> Self {
        Self::new(&[], vec![value])
    }

    /// As [`Array::new`].
    pub(crate) fn of_data(shape: &[usize], data: Data) -> Self {
        assert_eq!(element_count(shape), Some(data.len()), "{shape:?} is not the shape of the elements");
        Self { shape: Shape::from_slice(shape), data }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn dtype(&self) -> DType {
        self.data.dtype()
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// Bytes of its elements; of texts, with their handles.
    pub(crate) fn size_bytes(&self) -> usize {
        let texts = self.values::<String>().into_iter().flatten().map(String::len).sum::<usize>();
        self.len() * self.dtype().size_bytes() + texts
    }

    /// The elements, if they are of this type.
    pub(crate) fn values<T: Element>(&self) -> Option<&[T]> {
        T::view(&self.data).map(|values| &values[..])
    }

    /// The elements for writing, if they are of this type; copied first if somebody else has them, too.
    pub(crate) fn values_mut<T: Element>(&mut self) -> Option<&mut Vec<T>> {
        T::view_mut(&mut self.data).map(Arc::make_mut)
    }

    /// Whether nobody else has its elements.
    pub(crate) fn is_unshared(&self) -> bool {
        for_data!(&self.data, values => Arc::strong_count(values) == 1)
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// If they are not as many.
    pub(crate) fn reshaped(self, shape: &[usize]) -> Result<Self, OpError> {
        if shape.len() > RANK_MAX || element_count(shape) != Some(self.len()) {
            return Err(OpError::Shape {
                expected: format!("a shape of {} elements", self.len()),
                got: shape.to_vec(),
            });
        }
        Ok(Self { shape: Shape::from_slice(shape), data: self.data })
    }

    /// Takes over a tensor.
    pub(crate) fn from_tensor(tensor: Tensor) -> Self {
        let (shape, data) = tensor.into_parts();
        let data = match data {
            TensorData::F32(values) => Data::F32(Arc::new(values)),
            TensorData::F64(values) => Data::F64(Arc::new(values)),
            TensorData::F16(bits) => Data::F16(Arc::new(bits.into_iter().map(f16::from_bits).collect())),
            TensorData::Bf16(bits) => Data::Bf16(Arc::new(bits.into_iter().map(bf16::from_bits).collect())),
            TensorData::I64(values) => Data::I64(Arc::new(values)),
            TensorData::I32(values) => Data::I32(Arc::new(values)),
            TensorData::I16(values) => Data::I16(Arc::new(values)),
            TensorData::I8(values) => Data::I8(Arc::new(values)),
            TensorData::U64(values) => Data::U64(Arc::new(values)),
            TensorData::U32(values) => Data::U32(Arc::new(values)),
            TensorData::U16(values) => Data::U16(Arc::new(values)),
            TensorData::U8(values) => Data::U8(Arc::new(values)),
            TensorData::Bool(values) => Data::Bool(Arc::new(values)),
            TensorData::Str(values) => Data::Str(Arc::new(values)),
        };
        Self::of_data(&shape, data)
    }

    /// Gives its elements away, copied only if somebody else has them, too.
    pub(crate) fn into_tensor(self) -> Tensor {
        let data = match self.data {
            Data::F32(values) => TensorData::F32(Arc::unwrap_or_clone(values)),
            Data::F64(values) => TensorData::F64(Arc::unwrap_or_clone(values)),
            Data::F16(values) => TensorData::F16(values.iter().map(|value| value.to_bits()).collect()),
            Data::Bf16(values) => TensorData::Bf16(values.iter().map(|value| value.to_bits()).collect()),
            Data::I64(values) => TensorData::I64(Arc::unwrap_or_clone(values)),
            Data::I32(values) => TensorData::I32(Arc::unwrap_or_clone(values)),
            Data::I16(values) => TensorData::I16(Arc::unwrap_or_clone(values)),
            Data::I8(values) => TensorData::I8(Arc::unwrap_or_clone(values)),
            Data::U64(values) => TensorData::U64(Arc::unwrap_or_clone(values)),
            Data::U32(values) => TensorData::U32(Arc::unwrap_or_clone(values)),
            Data::U16(values) => TensorData::U16(Arc::unwrap_or_clone(values)),
            Data::U8(values) => TensorData::U8(Arc::unwrap_or_clone(values)),
            Data::Bool(values) => TensorData::Bool(Arc::unwrap_or_clone(values)),
            Data::Str(values) => TensorData::Str(Arc::unwrap_or_clone(values)),
        };
        Tensor::new(self.shape.to_vec(), data)
            .expect("an array has the elements of its shape, and no more dimensions than a tensor")
    }
}

/// What flows between operators.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A dense array.
    Array(Array),
    /// Values in a row, all of one kind.
    Sequence(Arc<Vec<Value>>),
    /// A value that may be missing.
    Optional(Option<Arc<Value>>),
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Array(array)
    }
}

impl Value {
    /// Bytes of its elements; of texts, of their handles.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Array(array) => array.size_bytes(),
            Self::Sequence(values) => values.iter().map(Self::size_bytes).sum(),
            Self::Optional(value) => value.as_deref().map_or(0, Self::size_bytes),
        }
    }

    /// What it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Array(_) => "a tensor",
            Self::Sequence(_) => "a sequence",
            Self::Optional(_) => "an optional value",
        }
    }
}
