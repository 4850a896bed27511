//! One prediction on its way to Core ML and back: what is lent, where outputs go, what counts it.

use crate::flight::Flight;
use crate::{Hints, SharedTensors, platform};
use ballast_backend::{ComputeUnits, DType, Tensor, TensorError, TensorMap, TensorSpec};
use std::sync::Arc;

/// How a model is loaded and planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadSettings<'a> {
    pub(crate) units: ComputeUnits,
    pub(crate) hints: Hints,
    pub(crate) function: Option<&'a str>,
}

/// One prediction.
pub(crate) struct Call<'a> {
    pub(crate) inputs: &'a SharedTensors,
    pub(crate) outputs: OutputSlots,
    pub(crate) state: Option<(&'a platform::State, Flight)>,
    pub(crate) flight: Flight,
}

/// Several predictions in one call.
pub(crate) struct BatchCall<'a> {
    pub(crate) items: &'a [SharedTensors],
    pub(crate) specs: Arc<[TensorSpec]>,
    pub(crate) flight: Flight,
}

/// Where outputs go. Moves to whoever answers and comes back with the answer, so that no thread shares it.
#[derive(Debug)]
pub(crate) struct OutputSlots {
    pub(crate) specs: Arc<[TensorSpec]>,
    /// Tensors that may be used again.
    pub(crate) kept: TensorMap,
}

impl OutputSlots {
    /// A tensor for the output `name`: one that is kept where type and shape agree.
    pub(crate) fn tensor(&mut self, name: &str, dtype: DType, shape: &[usize]) -> Result<Tensor, TensorError> {
        match self.kept.remove(name) {
            Some(tensor) if tensor.dtype() == dtype && tensor.shape() == shape => Ok(tensor),
            Some(_) | None => Tensor::zeros(shape.to_vec(), dtype),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::TensorData;

    #[test]
    fn a_kept_tensor_is_used_where_type_and_shape_agree() {
        let kept = Tensor::new(vec![2], TensorData::F32(vec![1.0, 2.0])).unwrap();
        let slots = || OutputSlots { specs: [].into(), kept: TensorMap::from([("y".to_owned(), kept.clone())]) };
        assert_eq!(slots().tensor("y", DType::F32, &[2]).unwrap(), kept);
        for (name, dtype, shape) in [("y", DType::F32, [3]), ("y", DType::F16, [2]), ("z", DType::F32, [2])] {
            assert_eq!(slots().tensor(name, dtype, &shape).unwrap(), Tensor::zeros(shape.to_vec(), dtype).unwrap());
        }
    }
}
