//! The way back from `MaxPool`: what was greatest goes to where it was.

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one};
use crate::ops::widen;
use crate::ops::window::{Spatial, Windows};
use crate::run::Context;

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let windows = Windows::new(spec)?;
    let kernel = Spatial::from_slice(NodeSpec::needed(windows.kernel(), "kernel_shape", "integers")?);
    Ok(Box::new(MaxUnpool { windows, kernel }))
}

/// (ONNX `MaxUnpool`)
#[derive(Debug)]
struct MaxUnpool {
    windows: Windows,
    kernel: Spatial<usize>,
}

impl Operator for MaxUnpool {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let (x, places) = (inputs.get(0)?, inputs.get(1)?);
        if x.rank() != self.kernel.len() + 2 || places.shape() != x.shape() {
            return Err(OpError::shape(format!("values and places of one shape for {:?}", self.kernel), x.shape()));
        }
        let steps = self.windows.steps(self.kernel.len())?;
        let mut own = Shape::from_slice(&x.shape()[..2]);
        for (at, (stride, _, pads)) in steps.iter().enumerate() {
            let extent = (x.shape()[2 + at].max(1) - 1) * stride + self.kernel[at];
            let extent = extent.checked_sub(pads[0] + pads[1]);
            own.push(extent.ok_or_else(|| OpError::shape("an input larger than its padding", x.shape()))?);
        }
        let shape = match inputs.find_ints(2)? {
            None => own.clone(),
            Some(given) => {
                let sizes: Option<Shape> = given.iter().map(|size| usize::try_from(*size).ok()).collect();
                let same = |shape: &Shape| shape.len() == own.len();
                sizes.filter(same).ok_or_else(|| OpError::input(2, "a shape", format!("{given:?}")))?
            }
        };
        let (values, places) = (inputs.values::<f32>(0)?, inputs.values::<i64>(1)?);
        let mut out = context.zeros::<f32>(&shape)?;
        // Places are those of an output without a shape of its own, which may be larger.
        for (value, place) in values.iter().zip(places) {
            let at = usize::try_from(*place).ok().and_then(|at| moved(at, &own, &shape));
            out[at.ok_or_else(|| OpError::input(1, "places in the output", place.to_string()))?] = *value;
        }
        widen::output(one(Array::new(&shape, out))?, narrow, context)
    }
}

/// The entry of an array of shape `to` at the place of entry `at` of one of shape `from`.
fn moved(mut at: usize, from: &[usize], to: &[usize]) -> Option<usize> {
    let (mut place, mut step) = (0, 1);
    for (from, to) in from.iter().zip(to).rev() {
        place += Some(at.checked_rem(*from)?).filter(|at| at < to)? * step;
        (at, step) = (at / from, step * to);
    }
    (at == 0).then_some(place)
}
