//! Eight threads that load, ask, unload and swap at random, within the budget and without a wrong answer.

use crate::support::{Ledger, Shelf, answer_of, counted, question, room};
use ballast::{Error, FinishReason, Models, ModelsOptions, SwapMode};
use ballast_runtime::lifecycle::LifecycleError;
use ballast_testkit::{PATIENCE, SplitMix};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const N_THREADS: u64 = 8;
const N_ROUNDS: usize = 30;
const NAMES: [&str; 3] = ["a", "b", "c"];
const N_SEEDS: u64 = 4;

struct Crowd {
    shelf: Shelf,
    ledger: Arc<Ledger>,
    models: Models,
    /// By the name that the reports of the files have.
    answers: BTreeMap<String, String>,
}

impl Crowd {
    fn new(n_models: u64) -> Self {
        let (shelf, ledger) = (Shelf::new(), Arc::new(Ledger::default()));
        let models = Models::new(ModelsOptions { keep_alive: Some(Duration::ZERO), ..room(&shelf, n_models) });
        for (name, seed) in NAMES.into_iter().zip(1..) {
            models.declare_source(name, counted(&shelf, seed, &ledger)).unwrap();
        }
        let answers = (1..=N_SEEDS).map(|seed| (format!("seed-{seed}"), answer_of(&shelf, seed))).collect();
        Self { shelf, ledger, models, answers }
    }

    /// Returns whether it was answered; otherwise it was refused for want of room, or unloaded while it waited.
    fn ask(&self, name: &str) -> bool {
        let lease = match self.models.acquire(name, Some(PATIENCE)) {
            Ok(lease) => lease,
            Err(Error::Lifecycle(LifecycleError::Unloaded { .. } | LifecycleError::NoRoom { .. })) => return false,
            Err(error) => panic!("{name}: {error}"),
        };
        let answer = lease.generate(&question()).unwrap();
        assert_eq!(answer.finish_reason, FinishReason::Length, "{answer:?}");
        assert_eq!(answer.text, self.answers[&lease.report().model_name], "{}", lease.report().model_name);
        true
    }

    fn act(&self, random: &mut SplitMix) -> bool {
        let mut draw = |n: u64| random.next_u64() % n;
        let name = NAMES[usize::try_from(draw(3)).unwrap()];
        match draw(10) {
            0 => match self.models.unload(name, Some(Duration::ZERO)) {
                Ok(()) | Err(Error::Lifecycle(LifecycleError::StillInUse { .. })) => false,
                Err(error) => panic!("{name}: {error}"),
            },
            1 => {
                let mode = [SwapMode::Beside, SwapMode::EvictFirst][usize::try_from(draw(2)).unwrap()];
                let source = counted(&self.shelf, 1 + draw(N_SEEDS), &self.ledger);
                match self.models.swap(name, source, mode, Some(PATIENCE)) {
                    // Unloaded half-way, it was not loaded.
                    Ok(()) | Err(Error::Lifecycle(LifecycleError::LoadFailed { .. })) => false,
                    Err(Error::Lifecycle(LifecycleError::SwapInProgress { .. } | LifecycleError::NoRoom { .. })) => {
                        false
                    }
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            _ => self.ask(name),
        }
    }

    fn run(&self) -> usize {
        let budget_bytes = self.models.budget_bytes();
        let n_answers = std::thread::scope(|scope| {
            let work = |seed| {
                move || {
                    let mut random = SplitMix::new(seed);
                    let rounds = (0..N_ROUNDS).filter(|_| {
                        let is_answered = self.act(&mut random);
                        let stats = self.models.stats();
                        assert!(stats.held_bytes <= budget_bytes && stats.committed_bytes <= budget_bytes, "{stats:?}");
                        is_answered
                    });
                    rounds.count()
                }
            };
            let threads: Vec<_> = (0..N_THREADS).map(|seed| scope.spawn(work(seed))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(self.ledger.live_bytes_max() <= budget_bytes, "{:?} of {budget_bytes}", self.ledger);
        for name in NAMES {
            self.models.unload(name, Some(PATIENCE)).unwrap();
        }
        assert_eq!((self.models.stats().held_bytes, self.ledger.live_bytes()), (0, 0));
        assert_eq!(self.models.stats().load_failures, 0);
        let (stats, n_opened) = (self.models.stats(), self.ledger.n_opened());
        assert!((stats.loads..=stats.loads + stats.cancelled).contains(&n_opened), "{stats:?}, {n_opened} opened");
        n_answers
    }
}

#[test]
fn a_crowd_with_room_is_answered_by_the_versions_it_was_given() {
    let n_answers = Crowd::new(6).run();
    assert!(n_answers > N_ROUNDS, "{n_answers} answers");
}

#[test]
fn a_crowd_without_room_stays_within_the_budget() {
    let n_answers = Crowd::new(2).run();
    assert!(n_answers > 0, "{n_answers} answers");
}
