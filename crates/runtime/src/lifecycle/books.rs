//! What tests look at: every instance as it stands, and what must hold of all of them at any time.

use super::house::{House, Outcome};
use super::{InstanceId, Lifecycle, LifecycleOptions, ModelHouse, ModelId, Phase};
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

/// An instance as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Glimpse {
    pub(crate) id: InstanceId,
    pub(crate) model: ModelId,
    pub(crate) bytes: u64,
    pub(crate) claims: u32,
    pub(crate) stands: Stands,
}

/// Where an instance is in its life; the table stands at the top of `lifecycle.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Queued,
    Loading,
    Idle,
    InUse,
    Draining,
    Abandoned,
    Stuck,
    Ending,
}

impl Glimpse {
    /// Its loader has not come back.
    pub(crate) fn is_at_loader(&self) -> bool {
        self.stands == Stands::Loading || self.is_given_up()
    }

    /// Its loader was asked to end and has not come back.
    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self.stands, Stands::Abandoned | Stands::Stuck)
    }

    pub(crate) fn is_loaded(&self) -> bool {
        matches!(self.stands, Stands::Idle | Stands::InUse | Stands::Draining)
    }

    /// Callers wait for it to be loaded.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self.stands, Stands::Queued | Stands::Loading)
    }
}

/// Knows of a house whether its lock is held, without keeping the house.
pub(crate) struct LockProbe<M: Send + Sync + 'static>(Weak<House<M>>);

impl<M: Send + Sync + 'static> LockProbe<M> {
    pub(crate) fn is_locked(&self) -> bool {
        self.0.upgrade().is_some_and(|house| house.is_locked())
    }
}

impl<M: Send + Sync + 'static> ModelHouse<M> {
    pub(crate) fn lock_probe(&self) -> LockProbe<M> {
        LockProbe(Arc::downgrade(&self.0))
    }

    /// Looks at the machine.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Lifecycle) -> T) -> T {
        at(&self.0.lock().machine)
    }

    /// Looks at every seat, and at the model in it, if there is one.
    ///
    /// # Panics
    /// If a seat is kept whose instance has gone.
    pub(crate) fn each_seat(&self, mut at: impl FnMut(InstanceId, Option<&M>)) {
        let inner = self.0.lock();
        for (&id, seat) in &inner.seats {
            assert!(inner.machine.has(id), "{id:?} has gone, and its seat is kept");
            let loaded = match seat.outcome() {
                Some(Outcome::Loaded(model)) => Some(&**model),
                Some(Outcome::Refused(_) | Outcome::Redirected) | None => None,
            };
            at(id, loaded);
        }
    }
}

impl Lifecycle {
    pub(crate) fn options(&self) -> &LifecycleOptions {
        &self.options
    }

    pub(crate) fn glimpses(&self) -> impl Iterator<Item = Glimpse> {
        self.instances.iter().map(|(&id, it)| Glimpse {
            id,
            model: it.model.clone(),
            bytes: it.bytes(),
            claims: it.claims,
            stands: match it.phase {
                Phase::Queued { .. } => Stands::Queued,
                Phase::Loading { .. } => Stands::Loading,
                Phase::Ready if it.claims == 0 => Stands::Idle,
                Phase::Ready => Stands::InUse,
                Phase::Draining => Stands::Draining,
                Phase::Abandoned { .. } => Stands::Abandoned,
                Phase::Stuck => Stands::Stuck,
                Phase::Ending => Stands::Ending,
            },
        })
    }

    /// # Panics
    /// If more memory or models are counted on than there may be, or a model does not know its instances.
    pub(crate) fn check(&self) {
        let LifecycleOptions { budget_bytes, models_max, .. } = self.options;
        assert!(self.held_bytes() <= budget_bytes, "held: {:?}", self.instances);
        assert!(self.committed_bytes(None) <= budget_bytes, "committed: {:?}", self.instances);
        let staying = self.instances.values().filter(|it| it.is_committed());
        let names: BTreeSet<&ModelId> = staying.map(|it| &it.model).collect();
        assert!(names.len() <= models_max.max(1), "models: {:?}", self.instances);
        for (&id, it) in &self.instances {
            let model = self.models.get(&it.model);
            let (serving, next) = model.map_or((None, None), |model| (model.serving, model.next));
            let is_known = match it.phase {
                Phase::Queued { .. } | Phase::Loading { .. } => next == Some(id),
                Phase::Ready => serving == Some(id),
                Phase::Draining | Phase::Abandoned { .. } | Phase::Stuck | Phase::Ending => {
                    ![serving, next].contains(&Some(id))
                }
            };
            assert!(is_known, "{it:?} is not what its model points to: {model:?}");
            assert!(it.phase != Phase::Draining || it.claims > 0, "{it:?} waits for nobody");
        }
        for model in self.models.values() {
            assert!([model.serving, model.next].iter().flatten().all(|&it| self.has(it)), "{model:?}");
        }
    }
}
