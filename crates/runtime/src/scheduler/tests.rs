//! Seeded simulation: whatever arrives, pauses and leaves, blocks are conserved and everybody finishes in the end.

use super::Scheduler;
use ballast_backend::GeneratorShape;
use proptest::prelude::*;
use std::collections::HashSet;

const SHAPE: GeneratorShape = GeneratorShape {
    vocab_size: 100,
    context_len: 24,
    block_len: 4,
    n_blocks: 8,
    max_batch_tokens: 10,
    max_batch_sequences: 3,
};

#[derive(Debug)]
struct Job {
    id: usize,
    n_left: usize,
    paused: bool,
}

#[derive(Clone, Debug)]
enum Action {
    Arrive { n_prompt: usize, n_answer: usize },
    TogglePause(usize),
    Cancel(usize),
    Step,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => (1..20_usize, 1..20_usize).prop_map(|(n_prompt, n_answer)| Action::Arrive { n_prompt, n_answer }),
        1 => (0..20_usize).prop_map(Action::TogglePause),
        1 => (0..20_usize).prop_map(Action::Cancel),
        6 => Just(Action::Step),
    ]
}

/// Plans one step, checks it against the shape, and applies it.
fn step(scheduler: &mut Scheduler<Job>) -> usize {
    let shares = scheduler.plan(|job| job.paused);
    assert!(shares.iter().map(|s| s.n_tokens).sum::<usize>() <= SHAPE.max_batch_tokens);
    assert!(scheduler.running().len() <= SHAPE.max_batch_sequences);
    let held: Vec<_> = scheduler.running().iter().flat_map(|slot| slot.blocks.iter()).collect();
    assert_eq!(held.iter().collect::<HashSet<_>>().len(), held.len(), "a block is held twice");
    assert_eq!(held.len() + scheduler.n_free_blocks(), SHAPE.n_blocks, "blocks are lost");
    for share in &shares {
        let slot = &scheduler.running()[share.slot_idx];
        assert!(!slot.payload.paused && share.n_tokens > 0);
        assert!(slot.blocks.len() * SHAPE.block_len >= share.start + share.n_tokens, "no block for a planned token");
    }
    for &share in &shares {
        scheduler.advance(share);
        let slot = scheduler.running_mut(share.slot_idx);
        slot.payload.n_left -= usize::from(share.samples);
    }
    scheduler.retain(|job| job.n_left > 0);
    shares.len()
}

proptest! {
    #[test]
    fn blocks_are_conserved_and_everybody_finishes(actions in prop::collection::vec(action(), 1..120)) {
        let mut scheduler = Scheduler::new(SHAPE);
        for (id, action) in actions.into_iter().enumerate() {
            match action {
                Action::Arrive { n_prompt, n_answer } => {
                    let n_left = n_answer.min(SHAPE.context_len - n_prompt);
                    scheduler.push(Job { id, n_left, paused: false }, n_prompt);
                }
                Action::TogglePause(id) => scheduler.retain(|job| { job.paused ^= job.id == id; true }),
                Action::Cancel(id) => scheduler.retain(|job| job.id != id),
                Action::Step => { step(&mut scheduler); }
            }
        }
        scheduler.retain(|job| { job.paused = false; true });
        let mut n_steps = 0;
        while !scheduler.is_idle() {
            prop_assert!(step(&mut scheduler) > 0, "nobody runs although somebody waits");
            n_steps += 1;
            prop_assert!(n_steps < 100_000, "no end");
        }
        prop_assert_eq!(scheduler.n_free_blocks(), SHAPE.n_blocks);
    }
}

#[test]
fn decoding_goes_before_prompts_and_prompts_share_the_budget() {
    let mut scheduler = Scheduler::new(SHAPE);
    scheduler.push(Job { id: 0, n_left: 5, paused: false }, 2);
    step(&mut scheduler);
    scheduler.push(Job { id: 1, n_left: 5, paused: false }, 15);
    let shares = scheduler.plan(|job| job.paused);
    let sizes: Vec<_> = shares.iter().map(|s| (s.slot_idx, s.n_tokens, s.samples)).collect();
    assert_eq!(sizes, [(0, 1, true), (1, 9, false)]);
}

#[test]
fn the_youngest_gives_way_and_comes_back() {
    let mut scheduler = Scheduler::new(SHAPE);
    scheduler.push(Job { id: 0, n_left: 8, paused: false }, 16);
    scheduler.push(Job { id: 1, n_left: 8, paused: false }, 11);
    let mut seen_preempted = false;
    while !scheduler.is_idle() {
        step(&mut scheduler);
        seen_preempted |= scheduler.n_waiting() == 1 && scheduler.running().iter().any(|s| s.payload.id == 0);
    }
    assert!(seen_preempted);
}
