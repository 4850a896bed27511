//! Room for models: what is held, what is promised, and who has to go.

use super::{Action, Held, Instance, InstanceId, Lifecycle, LifecycleError, LoadOrder, LoadPart, ModelId, Phase};
use std::time::Duration;

impl Lifecycle {
    /// Makes sure that `bytes` more may be committed for `id`, evicting idle models, the least recently used first.
    /// `keep` is an instance of `id` that stays; without it, what serves `id` now is taken as gone.
    ///
    /// # Errors
    /// If what is in use leaves no room. Then nothing is evicted.
    pub(super) fn make_room(
        &mut self,
        id: &ModelId,
        bytes: u64,
        keep: Option<InstanceId>,
    ) -> Result<(), LifecycleError> {
        let budget_bytes = self.options.budget_bytes;
        let leaving = if keep.is_some() { None } else { self.models.get(id).and_then(|model| model.serving) };
        let mut committed = self.committed_bytes(leaving);
        let mut n_models = self.n_models_beside(id);
        let mut victims = Vec::new();
        let mut idle = self.idle_by_age().into_iter().filter(|&idle| Some(idle) != keep && Some(idle) != leaving);
        while committed.saturating_add(bytes) > budget_bytes || n_models >= self.options.models_max.max(1) {
            let Some(victim) = idle.next() else {
                drop(idle);
                return Err(self.no_room(id, bytes));
            };
            let it = &self.instances[&victim];
            committed -= it.bytes();
            // One whose successor is being loaded stays a model.
            let is_last = self.models.get(&it.model).is_none_or(|model| model.next.is_none());
            n_models -= usize::from(is_last);
            victims.push(victim);
        }
        drop(idle);
        for victim in victims {
            self.evict(victim);
        }
        Ok(())
    }

    /// Lets Queued instances begin whose room is there, oldest first.
    pub(super) fn admit(&mut self, now: Duration) {
        let mut held = self.held_bytes();
        for (&instance, it) in &mut self.instances {
            if !matches!(it.phase, Phase::Queued { .. }) || held.saturating_add(it.bytes()) > self.options.budget_bytes
            {
                continue;
            }
            held += it.bytes();
            it.phase = Phase::Loading { since: now };
            let order = LoadOrder { instance, model: it.model.clone(), version: it.plan.version, part: it.part };
            self.actions.push(Action::Load(order));
        }
    }

    /// Looks again at what was promised of room that does not come, because a load is stuck in it. Queued instances ask for
    /// their room once more, the oldest first.
    pub(super) fn keep_promises(&mut self, now: Duration) {
        if self.committed_bytes(None) <= self.options.budget_bytes {
            return;
        }
        let is_queued = |it: &Instance| matches!(it.phase, Phase::Queued { .. });
        let queued: Vec<(InstanceId, Instance)> = self.instances.extract_if(.., |_, it| is_queued(it)).collect();
        for (_, it) in &queued {
            if let Some(model) = self.models.get_mut(&it.model) {
                model.next = None;
            }
        }
        for (id, it) in queued {
            self.promise_again(id, it, now);
        }
    }

    /// Queues an instance again if there is room for it. If not, the version before answers in its place, or those who wait
    /// are refused.
    fn promise_again(&mut self, id: InstanceId, it: Instance, now: Duration) {
        let serving = self.models.get(&it.model).and_then(|model| model.serving);
        match self.make_room(&it.model, it.bytes(), serving) {
            Ok(()) => {
                if let Some(model) = self.models.get_mut(&it.model) {
                    model.next = Some(id);
                }
                self.instances.insert(id, it);
            }
            Err(error) => {
                self.stats.cancelled += 1;
                if serving.is_some() {
                    // What it was to replace serves on; a stand-in asks again in its time.
                    self.note_failure(&it.model, now);
                }
                self.answer(id, &it, error, now);
            }
        }
    }

    /// Bytes of loads that were given up and have not ended in their time.
    pub(super) fn stuck_bytes(&self) -> u64 {
        self.instances.values().filter(|it| it.phase == Phase::Stuck).map(Instance::bytes).sum()
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.instances.values().filter(|it| it.is_held()).map(Instance::bytes).sum()
    }

    /// Bytes of what stays or is stuck, without `leaving`.
    pub(super) fn committed_bytes(&self, leaving: Option<InstanceId>) -> u64 {
        let takes_room = self.instances.iter().filter(|&(&id, it)| it.takes_room() && Some(id) != leaving);
        takes_room.map(|(_, it)| it.bytes()).sum()
    }

    /// Idle instances, the least recently used first.
    pub(super) fn idle_by_age(&self) -> Vec<InstanceId> {
        let mut idle: Vec<(Duration, InstanceId)> =
            self.instances.iter().filter(|(_, it)| it.is_idle()).map(|(&id, it)| (it.last_used, id)).collect();
        idle.sort_unstable();
        idle.into_iter().map(|(_, id)| id).collect()
    }

    /// When `tick` has something to do for an instance.
    pub(super) fn due_at(&self, instance: &Instance) -> Option<Duration> {
        match instance.phase {
            Phase::Queued { since } | Phase::Loading { since } => Some(since.saturating_add(self.options.load_max)),
            Phase::Ready => {
                let model = self.models.get(&instance.model).filter(|model| model.next.is_none());
                let failure = model.and_then(|model| model.failure).filter(|_| instance.part == LoadPart::Provisional);
                instance.expires_at().into_iter().chain(failure.map(|failure| failure.until)).min()
            }
            Phase::Abandoned { since } => Some(since.saturating_add(self.options.obey_max)),
            Phase::Draining | Phase::Stuck | Phase::Ending => None,
        }
    }

    pub(super) fn is_due(&self, instance: &Instance, now: Duration) -> bool {
        self.due_at(instance).is_some_and(|at| now >= at)
    }

    /// Models other than `id` that have an instance which stays.
    fn n_models_beside(&self, id: &ModelId) -> usize {
        let has_one = |name: &&ModelId| self.instances.values().any(|it| it.is_committed() && it.model == **name);
        self.models.keys().filter(|name| *name != id).filter(has_one).count()
    }

    fn no_room(&mut self, id: &ModelId, needed_bytes: u64) -> LifecycleError {
        self.stats.refused += 1;
        let staying = self.instances.values().filter(|it| it.takes_room());
        let held = staying.map(|it| Held { model: it.model.clone(), bytes: it.bytes(), claims: it.claims }).collect();
        let (budget_bytes, models_max) = (self.options.budget_bytes, self.options.models_max);
        LifecycleError::NoRoom { model: id.clone(), needed_bytes, budget_bytes, models_max, held }
    }
}
