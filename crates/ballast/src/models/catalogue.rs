//! What each name stands for: the sources of its versions, and how its last load ended.

use super::lease::Housed;
use super::report::{LoadFailure, ModelReport};
use super::source::Planned;
use crate::Error;
use ballast_backend::{EngineError, ErrorKind, Pulse};
use ballast_runtime::lifecycle::{LifecycleError, ModelId, ModelStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One name.
#[derive(Debug, Default)]
struct Entry {
    /// Versions that were numbered.
    n_versions: u64,
    /// Of the version that is served or loaded next, and of one that is to replace it.
    sources: BTreeMap<u64, Arc<Planned>>,
    /// The version whose swap is waited for. One at a time, so that `sources` is bounded.
    swapping: Option<u64>,
    /// Why the last load failed; `None`: it did not.
    failure: Option<LoadFailure>,
}

impl Entry {
    fn add(&mut self, planned: Planned) -> u64 {
        self.n_versions += 1;
        self.sources.insert(self.n_versions, Arc::new(planned));
        self.n_versions
    }
}

/// Every name. The lock is held for looking up only.
#[derive(Debug)]
pub(super) struct Catalogue {
    names_max: usize,
    entries: Mutex<BTreeMap<ModelId, Entry>>,
}

/// There is no source of this version: its name was forgotten while its load began.
#[derive(Debug, thiserror::Error)]
#[error("model {model}: version {version} was forgotten")]
struct Forgotten {
    model: ModelId,
    version: u64,
}

impl Catalogue {
    pub(super) fn new(names_max: usize) -> Self {
        Self { names_max, entries: Mutex::default() }
    }

    /// Takes a name. Returns the number of its version.
    pub(super) fn declare(&self, id: &ModelId, planned: Planned) -> Result<u64, Error> {
        let mut entries = self.lock();
        if entries.contains_key(id) {
            return Err(Error::NameTaken { model: id.to_string() });
        }
        if entries.len() >= self.names_max {
            return Err(Error::NamesFull { model: id.to_string(), names_max: self.names_max });
        }
        Ok(entries.entry(id.clone()).or_default().add(planned))
    }

    pub(super) fn forget(&self, id: &ModelId) {
        self.lock().remove(id);
    }

    /// Loads a version, and takes note of how that ended.
    pub(super) fn load(&self, id: &ModelId, version: u64, pulse: &Pulse) -> Result<Housed, EngineError> {
        let source = self.lock().get(id).and_then(|entry| entry.sources.get(&version).cloned());
        let source =
            source.ok_or_else(|| EngineError::new(ErrorKind::Unavailable, Forgotten { model: id.clone(), version }))?;
        let opened = source.open(pulse);
        if let Some(entry) = self.lock().get_mut(id) {
            entry.failure = opened.as_ref().err().map(|error| LoadFailure::new(version, error));
        }
        let engine = opened.map_err(|error| EngineError::new(error.kind(), error))?;
        Ok(Housed::new(engine, version))
    }

    /// Numbers the version that is to replace another.
    ///
    /// # Errors
    /// If there is no such name, or one version is on its way already.
    pub(super) fn begin_swap(this: &Arc<Self>, id: &ModelId, planned: Planned) -> Result<Swapping, LifecycleError> {
        let mut entries = this.lock();
        let entry = entries.get_mut(id).ok_or_else(|| LifecycleError::NotFound { model: id.clone() })?;
        if entry.swapping.is_some() {
            return Err(LifecycleError::SwapInProgress { model: id.clone() });
        }
        let version = entry.add(planned);
        entry.swapping = Some(version);
        Ok(Swapping { catalogue: Arc::clone(this), id: id.clone(), version })
    }

    /// What is known of a model.
    pub(super) fn report(&self, id: &ModelId, status: ModelStatus) -> ModelReport {
        let entries = self.lock();
        let entry = entries.get(id);
        let ModelStatus { state, version, bytes, is_swapping, n_stuck, .. } = status;
        let planned = entry.and_then(|entry| entry.sources.get(&version));
        ModelReport {
            name: id.to_string(),
            version,
            state,
            bytes,
            planned_bytes: planned.map(|planned| planned.bytes),
            is_swapping,
            n_stuck,
            failure: entry.and_then(|entry| entry.failure.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ModelId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A swap that somebody waits for. Dropping it lets the next begin.
#[derive(Debug)]
pub(super) struct Swapping {
    catalogue: Arc<Catalogue>,
    id: ModelId,
    version: u64,
}

impl Swapping {
    pub(super) fn id(&self) -> &ModelId {
        &self.id
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Nothing is on its way any more: what is not `serving` is not loaded again.
    pub(super) fn settle(self, serving: u64) {
        if let Some(entry) = self.catalogue.lock().get_mut(&self.id) {
            entry.sources.retain(|&version, _| version == serving);
        }
    }

    /// The version will not be loaded.
    pub(super) fn withdraw(self) {
        if let Some(entry) = self.catalogue.lock().get_mut(&self.id) {
            entry.sources.remove(&self.version);
        }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        if let Some(entry) = self.catalogue.lock().get_mut(&self.id) {
            entry.swapping = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelSource;

    fn planned() -> Planned {
        ModelSource::opened(1, Arc::new(|_| unreachable!("nothing is loaded here"))).plan(1).unwrap()
    }

    fn versions(catalogue: &Catalogue, id: &ModelId) -> Vec<u64> {
        catalogue.lock()[id].sources.keys().copied().collect()
    }

    #[test]
    fn only_versions_that_may_still_be_loaded_are_kept() {
        let (catalogue, id) = (Arc::new(Catalogue::new(1)), ModelId::new("a"));
        assert_eq!(catalogue.declare(&id, planned()).unwrap(), 1);
        let swap = || Catalogue::begin_swap(&catalogue, &id, planned()).unwrap();
        let refused = swap();
        assert_eq!((refused.version(), versions(&catalogue, &id)), (2, vec![1, 2]));
        refused.withdraw();
        assert_eq!(versions(&catalogue, &id), [1]);
        let goes_on = swap();
        drop(goes_on);
        assert_eq!(versions(&catalogue, &id), [1, 3], "whoever stopped waiting does not stop it");
        swap().settle(3);
        assert_eq!(versions(&catalogue, &id), [3]);
    }

    #[test]
    fn one_swap_is_on_its_way_at_a_time() {
        let (catalogue, id) = (Arc::new(Catalogue::new(1)), ModelId::new("a"));
        catalogue.declare(&id, planned()).unwrap();
        let first = Catalogue::begin_swap(&catalogue, &id, planned()).unwrap();
        let second = Catalogue::begin_swap(&catalogue, &id, planned()).unwrap_err();
        assert_eq!(
            (second, versions(&catalogue, &id)),
            (LifecycleError::SwapInProgress { model: id.clone() }, vec![1, 2])
        );
        drop(first);
        assert!(Catalogue::begin_swap(&catalogue, &id, planned()).is_ok());
    }
}
