//! Every script of a few steps, and long random ones, against invariants.

use super::*;
use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};
use std::collections::BTreeSet;

const BUDGET: u64 = 10;
const MODELS_MAX: usize = 2;
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire(usize),
    Preload(usize),
    Release(End),
    Loaded(End),
    Failed(End),
    Ended(End),
    Swap(usize, SwapMode),
    Unload(usize),
    /// Seconds.
    Wait(u64),
    Pressure(Pressure),
}

/// The oldest of what there is, or the newest.
#[derive(Clone, Copy, Debug)]
enum End {
    First,
    Last,
}

/// The machine and what its shell would know.
struct World {
    machine: Lifecycle,
    now: Duration,
    version: u64,
    claims: Vec<Claim>,
    /// Of which model each instance is, or was.
    names: BTreeMap<InstanceId, ModelId>,
    loads: Vec<LoadOrder>,
    drops: Vec<InstanceId>,
}

impl Clone for World {
    fn clone(&self) -> Self {
        let claims = self.claims.iter().map(|claim| Claim { instance: claim.instance }).collect();
        let (machine, names) = (self.machine.clone(), self.names.clone());
        let (loads, drops) = (self.loads.clone(), self.drops.clone());
        Self { machine, names, claims, loads, drops, ..*self }
    }
}

fn take<T>(list: &mut Vec<T>, end: End) -> Option<T> {
    match end {
        End::First => (!list.is_empty()).then(|| list.remove(0)),
        End::Last => list.pop(),
    }
}

impl World {
    fn new(orphans: Orphans) -> Self {
        let options = LifecycleOptions { models_max: MODELS_MAX, orphans, ..LifecycleOptions::new(BUDGET) };
        let mut machine = Lifecycle::new(options);
        machine.register(id("a"), plan(1, 4));
        machine.register(id("b"), ModelPlan { keep_alive: Some(Duration::from_secs(5)), ..plan(1, 6) });
        machine.register(id("c"), ModelPlan { provisional: Some(ProvisionalPlan { bytes: 1 }), ..plan(1, 3) });
        Self {
            machine,
            now: Duration::ZERO,
            version: 1,
            claims: vec![],
            names: BTreeMap::new(),
            loads: vec![],
            drops: vec![],
        }
    }

    /// Takes a step. `None`: it has nothing to work on, or is refused.
    fn take(&mut self, step: Step) -> Option<()> {
        let (machine, now) = (&mut self.machine, self.now);
        match step {
            Step::Acquire(idx) => self.claim(&id(NAMES[idx])).ok()?,
            Step::Preload(idx) => machine.preload(&id(NAMES[idx]), now).ok()?,
            Step::Release(end) => machine.release(take(&mut self.claims, end)?, now),
            Step::Loaded(end) => machine.loaded(take(&mut self.loads, end)?.instance, now),
            Step::Failed(end) => machine.failed(take(&mut self.loads, end)?.instance, now),
            Step::Ended(end) => machine.ended(take(&mut self.drops, end)?, now),
            Step::Swap(idx, mode) => {
                self.version += 1;
                // Not smaller than any first version: so that it can always be loaded again.
                machine.swap(&id(NAMES[idx]), plan(self.version, 6), mode, now).ok()?;
            }
            Step::Unload(idx) => machine.unload(&id(NAMES[idx]), now).unwrap(),
            Step::Wait(secs) => {
                self.now += Duration::from_secs(secs);
                machine.tick(self.now);
            }
            Step::Pressure(pressure) => {
                machine.observe_pressure(pressure);
            }
        }
        self.obey(step);
        Some(())
    }

    fn claim(&mut self, name: &ModelId) -> Result<(), LifecycleError> {
        let claim = self.machine.acquire(name, self.now)?;
        self.names.insert(claim.instance, name.clone());
        self.claims.push(claim);
        Ok(())
    }

    /// Takes note of what is to be done, and drops claims that are void: each must have been told. Who is told to claim
    /// again does.
    fn obey(&mut self, step: Step) {
        let (mut refused, mut redirected) = (BTreeSet::new(), BTreeSet::new());
        for action in self.machine.take_actions() {
            match action {
                Action::Load(order) => self.loads.push(order),
                Action::Cancel { instance } => assert!(self.loads.iter().any(|load| load.instance == instance)),
                Action::Refuse { instance, error } => {
                    let may = match step {
                        Step::Failed(_) => matches!(error, LifecycleError::LoadFailed { .. }),
                        Step::Wait(_) => {
                            matches!(error, LifecycleError::LoadFailed { .. } | LifecycleError::NoRoom { .. })
                        }
                        Step::Unload(_) => matches!(error, LifecycleError::Unloaded { .. }),
                        Step::Acquire(_) | Step::Preload(_) | Step::Swap(..) | Step::Pressure(_) => false,
                        Step::Release(_) | Step::Loaded(_) | Step::Ended(_) => false,
                    };
                    assert!(may, "{step:?} refused {error:?}");
                    assert!(refused.insert(instance), "refused twice");
                }
                Action::Redirect { instance } => {
                    assert!(matches!(step, Step::Wait(_)), "{step:?} redirected {instance:?}");
                    assert!(redirected.insert(instance) && !refused.contains(&instance), "told twice");
                }
                Action::Stuck { instance, .. } => {
                    assert!(self.loads.iter().any(|load| load.instance == instance), "{instance:?} has ended");
                }
                Action::Drop { instance } => {
                    assert_eq!(self.machine.instances[&instance].claims, 0, "dropped in use");
                    self.drops.push(instance);
                }
            }
        }
        let machine = &self.machine;
        let mut again = Vec::new();
        self.claims.retain(|claim| {
            let is_live = machine.is_ready(claim).is_some();
            let is_redirected = redirected.contains(&claim.instance);
            again.extend(is_redirected.then(|| self.names[&claim.instance].clone()));
            assert!(is_live != (is_redirected || refused.contains(&claim.instance)), "{claim:?} after {step:?}");
            is_live
        });
        for name in again {
            self.claim(&name).expect("another instance answers");
            // It waits or is used at once: nothing is to be done for it.
            assert_eq!(self.machine.take_actions(), []);
        }
    }

    fn check(&self) {
        let machine = &self.machine;
        machine.check();
        for (&instance, it) in &machine.instances {
            let n_claims = self.claims.iter().filter(|claim| claim.instance == instance).count();
            assert_eq!(n_claims, it.claims as usize, "claims of {it:?}");
            let n_loads = self.loads.iter().filter(|load| load.instance == instance).count();
            let n_drops = self.drops.iter().filter(|&&drop| drop == instance).count();
            let work = match it.phase {
                Phase::Queued { .. } | Phase::Ready | Phase::Draining => (0, 0),
                Phase::Loading { .. } | Phase::Abandoned { .. } | Phase::Stuck => (1, 0),
                Phase::Ending => (0, 1),
            };
            assert_eq!((n_loads, n_drops), work, "work for {it:?}");
        }
        assert!(self.loads.iter().all(|load| machine.has(load.instance)));
    }

    /// Lets everything end: nothing may be left that waits.
    fn quiesce(mut self) {
        let steps = [Step::Ended(End::First), Step::Loaded(End::First), Step::Release(End::First)];
        while steps.map(|step| self.take(step)).contains(&Some(())) {
            self.check();
        }
        let is_settled = |it: &Instance| it.phase == Phase::Ready && it.claims == 0;
        assert!(self.machine.instances.values().all(is_settled), "left over: {:?}", self.machine.instances);
    }
}

const EVERY_STEP: [Step; 13] = [
    Step::Acquire(0),
    Step::Acquire(1),
    Step::Acquire(2),
    Step::Release(End::First),
    Step::Loaded(End::First),
    Step::Loaded(End::Last),
    Step::Failed(End::First),
    Step::Ended(End::First),
    Step::Swap(0, SwapMode::Beside),
    Step::Swap(0, SwapMode::EvictFirst),
    Step::Unload(0),
    Step::Wait(700),
    Step::Wait(11),
];

fn explore(world: &World, depth: usize, n_worlds: &mut u64) {
    for step in EVERY_STEP {
        let mut next = world.clone();
        if next.take(step).is_none() {
            continue;
        }
        *n_worlds += 1;
        next.check();
        if depth > 1 {
            explore(&next, depth - 1, n_worlds);
        } else {
            next.quiesce();
        }
    }
}

#[test]
fn every_script_of_five_steps_keeps_the_invariants() {
    for orphans in [Orphans::Keep, Orphans::Cancel] {
        let mut n_worlds = 0;
        explore(&World::new(orphans), 5, &mut n_worlds);
        assert!(n_worlds > 10_000, "{n_worlds}");
    }
}

/// From a swap of a model in use on, which no script of five steps gets far beyond.
#[test]
fn every_script_of_four_steps_after_a_swap_keeps_the_invariants() {
    for (orphans, mode) in [(Orphans::Keep, SwapMode::EvictFirst), (Orphans::Cancel, SwapMode::Beside)] {
        let mut world = World::new(orphans);
        for step in [Step::Acquire(0), Step::Loaded(End::First), Step::Swap(0, mode)] {
            world.take(step).unwrap();
        }
        explore(&world, 4, &mut 0);
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let end = || prop_oneof![Just(End::First), Just(End::Last)];
    let mode = prop_oneof![Just(SwapMode::Beside), Just(SwapMode::EvictFirst)];
    prop_oneof![
        6 => (0_usize..3).prop_map(Step::Acquire),
        1 => (0_usize..3).prop_map(Step::Preload),
        5 => end().prop_map(Step::Release),
        5 => end().prop_map(Step::Loaded),
        2 => end().prop_map(Step::Failed),
        5 => end().prop_map(Step::Ended),
        3 => (0_usize..3, mode).prop_map(|(idx, mode)| Step::Swap(idx, mode)),
        1 => (0_usize..3).prop_map(Step::Unload),
        2 => prop_oneof![0_u64..12, Just(700)].prop_map(Step::Wait),
        1 => prop_oneof![Just(Pressure::Elevated), Just(Pressure::Critical)].prop_map(Step::Pressure),
    ]
}

proptest! {
    #[test]
    fn long_scripts_keep_the_invariants(steps in prop::collection::vec(any_step(), 1..120), keeps: bool) {
        let mut world = World::new(if keeps { Orphans::Keep } else { Orphans::Cancel });
        for step in steps {
            if world.take(step).is_some() {
                world.check();
            }
        }
        world.quiesce();
    }

    /// One model alone, whose first version loads and whose later ones may fail or hang: nobody is refused, and nobody who
    /// waits is sent away (no other step than `Failed`, `Wait` and `Unload` ever does that, see `obey`). What hangs is given
    /// up in its time, and ends as soon as it is told to.
    #[test]
    fn a_swap_fails_nobody(steps in prop::collection::vec((any_step(), 0_u8..3), 1..120)) {
        let mut world = World::new(Orphans::Keep);
        for step in [Step::Acquire(0), Step::Loaded(End::First), Step::Release(End::First)] {
            world.take(step).unwrap();
        }
        for (step, fate) in steps {
            let first_version = world.machine.models[&id("a")].plan.version;
            let n_claims = world.claims.len();
            match step {
                Step::Acquire(_) => world.take(Step::Acquire(0)).expect("no caller is refused during a swap"),
                Step::Swap(_, mode) => {
                    world.take(Step::Swap(0, mode));
                }
                Step::Loaded(_) if fate > 0 && world.loads.first().is_some_and(|load| load.version != first_version) => {
                    if fate == 2 {
                        world.take(Step::Wait(700)).unwrap();
                        assert_eq!(world.claims.len(), n_claims, "nobody who waits for what hangs is sent away");
                    }
                    world.take(Step::Failed(End::First)).unwrap();
                    assert_eq!(world.claims.len(), n_claims, "nobody who waits is sent away");
                }
                Step::Release(_) | Step::Loaded(_) | Step::Ended(_) | Step::Pressure(_) => {
                    world.take(step);
                }
                Step::Failed(_) | Step::Preload(_) | Step::Unload(_) | Step::Wait(_) => {}
            }
            world.check();
        }
        world.quiesce();
    }
}
