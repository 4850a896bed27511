//! Tensor models by name and version; loaded, drained and unloaded.
//!
//! ```text
//! absent      => ready        add, or the end of a load
//! ready       => ready        a load brings the same version again: the old one is drained
//! ready       => unloading    unload; or a load that does not bring it again
//! unloading   => unavailable  nobody uses it any more, or the patience is over
//! unavailable => ready        a load brings it again
//! ```
//!
//! A name at a time is either loaded, or unloaded, or left in peace; while it is loaded, what was ready stays so.

use super::TensorModel;
use super::error::TensorsError;
use super::served::{Served, TensorUse};
use super::stock::{TensorModelError, TensorStock, check_name};
use ballast_backend::{Clock, ErrorKind};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Most versions of all tensor models together, and most names.
pub const TENSOR_MODELS_MAX: usize = 256;
/// Most versions of one model.
pub const VERSIONS_MAX: usize = 16;
/// Longest name of a tensor model.
pub const TENSOR_NAME_BYTES_MAX: usize = 128;
/// Most loads at a time.
const LOADS_MAX: usize = 2;

/// Bounds of the tensor models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorHouseOptions {
    /// How long requests in progress have when their model is unloaded. Default 30 s.
    pub drain: Duration,
}

impl Default for TensorHouseOptions {
    fn default() -> Self {
        Self { drain: Duration::from_secs(30) }
    }
}

/// The tensor models that are served. Clones are the same models.
#[derive(Clone)]
pub struct ServedTensors(Arc<Shared>);

struct Shared {
    shelf: Mutex<BTreeMap<String, Entry>>,
    stock: Option<Arc<dyn TensorStock>>,
    clock: Arc<dyn Clock>,
    options: TensorHouseOptions,
    loads: Semaphore,
}

/// What is done with a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Work {
    #[default]
    None,
    Loading,
    Unloading,
}

#[derive(Debug, Default)]
struct Entry {
    versions: BTreeMap<u64, State>,
    work: Work,
    /// Why the last load failed.
    failure: Option<String>,
}

#[derive(Debug)]
enum State {
    Ready(Arc<Served>),
    Unloading,
    Unavailable,
}

/// Where a version is, or a name without versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionState {
    Ready,
    Loading,
    Unloading,
    Unavailable,
}

impl VersionState {
    /// In the words of the repository's index.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Loading => "LOADING",
            Self::Unloading => "UNLOADING",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// A row of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexRow {
    pub(crate) name: String,
    pub(crate) version: Option<u64>,
    /// `None`: it could be loaded, and never was.
    pub(crate) state: Option<VersionState>,
    pub(crate) reason: String,
}

impl fmt::Debug for ServedTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedTensors").field("shelf", &*self.lock()).finish_non_exhaustive()
    }
}

impl ServedTensors {
    /// No models yet. Without a `stock`, callers can neither load nor unload any.
    #[must_use]
    pub fn new(options: TensorHouseOptions, clock: Arc<dyn Clock>, stock: Option<Arc<dyn TensorStock>>) -> Self {
        let (shelf, loads) = (Mutex::default(), Semaphore::new(LOADS_MAX));
        Self(Arc::new(Shared { shelf, stock, clock, options, loads }))
    }

    /// Serves a model that is built.
    ///
    /// # Errors
    /// If it cannot be served, its version is there already, or there are too many.
    pub fn add(&self, model: TensorModel) -> Result<(), TensorModelError> {
        let (name, version) = (model.name.clone(), model.version);
        let served = Arc::new(Served::new(model, Arc::clone(&self.0.clock))?);
        let mut shelf = self.lock();
        check_room(&shelf, &name, 1)?;
        let entry = shelf.entry(name.clone()).or_default();
        if let Some(State::Ready(_)) = entry.versions.get(&version) {
            return Err(TensorModelError::Twice { name, version });
        }
        entry.versions.insert(version, State::Ready(served));
        Ok(())
    }

    /// Has the stock load a model, or load it again: what was ready before answers until then, and is drained.
    ///
    /// # Errors
    /// What is to be told to who asked.
    pub async fn load(&self, name: &str) -> Result<(), crate::StockError> {
        self.load_now(name).await.map_err(|error| crate::StockError { kind: error.kind(), message: error.to_string() })
    }

    /// As [`Self::load`]. Goes on when the future is dropped.
    pub(crate) async fn load_now(&self, name: &str) -> Result<(), TensorsError> {
        let stock = self.0.stock.clone().ok_or(TensorsError::NoStock)?;
        check_name(name).map_err(|_| TensorsError::Unknown { name: name.to_owned() })?;
        self.begin(name, Work::Loading)?;
        let (shelf, name) = (self.clone(), name.to_owned());
        let loading = tokio::spawn(async move {
            let loaded = shelf.load_from(stock, &name).await;
            shelf.end_load(&name, loaded)
        });
        loading
            .await
            .unwrap_or(Err(TensorsError::NotReady { name: String::new(), reason: "its load failed".to_owned() }))
    }

    async fn load_from(&self, stock: Arc<dyn TensorStock>, name: &str) -> Result<Vec<Served>, TensorsError> {
        let _place = self.0.loads.try_acquire().map_err(|_| TensorsError::Loads { max: LOADS_MAX })?;
        let (asked, clock) = (name.to_owned(), Arc::clone(&self.0.clock));
        let load = move || -> Result<Vec<Served>, TensorsError> {
            let models = stock.load(&asked)?;
            if !(1..=VERSIONS_MAX).contains(&models.len()) {
                return Err(TensorModelError::Versions { name: asked, got: models.len() }.into());
            }
            if let Some(other) = models.iter().find(|model| model.name != asked) {
                return Err(TensorModelError::Renamed { name: asked, got: other.name.clone() }.into());
            }
            let served = models.into_iter().map(|model| Served::new(model, Arc::clone(&clock)));
            Ok(served.collect::<Result<Vec<_>, _>>()?)
        };
        let failed = || TensorsError::NotReady { name: name.to_owned(), reason: "its load failed".to_owned() };
        spawn_blocking(load).await.unwrap_or_else(|_| Err(failed()))
    }

    /// Puts what was loaded in its place, and has what it replaces drained.
    fn end_load(&self, name: &str, loaded: Result<Vec<Served>, TensorsError>) -> Result<(), TensorsError> {
        let mut shelf = self.lock();
        let room = loaded.as_ref().map_or(Ok(()), |served| check_room(&shelf, name, served.len()));
        let entry = shelf.entry(name.to_owned()).or_default();
        entry.work = Work::None;
        let loaded = match loaded.and_then(|served| Ok(room.map(|()| served)?)) {
            Ok(loaded) => loaded,
            Err(error) => {
                entry.failure = Some(error.to_string());
                return Err(error);
            }
        };
        entry.failure = None;
        let mut replaced: Vec<(u64, Arc<Served>)> = Vec::new();
        for (version, state) in &mut entry.versions {
            if let State::Ready(served) = state {
                replaced.push((*version, Arc::clone(served)));
                *state = State::Unloading;
            }
        }
        for served in loaded {
            entry.versions.insert(served.model.version, State::Ready(Arc::new(served)));
        }
        drop(shelf);
        for (version, served) in replaced {
            let (shelf, name) = (self.clone(), name.to_owned());
            tokio::spawn(async move { shelf.retire(&name, version, served).await });
        }
        Ok(())
    }

    /// Drains every version of a model and gives it up. Goes on when the future is dropped.
    pub(crate) async fn unload(&self, name: &str) -> Result<(), TensorsError> {
        let stock = self.0.stock.clone().ok_or(TensorsError::NoStock)?;
        let is_known = self.lock().get(name).is_some_and(|entry| !entry.versions.is_empty());
        if !is_known {
            return Err(TensorsError::Unknown { name: name.to_owned() });
        }
        self.begin(name, Work::Unloading)?;
        let mut retired = Vec::new();
        if let Some(entry) = self.lock().get_mut(name) {
            for (version, state) in &mut entry.versions {
                if let State::Ready(served) = state {
                    retired.push((*version, Arc::clone(served)));
                    *state = State::Unloading;
                }
            }
        }
        let (shelf, name) = (self.clone(), name.to_owned());
        let unloading = tokio::spawn(async move {
            for (version, served) in retired {
                shelf.retire(&name, version, served).await;
            }
            if let Some(entry) = shelf.lock().get_mut(&name) {
                entry.work = Work::None;
                entry.failure = None;
            }
            drop(spawn_blocking(move || stock.unloaded(&name)).await);
        });
        if unloading.await.is_err() {
            tracing::error!("the unloading of a tensor model panicked");
        }
        Ok(())
    }

    /// Drains a version that is out of its place already.
    async fn retire(&self, name: &str, version: u64, served: Arc<Served>) {
        served.retire(self.0.options.drain).await;
        // A load may have brought it again meanwhile.
        match self.lock().get_mut(name).and_then(|entry| entry.versions.get_mut(&version)) {
            Some(state @ State::Unloading) => *state = State::Unavailable,
            Some(State::Ready(_) | State::Unavailable) | None => {}
        }
        // Threads are joined: not where sockets are served.
        drop(spawn_blocking(move || drop(served)).await);
    }

    fn begin(&self, name: &str, work: Work) -> Result<(), TensorsError> {
        let mut shelf = self.lock();
        if !shelf.contains_key(name) {
            check_room(&shelf, name, 0)?;
        }
        let entry = shelf.entry(name.to_owned()).or_default();
        if entry.work != Work::None {
            return Err(TensorsError::Busy { name: name.to_owned() });
        }
        entry.work = work;
        Ok(())
    }

    /// A use of a version; of the highest that is ready where none is named.
    ///
    /// # Errors
    /// If there is none, or it is not ready.
    pub(crate) fn find(&self, name: &str, version: Option<u64>) -> Result<TensorUse, TensorsError> {
        let shelf = self.lock();
        let entry = shelf.get(name).ok_or_else(|| TensorsError::Unknown { name: name.to_owned() })?;
        let ready = entry.versions.iter().rev().find_map(|(number, state)| match state {
            State::Ready(served) if version.is_none_or(|version| version == *number) => Some(served),
            State::Ready(_) | State::Unloading | State::Unavailable => None,
        });
        if let Some(served) = ready {
            return Ok(TensorUse::new(served));
        }
        match version {
            Some(version) if !entry.versions.contains_key(&version) => {
                Err(TensorsError::UnknownVersion { name: name.to_owned(), version })
            }
            Some(_) | None => Err(TensorsError::NotReady { name: name.to_owned(), reason: entry.reason() }),
        }
    }

    /// Versions of a model that are ready.
    pub(crate) fn versions(&self, name: &str) -> Vec<u64> {
        let shelf = self.lock();
        let is_ready = |(_, state): &(&u64, &State)| matches!(state, State::Ready(_));
        let versions = shelf.get(name).map(|entry| entry.versions.iter().filter(is_ready).map(|(version, _)| *version));
        versions.into_iter().flatten().collect()
    }

    /// Every version that is ready.
    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        let shelf = self.lock();
        let states = shelf.values().flat_map(|entry| entry.versions.values());
        let ready = states.filter_map(|state| match state {
            State::Ready(served) => Some(Arc::clone(served)),
            State::Unloading | State::Unavailable => None,
        });
        ready.collect()
    }

    /// Whether there are none, and nobody who could bring one.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.stock.is_none() && self.lock().is_empty()
    }

    /// Whether every version that is loaded can be asked.
    pub(crate) fn is_ready(&self) -> bool {
        self.all().iter().all(|served| served.is_ready())
    }

    /// Every model and version, and those that could be loaded.
    ///
    /// # Errors
    /// If the stock cannot tell.
    pub(crate) async fn index(&self) -> Result<Vec<IndexRow>, TensorsError> {
        let mut rows: Vec<IndexRow> = self.lock().iter().flat_map(|(name, entry)| entry.rows(name)).collect();
        if let Some(stock) = self.0.stock.clone() {
            let listed = spawn_blocking(move || stock.list()).await;
            let failed = |_| crate::StockError { kind: ErrorKind::Internal, message: "the list failed".to_owned() };
            for name in listed.map_err(failed).and_then(|listed| listed)? {
                if rows.iter().all(|row| row.name != name) {
                    rows.push(IndexRow { name, version: None, state: None, reason: String::new() });
                }
            }
        }
        Ok(rows)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Why nothing of it is ready.
    fn reason(&self) -> String {
        match (self.work, &self.failure) {
            (Work::Loading, _) => "it is being loaded".to_owned(),
            (Work::Unloading, _) => "it is being unloaded".to_owned(),
            (Work::None, Some(failure)) => failure.clone(),
            (Work::None, None) => "it is unloaded".to_owned(),
        }
    }

    fn rows(&self, name: &str) -> Vec<IndexRow> {
        let row = |version, state, reason: &str| IndexRow {
            name: name.to_owned(),
            version,
            state: Some(state),
            reason: reason.to_owned(),
        };
        let of_version = |(version, state): (&u64, &State)| match state {
            State::Ready(_) => row(Some(*version), VersionState::Ready, ""),
            State::Unloading => row(Some(*version), VersionState::Unloading, ""),
            State::Unavailable => row(Some(*version), VersionState::Unavailable, "unloaded"),
        };
        let mut rows: Vec<IndexRow> = self.versions.iter().map(of_version).collect();
        if self.work == Work::Loading {
            rows.push(row(None, VersionState::Loading, ""));
        } else if let Some(failure) = &self.failure {
            rows.push(row(None, VersionState::Unavailable, failure));
        }
        rows
    }
}

/// Whether there is room for so many more versions of a name.
fn check_room(shelf: &BTreeMap<String, Entry>, name: &str, n_more: usize) -> Result<(), TensorModelError> {
    let of_name = shelf.get(name).map_or(0, |entry| entry.versions.len());
    if of_name + n_more > VERSIONS_MAX {
        return Err(TensorModelError::Versions { name: name.to_owned(), got: of_name + n_more });
    }
    let n_versions: usize = shelf.values().map(|entry| entry.versions.len()).sum();
    let n_names = shelf.len() + usize::from(!shelf.contains_key(name));
    if n_versions + n_more > TENSOR_MODELS_MAX || n_names > TENSOR_MODELS_MAX {
        return Err(TensorModelError::TooMany);
    }
    Ok(())
}
