//! A model that can be loaded, and how far its load is.

use super::{ModelFacts, ServedModel};
use ballast_backend::{EngineError, Pulse};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Loads a model. Called on a thread of its own, for each load; may take long, tells the meter how far it is, and should
/// obey its pulse.
pub type LoadModel = dyn Fn(&Pulse, &Arc<LoadMeter>) -> Result<ServedModel, EngineError> + Send + Sync;

/// A model that is loaded when somebody asks for it.
#[derive(Clone)]
pub struct KnownModel {
    /// Its name on the wire.
    pub id: String,
    /// Other names that find it.
    pub aliases: Vec<String>,
    /// Bytes of memory that it takes when it is loaded, as planned.
    pub bytes: u64,
    /// When it became known, in seconds since 1970.
    pub created: i64,
    /// What its file is.
    pub facts: ModelFacts,
    /// Positions of one sequence, where that is known before it is loaded.
    pub context_len: Option<usize>,
    /// Whether it gives embeddings or scores, not text.
    pub encodes: bool,
    /// How it is loaded. Names, times and facts of what it returns are those of this model.
    pub load: Arc<LoadModel>,
}

impl fmt::Debug for KnownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, aliases, bytes, .. } = self;
        f.debug_struct("KnownModel")
            .field("id", id)
            .field("aliases", aliases)
            .field("bytes", bytes)
            .finish_non_exhaustive()
    }
}

impl KnownModel {
    /// A model that is there already, and comes back at once when it was unloaded.
    pub(super) fn loaded(model: ServedModel) -> Self {
        let ServedModel { id, aliases, created, facts, .. } = model.clone();
        let (context_len, encodes) = (Some(model.context_len()), model.encoder().is_some());
        let load = Arc::new(move |_: &Pulse, _: &Arc<LoadMeter>| Ok(model.clone()));
        Self { id, aliases, bytes: 0, created, facts, context_len, encodes, load }
    }

    /// Whether `name` is its name, or one of its others.
    pub(super) fn answers_to(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    /// All its names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.id).chain(&self.aliases).map(String::as_str)
    }
}

/// How far a load is.
#[derive(Debug, Default)]
pub struct LoadMeter {
    done: AtomicU64,
    total: AtomicU64,
}

impl LoadMeter {
    /// So many bytes of so many are done.
    pub fn tell(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// The share that is done, from 0 to 1; `None`: nobody told.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        (total > 0).then(|| (done as f64 / total as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::LoadMeter;

    #[test]
    fn a_meter_shows_a_share_once_it_was_told() {
        let meter = LoadMeter::default();
        assert_eq!(meter.fraction(), None);
        meter.tell(1, 4);
        assert_eq!(meter.fraction(), Some(0.25));
        meter.tell(9, 4);
        assert_eq!(meter.fraction(), Some(1.0));
    }
}
