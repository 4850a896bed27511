//! The known models by name.

use super::{KnownModel, LoadMeter};
use crate::ServerError;
use crate::api_error::ApiError;
use crate::fields::ParamError;
use crate::openai::LABEL_CHARS_MAX;
use ballast_runtime::lifecycle::ModelId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most models that one server knows.
pub const MODELS_MAX: usize = 256;
/// Most names that a caller is told who asked for another.
const NAMES_TOLD_MAX: usize = 8;

/// Most names that one model has besides its own.
pub const ALIASES_MAX: usize = 64;

/// A known model, and how far its load is.
#[derive(Clone, Debug)]
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

    /// Gives a model another name, unless it has it.
    ///
    /// # Errors
    /// If there is none of the name `source`, or `alias` is another's, is none, or is one too many.
    pub(super) fn add_alias(&self, source: &str, alias: &str) -> Result<(), ApiError> {
        let mut all = self.lock();
        let Some(place) = all.iter().position(|known| known.model.answers_to(source)) else {
            return Err(ApiError::ModelUnknown { served: told(&all) });
        };
        if all[place].model.answers_to(alias) {
            return Ok(());
        }
        let wrong = |expected: &str| Err(ParamError::wrong("destination".to_owned(), expected, &alias.into()).into());
        if alias.is_empty() || alias.chars().count() > LABEL_CHARS_MAX || alias.contains(char::is_control) {
            return wrong("a name of 1 to 512 characters");
        }
        if all.iter().any(|known| known.model.answers_to(alias)) {
            return wrong("a name that no other model has");
        }
        let mut known = Known::clone(&all[place]);
        if known.model.aliases.len() >= ALIASES_MAX {
            return wrong("at most 64 more names for a model");
        }
        known.model.aliases.push(alias.to_owned());
        all[place] = Arc::new(known);
        Ok(())
    }

    /// Forgets a name. A model that has others keeps them; one that has none is forgotten, and returned.
    ///
    /// # Errors
    /// If there is none of this name, or it is the last name of the last model.
    pub(super) fn forget(&self, name: &str) -> Result<Option<Arc<Known>>, ApiError> {
        let mut all = self.lock();
        let Some(place) = all.iter().position(|known| known.model.answers_to(name)) else {
            return Err(ApiError::ModelUnknown { served: told(&all) });
        };
        let mut known = Known::clone(&all[place]);
        if known.model.aliases.is_empty() {
            if all.len() == 1 {
                let expected = "a model that is not the only one";
                return Err(ParamError::wrong("model".to_owned(), expected, &name.into()).into());
            }
            return Ok(Some(all.remove(place)));
        }
        if known.model.id == name {
            known.model.id = known.model.aliases.remove(0);
        } else {
            known.model.aliases.retain(|alias| alias != name);
        }
        all[place] = Arc::new(known);
        Ok(None)
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

    /// The first.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn first(&self) -> Result<Arc<Known>, ApiError> {
        let all = self.lock();
        all.first().map(Arc::clone).ok_or_else(|| ApiError::ModelUnknown { served: told(&all) })
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
    if all.is_empty() {
        return "there are tensor models only".to_owned();
    }
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
    fn a_model_goes_with_its_last_name_and_the_last_model_stays() {
        let shelf = Shelf::default();
        shelf.add(known("a", &[])).unwrap();
        assert!(shelf.forget("a").is_err(), "it is the only one");
        shelf.add(known("b", &[])).unwrap();
        for wrong in ["", "b", "x\ny", &"x".repeat(LABEL_CHARS_MAX + 1)] {
            assert!(shelf.add_alias("a", wrong).is_err(), "{wrong:?}");
        }
        assert!(shelf.add_alias("none", "c").is_err());
        for alias in ["c", "c", "d"] {
            shelf.add_alias("a", alias).unwrap();
        }
        let id = shelf.find("d").unwrap().id.clone();
        assert!(shelf.forget("a").unwrap().is_none() && shelf.find("a").is_err());
        assert_eq!(shelf.find("c").unwrap().model.id, "c", "the first of its other names is its own now");
        assert!(shelf.forget("d").unwrap().is_none());
        assert_eq!(shelf.find("c").unwrap().id, id, "it is the same in the house");
        assert_eq!(shelf.forget("c").unwrap().unwrap().id, id);
        assert!(shelf.forget("c").is_err());
        for idx in 0..ALIASES_MAX {
            shelf.add_alias("b", &format!("b{idx}")).unwrap();
        }
        assert!(shelf.add_alias("b", "one-more").is_err());
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
