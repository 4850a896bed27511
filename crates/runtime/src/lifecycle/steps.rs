//! The steps of an instance's life that no caller takes alone.

use super::{
    Action, Failure, Instance, InstanceId, Lifecycle, LifecycleError, LoadPart, Model, ModelId, ModelPlan, Phase,
    Purpose,
};
use std::time::Duration;

impl Lifecycle {
    /// Queues an instance for which room was made, and lets it begin if that room is there.
    pub(super) fn queue(
        &mut self,
        id: &ModelId,
        plan: ModelPlan,
        part: LoadPart,
        purpose: Purpose,
        now: Duration,
    ) -> InstanceId {
        self.n_instances += 1;
        let instance = InstanceId(self.n_instances);
        self.instances.insert(instance, Instance::queued(id.clone(), plan, part, purpose, now));
        if let Some(model) = self.models.get_mut(id) {
            model.next = Some(instance);
        }
        self.admit(now);
        instance
    }

    /// Makes a loaded instance the one that serves.
    pub(super) fn install(&mut self, id: InstanceId, now: Duration) {
        let Instance { model: ref name, plan, part, .. } = self.instances[&id];
        let name = name.clone();
        let Some(model) = self.models.get_mut(&name) else { return self.retire(id) };
        model.plan = plan;
        model.next = None;
        model.failure = None;
        if let Some(old) = model.serving.replace(id) {
            self.stats.swaps += 1;
            self.retire(old);
        }
        if part == LoadPart::Provisional {
            self.upgrade(&name, now);
        }
    }

    /// Begins to load what a provisional instance stands in for, beside it. Without room it is tried again later.
    pub(super) fn upgrade(&mut self, id: &ModelId, now: Duration) {
        let Some(&Model { plan, serving: Some(serving), next: None, .. }) = self.models.get(id) else { return };
        if self.make_room(id, plan.bytes, Some(serving)).is_ok() {
            self.queue(id, plan, LoadPart::Full, Purpose::House, now);
        } else {
            self.note_failure(id, now);
        }
    }

    /// A Loading instance failed. Where the old version had to go first, it is loaded again for those who wait.
    pub(super) fn fail(&mut self, id: InstanceId, now: Duration) {
        let Some(mut instance) = self.instances.remove(&id) else { return };
        let name = instance.model.clone();
        let retry_after = self.note_failure(&name, now);
        let Some(model) = self.models.get_mut(&name) else { return };
        model.next = None;
        let (is_swap, old) = (instance.plan.version != model.plan.version, model.plan);
        if is_swap && model.serving.is_none() && self.make_room(&name, old.bytes, None).is_ok() {
            (instance.plan, instance.part, instance.phase) = (old, LoadPart::Full, Phase::Queued { since: now });
            self.instances.insert(id, instance);
            if let Some(model) = self.models.get_mut(&name) {
                (model.next, model.failure) = (Some(id), None);
            }
        } else if instance.claims > 0 {
            let error = LifecycleError::LoadFailed { model: name, retry_after };
            self.actions.push(Action::Refuse { instance: id, error });
        }
        self.admit(now);
    }

    /// Counts a failure. Returns the time until the next load may begin. While a version serves that is whole, the
    /// failure of another says nothing about the next load.
    pub(super) fn note_failure(&mut self, id: &ModelId, now: Duration) -> Duration {
        let Some(model) = self.models.get_mut(id) else { return Duration::ZERO };
        if model.serving.is_some_and(|serving| self.instances[&serving].part == LoadPart::Full) {
            return Duration::ZERO;
        }
        let n = model.failure.map_or(0, |failure| failure.n);
        let wait = self.options.backoff.wait(n);
        model.failure = Some(Failure { until: now.saturating_add(wait), n: n.saturating_add(1) });
        wait
    }

    /// Gives a Queued or Loading instance up; `error` is for those who wait for it.
    pub(super) fn give_up(&mut self, id: InstanceId, error: Option<LifecycleError>, now: Duration) {
        let is_awaited = self.instances.get(&id).is_some_and(|instance| instance.claims > 0);
        if let Some(error) = error.filter(|_| is_awaited) {
            self.actions.push(Action::Refuse { instance: id, error });
        }
        self.set_aside(id, now);
    }

    /// Gives a load up that takes too long, or whose room does not come.
    pub(super) fn time_out(&mut self, id: InstanceId, now: Duration) {
        let Some(instance) = self.instances.get(&id).cloned() else { return };
        let model = instance.model.clone();
        let retry_after = self.note_failure(&model, now);
        self.set_aside(id, now);
        self.answer(id, &instance, LifecycleError::LoadFailed { model, retry_after }, now);
    }

    /// Takes a Queued or Loading instance out of the way. Claims of it are void.
    pub(super) fn set_aside(&mut self, id: InstanceId, now: Duration) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if let Some(model) = self.models.get_mut(&instance.model).filter(|model| model.next == Some(id)) {
            model.next = None;
        }
        self.stats.cancelled += 1;
        if matches!(instance.phase, Phase::Queued { .. }) {
            self.instances.remove(&id);
        } else {
            (instance.phase, instance.claims) = (Phase::Abandoned { since: now }, 0);
            self.actions.push(Action::Cancel { instance: id });
        }
    }

    /// Sends those who waited for an instance that was set aside to the version before it, where that can answer, and
    /// refuses them elsewhere.
    pub(super) fn answer(&mut self, id: InstanceId, it: &Instance, error: LifecycleError, now: Duration) {
        let falls_back = self.fall_back(&it.model, it.plan.version, now);
        if it.claims > 0 {
            let redirected = Action::Redirect { instance: id };
            self.actions.push(if falls_back { redirected } else { Action::Refuse { instance: id, error } });
        }
    }

    /// Lets the old version of a model answer again, which made room for a new one that does not come: one that has not
    /// gone is used on, and else it is loaded again. `false`: there was none, or there is no room.
    fn fall_back(&mut self, id: &ModelId, version: u64, now: Duration) -> bool {
        let Some(&Model { plan: old, serving: None, next: None, .. }) = self.models.get(id) else { return false };
        if old.version == version || self.make_room(id, old.bytes, None).is_err() {
            return false;
        }
        let is_old = |it: &Instance| {
            it.model == *id
                && it.phase == Phase::Draining
                && it.plan.version == old.version
                && it.part == LoadPart::Full
        };
        let draining = self.instances.iter_mut().rev().find(|(_, it)| is_old(it));
        let serving = draining.map(|(&draining, it)| {
            it.phase = Phase::Ready;
            draining
        });
        if serving.is_none() {
            self.queue(id, old, LoadPart::Full, Purpose::House, now);
        }
        if let Some(model) = self.models.get_mut(id) {
            (model.serving, model.failure) = (serving, None);
        }
        self.stats.fallbacks += 1;
        true
    }

    /// A load that was given up has not ended in its time.
    pub(super) fn be_stuck(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.phase = Phase::Stuck;
        self.stats.stuck += 1;
        let (model, version, bytes) = (instance.model.clone(), instance.plan.version, instance.bytes());
        self.actions.push(Action::Stuck { instance: id, model, version, bytes });
    }

    /// Takes an instance out of service: it ends now, or with its last use.
    pub(super) fn retire(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(&id).filter(|it| it.phase == Phase::Ready) else { return };
        instance.phase = Phase::Draining;
        let is_idle = instance.claims == 0;
        if let Some(model) = self.models.get_mut(&instance.model).filter(|model| model.serving == Some(id)) {
            (model.serving, model.failure) = (None, None);
        }
        if is_idle {
            self.end(id);
        }
    }

    pub(super) fn evict(&mut self, id: InstanceId) {
        self.stats.evictions += 1;
        self.retire(id);
    }

    pub(super) fn end(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.phase = Phase::Ending;
            self.actions.push(Action::Drop { instance: id });
        }
    }
}
