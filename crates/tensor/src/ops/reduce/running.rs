//! Sums and products that run along an axis.

use crate::array::Array;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, axis, one, wrong_type};
use crate::ops::broadcast::elements_mut;
use crate::ops::number::{Number, by_type};
use crate::run::Context;

/// What the elements up to each come to. (ONNX `CumSum`, `CumProd`)
#[derive(Debug)]
struct Running {
    is_product: bool,
    /// Each element's own counts for those behind it alone.
    is_exclusive: bool,
    /// From the end on.
    is_reverse: bool,
}

fn build(spec: &NodeSpec<'_>, is_product: bool) -> Result<Box<dyn Operator>, OpError> {
    let (is_exclusive, is_reverse) = (spec.flag("exclusive", false)?, spec.flag("reverse", false)?);
    Ok(Box::new(Running { is_product, is_exclusive, is_reverse }))
}

pub(super) fn sum(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    build(spec, false)
}

pub(super) fn product(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    build(spec, true)
}

impl Operator for Running {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let [named] = inputs.ints(1)?[..] else {
            return Err(OpError::input(1, "one axis", format!("{:?}", inputs.get(1)?)));
        };
        let mut x = inputs.take(0)?;
        let axis = axis(named, x.rank())?;
        by_type!(x.dtype(), T in numbers => self.along::<T>(&mut x, axis)?,
            else => return Err(wrong_type(0, "numbers", x.dtype())));
        one(x)
    }
}

impl Running {
    fn along<T: Number>(&self, x: &mut Array, axis: usize) -> Result<(), OpError> {
        let (n, inner) = (x.shape()[axis], x.shape()[axis + 1..].iter().product::<usize>());
        if x.len() == 0 {
            return Ok(());
        }
        let (init, combine): (T, fn(T, T) -> T) = if self.is_product { (T::ONE, T::times) } else { (T::ZERO, T::plus) };
        let mut whole = vec![init; inner];
        for set in elements_mut::<T>(x, 0)?.chunks_exact_mut(n * inner) {
            whole.fill(init);
            for idx in 0..n {
                let idx = if self.is_reverse { n - 1 - idx } else { idx };
                for (x, whole) in set[idx * inner..][..inner].iter_mut().zip(&mut whole) {
                    let through = combine(*whole, *x);
                    *x = if self.is_exclusive { *whole } else { through };
                    *whole = through;
                }
            }
        }
        Ok(())
    }
}
