//! Slots: places that a request may ask for by number, each with cached keys and values of its own.
//!
//! The runtime has no fixed places: any sequence takes the blocks it finds. A slot is therefore a name for a part of the
//! prefix cache that only requests for that slot use, and for the tokens that the last of them left there. Saving a slot
//! writes those tokens; restoring it computes their keys and values again, into an empty part. Erasing it begins another
//! part, which nothing has been left in.

use crate::api_error::ApiError;
use crate::fields::ParamError;
use crate::models::GeneratorUse;
use crate::params::Place;
use ballast_backend::TokenId;
use ballast_runtime::PrefixCache;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A slot of a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotId {
    pub(crate) model: String,
    pub(crate) idx: usize,
}

#[derive(Debug, Default)]
struct Slot {
    part: u64,
    tokens: Vec<TokenId>,
}

#[derive(Debug, Default)]
struct Known {
    slots: BTreeMap<SlotId, Slot>,
    n_parts: u64,
}

/// The slots that requests have asked for. There are at most as many as the models have places.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<Known>);

impl Slots {
    /// The slot of this number.
    ///
    /// # Errors
    /// If the model has fewer.
    pub(crate) fn id(&self, model: &GeneratorUse, idx: usize) -> Result<SlotId, ApiError> {
        let n_slots = model.runtime().shape().max_batch_sequences;
        if idx < n_slots {
            return Ok(SlotId { model: model.id.clone(), idx });
        }
        Err(ParamError::wrong("id_slot".to_owned(), format!("below {n_slots}"), &idx.into()).into())
    }

    /// Whose cached keys and values a request uses, and the slot it asked for.
    ///
    /// # Errors
    /// If it asks for a slot that the model has not.
    pub(crate) fn resolve(
        &self,
        model: &GeneratorUse,
        place: Place,
    ) -> Result<(PrefixCache, Option<SlotId>), ApiError> {
        let slot = place.slot.map(|idx| self.id(model, idx)).transpose()?;
        let cache = match &slot {
            _ if !place.is_cached => PrefixCache::Off,
            None => PrefixCache::Tenant,
            Some(slot) => PrefixCache::Part(self.part(slot)),
        };
        Ok((cache, slot.filter(|_| place.is_cached)))
    }

    /// The part of the prefix cache that is the slot's.
    fn part(&self, id: &SlotId) -> u64 {
        let known = &mut *self.known();
        let fresh = known.n_parts;
        let slot = known.slots.entry(id.clone()).or_insert_with(|| Slot { part: fresh, tokens: Vec::new() });
        known.n_parts += u64::from(slot.part == fresh);
        slot.part
    }

    /// Begins another part, which nothing was left in. Gives it, and how many tokens the slot had.
    pub(crate) fn erase(&self, id: &SlotId) -> (u64, usize) {
        let known = &mut *self.known();
        let part = known.n_parts;
        known.n_parts += 1;
        let before = known.slots.insert(id.clone(), Slot { part, tokens: Vec::new() });
        (part, before.map_or(0, |slot| slot.tokens.len()))
    }

    /// Remembers what a request left in the slot.
    pub(crate) fn keep(&self, id: &SlotId, tokens: Vec<TokenId>) {
        if let Some(slot) = self.known().slots.get_mut(id) {
            slot.tokens = tokens;
        }
    }

    /// What the last request left in the slot.
    pub(crate) fn tokens(&self, id: &SlotId) -> Vec<TokenId> {
        self.known().slots.get(id).map(|slot| slot.tokens.clone()).unwrap_or_default()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is one assignment: whoever panicked left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_part_until_it_is_erased() {
        let slots = Slots::default();
        let id = |idx| SlotId { model: "m".to_owned(), idx };
        let (a, b) = (slots.part(&id(0)), slots.part(&id(1)));
        assert_ne!(a, b);
        slots.keep(&id(0), vec![TokenId(7)]);
        assert_eq!((slots.part(&id(0)), slots.tokens(&id(0))), (a, vec![TokenId(7)]));
        let (fresh, n_erased) = slots.erase(&id(0));
        assert_eq!((n_erased, slots.part(&id(0)), slots.tokens(&id(0))), (1, fresh, Vec::new()));
        assert!(fresh != a && fresh != b && slots.part(&id(1)) == b);
        assert_eq!(slots.erase(&id(2)).1, 0, "an empty slot can be erased");
    }
}
