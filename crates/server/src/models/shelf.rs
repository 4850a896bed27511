//! The known models by name.

use super::{KnownModel, LoadMeter};
use crate::ServerError;
use crate::api_error::ApiError;
use ballast_runtime::lifecycle::ModelId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most models that one server knows.
pub const MODELS_MAX: usize = 256;
/// Most names that a caller is told who asked for another.
const NAMES_TOLD_MAX: usize = 8;

/// A known model, and how far its load is.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) model: KnownModel,
    pub(super) meter: Arc<LoadMeter>,
    pub(super) id: ModelId,
}

/// The known models, in the order in which they became known.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Vec<Arc<Known>>>);

impl Shelf {
    /// Makes a model known.
    ///
    /// # Errors
    /// If it has no name, one of its names is taken, or there are [`MODELS_MAX`] already.
    pub(super) fn add(&self, model: KnownModel) -> Result<Arc<Known>, ServerError> {
        let wrong = |expected| Err(ServerError::Option { option: "models", expected });
        let mut all = self.lock();
        if all.len() >= MODELS_MAX {
            return wrong("at most 256 models");
        }
        let names: Vec<&str> = model.names().collect();
        if names.iter().any(|name| name.is_empty()) {
            return wrong("a name for every model");
        }
        let is_twice = |(idx, name): (usize, &&str)| names[..idx].contains(name);
        if names.iter().enumerate().any(is_twice)
            || all.iter().any(|known| names.iter().any(|name| known.model.answers_to(name)))
        {
            return wrong("another name for each model");
        }
        let id = ModelId::new(&model.id);
        let known = Arc::new(Known { model, meter: Arc::default(), id });
        all.push(Arc::clone(&known));
        Ok(known)
    }

    /// The model of this name.
    ///
    /// # Errors
    /// If there is none; the error names some that there are.
    pub(super) fn find(&self, name: &str) -> Result<Arc<Known>, ApiError> {
        let all = self.lock();
        let found = all.iter().find(|known| known.model.answers_to(name)).map(Arc::clone);
        found.ok_or_else(|| ApiError::ModelUnknown { served: told(&all) })
    }

    /// The one of this name in the house.
    pub(super) fn of(&self, id: &ModelId) -> Option<Arc<Known>> {
        self.lock().iter().find(|known| known.id == *id).map(Arc::clone)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Known>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Known>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a caller is told who asked for another.
fn told(all: &[Arc<Known>]) -> String {
    let names: Vec<String> = all.iter().take(NAMES_TOLD_MAX).map(|known| format!("`{}`", known.model.id)).collect();
    let n_more = all.len().saturating_sub(NAMES_TOLD_MAX);
    let more = if n_more > 0 { format!(" and {n_more} more") } else { String::new() };
    names.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelFacts;
    use ballast_backend::{EngineError, ErrorKind};

    fn known(id: &str, aliases: &[&str]) -> KnownModel {
        let load = |_: &_, _: &_| Err(EngineError::new(ErrorKind::Internal, std::io::Error::other("never")));
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        let (facts, load) = (ModelFacts::default(), Arc::new(load));
        KnownModel { id: id.to_owned(), aliases, bytes: 0, created: 0, facts, context_len: None, encodes: false, load }
    }

    #[test]
    fn every_name_means_one_model() {
        let shelf = Shelf::default();
        assert!(shelf.add(known("a", &["b"])).is_ok());
        for wrong in [known("", &[]), known("a", &[]), known("b", &[]), known("c", &["a"]), known("c", &["c"])] {
            assert!(shelf.add(wrong.clone()).is_err(), "{wrong:?}");
        }
        assert_eq!(shelf.find("b").unwrap().model.id, "a");
        for idx in 1..MODELS_MAX {
            shelf.add(known(&format!("m{idx}"), &[])).unwrap();
        }
        assert!(shelf.add(known("one-more", &[])).is_err());
        let error = shelf.find("none").unwrap_err().message();
        assert!(error.contains("`a`, `m1`") && error.ends_with("and 248 more; /v1/models lists all"), "{error}");
    }
}
