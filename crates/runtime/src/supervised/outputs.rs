//! Output tensors: taken from the pool before a call, given to the caller after it, back in the pool when dropped.

use super::error::PredictFault;
use crate::buffer_pool::{BufferPool, Contents, PooledTensor};
use crate::events::BufferTaken;
use crate::telemetry::Telemetry;
use ballast_backend::{DType, Dim, IoSchema, Tensor, TensorData, TensorError, TensorMap, TensorSpec, element_count};
use std::collections::BTreeMap;
use std::mem;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

/// One output of an answer.
#[derive(Debug)]
pub enum OutputTensor {
    /// Returns to the engine's pool when it is dropped.
    Pooled(PooledTensor),
    /// The caller's own: its shape was not known before the call.
    Own(Tensor),
}

impl Deref for OutputTensor {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        match self {
            Self::Pooled(tensor) => tensor,
            Self::Own(tensor) => tensor,
        }
    }
}

/// The outputs of an answer, by name.
#[derive(Debug, Default)]
pub struct Outputs(BTreeMap<String, OutputTensor>);

impl Outputs {
    /// The output of this name; `None`: the model has none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name).map(Deref::deref)
    }

    /// Every output in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), &**tensor))
    }

    /// Takes every tensor out of the pool for good.
    #[must_use]
    pub fn into_tensors(self) -> TensorMap {
        let own = |tensor| match tensor {
            OutputTensor::Pooled(tensor) => tensor.into_tensor(),
            OutputTensor::Own(tensor) => tensor,
        };
        self.0.into_iter().map(|(name, tensor)| (name, own(tensor))).collect()
    }

    /// A copy that can be compared later.
    pub(super) fn copied(&self) -> TensorMap {
        self.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
    }

    /// Whether every output is there, of its type and shape, and nothing else.
    pub(super) fn check(&self, schema: &IoSchema) -> Result<(), PredictFault> {
        let is_good = |spec: &TensorSpec| {
            self.get(&spec.name).is_some_and(|tensor| {
                let n_elements = element_count(tensor.shape());
                spec.fits(tensor.dtype(), tensor.shape()) && n_elements == Some(tensor.data().len())
            })
        };
        let missing = schema.outputs.iter().find(|spec| !is_good(spec)).map(|spec| &spec.name);
        let unknown = || self.0.keys().find(|name| schema.outputs.iter().all(|spec| spec.name != **name));
        match missing.or_else(unknown) {
            Some(name) => Err(PredictFault::Output { name: name.clone() }),
            None => Ok(()),
        }
    }
}

/// Shapes of the last answer, for outputs whose extents the model leaves open: the next one most likely has the same.
#[derive(Debug, Default)]
pub(super) struct LastShapes(Mutex<BTreeMap<String, Vec<usize>>>);

impl LastShapes {
    fn shape(&self, spec: &TensorSpec) -> Option<Vec<usize>> {
        let fixed = spec.shape.iter().map(|dim| match dim {
            Dim::Fixed(extent) => Some(*extent),
            Dim::Any => None,
        });
        let fixed: Option<Vec<usize>> = fixed.collect();
        fixed.or_else(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&spec.name).cloned())
    }

    pub(super) fn note(&self, schema: &IoSchema, outputs: &Outputs) {
        let open = schema.outputs.iter().filter(|spec| spec.shape.contains(&Dim::Any));
        for spec in open {
            if let Some(tensor) = outputs.get(&spec.name) {
                let mut shapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                shapes.insert(spec.name.clone(), tensor.shape().to_vec());
            }
        }
    }
}

/// Where the outputs of one call are written.
#[derive(Debug)]
pub(super) struct Buffers {
    /// What the engine is given.
    pub(super) tensors: TensorMap,
    /// The pool's places, empty while the engine has their tensors.
    homes: BTreeMap<String, PooledTensor>,
}

impl Buffers {
    /// Zeroed buffers for every output whose shape is known: nobody sees what was another's.
    pub(super) fn take(
        pool: &BufferPool,
        schema: &IoSchema,
        last: &LastShapes,
        telemetry: &Telemetry,
    ) -> Result<Self, TensorError> {
        let mut buffers = Self { tensors: TensorMap::new(), homes: BTreeMap::new() };
        for spec in &schema.outputs {
            let Some(shape) = last.shape(spec) else { continue };
            let mut home = pool.acquire(&shape, spec.dtype, Contents::Zeroed)?;
            telemetry.emit(&BufferTaken { hit: home.is_reused() });
            let tensor = mem::replace(&mut *home, nothing());
            buffers.tensors.insert(spec.name.clone(), tensor);
            buffers.homes.insert(spec.name.clone(), home);
        }
        Ok(buffers)
    }

    /// What the engine wrote.
    pub(super) fn into_outputs(self) -> Outputs {
        let Self { tensors, mut homes } = self;
        let place = |(name, tensor): (String, Tensor)| {
            let output = match homes.remove(&name) {
                Some(mut home) if home.takes(&tensor) => {
                    *home = tensor;
                    OutputTensor::Pooled(home)
                }
                Some(_) | None => OutputTensor::Own(tensor),
            };
            (name, output)
        };
        Outputs(tensors.into_iter().map(place).collect())
    }
}

fn nothing() -> Tensor {
    Tensor::new(vec![0], TensorData::zeros(DType::U8, 0)).expect("no elements have the shape of none")
}
