//! Multiplies operands with named indices, two at a time, and sums over indices that nobody needs any more.

use super::Label;
use crate::array::{Element, Shape};
use crate::error::OpError;
use crate::ops::view::{View, fill_rows};
use crate::run::Context;
use smallvec::SmallVec;

/// Numbers that are multiplied and summed.
pub(super) trait Number: Element + Copy {
    /// `self + a * b`.
    fn plus_product(self, a: Self, b: Self) -> Self;
    fn plus(self, other: Self) -> Self;
}

macro_rules! floats {
    ($($element:ty),+) => {
        $(impl Number for $element {
            fn plus_product(self, a: Self, b: Self) -> Self {
                self + a * b
            }

            fn plus(self, other: Self) -> Self {
                self + other
            }
        })+
    };
}

macro_rules! integers {
    ($($element:ty),+) => {
        $(impl Number for $element {
            fn plus_product(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.wrapping_mul(b))
            }

            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        })+
    };
}

floats!(f32, f64);
integers!(i64, i32, i16, i8, u64, u32, u16, u8);

/// An array whose dimensions have names.
pub(super) struct Operand<T> {
    pub(super) labels: Vec<Label>,
    pub(super) shape: Shape,
    pub(super) values: Vec<T>,
}

/// Fewer columns than this are multiplied as dot products.
const COLUMNS_MIN: usize = 8;

/// The elements of the product of all operands, summed over all indices that `result` has not, in its order.
pub(super) fn all<T: Number>(
    operands: Vec<Operand<T>>,
    result: &[Label],
    context: &mut Context<'_>,
) -> Result<Vec<T>, OpError> {
    let mut rest = operands.into_iter();
    let mut product = rest.next().ok_or_else(|| OpError::input(0, "a tensor", "nothing"))?;
    while let Some(next) = rest.next() {
        context.pulse.beat()?;
        let is_needed =
            |label: &Label| result.contains(label) || rest.as_slice().iter().any(|other| other.labels.contains(label));
        product = pair(product, next, &is_needed, context)?;
    }
    let order: Vec<Label> = result.iter().filter(|label| product.labels.contains(label)).copied().collect();
    let summed = product.summed(&order, context)?;
    Ok(summed.values)
}

impl<T: Number> Operand<T> {
    fn extent(&self, label: Label) -> usize {
        self.labels.iter().position(|own| *own == label).map_or(1, |at| self.shape[at])
    }

    fn len_of(&self, labels: &[Label]) -> usize {
        labels.iter().map(|&label| self.extent(label)).product()
    }

    /// The operand with its indices in this order, which has all of them.
    fn ordered(self, order: &[Label], context: &mut Context<'_>) -> Result<Self, OpError> {
        if self.labels == order {
            return Ok(self);
        }
        let place = |label: &Label| self.labels.iter().position(|own| own == label);
        let places: SmallVec<[usize; 8]> = order.iter().filter_map(place).collect();
        let shape: Shape = places.iter().map(|&at| self.shape[at]).collect();
        let mut values = context.zeros(&[self.values.len()])?;
        View::dense(&self.shape).permuted(&places).copy(&self.values, &mut values, context.pool);
        Ok(Self { labels: order.to_vec(), shape, values })
    }

    /// Summed over all indices but these, in their order.
    fn summed(self, kept: &[Label], context: &mut Context<'_>) -> Result<Self, OpError> {
        let dropped: Vec<Label> = self.labels.iter().filter(|label| !kept.contains(label)).copied().collect();
        if dropped.is_empty() {
            return self.ordered(kept, context);
        }
        let (n_kept, n_dropped) = (self.len_of(kept), self.len_of(&dropped));
        let shape: Shape = kept.iter().map(|&label| self.extent(label)).collect();
        let ordered = self.ordered(&[kept, &dropped].concat(), context)?;
        let mut sums: Vec<T> = context.zeros(&[n_kept])?;
        for (sum, values) in sums.iter_mut().zip(ordered.values.chunks(n_dropped.max(1))) {
            *sum = values.iter().fold(T::default(), |sum, &value| sum.plus(value));
        }
        Ok(Self { labels: kept.to_vec(), shape, values: sums })
    }
}

/// The product of two operands, summed over the indices of both that nobody needs: a batch of matrix products.
fn pair<T: Number>(
    a: Operand<T>,
    b: Operand<T>,
    is_needed: &dyn Fn(&Label) -> bool,
    context: &mut Context<'_>,
) -> Result<Operand<T>, OpError> {
    let own = |of: &Operand<T>, other: &Operand<T>| -> Vec<Label> {
        of.labels.iter().filter(|label| is_needed(label) && !other.labels.contains(label)).copied().collect()
    };
    let common = a.labels.iter().filter(|label| b.labels.contains(label)).copied();
    let (batch, inner): (Vec<Label>, Vec<Label>) = common.partition(is_needed);
    let (rows, columns) = (own(&a, &b), own(&b, &a));
    let (n_batch, n_rows, n_inner, n_columns) =
        (a.len_of(&batch), a.len_of(&rows), a.len_of(&inner), b.len_of(&columns));
    let labels = [&batch[..], &rows, &columns].concat();
    let extent = |label: &Label| a.extent(*label).max(b.extent(*label));
    let shape: Shape = labels.iter().map(extent).collect();
    let is_narrow = n_columns < COLUMNS_MIN;
    let a = a.summed(&[&batch[..], &rows, &inner].concat(), context)?;
    let b_order =
        if is_narrow { [&batch[..], &columns, &inner].concat() } else { [&batch[..], &inner, &columns].concat() };
    let b = b.summed(&b_order, context)?;
    let mut out: Vec<T> = context.zeros(&[n_batch, n_rows, n_columns])?;
    if n_inner > 0 {
        fill_rows(&mut out, n_columns, context.pool, |row, out| {
            let left = &a.values[row * n_inner..][..n_inner];
            let right = &b.values[row / n_rows * n_inner * n_columns..][..n_inner * n_columns];
            if is_narrow {
                for (out, right) in out.iter_mut().zip(right.chunks(n_inner)) {
                    *out = left.iter().zip(right).fold(T::default(), |sum, (&a, &b)| sum.plus_product(a, b));
                }
                return;
            }
            for (&a, right) in left.iter().zip(right.chunks(n_columns)) {
                out.iter_mut().zip(right).for_each(|(out, &b)| *out = out.plus_product(a, b));
            }
        });
    }
    Ok(Operand { labels, shape, values: out })
}
