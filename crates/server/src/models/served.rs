//! The house: models loaded on demand, kept while they are used, evicted when others need their room, unloaded.
//!
//! The life of an instance is the table of `ballast_runtime::lifecycle`, whose shell holds the models here. This file
//! joins it to names and to the server's errors.

use super::shelf::{Known, Shelf};
use super::{Card, KnownModel, ModelUse, ServedModel, Stage};
use crate::ServerError;
use crate::api_error::ApiError;
use ballast_backend::{Clock, EngineError, ErrorKind, Pulse};
use ballast_runtime::lifecycle::{
    LifecycleOptions, LifecycleStats, LoadOrder, ModelHouse, ModelId, ModelPlan, ModelState, spawn_thread,
};
use ballast_runtime::telemetry::Telemetry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Every model has one version here.
const VERSION: u64 = 1;

/// Bounds of a house of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HouseOptions {
    /// Most bytes that loaded models take together, as planned. There is no default: it is the machine's.
    pub memory_bytes: u64,
    /// Most models loaded at a time, at least 1. Default 8.
    pub models_max: usize,
    /// How long a model stays loaded without use; `None`: until the room is needed. Default `None`.
    pub keep_alive: Option<Duration>,
    /// Longest time of one load. Default 10 min.
    pub load_max: Duration,
    /// Most requests that wait for one load. Default 256.
    pub waiters_max: u32,
}

impl HouseOptions {
    /// The defaults, with a budget.
    #[must_use]
    pub fn new(memory_bytes: u64) -> Self {
        let LifecycleOptions { models_max, load_max, waiters_max, .. } = LifecycleOptions::new(memory_bytes);
        Self { memory_bytes, models_max, keep_alive: None, load_max, waiters_max }
    }

    fn lifecycle(&self) -> LifecycleOptions {
        let Self { memory_bytes, models_max, load_max, waiters_max, .. } = *self;
        LifecycleOptions { models_max, load_max, waiters_max, ..LifecycleOptions::new(memory_bytes) }
    }
}

/// The models that are served. The first is the one that wires without a model's name mean, and the one that readiness
/// waits for. Clones are the same models.
#[derive(Clone)]
pub struct ServedModels(Arc<Shared>);

struct Shared {
    house: ModelHouse<ServedModel>,
    shelf: Arc<Shelf>,
    clock: Arc<dyn Clock>,
    keep_alive: Option<Duration>,
    /// Whether the first model was loaded once.
    has_started: AtomicBool,
}

impl fmt::Debug for ServedModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedModels").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl ServedModels {
    /// No models yet, under a clock of the caller's.
    #[must_use]
    pub fn new(options: &HouseOptions, clock: Arc<dyn Clock>) -> Self {
        let shelf = Arc::new(Shelf::default());
        let library = Arc::clone(&shelf);
        let house = ModelHouse::new(
            options.lifecycle(),
            Arc::clone(&clock),
            Telemetry::default(),
            Box::new(spawn_thread),
            move |order, pulse| load(&library, order, pulse),
        );
        Self(Arc::new(Shared {
            house,
            shelf,
            clock,
            keep_alive: options.keep_alive,
            has_started: AtomicBool::new(false),
        }))
    }

    /// Models that are there already, and stay until they are unloaded.
    ///
    /// # Errors
    /// If there are none, or for what [`ServedModels::declare`] fails for.
    pub fn loaded(models: Vec<ServedModel>, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        let served = Self::new(&HouseOptions { models_max: models.len(), ..HouseOptions::new(0) }, clock);
        for model in models {
            let id = ModelId::new(&model.id);
            served.declare(KnownModel::loaded(model))?;
            served.0.house.acquire(&id, None).map_err(|_| ServerError::Model { id: id.to_string() })?;
        }
        served.check()?;
        served.0.has_started.store(true, Ordering::Relaxed);
        Ok(served)
    }

    /// Makes a model known, without loading it.
    ///
    /// # Errors
    /// If it has no name, one of its names is taken, or there are [`super::MODELS_MAX`] already.
    pub fn declare(&self, model: KnownModel) -> Result<(), ServerError> {
        let known = self.0.shelf.add(model)?;
        let (bytes, keep_alive) = (known.model.bytes, self.0.keep_alive);
        self.0.house.register(known.id.clone(), ModelPlan { version: VERSION, bytes, keep_alive, provisional: None });
        Ok(())
    }

    /// # Errors
    /// If there are no models.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        let wrong = ServerError::Option { option: "models", expected: "at least one model" };
        if self.0.shelf.all().is_empty() { Err(wrong) } else { Ok(()) }
    }

    /// Loads the first model.
    ///
    /// # Errors
    /// If it cannot be loaded; the log says why.
    pub(crate) async fn start(&self) -> Result<(), ServerError> {
        // Where there are tensor models only, there is nothing to wait for.
        if let Some(first) = self.0.shelf.all().into_iter().next() {
            let failed = |_| ServerError::Model { id: first.model.id.clone() };
            drop(self.0.house.acquire_async(&first.id).await.map_err(failed)?);
        }
        self.0.has_started.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the first model was loaded once.
    pub(crate) fn has_started(&self) -> bool {
        self.0.has_started.load(Ordering::Relaxed)
    }

    /// A use of the model of this name, if it is loaded.
    ///
    /// # Errors
    /// If there is none of this name, or it is to be loaded first.
    pub(crate) fn find(&self, name: &str) -> Result<ModelUse, ApiError> {
        self.find_known(&*self.0.shelf.find(name)?)
    }

    /// A use of the one that is meant where none is named, if it is loaded.
    ///
    /// # Errors
    /// If it is to be loaded first, or there are tensor models only.
    pub(crate) fn first(&self) -> Result<ModelUse, ApiError> {
        self.find_known(&*self.0.shelf.first()?)
    }

    /// A use of the first that encodes, if it is loaded; where none does, of the first.
    ///
    /// # Errors
    /// If it is to be loaded first.
    pub(crate) fn first_encoder(&self) -> Result<ModelUse, ApiError> {
        let all = self.0.shelf.all();
        let encoder = all.iter().find(|known| known.model.encodes).or(all.first());
        let Some(encoder) = encoder else { return self.first() };
        self.find_known(encoder)
    }

    fn find_known(&self, known: &Known) -> Result<ModelUse, ApiError> {
        let lease = self.0.house.acquire_ready(&known.id)?;
        lease.map(ModelUse::new).ok_or_else(|| ApiError::ModelCold { model: known.id.clone() })
    }

    /// Waits until a model is loaded. Dropping the future ends the wait.
    ///
    /// # Errors
    /// If it cannot be loaded, or there is no room for it.
    pub(super) async fn wait(&self, model: &ModelId) -> Result<ModelUse, ApiError> {
        Ok(ModelUse::new(self.0.house.acquire_async(model).await?))
    }

    /// Begins to load the model of this name, if it is not loaded.
    ///
    /// # Errors
    /// If there is none, its load failed a moment ago, or there is no room for it.
    pub(crate) fn load(&self, name: &str) -> Result<(), ApiError> {
        Ok(self.0.house.preload(&self.0.shelf.find(name)?.id)?)
    }

    /// Unloads the model of this name and waits until it is gone; its answers in progress go on to their end.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) async fn unload(&self, name: &str) -> Result<(), ApiError> {
        let known = self.0.shelf.find(name)?;
        Ok(self.0.house.unload_async(&known.id).await?)
    }

    /// Gives the model of the name `source` another name.
    ///
    /// # Errors
    /// If there is none, or the other name cannot be given.
    pub(crate) fn copy(&self, source: &str, destination: &str) -> Result<(), ApiError> {
        self.0.shelf.add_alias(source, destination)
    }

    /// Forgets a name; with its last one a model goes, once its answers in progress have ended, and its first name is returned.
    ///
    /// # Errors
    /// If there is none of this name, or no other model.
    pub(crate) async fn delete(&self, name: &str) -> Result<Option<String>, ApiError> {
        let Some(known) = self.0.shelf.forget(name)? else { return Ok(None) };
        self.0.house.unload_async(&known.id).await?;
        self.0.house.remove(&known.id)?;
        Ok(Some(known.id.to_string()))
    }

    /// Says how long the model of this name stays loaded without use from now on; `None`: until the room is needed.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn keep(&self, name: &str, keep_alive: Option<Duration>) -> Result<(), ApiError> {
        Ok(self.0.house.set_keep_alive(&self.0.shelf.find(name)?.id, keep_alive)?)
    }

    /// The name of the first.
    pub(crate) fn first_id(&self) -> String {
        self.0.shelf.all().first().map(|known| known.model.id.clone()).unwrap_or_default()
    }

    /// How far the load of the first model is, where that is known.
    pub(crate) fn start_progress(&self) -> Option<f64> {
        self.0.shelf.all().first()?.meter.fraction()
    }

    /// Whether there is only one.
    pub(crate) fn is_single(&self) -> bool {
        self.0.shelf.all().len() == 1
    }

    /// What is told of every model.
    pub(crate) fn cards(&self) -> Vec<Card> {
        self.0.shelf.all().iter().map(|known| self.card_of(known)).collect()
    }

    /// What is told of the model of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn card(&self, name: &str) -> Result<Card, ApiError> {
        Ok(self.card_of(&*self.0.shelf.find(name)?))
    }

    /// How far the load of a model is, where that is known.
    pub(super) fn progress(&self, model: &ModelId) -> Option<f64> {
        self.0.shelf.of(model)?.meter.fraction()
    }

    fn card_of(&self, known: &Known) -> Card {
        let KnownModel { id, aliases, created, facts, context_len, .. } = known.model.clone();
        let loaded = self.0.house.with_loaded(&known.id, |model| (model.kind.capability(), model.context_len()));
        let context_len = loaded.map(|(_, context_len)| context_len).or(context_len);
        let state = self.state(known, loaded.map_or("", |(capability, _)| capability));
        Card { id, aliases, created, facts, context_len, state }
    }

    fn state(&self, known: &Known, capability: &'static str) -> Stage {
        let Some(status) = self.0.house.status(&known.id) else { return Stage::Unloaded };
        match status.state {
            ModelState::Absent | ModelState::Draining { .. } => Stage::Unloaded,
            ModelState::Failed { .. } => Stage::Failed,
            ModelState::Loading { .. } => Stage::Loading { fraction: known.meter.fraction() },
            ModelState::Ready { in_use, last_used, .. } => {
                let now = self.0.clock.now();
                let begins = if in_use > 0 { now } else { last_used };
                let expires_in = status.keep_alive.map(|keep| begins.saturating_add(keep).saturating_sub(now));
                Stage::Loaded { capability, bytes: status.bytes.unwrap_or(known.model.bytes), expires_in }
            }
        }
    }

    /// Looks at every model that is loaded, without using it. `look` is quick.
    pub(crate) fn each_loaded<T>(&self, mut look: impl FnMut(&ServedModel) -> T) -> Vec<T> {
        let all = self.0.shelf.all();
        all.iter().filter_map(|known| self.0.house.with_loaded(&known.id, &mut look)).collect()
    }

    /// What was counted, and what is held now.
    pub(crate) fn stats(&self) -> LifecycleStats {
        self.0.house.stats()
    }

    /// The time on the clock of the house.
    pub(crate) fn now(&self) -> Duration {
        self.0.clock.now()
    }

    /// Does what time asks for; returns how long until it asks again.
    pub(crate) fn tick(&self) -> Option<Duration> {
        self.0.house.tick().map(|at| at.saturating_sub(self.0.clock.now()))
    }
}

/// Loads what is ordered.
fn load(shelf: &Shelf, order: &LoadOrder, pulse: &Pulse) -> Result<ServedModel, EngineError> {
    let gone = || EngineError::new(ErrorKind::Invalid, std::io::Error::other("the model is known no longer"));
    let known = shelf.of(&order.model).ok_or_else(gone)?;
    known.meter.tell(0, 0);
    let loaded = (known.model.load)(pulse, &known.meter)?;
    let KnownModel { id, aliases, created, facts, .. } = known.model.clone();
    Ok(ServedModel { id, aliases, created, facts, ..loaded })
}
