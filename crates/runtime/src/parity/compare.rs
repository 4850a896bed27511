//! Two outputs, element by element.

use super::error::ParityError;
use ballast_backend::{Tensor, TensorData};
use half::{bf16, f16};
use serde::{Serialize, Serializer};

/// One element's value, kept so that it can be told exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A float of any width.
    Float(f64),
    /// An integer of any width, or a truth value as 0 or 1.
    Int(i128),
}

impl Serialize for Value {
    /// A number; as text where JSON has no number for it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::Float(value) => serializer.collect_str(value),
            Self::Int(value) => serializer.serialize_i128(*value),
        }
    }
}

/// The element at which two outputs differ most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Its place, counted through the whole output.
    pub index: usize,
    /// The reference's value.
    pub reference: Value,
    /// The other's.
    pub candidate: Value,
    /// How far they are apart; `None`: one is not finite and the other is not the same.
    pub difference: Option<f64>,
}

/// How far two outputs differ.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// Largest difference of two finite elements.
    pub l_inf: f64,
    /// Root mean square of the differences of finite elements.
    pub rmse: f64,
    /// Cosine of the angle between the finite elements; `None` if both are zero everywhere, 0 if one is.
    pub cosine: Option<f64>,
    /// Elements compared.
    pub n_elements: usize,
    /// Of these, places where both are NaN, or the same infinity.
    pub n_same_nonfinite: usize,
    /// Of these, places where one is not finite and the other is not the same.
    pub n_unmatched: usize,
    /// The worst of them, if any differ: an unmatched one before all others, the first of equals.
    pub worst: Option<Worst>,
}

/// Sums over the elements so far.
#[derive(Default)]
struct Sums {
    difference: Difference,
    squares: f64,
    dot: f64,
    norm_reference: f64,
    norm_candidate: f64,
}

impl Sums {
    fn floats(&mut self, index: usize, reference: f64, candidate: f64) {
        let value = Value::Float;
        if reference.is_finite() && candidate.is_finite() {
            let apart = (reference - candidate).abs();
            self.finite(Worst {
                index,
                reference: value(reference),
                candidate: value(candidate),
                difference: Some(apart),
            });
            self.angle(reference, candidate);
        } else if reference == candidate || (reference.is_nan() && candidate.is_nan()) {
            self.difference.n_same_nonfinite += 1;
        } else {
            self.difference.n_unmatched += 1;
            if self.difference.worst.is_none_or(|worst| worst.difference.is_some()) {
                let (reference, candidate) = (value(reference), value(candidate));
                self.difference.worst = Some(Worst { index, reference, candidate, difference: None });
            }
        }
    }

    /// Subtracted as integers: two that differ never become equal by rounding.
    fn ints(&mut self, index: usize, reference: i128, candidate: i128) {
        let apart = reference.abs_diff(candidate) as f64;
        let value = Value::Int;
        self.finite(Worst { index, reference: value(reference), candidate: value(candidate), difference: Some(apart) });
        self.angle(reference as f64, candidate as f64);
    }

    fn finite(&mut self, at: Worst) {
        let apart = at.difference.unwrap_or(0.0);
        self.squares += apart * apart;
        if apart > self.difference.l_inf {
            self.difference.l_inf = apart;
            if self.difference.worst.is_none_or(|worst| worst.difference.is_some()) {
                self.difference.worst = Some(at);
            }
        }
    }

    fn angle(&mut self, reference: f64, candidate: f64) {
        self.dot += reference * candidate;
        self.norm_reference += reference * reference;
        self.norm_candidate += candidate * candidate;
    }

    fn finish(self, n_elements: usize) -> Difference {
        let Difference { n_same_nonfinite, n_unmatched, .. } = self.difference;
        let n_finite = n_elements - n_same_nonfinite - n_unmatched;
        let rmse = if n_finite == 0 { 0.0 } else { (self.squares / n_finite as f64).sqrt() };
        // One root of the product, so that equal vectors have exactly 1. Only squares of 64-bit floats come near its ends.
        let norms = (self.norm_reference * self.norm_candidate).sqrt();
        let cosine = if norms.is_infinite() {
            None
        } else if norms > 0.0 {
            Some((self.dot / norms).clamp(-1.0, 1.0))
        } else if self.norm_reference > 0.0 || self.norm_candidate > 0.0 {
            Some(0.0)
        } else {
            None
        };
        Difference { rmse, cosine, n_elements, ..self.difference }
    }
}

/// Compares two rows of floats, such as logits.
///
/// # Errors
/// If they are not of one length.
pub fn compare_rows(name: &str, reference: &[f32], candidate: &[f32]) -> Result<Difference, ParityError> {
    same_shape(name, &[reference.len()], &[candidate.len()])?;
    let mut sums = Sums::default();
    for (index, (a, b)) in reference.iter().zip(candidate).enumerate() {
        sums.floats(index, f64::from(*a), f64::from(*b));
    }
    Ok(sums.finish(reference.len()))
}

/// Compares two tensors of one type and shape.
///
/// # Errors
/// If type, shape or number of elements differ.
pub fn compare_tensors(name: &str, reference: &Tensor, candidate: &Tensor) -> Result<Difference, ParityError> {
    same_shape(name, reference.shape(), candidate.shape())?;
    let len = reference.data().len();
    // A tensor whose elements were replaced by another number of them contradicts its shape.
    same_shape(name, &[len], &[candidate.data().len()])?;
    let mut sums = Sums::default();
    match (reference.data(), candidate.data()) {
        (TensorData::F32(a), TensorData::F32(b)) => return compare_rows(name, a, b),
        (TensorData::F16(a), TensorData::F16(b)) => {
            let wide = |bits: u16| f64::from(f16::from_bits(bits));
            a.iter().zip(b).enumerate().for_each(|(index, (a, b))| sums.floats(index, wide(*a), wide(*b)));
        }
        (TensorData::Bf16(a), TensorData::Bf16(b)) => {
            let wide = |bits: u16| f64::from(bf16::from_bits(bits));
            a.iter().zip(b).enumerate().for_each(|(index, (a, b))| sums.floats(index, wide(*a), wide(*b)));
        }
        (TensorData::F64(a), TensorData::F64(b)) => {
            a.iter().zip(b).enumerate().for_each(|(index, (a, b))| sums.floats(index, *a, *b));
        }
        (TensorData::I64(a), TensorData::I64(b)) => ints(&mut sums, a, b),
        (TensorData::I32(a), TensorData::I32(b)) => ints(&mut sums, a, b),
        (TensorData::I16(a), TensorData::I16(b)) => ints(&mut sums, a, b),
        (TensorData::I8(a), TensorData::I8(b)) => ints(&mut sums, a, b),
        (TensorData::U64(a), TensorData::U64(b)) => ints(&mut sums, a, b),
        (TensorData::U32(a), TensorData::U32(b)) => ints(&mut sums, a, b),
        (TensorData::U16(a), TensorData::U16(b)) => ints(&mut sums, a, b),
        (TensorData::U8(a), TensorData::U8(b)) => ints(&mut sums, a, b),
        (TensorData::Bool(a), TensorData::Bool(b)) => ints(&mut sums, a, b),
        // Texts are equal or as far apart as can be.
        (TensorData::Str(a), TensorData::Str(b)) => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.for_each(|(index, (a, b))| sums.floats(index, 0.0, if a == b { 0.0 } else { f64::INFINITY }));
        }
        (
            TensorData::F32(_)
            | TensorData::F64(_)
            | TensorData::F16(_)
            | TensorData::Bf16(_)
            | TensorData::I64(_)
            | TensorData::I32(_)
            | TensorData::I16(_)
            | TensorData::I8(_)
            | TensorData::U64(_)
            | TensorData::U32(_)
            | TensorData::U16(_)
            | TensorData::U8(_)
            | TensorData::Bool(_)
            | TensorData::Str(_),
            _,
        ) => {
            let (reference, candidate) = (reference.dtype(), candidate.dtype());
            return Err(ParityError::DTypeMismatch { name: name.to_owned(), reference, candidate });
        }
    }
    Ok(sums.finish(len))
}

fn ints<T: Copy + Into<i128>>(sums: &mut Sums, reference: &[T], candidate: &[T]) {
    let pairs = reference.iter().zip(candidate).enumerate();
    pairs.for_each(|(index, (a, b))| sums.ints(index, (*a).into(), (*b).into()));
}

fn same_shape(name: &str, reference: &[usize], candidate: &[usize]) -> Result<(), ParityError> {
    if reference == candidate {
        return Ok(());
    }
    let (reference, candidate) = (reference.to_vec(), candidate.to_vec());
    Err(ParityError::ShapeMismatch { name: name.to_owned(), reference, candidate })
}
