//! Core ML through Objective-C: compiling, loading, predicting, planning, looking around.
//!
//! ```text
//! this file, inventory.rs     what is asked, in order; safe
//! answer.rs                   what a completion handler does: pool, no panic, one answer, late ones counted
//! raw.rs                      every unsafe call, one function each
//! ```
//!
//! Each function here that calls the framework opens an autorelease pool around all of it, and so does each handler.

mod answer;
mod inventory;
mod raw;

pub(crate) use inventory::{devices, machine_facts, resident_bytes};

use crate::call::{BatchCall, Call, LoadSettings, OutputSlots};
use crate::layout::{Layout, bytes_of, check, code_of, dense_strides, dtype_of, gather};
use crate::schema::{ArrayDescription, Description};
use crate::wait::Wait;
use crate::{Action, CoreMlError, PlannedOperation, SharedTensors};
use answer::Answer;
use ballast_backend::{DType, Tensor, TensorMap, TensorSpec};
use raw::{Batch, Features, FeaturesObject, Model, MultiArray, StateHandle, pooled};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

pub(crate) const IS_AVAILABLE: bool = true;

/// A loaded model. Neither `Send` nor `Sync`: Core ML wants one thread at a time, and this is the one.
pub(crate) struct Loaded(Model);

/// What a model keeps between predictions.
pub(crate) struct State(StateHandle);

/// Compiles a package; the result is a temporary folder that the caller moves away.
pub(crate) fn compile(source: &Path, wait: &Wait<'_>) -> Result<PathBuf, CoreMlError> {
    let answers = pooled(|| {
        let url = raw::url(source)?;
        let (sender, answers) = sync_channel(1);
        let answer = Answer::new(wait.action(), sender, ());
        raw::compile(&url, wait.action(), move |compiled| answer.give(|()| raw::path(compiled)));
        Ok::<_, CoreMlError>(answers)
    })?;
    wait.answer(&answers)
}

/// Which unit will run what.
pub(crate) fn plan(
    compiled: &Path,
    settings: &LoadSettings<'_>,
    wait: &Wait<'_>,
) -> Result<Vec<PlannedOperation>, CoreMlError> {
    if !raw::has_plans() {
        return Err(CoreMlError::SystemTooOld { what: "a compute plan", macos_min: "14.4" });
    }
    let answers = pooled(|| {
        let (url, configuration) = (raw::url(compiled)?, raw::configuration(settings));
        let (sender, answers) = sync_channel(1);
        let answer = Answer::new(wait.action(), sender, ());
        raw::load_plan(&url, &configuration, wait.action(), move |plan| {
            answer.give(|()| Ok(raw::operations(plan.get()?)))
        });
        Ok::<_, CoreMlError>(answers)
    })?;
    wait.answer(&answers)
}

/// Whether predictions can be asked for without a thread that waits (macOS 14).
pub(crate) fn has_async() -> bool {
    raw::has_async()
}

impl Loaded {
    /// Loads a compiled bundle. Core ML answers on a thread of its own, from which the model is handed over.
    pub(crate) fn load(compiled: &Path, settings: &LoadSettings<'_>, wait: &Wait<'_>) -> Result<Self, CoreMlError> {
        let answers = pooled(|| {
            let (url, configuration) = (raw::url(compiled)?, raw::configuration(settings));
            let (sender, answers) = sync_channel(1);
            let answer = Answer::new(wait.action(), sender, ());
            raw::load(&url, &configuration, wait.action(), move |model| {
                answer.give(|()| Ok(raw::hand_over(model.get()?)))
            });
            Ok::<_, CoreMlError>(answers)
        })?;
        Ok(Self(wait.answer(&answers)?.take()))
    }

    /// What the model takes, gives and keeps.
    pub(crate) fn describe(&self) -> Result<Description, CoreMlError> {
        pooled(|| {
            let read = |features: Vec<raw::FeatureDescription>| -> Result<Vec<ArrayDescription>, CoreMlError> {
                let mut arrays = features.into_iter().map(array).collect::<Result<Vec<_>, _>>()?;
                arrays.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(arrays)
            };
            let described = raw::describe(&self.0);
            let (inputs, outputs) = (read(described.inputs)?, read(described.outputs)?);
            Ok(Description { inputs, outputs, states: read(described.states)? })
        })
    }

    /// Predicts through the interface with a handler, which reads the outputs on Core ML's own thread.
    pub(crate) fn predict(&self, call: Call<'_>, wait: &Wait<'_>) -> Result<TensorMap, CoreMlError> {
        let answers = pooled(|| {
            let features = features(call.inputs)?;
            let (sender, answers) = sync_channel(1);
            let (state, flights) = match call.state {
                Some((state, flight)) => (Some(&state.0), (call.flight, Some(flight))),
                None => (None, (call.flight, None)),
            };
            let answer = Answer::new(wait.action(), sender, call.outputs).counted_by(flights);
            raw::predict_async(&self.0, &features, state, wait.action(), move |result| {
                answer.give(|outputs| read_outputs(result.get()?, outputs));
            });
            Ok::<_, CoreMlError>(answers)
        })?;
        wait.answer(&answers)
    }

    /// Predicts through the blocking interface, on a thread of its own, so that the caller keeps its deadline.
    pub(crate) fn predict_blocking(&self, call: Call<'_>, wait: &Wait<'_>) -> Result<TensorMap, CoreMlError> {
        let (model, inputs, action) = (raw::lend(&self.0), call.inputs.clone(), wait.action());
        let (state, flights) = match call.state {
            Some((state, flight)) => (Some(state.0.clone()), (call.flight, Some(flight))),
            None => (None, (call.flight, None)),
        };
        let (sender, answers) = sync_channel(1);
        let answer = Answer::new(action, sender, call.outputs).counted_by(flights);
        let run = move || {
            answer.give(move |outputs| {
                let (model, features) = (model.take(), features(&inputs)?);
                let result = raw::predict(&model, &features, state.as_ref(), action)?;
                read_outputs(&result, outputs)
            });
        };
        spawn(run)?;
        wait.answer(&answers)
    }

    /// Predicts several at once, on a thread of its own: Core ML has only a blocking interface for that.
    pub(crate) fn predict_batch(&self, call: BatchCall<'_>, wait: &Wait<'_>) -> Result<Vec<TensorMap>, CoreMlError> {
        let (model, items, action) = (raw::lend(&self.0), call.items.to_vec(), wait.action());
        let (sender, answers) = sync_channel(1);
        let answer = Answer::new(action, sender, call.specs).counted_by((call.flight, None));
        let run = move || {
            answer.give(move |specs| {
                let model = model.take();
                let items = items.iter().map(features).collect::<Result<Vec<_>, _>>()?;
                let results = raw::predict_batch(&model, &Batch::new(&items), action)?;
                let outputs = || OutputSlots { specs: Arc::clone(&specs), kept: TensorMap::new() };
                results.iter().map(|result| read_outputs(result, outputs())).collect()
            });
        };
        spawn(run)?;
        wait.answer(&answers)
    }

    /// A state as the model begins with.
    pub(crate) fn new_state(&self) -> Result<State, CoreMlError> {
        if !raw::has_states() {
            return Err(CoreMlError::SystemTooOld { what: "a state", macos_min: "15" });
        }
        Ok(State(pooled(|| raw::new_state(&self.0))))
    }
}

impl State {
    /// A copy of one array that is kept.
    pub(crate) fn read(&self, spec: &TensorSpec) -> Result<Tensor, CoreMlError> {
        pooled(|| {
            let mut read = Err(CoreMlError::NoAnswer { action: Action::State });
            raw::with_state_array(&self.0, &spec.name, &mut |array| {
                let mut outputs = OutputSlots { specs: [].into(), kept: TensorMap::new() };
                read = read_array(array, &spec.name, &mut outputs);
            });
            read
        })
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> Result<(), CoreMlError> {
    let spawned = thread::Builder::new().name("ballast-coreml".to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| {
        tracing::error!(%error, "the system refused a thread");
        CoreMlError::ThreadRefused
    })
}

/// Inputs as Core ML takes them: each lent without a copy.
fn features(inputs: &SharedTensors) -> Result<Features, CoreMlError> {
    let arrays = inputs.iter().map(|(name, tensor)| Ok((name.as_str(), lend(name, tensor)?)));
    Features::new(arrays.collect::<Result<_, CoreMlError>>()?)
}

fn lend(name: &str, tensor: &Arc<Tensor>) -> Result<MultiArray, CoreMlError> {
    let code = code_of(tensor.dtype()).filter(|_| bytes_of(tensor.data()).is_some());
    let Some(code) = code else {
        return Err(CoreMlError::ElementsNotTaken { name: name.to_owned(), dtype: tensor.dtype() });
    };
    raw::lend_tensor(tensor, code, &dense_strides(tensor.shape()))
}

/// Every output that the model promises.
fn read_outputs(result: &FeaturesObject, mut outputs: OutputSlots) -> Result<TensorMap, CoreMlError> {
    let specs = Arc::clone(&outputs.specs);
    let read = |spec: &TensorSpec| {
        let Some(array) = raw::output(result, &spec.name) else {
            return Err(CoreMlError::OutputMissing { name: spec.name.clone() });
        };
        let tensor = read_array(&array, &spec.name, &mut outputs)?;
        match tensor.dtype() == spec.dtype {
            true => Ok((spec.name.clone(), tensor)),
            false => {
                let (expected, got) = (spec.dtype, tensor.dtype());
                Err(CoreMlError::OutputType { name: spec.name.clone(), expected, got })
            }
        }
    };
    specs.iter().map(read).collect()
}

/// An array's elements, by its strides.
fn read_array(array: &raw::MultiArrayObject, name: &str, outputs: &mut OutputSlots) -> Result<Tensor, CoreMlError> {
    let (code, shape, strides) = raw::array_facts(array);
    let Some(dtype) = dtype_of(code) else {
        return Err(CoreMlError::ElementType { name: name.to_owned(), code });
    };
    let bad = |source| CoreMlError::Layout { name: name.to_owned(), source };
    let layout = Layout::new(&shape, &strides).map_err(bad)?;
    let mut read = Err(CoreMlError::NoAnswer { action: Action::Predict });
    raw::with_bytes(array, &mut |bytes| read = read_bytes(bytes, &layout, (name, dtype), outputs));
    read
}

/// The elements, once it is sure that they are there: what an array says of itself must not decide what is allocated.
fn read_bytes(
    bytes: &[u8],
    layout: &Layout,
    (name, dtype): (&str, DType),
    outputs: &mut OutputSlots,
) -> Result<Tensor, CoreMlError> {
    let bad = |source| CoreMlError::Layout { name: name.to_owned(), source };
    check(bytes.len(), layout, dtype).map_err(bad)?;
    let mut tensor = outputs.tensor(name, dtype, layout.shape())?;
    gather(bytes, layout, tensor.data_mut()).map_err(bad)?;
    Ok(tensor)
}

fn array(feature: raw::FeatureDescription) -> Result<ArrayDescription, CoreMlError> {
    let raw::FeatureDescription { name, feature_type, is_optional, array } = feature;
    let Some(array) = array else { return Err(CoreMlError::Feature { name, feature_type }) };
    let Some(dtype) = dtype_of(array.code) else {
        return Err(CoreMlError::ElementType { name, code: array.code });
    };
    Ok(ArrayDescription { name, dtype, shape: array.shape, rule: array.rule, is_optional })
}
