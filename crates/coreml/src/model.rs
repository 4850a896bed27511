//! An opened model: predictions one at a time, with state, in batches, each with a deadline.

use crate::call::{BatchCall, Call, LoadSettings, OutputSlots};
use crate::flight::Flights;
use crate::metrics::{Counters, Outcome};
use crate::platform;
use crate::schema::{Description, fix_shapes, name_output_shapes};
use crate::wait::Wait;
use crate::{Action, Canary, CoreMlError, CoreMlOptions, PlanReport, PredictApi};
use ballast_artifacts::Entry;
use ballast_backend::{
    Clock, Dispatch, EngineError, IoSchema, Predictor, Prepared, Pulse, Tensor, TensorData, TensorError, TensorMap,
    TensorSpec, element_count,
};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Tensors by name that Core ML may hold on to: lent without a copy, given back when it lets them go.
pub type SharedTensors = BTreeMap<String, Arc<Tensor>>;

/// What all models of one engine share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) options: CoreMlOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) late: Arc<AtomicU64>,
}

/// An opened model. Stays on its thread; what has not ended when it is dropped ends by itself and is dropped then.
pub struct CoreMlModel {
    loaded: platform::Loaded,
    description: Description,
    schema: IoSchema,
    outputs: Arc<[TensorSpec]>,
    /// The inputs of the last call, written again where Core ML has let them go.
    lent: SharedTensors,
    plan: Option<PlanReport>,
    flights: Flights,
    shared: Shared,
    /// Keeps the bundle on the disk.
    _entry: Option<Arc<Entry>>,
    _stays: PhantomData<*const ()>,
}

/// What a stateful model keeps between predictions. Belongs to the model that made it.
pub struct ModelState {
    state: platform::State,
    flights: Flights,
    specs: Vec<TensorSpec>,
    _stays: PhantomData<*const ()>,
}

impl fmt::Debug for CoreMlModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreMlModel").field("schema", &self.schema).field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl fmt::Debug for ModelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelState").field("specs", &self.specs).finish_non_exhaustive()
    }
}

impl CoreMlModel {
    /// Loads a compiled bundle on this thread, and lets it answer once where that is asked for.
    pub(crate) fn open(
        bundle: &Path,
        settings: &LoadSettings<'_>,
        prepared: &Prepared,
        shared: Shared,
    ) -> Result<Self, CoreMlError> {
        let pulse = Pulse::new();
        let wait = Wait::new(Action::Load, shared.options.load_timeout, &*shared.clock, &pulse);
        let loaded = platform::Loaded::load(bundle, settings, &wait)?;
        let description = loaded.describe()?;
        let mut schema = description.schema();
        fix_shapes(&mut schema, &prepared.options.shapes)?;
        if let Some(known) = &prepared.io_schema {
            name_output_shapes(&mut schema, known);
        }
        let outputs = schema.outputs.clone().into();
        let flights = Flights::new(Arc::clone(&shared.late));
        let mut model = Self {
            loaded,
            description,
            schema,
            outputs,
            lent: SharedTensors::new(),
            plan: None,
            flights,
            shared,
            _entry: None,
            _stays: PhantomData,
        };
        match model.shared.options.canary {
            Canary::Zeros => model.answer_zeros()?,
            Canary::Skip => {}
        }
        Ok(model)
    }

    pub(crate) fn with(mut self, entry: Option<Arc<Entry>>, plan: Option<PlanReport>) -> Self {
        (self._entry, self.plan) = (entry, plan);
        self
    }

    fn answer_zeros(&mut self) -> Result<(), CoreMlError> {
        let zeros = self.description.zeros(&self.schema)?;
        let zeros: SharedTensors = zeros.into_iter().map(|(name, tensor)| (name, Arc::new(tensor))).collect();
        let pulse = Pulse::new();
        let clock = Arc::clone(&self.shared.clock);
        let wait = Wait::new(Action::Predict, self.shared.options.load_timeout, &*clock, &pulse);
        let state = if self.description.states.is_empty() { None } else { Some(self.new_state()?) };
        self.ask(&zeros, TensorMap::new(), state.as_ref(), &wait).map(drop)
    }

    /// What the model takes and gives.
    #[must_use]
    pub fn io_schema(&self) -> &IoSchema {
        &self.schema
    }

    /// What the model keeps between predictions with a state; empty for one that keeps nothing.
    #[must_use]
    pub fn states(&self) -> Vec<TensorSpec> {
        self.description.states()
    }

    /// What Core ML plans for it, where it was asked.
    #[must_use]
    pub fn plan(&self) -> Option<&PlanReport> {
        self.plan.as_ref()
    }

    /// Calls that have not ended, those included that were given up.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.in_flight()
    }

    /// A state as the model begins with.
    ///
    /// # Errors
    /// If the system has no states (before macOS 15).
    pub fn new_state(&self) -> Result<ModelState, CoreMlError> {
        let flights = Flights::new(Arc::clone(&self.shared.late));
        Ok(ModelState { state: self.loaded.new_state()?, flights, specs: self.states(), _stays: PhantomData })
    }

    /// Predicts from tensors that are lent to Core ML without a copy. A model with states begins with a new one.
    ///
    /// # Errors
    /// Inputs that the model does not take; what Core ML says; the time-out of the options; or that `pulse` asks.
    pub fn predict_shared(&mut self, inputs: &SharedTensors, pulse: &Pulse) -> Result<TensorMap, CoreMlError> {
        self.timed(inputs, TensorMap::new(), None, pulse)
    }

    /// The same with a state, which it goes on from and changes.
    ///
    /// # Errors
    /// As there; and [`CoreMlError::TooManyInFlight`] while an earlier call with this state has not ended.
    pub fn predict_with_state(
        &mut self,
        inputs: &SharedTensors,
        state: &mut ModelState,
        pulse: &Pulse,
    ) -> Result<TensorMap, CoreMlError> {
        self.timed(inputs, TensorMap::new(), Some(state), pulse)
    }

    /// Predicts several at once. The time-out is that of one prediction for each.
    ///
    /// # Errors
    /// As [`CoreMlModel::predict_shared`], for the first that fails; and [`CoreMlError::TooManyInFlight`] while any call
    /// has not ended.
    pub fn predict_batch(&mut self, items: &[SharedTensors], pulse: &Pulse) -> Result<Vec<TensorMap>, CoreMlError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        items.iter().try_for_each(|inputs| check_inputs(&self.schema, inputs))?;
        let n_items = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let timeout = self.shared.options.predict_timeout.saturating_mul(n_items);
        let wait = Wait::new(Action::PredictBatch, timeout, &*self.shared.clock, pulse);
        let flight = self.flights.begin(1)?;
        let call = BatchCall { items, specs: Arc::clone(&self.outputs), flight };
        let started = self.shared.clock.now();
        let answer = self.loaded.predict_batch(call, &wait);
        self.count(started, n_items, &answer);
        answer
    }

    fn timed(
        &mut self,
        inputs: &SharedTensors,
        kept: TensorMap,
        state: Option<&ModelState>,
        pulse: &Pulse,
    ) -> Result<TensorMap, CoreMlError> {
        let clock = Arc::clone(&self.shared.clock);
        let wait = Wait::new(Action::Predict, self.shared.options.predict_timeout, &*clock, pulse);
        let started = clock.now();
        let answer = self.ask(inputs, kept, state, &wait);
        self.count(started, 1, &answer);
        answer
    }

    fn ask(
        &mut self,
        inputs: &SharedTensors,
        kept: TensorMap,
        state: Option<&ModelState>,
        wait: &Wait<'_>,
    ) -> Result<TensorMap, CoreMlError> {
        check_inputs(&self.schema, inputs)?;
        let fresh = if state.is_none() && !self.description.states.is_empty() { Some(self.new_state()?) } else { None };
        let state = match state.or(fresh.as_ref()) {
            Some(state) => Some((&state.state, state.flights.begin(1)?)),
            None => None,
        };
        let is_async = self.shared.options.api == PredictApi::Async && platform::has_async();
        let flight = self.flights.begin(if is_async { self.shared.options.in_flight_max } else { 1 })?;
        let outputs = OutputSlots { specs: Arc::clone(&self.outputs), kept };
        let call = Call { inputs, outputs, state, flight };
        if is_async { self.loaded.predict(call, wait) } else { self.loaded.predict_blocking(call, wait) }
    }

    fn count<T>(&self, started: Duration, n_items: u32, answer: &Result<T, CoreMlError>) {
        let took = self.shared.clock.now().saturating_sub(started) / n_items;
        let outcome = answer.as_ref().map_or_else(Outcome::Failed, |_| Outcome::Done);
        (0..n_items).for_each(|_| self.shared.counters.inferred(took, self.shared.options.sla, outcome));
    }

    /// `inputs` in tensors that Core ML may hold on to: those of the last call where it has let them go.
    fn lend(&mut self, inputs: &TensorMap) -> SharedTensors {
        let mut lent = std::mem::take(&mut self.lent);
        for (name, tensor) in inputs {
            let free = lent.get_mut(name).and_then(Arc::get_mut);
            if !free.is_some_and(|kept| kept.shape() == tensor.shape() && write(kept.data_mut(), tensor.data())) {
                lent.insert(name.clone(), Arc::new(tensor.clone()));
            }
        }
        lent.retain(|name, _| inputs.contains_key(name));
        lent
    }
}

impl Predictor for CoreMlModel {
    fn io_schema(&self) -> &IoSchema {
        &self.schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), EngineError> {
        let lent = self.lend(inputs);
        let answer = self.timed(&lent, std::mem::take(outputs), None, pulse);
        self.lent = lent;
        *outputs = answer?;
        Ok(())
    }

    /// As planned: Core ML measures nothing.
    fn dispatch(&self) -> Option<Dispatch> {
        self.plan.as_ref().and_then(PlanReport::dispatch)
    }
}

impl ModelState {
    /// The names and types of what is kept.
    #[must_use]
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// A copy of what is kept under `name`; `None` if nothing is.
    ///
    /// # Errors
    /// [`CoreMlError::TooManyInFlight`] while a call with this state has not ended; or what Core ML says.
    pub fn read(&self, name: &str) -> Result<Option<Tensor>, CoreMlError> {
        let Some(spec) = self.specs.iter().find(|spec| spec.name == name) else { return Ok(None) };
        let _exclusive = self.flights.begin(1)?;
        self.state.read(spec).map(Some)
    }
}

/// Whether `inputs` are every input of the model and nothing else, each with the elements that its shape says.
fn check_inputs(schema: &IoSchema, inputs: &SharedTensors) -> Result<(), TensorError> {
    for spec in &schema.inputs {
        let Some(tensor) = inputs.get(&spec.name) else {
            return Err(TensorError::InputMissing { name: spec.name.clone() });
        };
        let is_whole = element_count(tensor.shape()) == Some(tensor.data().len());
        if !spec.fits(tensor.dtype(), tensor.shape()) || !is_whole {
            let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
            return Err(TensorError::InputMismatch { expected: Box::new(spec.clone()), dtype, shape });
        }
    }
    match inputs.keys().find(|name| schema.inputs.iter().all(|spec| spec.name != **name)) {
        Some(name) => Err(TensorError::InputUnknown { name: name.clone() }),
        None => Ok(()),
    }
}

/// Writes elements over others, where there are as many of the same type.
fn write(to: &mut TensorData, from: &TensorData) -> bool {
    match (crate::layout::bytes_mut(to).map(|bytes| bytes.len()), crate::layout::bytes_of(from)) {
        (Some(len), Some(bytes)) if len == bytes.len() && to.dtype() == from.dtype() => {
            crate::layout::bytes_mut(to).expect("it has bytes above").copy_from_slice(bytes);
            true
        }
        (Some(_) | None, Some(_) | None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::{DType, Dim};

    #[test]
    fn shared_inputs_are_checked_against_the_schema_and_their_own_shape() {
        let spec = TensorSpec {
            name: "x".into(),
            dtype: DType::F32,
            shape: vec![Dim::Any, Dim::Fixed(2)],
            batch_capable: true,
        };
        let schema = IoSchema { inputs: vec![spec], outputs: Vec::new() };
        let inputs = |name: &str, shape: Vec<usize>, dtype| {
            SharedTensors::from([(name.to_owned(), Arc::new(Tensor::zeros(shape, dtype).unwrap()))])
        };
        let check = |inputs: &SharedTensors| check_inputs(&schema, inputs);
        assert_eq!(check(&inputs("x", vec![5, 2], DType::F32)), Ok(()));
        assert!(matches!(check(&inputs("x", vec![5, 3], DType::F32)), Err(TensorError::InputMismatch { .. })));
        assert!(matches!(check(&inputs("x", vec![5, 2], DType::F16)), Err(TensorError::InputMismatch { .. })));
        assert!(matches!(check(&SharedTensors::new()), Err(TensorError::InputMissing { .. })));
        let mut more = inputs("x", vec![5, 2], DType::F32);
        more.extend(inputs("z", vec![1], DType::F32));
        assert!(matches!(check(&more), Err(TensorError::InputUnknown { .. })));
        let mut torn = Tensor::zeros(vec![5, 2], DType::F32).unwrap();
        *torn.data_mut() = TensorData::F32(vec![0.0; 9]);
        assert!(check(&SharedTensors::from([("x".to_owned(), Arc::new(torn))])).is_err());
    }

    #[test]
    fn elements_are_written_over_their_like_only() {
        let mut to = TensorData::F32(vec![0.0; 2]);
        assert!(write(&mut to, &TensorData::F32(vec![1.0, 2.0])));
        assert_eq!(to, TensorData::F32(vec![1.0, 2.0]));
        for other in [TensorData::F32(vec![3.0]), TensorData::I32(vec![3, 3]), TensorData::Bool(vec![true; 8])] {
            assert!(!write(&mut to, &other), "{other:?}");
        }
        assert_eq!(to, TensorData::F32(vec![1.0, 2.0]));
    }
}
