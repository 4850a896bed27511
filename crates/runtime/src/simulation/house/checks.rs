//! What must hold at every step, and of every end.

use super::super::tally::Tally;
use super::scenario::Weather;
use super::visit::{Around, Stage};
use crate::instance_pool::{PoolError, PoolStats};
use crate::lifecycle::{Glimpse, InstanceId, Lifecycle, LifecycleError, ModelId, Stands};
use std::collections::BTreeMap;
use std::time::Duration;

impl Around<'_> {
    /// Memory, claims, permits and work are where they are said to be, and nobody waits beyond its bound.
    pub(super) fn check_books(&self, n_jobs: usize, pools: &BTreeMap<InstanceId, PoolStats>) {
        if let Some(wrong) = self.ledger.wrong() {
            panic!("{wrong}");
        }
        let (glimpses, budget_bytes) = self.house.look(|machine| {
            machine.check();
            (machine.glimpses().collect::<Vec<Glimpse>>(), machine.options().budget_bytes)
        });
        let at_loader: u64 = glimpses.iter().filter(|it| it.is_at_loader()).map(|it| it.bytes).sum();
        let n_bytes = at_loader + self.ledger.alive_bytes();
        assert!(n_bytes <= budget_bytes, "{n_bytes} bytes are really held among {budget_bytes}");
        let n_at_work = glimpses.iter().filter(|it| it.is_at_loader() || it.stands == Stands::Ending).count();
        assert_eq!(n_at_work, n_jobs, "loads and drops are not what threads do: {glimpses:?}");
        for id in &self.ids {
            let loading = glimpses.iter().filter(|it| it.model == *id && it.stands == Stands::Loading).count();
            assert!(loading <= 1, "{loading} loads of {id} at a time");
        }
        self.check_claims(&glimpses);
        for (instance, stats) in pools {
            self.check_pool(*instance, stats);
        }
        self.check_waits();
    }

    fn check_claims(&self, glimpses: &[Glimpse]) {
        let stages = self.stages.borrow();
        for it in glimpses {
            let waits = |stage: &&Stage| matches!(stage, Stage::Asks { model, .. } if *model == it.model);
            let uses = |stage: &&Stage| match stage {
                Stage::Leases { instance, .. } | Stage::Holds { instance } => *instance == it.id,
                Stage::Asks { .. } | Stage::Orders { .. } | Stage::Gone => false,
            };
            let n =
                if it.is_awaited() { stages.iter().filter(waits).count() } else { stages.iter().filter(uses).count() };
            assert_eq!(it.claims as usize, n, "claims of {it:?}: {stages:?}");
            assert!(!it.is_loaded() || self.ledger.is_alive(it.id), "{it:?} is loaded, but not there");
        }
        for stage in &*stages {
            let is_awaited = |model: &ModelId| glimpses.iter().any(|it| it.model == *model && it.is_awaited());
            if let Stage::Asks { model, .. } = stage {
                assert!(is_awaited(model), "somebody waits for {model}, which nobody loads");
            }
        }
    }

    /// Permits are out, free or dying; each that is out has its holder; each acquire has ended once, or waits.
    fn check_pool(&self, instance: InstanceId, stats: &PoolStats) {
        let (stages, options) = (self.stages.borrow(), &self.scenario.pool);
        let n_permits = options.n_instances * options.concurrency;
        assert_eq!(stats.permits, n_permits, "{stats:?}");
        assert_eq!(stats.active + stats.free + stats.dying, n_permits, "{stats:?}");
        let holds = |stage: &&Stage| matches!(stage, Stage::Holds { instance: at } if *at == instance);
        let waits = |stage: &&Stage| matches!(stage, Stage::Leases { instance: at, .. } if *at == instance);
        assert_eq!(stages.iter().filter(holds).count(), stats.active, "permits out: {stats:?}");
        assert_eq!(stages.iter().filter(waits).count(), stats.waiting, "waiting: {stats:?}");
        assert!(stats.waiting <= options.waiters_max, "{stats:?}");
        let ended = stats.successful + stats.failed + stats.timed_out + stats.cancelled;
        assert_eq!(stats.acquires, ended + stats.waiting as u64, "an acquire has not ended once: {stats:?}");
        assert!(stats.instances <= options.n_instances, "{stats:?}");
    }

    fn check_waits(&self) {
        let (now, tick) = (self.now(), self.scenario.pool.tick);
        let (lease_bound, permit_bound) = (self.scenario.lease_bound(), self.scenario.pool.acquire_timeout + tick);
        for (who, stage) in self.stages.borrow().iter().enumerate() {
            let (since, bound) = match stage {
                Stage::Asks { since, .. } => (since, lease_bound),
                Stage::Leases { since, .. } => (since, permit_bound),
                // What is swapped may be loaded twice; what is unloaded has its users and its drop before it.
                Stage::Orders { since } => (since, self.scenario.house.load_max * 8),
                Stage::Holds { .. } | Stage::Gone => continue,
            };
            assert!(now <= *since + bound, "visitor {who} waits since {since:?}: {stage:?}");
        }
    }

    /// Nobody of a better rank, or of the same who came before, waits any more. `n_waiting`: those whom the pool has not
    /// told; who was told has not looked yet.
    pub(super) fn check_turn(&self, who: usize, n_waiting: usize) {
        let stages = self.stages.borrow();
        let Stage::Leases { instance, key, .. } = &stages[who] else { return };
        let others = stages.iter().filter_map(|stage| match stage {
            Stage::Leases { instance: at, key, since } if at == instance => Some((*key, *since)),
            Stage::Leases { .. } | Stage::Asks { .. } | Stage::Holds { .. } | Stage::Orders { .. } | Stage::Gone => {
                None
            }
        });
        let others: Vec<_> = others.filter(|(other, _)| other != key).collect();
        // Who came at this very moment may have come after the permit was given.
        let n_before = others.iter().filter(|(other, since)| other < key && *since < self.now()).count();
        assert!(n_before + n_waiting <= others.len(), "visitor {who} has overtaken {n_before}");
    }

    pub(super) fn check_no_permit(
        &self,
        who: usize,
        since: Duration,
        deadline: Duration,
        error: PoolError,
        stats: &PoolStats,
    ) {
        let (waited, options) = (self.now() - since, &self.scenario.pool);
        assert!(!self.scenario.weather.serves_everybody(), "visitor {who} got no permit: {error}");
        let bound = options.acquire_timeout.min(deadline.saturating_sub(since));
        assert!(waited <= bound + options.tick, "visitor {who} waited {waited:?} of {bound:?}");
        match error {
            PoolError::Exhausted { waiters_max } => assert!(stats.waiting >= waiters_max, "visitor {who}: {stats:?}"),
            PoolError::TimedOut { waited: told } => assert!(told == waited && waited >= options.acquire_timeout),
            PoolError::Deadline => assert!(self.now() >= deadline, "visitor {who}: its time is not over"),
            PoolError::ThreadRefused => panic!("a played pool has no thread"),
        }
    }

    /// A lease is refused for a reason.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is, it is wrong")]
    pub(super) fn check_no_lease(&self, who: usize, idx: usize, since: Duration, error: &LifecycleError) {
        let (id, house) = (&self.ids[idx], &self.scenario.house);
        // A first load that hangs serves nobody; from then on there is a version that does.
        let must_be_served = self.scenario.weather.serves_everybody() && self.served.borrow()[idx];
        assert!(!must_be_served, "visitor {who} was refused {id}, which is served: {error}");
        match error {
            LifecycleError::NoRoom { needed_bytes, held, .. } => {
                let glimpses: Vec<_> = self.house.look(|machine| machine.glimpses().collect());
                let staying: Vec<_> =
                    glimpses.iter().filter(|it| it.is_awaited() || it.stands == Stands::InUse).collect();
                let stuck = glimpses.iter().filter(|it| it.stands == Stands::Stuck);
                let n_bytes: u64 = staying.iter().copied().chain(stuck).map(|it| it.bytes).sum();
                let mut names: Vec<_> = staying.iter().map(|it| &it.model).collect();
                names.dedup();
                let is_full = n_bytes + needed_bytes > house.budget_bytes || names.len() >= house.models_max;
                assert!(is_full, "visitor {who}: {id} was refused, but {held:?}");
            }
            LifecycleError::WaitersFull { waiters_max, .. } => {
                let stages = self.stages.borrow();
                let waits = |stage: &&Stage| matches!(stage, Stage::Asks { model, .. } if model == id);
                // One of them is who is refused.
                assert!(stages.iter().filter(waits).count() > *waiters_max as usize, "visitor {who}");
            }
            LifecycleError::LoadFailed { retry_after, .. } => {
                assert!(*retry_after <= house.backoff.max, "visitor {who}: {retry_after:?}");
                assert_ne!(self.scenario.weather, Weather::Calm, "visitor {who}: {error}");
            }
            LifecycleError::Unloaded { .. } => {
                let at = self.unloaded_at.borrow().get(id).copied();
                assert!(at.is_some_and(|at| at >= since), "visitor {who}: nobody has unloaded {id}");
            }
            other => panic!("visitor {who} was refused {id}: {other}"),
        }
    }

    /// When everybody has gone and everything is unloaded, nothing is left.
    pub(super) fn check_nothing_is_left(&self, tally: &Tally) {
        assert!(self.stages.borrow().iter().all(|stage| *stage == Stage::Gone), "somebody is still there: {tally:?}");
        let (stats, n) = (self.house.stats(), self.house.look(|machine| machine.glimpses().count()));
        assert_eq!((n, stats.held_bytes, stats.committed_bytes), (0, 0, 0), "something is left");
        assert_eq!(self.ledger.alive_bytes(), 0, "a model was not dropped");
        assert!(self.house.look(Lifecycle::next_tick_at).is_none(), "there is nothing to wait for");
    }
}
