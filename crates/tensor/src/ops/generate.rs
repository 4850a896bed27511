//! Operators that make arrays from little or nothing.

use crate::array::{Array, Data, Element, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::onnx::dtype_of_code as dtype;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, one, wrong_type};
use crate::ops::view::{extent, fill_rows};
use crate::run::Context;
use ballast_backend::DType;
use half::{bf16, f16};

pub(super) const OPS: &[(&str, Build)] = &[
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("EyeLike", eye_like),
    ("OneHot", one_hot),
    ("Range", range),
    ("Trilu", trilu),
];

/// The type that a number of the standard names in an attribute.
pub(super) fn type_attribute(spec: &NodeSpec<'_>, name: &'static str) -> Result<Option<DType>, OpError> {
    let known = |code| dtype(code).ok_or_else(|| OpError::unsupported(format!("the element type {code}")));
    spec.int(name)?.map(known).transpose()
}

fn constant(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let candidates = [
        spec.array("value")?.cloned(),
        spec.float("value_float")?.map(Array::scalar),
        spec.floats("value_floats")?.map(|values| Array::new(&[values.len()], values.to_vec())),
        spec.int("value_int")?.map(Array::scalar),
        spec.ints("value_ints")?.map(|values| Array::new(&[values.len()], values.to_vec())),
        spec.text("value_string")?.map(|value| Array::scalar(value.to_owned())),
        spec.texts("value_strings")?.map(|values| Array::new(&[values.len()], values.to_vec())),
    ];
    let mut given = candidates.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(value), None) => Ok(Box::new(Constant { value })),
        (None, _) => Err(NodeSpec::wrong("value", "a value", "nothing")),
        (Some(_), Some(_)) => Err(NodeSpec::wrong("value", "one value", "several")),
    }
}

/// A value that stands in the model. (ONNX `Constant`)
#[derive(Debug)]
struct Constant {
    value: Array,
}

impl Operator for Constant {
    fn run(&self, _: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        one(self.value.clone())
    }
}

fn constant_of_shape(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let value = spec.array("value")?.cloned().unwrap_or_else(|| Array::scalar(0.0_f32));
    if value.len() != 1 {
        return Err(NodeSpec::wrong("value", "one element", value.len()));
    }
    Ok(Box::new(ConstantOfShape { value }))
}

/// One value in every place of a shape. (ONNX `ConstantOfShape`)
#[derive(Debug)]
struct ConstantOfShape {
    value: Array,
}

impl Operator for ConstantOfShape {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let shape = inputs.ints(0)?.into_iter().map(|value| extent(value, 0)).collect::<Result<Shape, _>>()?;
        let len = context.len_of(&shape, self.value.dtype())?;
        for_data!(self.value.data(), values => one(repeated(&values[..], &shape, len)))
    }
}

/// The first of `values` in all `len` places of a shape.
fn repeated<T: Element>(values: &[T], shape: &[usize], len: usize) -> Array {
    Array::new(shape, vec![values[0].clone(); len])
}

fn eye_like(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let dtype = type_attribute(spec, "dtype")?;
    if dtype == Some(DType::Str) {
        return Err(OpError::unsupported("a diagonal of texts"));
    }
    Ok(Box::new(EyeLike { dtype, diagonal: spec.int("k")?.unwrap_or(0) }))
}

/// Ones on a diagonal of a matrix of zeros. (ONNX `EyeLike`)
#[derive(Debug)]
struct EyeLike {
    dtype: Option<DType>,
    diagonal: i64,
}

impl Operator for EyeLike {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let like = inputs.get(0)?;
        let &[n_rows, n_columns] = like.shape() else { return Err(OpError::shape("a matrix", like.shape())) };
        let dtype = self.dtype.unwrap_or(like.dtype());
        let len = context.len_of(like.shape(), dtype)?;
        let on_row = |row: usize| {
            let column = i64::try_from(row).ok()?.checked_add(self.diagonal)?;
            usize::try_from(column).ok().filter(|&column| column < n_columns).map(|column| row * n_columns + column)
        };
        let places: Vec<usize> = (0..n_rows).filter_map(on_row).collect();
        let shape = Shape::from_slice(like.shape());
        let ones = cast(vec![1.0; places.len()], &[places.len()], dtype);
        let mut eye = Array::of_data(&shape, Data::zeros(dtype, len));
        for_data!(ones.data(), ones => put(&mut eye, &places, ones));
        one(eye)
    }
}

fn put<T: Element>(array: &mut Array, places: &[usize], values: &[T]) {
    let targets = array.values_mut::<T>().map(Vec::as_mut_slice).unwrap_or_default();
    for (&place, value) in places.iter().zip(values) {
        targets[place] = value.clone();
    }
}

/// Numbers as elements of a type; fractions are cut off as in a cast.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers are cut to their type as in a cast"
)]
pub(super) fn cast(values: Vec<f64>, shape: &[usize], dtype: DType) -> Array {
    macro_rules! cast_to {
        ($element:ty) => {
            Array::new(shape, values.into_iter().map(|value| value as $element).collect())
        };
    }
    match dtype {
        DType::F32 => cast_to!(f32),
        DType::F64 => Array::new(shape, values),
        DType::F16 => Array::new(shape, values.into_iter().map(f16::from_f64).collect()),
        DType::Bf16 => Array::new(shape, values.into_iter().map(bf16::from_f64).collect()),
        DType::I64 => cast_to!(i64),
        DType::I32 => cast_to!(i32),
        DType::I16 => cast_to!(i16),
        DType::I8 => cast_to!(i8),
        DType::U64 => cast_to!(u64),
        DType::U32 => cast_to!(u32),
        DType::U16 => cast_to!(u16),
        DType::U8 => cast_to!(u8),
        DType::Bool => Array::new(shape, values.into_iter().map(|value| value != 0.0).collect()),
        DType::Str => Array::new(shape, values.into_iter().map(|value| value.to_string()).collect()),
    }
}

/// Numbers of any type as floats of 64 bits; `None`: they are texts.
#[expect(clippy::cast_precision_loss, reason = "what is a place, a length or a frequency is well below 2^53")]
pub(super) fn floats(array: &Array) -> Option<Vec<f64>> {
    macro_rules! wide {
        ($values:expr) => {
            $values.iter().map(|&value| value as f64).collect()
        };
    }
    Some(match array.data() {
        Data::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::F64(values) => values.to_vec(),
        Data::F16(values) => values.iter().map(|value| value.to_f64()).collect(),
        Data::Bf16(values) => values.iter().map(|value| value.to_f64()).collect(),
        Data::I64(values) => wide!(values),
        Data::U64(values) => wide!(values),
        Data::I32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::I16(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::I8(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::U32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::U16(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::U8(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::Bool(values) => values.iter().map(|&value| f64::from(u8::from(value))).collect(),
        Data::Str(_) => return None,
    })
}

/// One number of any type.
pub(super) fn number(inputs: &Inputs, idx: usize) -> Result<f64, OpError> {
    let array = inputs.get(idx)?;
    match floats(array).as_deref() {
        Some(&[number]) => Ok(number),
        _ => Err(OpError::input(idx, "one number", format!("{array:?}"))),
    }
}

/// One whole number of 0 or more, of any type.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number was found to be a whole one within bounds"
)]
pub(super) fn count(inputs: &Inputs, idx: usize) -> Result<usize, OpError> {
    let number = number(inputs, idx)?;
    // Above this not every whole number is a float.
    let is_count = (0.0..9e15).contains(&number);
    if is_count { Ok(number as usize) } else { Err(OpError::input(idx, "a number of 0 or more", number.to_string())) }
}

fn one_hot(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(OneHot { axis: spec.int("axis")?.unwrap_or(-1) }))
}

/// For each index a row that is on where the index says and off elsewhere. (ONNX `OneHot`)
#[derive(Debug)]
struct OneHot {
    axis: i64,
}

impl Operator for OneHot {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (indices, depth, choice) = (inputs.get(0)?, count(&inputs, 1)?, inputs.get(2)?);
        if choice.len() != 2 {
            return Err(OpError::input(2, "two values", choice.len().to_string()));
        }
        let at = axis(self.axis, indices.rank() + 1)?;
        let mut shape = Shape::from_slice(indices.shape());
        shape.insert(at, depth);
        context.len_of(&shape, choice.dtype())?;
        let places = floats(indices).ok_or_else(|| wrong_type(0, "numbers", indices.dtype()))?;
        let end = places_end(depth);
        // The place of each index along the new axis; one outside is nowhere.
        let places = places.into_iter().map(|idx| if idx < 0.0 { idx + end } else { idx }.trunc()).collect();
        let inner = indices.shape()[at..].iter().product();
        let rows = OneHotRows { places, depth, inner };
        for_data!(choice.data(), choice => one(rows.fill(choice, &shape, context)?))
    }
}

/// Rows of which each has one place that is on.
struct OneHotRows {
    places: Vec<f64>,
    depth: usize,
    /// Elements behind the new axis.
    inner: usize,
}

impl OneHotRows {
    fn fill<T: Element>(&self, choice: &[T], shape: &[usize], context: &mut Context<'_>) -> Result<Array, OpError> {
        let mut out = context.zeros(shape)?;
        fill_rows(&mut out, self.inner, context.pool, |row, out: &mut [T]| {
            let (outer, here) = (row / self.depth, places_end(row % self.depth));
            for (out, &place) in out.iter_mut().zip(&self.places[outer * self.inner..]) {
                out.clone_from(&choice[usize::from(place == here)]);
            }
        });
        Ok(Array::new(shape, out))
    }
}

#[expect(clippy::cast_precision_loss, reason = "an extent of an array that fits into memory is well below 2^53")]
fn places_end(extent: usize) -> f64 {
    extent as f64
}

fn range(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Range))
}

/// Numbers from one on, below another, at a distance. (ONNX `Range`)
#[derive(Debug)]
struct Range;

impl Operator for Range {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let dtype = inputs.get(0)?.dtype();
        for idx in 1..3 {
            if inputs.get(idx)?.dtype() != dtype {
                return Err(wrong_type(idx, dtype.as_str(), inputs.get(idx)?.dtype()));
            }
        }
        match dtype {
            DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 | DType::U16 | DType::U32 => {
                whole_range(&inputs, dtype, context)
            }
            DType::F32 | DType::F64 | DType::F16 | DType::Bf16 => float_range(&inputs, dtype, context),
            DType::U64 | DType::Bool | DType::Str => Err(wrong_type(0, "a number", dtype)),
        }
    }
}

fn whole_range(inputs: &Inputs, dtype: DType, context: &mut Context<'_>) -> Result<Outputs, OpError> {
    let whole = |idx: usize| -> Result<i64, OpError> {
        let array = inputs.get(idx)?;
        let value = match array.data() {
            Data::I64(values) => values.first().copied(),
            Data::I32(values) => values.first().map(|&value| value.into()),
            Data::I16(values) => values.first().map(|&value| value.into()),
            Data::I8(values) => values.first().map(|&value| value.into()),
            Data::U8(values) => values.first().map(|&value| value.into()),
            Data::U16(values) => values.first().map(|&value| value.into()),
            Data::U32(values) => values.first().map(|&value| value.into()),
            Data::F32(_)
            | Data::F64(_)
            | Data::F16(_)
            | Data::Bf16(_)
            | Data::U64(_)
            | Data::Bool(_)
            | Data::Str(_) => None,
        };
        value.filter(|_| array.len() == 1).ok_or_else(|| OpError::input(idx, "one number", format!("{array:?}")))
    };
    let (start, limit, delta) = (i128::from(whole(0)?), i128::from(whole(1)?), i128::from(whole(2)?));
    if delta == 0 {
        return Err(OpError::input(2, "a distance that is not 0", "0"));
    }
    let span = if delta > 0 { limit - start } else { start - limit };
    let len = u128::try_from(span).unwrap_or(0).div_ceil(delta.unsigned_abs());
    let len = usize::try_from(len).map_err(|_| OpError::shape("fewer numbers", &[usize::MAX]))?;
    context.len_of(&[len], DType::I64)?;
    let numbers = (0..).take(len).map(|idx: i128| start + idx * delta);
    macro_rules! narrow {
        ($element:ty) => {
            one(Array::new(&[len], numbers.map(|value| <$element>::try_from(value).unwrap_or_default()).collect()))
        };
    }
    match dtype {
        DType::I32 => narrow!(i32),
        DType::I16 => narrow!(i16),
        DType::I8 => narrow!(i8),
        DType::U8 => narrow!(u8),
        DType::U16 => narrow!(u16),
        DType::U32 => narrow!(u32),
        DType::I64 | DType::F32 | DType::F64 | DType::F16 | DType::Bf16 | DType::U64 | DType::Bool | DType::Str => {
            narrow!(i64)
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the number was checked to be small"
)]
fn float_range(inputs: &Inputs, dtype: DType, context: &mut Context<'_>) -> Result<Outputs, OpError> {
    let (start, limit, delta) = (number(inputs, 0)?, number(inputs, 1)?, number(inputs, 2)?);
    let len = ((limit - start) / delta).ceil();
    if len.is_nan() || len > 9e15 {
        return Err(OpError::input(2, "a distance that ends somewhere", delta.to_string()));
    }
    let len = len.max(0.0) as usize;
    context.len_of(&[len], DType::F64)?;
    one(cast((0..len).map(|idx| start + idx as f64 * delta).collect(), &[len], dtype))
}

fn trilu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Trilu { is_upper: spec.flag("upper", true)? }))
}

/// The part of matrices above or below a diagonal. (ONNX `Trilu`)
#[derive(Debug)]
struct Trilu {
    is_upper: bool,
}

impl Operator for Trilu {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let diagonal = match inputs.find_ints(1)?.as_deref() {
            None => 0,
            Some(&[diagonal]) => diagonal,
            Some(other) => return Err(OpError::input(1, "one number", other.len().to_string())),
        };
        let mut array = inputs.take(0)?;
        let &[.., n_rows, n_columns] = array.shape() else { return Err(OpError::shape("matrices", array.shape())) };
        if array.len() == 0 {
            return one(array);
        }
        let triangle = Triangle { n_rows, n_columns, diagonal, is_upper: self.is_upper };
        for_data!(&Data::zeros(array.dtype(), 0), like => triangle.keep(&mut array, like));
        one(array)
    }
}

/// The part of matrices on one side of a diagonal, with it.
struct Triangle {
    n_rows: usize,
    n_columns: usize,
    diagonal: i64,
    is_upper: bool,
}

impl Triangle {
    /// Clears what is outside, in an array of elements of the type of `_like`.
    fn keep<T: Element>(&self, array: &mut Array, _like: &[T]) {
        // Of row `i`, the diagonal is at place `i + diagonal`.
        let on_diagonal = |row: usize, behind: i64| {
            let row = i64::try_from(row).unwrap_or(i64::MAX);
            let at = row.saturating_add(self.diagonal).saturating_add(behind).max(0);
            usize::try_from(at).unwrap_or(usize::MAX).min(self.n_columns)
        };
        let values = array.values_mut::<T>().map(Vec::as_mut_slice).unwrap_or_default();
        for (idx, row) in values.chunks_mut(self.n_columns).enumerate() {
            let row_idx = idx % self.n_rows;
            if self.is_upper {
                row[..on_diagonal(row_idx, 0)].fill(T::default());
            } else {
                row[on_diagonal(row_idx, 1)..].fill(T::default());
            }
        }
    }
}
