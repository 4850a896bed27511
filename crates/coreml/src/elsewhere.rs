//! Systems without Core ML: the same functions, none of which can do anything.

use crate::call::{BatchCall, Call, LoadSettings};
use crate::schema::Description;
use crate::wait::Wait;
use crate::{ComputeDevice, CoreMlError, MachineFacts, PlannedOperation};
use ballast_backend::{Tensor, TensorMap, TensorSpec};
use std::convert::Infallible;
use std::path::{Path, PathBuf};

pub(crate) const IS_AVAILABLE: bool = false;

/// A model; there is none.
pub(crate) struct Loaded(Infallible);

/// A state; there is none.
pub(crate) struct State(Infallible);

pub(crate) fn compile(_source: &Path, _wait: &Wait<'_>) -> Result<PathBuf, CoreMlError> {
    Err(CoreMlError::not_here())
}

pub(crate) fn plan(
    _compiled: &Path,
    _settings: &LoadSettings<'_>,
    _wait: &Wait<'_>,
) -> Result<Vec<PlannedOperation>, CoreMlError> {
    Err(CoreMlError::not_here())
}

pub(crate) fn has_async() -> bool {
    false
}

pub(crate) fn devices() -> Vec<ComputeDevice> {
    Vec::new()
}

pub(crate) fn machine_facts() -> MachineFacts {
    MachineFacts::default()
}

pub(crate) fn resident_bytes() -> Option<u64> {
    None
}

impl Loaded {
    pub(crate) fn load(_compiled: &Path, _settings: &LoadSettings<'_>, _wait: &Wait<'_>) -> Result<Self, CoreMlError> {
        Err(CoreMlError::not_here())
    }

    pub(crate) fn describe(&self) -> Result<Description, CoreMlError> {
        match self.0 {}
    }

    pub(crate) fn predict(&self, _call: Call<'_>, _wait: &Wait<'_>) -> Result<TensorMap, CoreMlError> {
        match self.0 {}
    }

    pub(crate) fn predict_blocking(&self, _call: Call<'_>, _wait: &Wait<'_>) -> Result<TensorMap, CoreMlError> {
        match self.0 {}
    }

    pub(crate) fn predict_batch(&self, _call: BatchCall<'_>, _wait: &Wait<'_>) -> Result<Vec<TensorMap>, CoreMlError> {
        match self.0 {}
    }

    pub(crate) fn new_state(&self) -> Result<State, CoreMlError> {
        match self.0 {}
    }
}

impl State {
    pub(crate) fn read(&self, _spec: &TensorSpec) -> Result<Tensor, CoreMlError> {
        match self.0 {}
    }
}
