//! What the house does once the lock is given back: loads and drops, each as a job of its own.

use super::house::{House, Inner, Outcome, Seat};
use super::{Action, InstanceId, LoadOrder};
use crate::events;
use ballast_backend::Pulse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is to be done after the lock was given back.
pub(super) enum Errand<M> {
    Load(LoadOrder, Pulse),
    Drop(InstanceId, Option<Arc<Seat<M>>>),
    Tell(events::LoadStuck),
}

impl<M: Send + Sync + 'static> House<M> {
    /// Turns actions into errands; what needs no time is done at once. On the hot path there are none.
    pub(super) fn settle(&self, inner: &mut Inner<M>) -> Vec<Errand<M>> {
        let actions = inner.machine.take_actions();
        let (is_news, mut errands) = (!actions.is_empty(), Vec::new());
        for action in actions {
            match action {
                Action::Load(order) => {
                    // The pulse and not the seat: a load must not keep what it loaded from being dropped.
                    let pulse = inner.seats.entry(order.instance).or_default().pulse.clone();
                    errands.push(Errand::Load(order, pulse));
                }
                Action::Cancel { instance } => {
                    if let Some(seat) = inner.seats.get(&instance) {
                        seat.pulse.abandon();
                    }
                }
                Action::Refuse { instance, error } => {
                    if let Some(seat) = inner.seats.get(&instance) {
                        // A seat is filled once; one that is filled is not refused.
                        seat.outcome.get_or_init(|| Outcome::Refused(error));
                    }
                }
                Action::Redirect { instance } => {
                    if let Some(seat) = inner.seats.get(&instance) {
                        seat.outcome.get_or_init(|| Outcome::Redirected);
                    }
                }
                Action::Stuck { model, version, bytes, .. } => {
                    tracing::error!(%model, version, bytes, "a load was given up and does not end: its memory is held");
                    errands.push(Errand::Tell(events::LoadStuck { bytes }));
                }
                Action::Drop { instance } => errands.push(Errand::Drop(instance, inner.seats.remove(&instance))),
            }
        }
        let Inner { machine, seats } = inner;
        // A load that waited for its room may have gone without an action.
        seats.retain(|&instance, _| machine.has(instance));
        if is_news {
            self.tell();
        }
        errands
    }

    pub(super) fn perform(self: &Arc<Self>, errands: Vec<Errand<M>>) {
        for errand in errands {
            let house = Arc::clone(self);
            match errand {
                Errand::Tell(stuck) => self.telemetry.emit(&stuck),
                Errand::Load(order, pulse) => {
                    let instance = order.instance;
                    if let Err(error) = (self.spawn)(Box::new(move || house.load(&order, &pulse))) {
                        tracing::error!(%error, "no thread to load a model with");
                        self.end_load(instance, None);
                    }
                }
                Errand::Drop(instance, seat) => {
                    let job = move || {
                        if catch_unwind(AssertUnwindSafe(|| drop(seat))).is_err() {
                            tracing::error!("a model panicked while it was dropped");
                        }
                        house.end(instance);
                    };
                    if let Err(error) = (self.spawn)(Box::new(job)) {
                        // The job was dropped, and the model with it: on this thread, but gone.
                        tracing::warn!(%error, "no thread to drop a model on");
                        self.end(instance);
                    }
                }
            }
        }
    }

    fn load(self: &Arc<Self>, order: &LoadOrder, pulse: &Pulse) {
        let LoadOrder { instance, ref model, version, .. } = *order;
        let model = match catch_unwind(AssertUnwindSafe(|| (self.loader)(order, pulse))) {
            Ok(Ok(loaded)) => Some(loaded),
            Ok(Err(error)) => {
                tracing::error!(%error, kind = ?error.kind(), %model, version, "a model could not be loaded");
                None
            }
            Err(_) => {
                tracing::error!(%model, version, "the loader panicked");
                None
            }
        };
        self.end_load(instance, model);
    }

    fn end_load(self: &Arc<Self>, instance: InstanceId, model: Option<M>) {
        let now = self.clock.now();
        let mut inner = self.lock();
        match model {
            Some(model) => {
                let seat = inner.seats.entry(instance).or_default();
                if seat.outcome.get().is_some() {
                    // Those who waited were refused; the model is dropped from a seat of its own.
                    *seat = Arc::default();
                }
                seat.outcome.get_or_init(|| Outcome::Loaded(Arc::new(model)));
                inner.machine.loaded(instance, now);
            }
            None => inner.machine.failed(instance, now),
        }
        let errands = self.settle(&mut inner);
        self.tell();
        drop(inner);
        self.perform(errands);
    }

    fn end(self: &Arc<Self>, instance: InstanceId) {
        self.run(|machine, now| machine.ended(instance, now));
        self.tell();
    }
}
