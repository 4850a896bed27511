//! Whatever arrives, pauses and leaves, blocks are conserved and everybody finishes; turns go by the rules.

use super::*;
use proptest::prelude::*;

const SHAPE: GeneratorShape = GeneratorShape {
    vocab_size: 100,
    context_len: 24,
    block_len: 4,
    n_blocks: 8,
    max_batch_tokens: 10,
    max_batch_sequences: 3,
};
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Piece {
    id: u32,
    tokens: Vec<TokenId>,
    n_left: usize,
    paused: bool,
}

impl Work for Piece {
    fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    fn is_paused(&self) -> bool {
        self.paused
    }

    fn is_finished(&self) -> bool {
        self.n_left == 0
    }
}

/// A sequence of `n_prompt` tokens that are all `id`, which ends after `n_left` more.
fn piece(id: u32, n_prompt: usize, n_left: usize) -> Piece {
    Piece { id, tokens: vec![TokenId(id); n_prompt], n_left, paused: false }
}

fn terms(tenant: &str, priority: Priority) -> Terms {
    let tenant: TenantId = tenant.parse().unwrap();
    Terms { salt: Some(Salt::Tenant(tenant.clone())), tenant, priority }
}

fn normal() -> Terms {
    terms("a", Priority::NORMAL)
}

fn scheduler_of(shape: GeneratorShape) -> Scheduler<Piece> {
    Scheduler::new(shape, SchedulerOptions::default())
}

fn scheduler() -> Scheduler<Piece> {
    scheduler_of(SHAPE)
}

/// A scheduler of one sequence at a time.
fn single() -> Scheduler<Piece> {
    scheduler_of(GeneratorShape { max_batch_sequences: 1, ..SHAPE })
}

/// Plans one step, checks it against the shape, and applies it. Returns who ran.
fn step(scheduler: &mut Scheduler<Piece>, now: Duration) -> Vec<u32> {
    let shares = scheduler.plan(now, Vec::new());
    assert!(shares.iter().map(|share| share.n_tokens).sum::<usize>() <= SHAPE.max_batch_tokens);
    scheduler.check();
    for share in &shares {
        let slot = &scheduler.running()[share.slot_idx];
        assert!(!slot.work.paused && share.n_tokens > 0);
        let n_positions = slot.blocks().len() * SHAPE.block_len;
        assert!(n_positions >= share.start + share.n_tokens, "no block for a planned token");
    }
    let ran = shares.iter().map(|share| scheduler.running()[share.slot_idx].work.id).collect();
    for &share in &shares {
        scheduler.advance(share);
        let work = &mut scheduler.running_mut(share.slot_idx).work;
        if share.samples {
            let token = TokenId(work.id);
            work.tokens.push(token);
            work.n_left -= 1;
        }
    }
    scheduler.remove_finished();
    scheduler.check();
    ran
}

/// The order in which sequences first run.
fn order(scheduler: &mut Scheduler<Piece>, now: Duration) -> Vec<u32> {
    let mut order = Vec::new();
    while !scheduler.is_idle() {
        for id in step(scheduler, now) {
            if !order.contains(&id) {
                order.push(id);
            }
        }
    }
    order
}

#[derive(Clone, Debug)]
enum Action {
    Arrive { n_prompt: usize, n_answer: usize, level: i8, tenant: bool },
    TogglePause(u32),
    Cancel(u32),
    LoseKv,
    Step,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..20_usize, 1..20_usize, -1..=1_i8, any::<bool>())
            .prop_map(|(n_prompt, n_answer, level, tenant)| Action::Arrive { n_prompt, n_answer, level, tenant }),
        2 => (0..20_u32).prop_map(Action::TogglePause),
        2 => (0..20_u32).prop_map(Action::Cancel),
        1 => Just(Action::LoseKv),
        12 => Just(Action::Step),
    ]
}

proptest! {
    #[test]
    fn blocks_are_conserved_and_everybody_finishes(actions in prop::collection::vec(action(), 1..120)) {
        let (mut scheduler, mut now) = (scheduler(), Duration::ZERO);
        for (id, action) in (0..).zip(actions) {
            now += SECOND;
            match action {
                Action::Arrive { n_prompt, n_answer, level, tenant } => {
                    let n_left = n_answer.min(SHAPE.context_len - n_prompt);
                    let terms = terms(if tenant { "a" } else { "b" }, Priority::new(level).unwrap());
                    scheduler.push(piece(id, n_prompt, n_left), terms, now);
                }
                Action::TogglePause(id) => scheduler.slots_mut().for_each(|slot| slot.work.paused ^= slot.work.id == id),
                Action::Cancel(id) => scheduler.slots_mut().filter(|s| s.work.id == id).for_each(|s| s.work.n_left = 0),
                Action::LoseKv => scheduler.lose_kv(),
                Action::Step => { step(&mut scheduler, now); }
            }
            scheduler.remove_finished();
        }
        scheduler.slots_mut().for_each(|slot| slot.work.paused = false);
        let mut n_steps = 0;
        while !scheduler.is_idle() {
            prop_assert!(!step(&mut scheduler, now).is_empty(), "nobody runs although somebody waits");
            n_steps += 1;
            prop_assert!(n_steps < 100_000, "no end");
        }
        prop_assert_eq!(scheduler.n_available_blocks(), SHAPE.n_blocks);
    }
}

#[test]
fn decoding_goes_before_prompts_and_prompts_share_the_budget() {
    let mut scheduler = scheduler();
    scheduler.push(piece(0, 2, 5), normal(), SECOND);
    step(&mut scheduler, SECOND);
    scheduler.push(piece(1, 15, 5), normal(), SECOND);
    let shares = scheduler.plan(SECOND, Vec::new());
    let sizes: Vec<_> = shares.iter().map(|s| (s.slot_idx, s.n_tokens, s.samples)).collect();
    assert_eq!(sizes, [(0, 1, true), (1, 9, false)]);
}

#[test]
fn a_smaller_step_budget_is_obeyed() {
    let options = SchedulerOptions { step_tokens_max: Some(3), ..SchedulerOptions::default() };
    let mut scheduler = Scheduler::new(SHAPE, options);
    scheduler.push(piece(0, 8, 1), normal(), SECOND);
    assert_eq!(scheduler.plan(SECOND, Vec::new())[0].n_tokens, 3);
}

#[test]
fn the_youngest_gives_way_and_comes_back() {
    let mut scheduler = scheduler();
    scheduler.push(piece(0, 16, 8), normal(), SECOND);
    scheduler.push(piece(1, 11, 8), normal(), SECOND);
    let mut seen_preempted = false;
    while !scheduler.is_idle() {
        step(&mut scheduler, SECOND);
        seen_preempted |= scheduler.n_waiting() == 1 && scheduler.running().iter().any(|slot| slot.work.id == 0);
    }
    assert!(seen_preempted && scheduler.n_preempted() > 0);
}

#[test]
fn priorities_go_first_and_numbers_decide_between_them() {
    let mut scheduler = single();
    let levels = [0, -1, 1, 7, -10];
    for (id, level) in (0..).zip(levels) {
        scheduler.push(piece(id, 2, 1), terms("a", Priority::new(level).unwrap()), SECOND);
    }
    assert_eq!(order(&mut scheduler, SECOND), [3, 2, 0, 1, 4]);
}

#[test]
fn waiting_raises_priority_one_level_a_step() {
    let age_step = SchedulerOptions::default().age_step;
    for (waited, expected) in [(age_step * 2 - SECOND, [1, 0]), (age_step * 2, [0, 1])] {
        let mut scheduler = single();
        scheduler.push(piece(0, 2, 1), terms("a", Priority::LOW), SECOND);
        scheduler.push(piece(1, 2, 1), terms("a", Priority::HIGH), SECOND + waited);
        assert_eq!(order(&mut scheduler, SECOND + waited), expected, "after {waited:?}");
    }
}

#[test]
fn whoever_is_overdue_goes_before_everything() {
    let overdue_after = SchedulerOptions::default().overdue_after;
    let mut scheduler = single();
    scheduler.push(piece(0, 2, 1), terms("a", Priority::MIN), SECOND);
    scheduler.push(piece(1, 2, 1), terms("b", Priority::MAX), SECOND + overdue_after);
    assert_eq!(order(&mut scheduler, SECOND + overdue_after), [0, 1]);
}

#[test]
fn a_higher_priority_takes_the_place_of_a_lower_one() {
    let mut scheduler = single();
    scheduler.push(piece(0, 4, 3), terms("a", Priority::LOW), SECOND);
    assert_eq!(step(&mut scheduler, SECOND), [0]);
    scheduler.push(piece(1, 4, 2), terms("a", Priority::NORMAL), SECOND);
    assert_eq!(step(&mut scheduler, SECOND), [1]);
    assert_eq!(step(&mut scheduler, SECOND), [1]);
    assert_eq!(step(&mut scheduler, SECOND), [0]);
    let equal = terms("a", Priority::LOW);
    scheduler.push(piece(2, 4, 2), equal, SECOND);
    assert_eq!(step(&mut scheduler, SECOND), [0], "the same priority takes nothing away");
}

#[test]
fn tenants_share_by_tokens_and_not_by_requests() {
    let mut scheduler = single();
    for id in 0..20 {
        scheduler.push(piece(id, 9, 2), terms("noisy", Priority::NORMAL), SECOND);
    }
    for id in 20..25 {
        scheduler.push(piece(id, 9, 2), terms("quiet", Priority::NORMAL), SECOND);
    }
    let order = order(&mut scheduler, SECOND);
    let last_quiet = order.iter().rposition(|&id| id >= 20).unwrap();
    assert!(last_quiet <= 10, "a tenant with five requests waits for one with twenty: {order:?}");
}

#[test]
fn a_beginning_that_is_known_is_not_computed_again() {
    let mut scheduler = scheduler();
    let text: Vec<TokenId> = (0..18).map(TokenId).collect();
    for (n_tokens, expected) in [(13, 0), (13, 12), (18, 13)] {
        let work = Piece { tokens: text[..n_tokens].to_vec(), ..piece(0, 1, 1) };
        scheduler.push(work, normal(), SECOND);
        let shares = scheduler.plan(SECOND, Vec::new());
        assert_eq!(scheduler.running()[0].n_cached, Some(expected), "of {n_tokens} tokens");
        assert_eq!(shares[0].start, expected);
        scheduler.stand_still(&shares);
        order(&mut scheduler, SECOND);
    }
}

#[test]
fn suspects_run_alone_until_a_step_of_theirs_succeeds() {
    let mut scheduler = scheduler();
    for id in 0..3 {
        scheduler.push(piece(id, 2, 3), normal(), SECOND);
    }
    let shares = scheduler.plan(SECOND, Vec::new());
    assert_eq!(shares.len(), 3);
    scheduler.suspect_all(&shares);
    scheduler.lose_kv();
    for expected in 0..3 {
        assert_eq!(step(&mut scheduler, SECOND), [expected]);
    }
    assert_eq!(step(&mut scheduler, SECOND), [0, 1, 2]);
}

#[test]
fn a_paused_sequence_gives_way_first_and_stays_away_until_it_is_read() {
    let mut scheduler = scheduler();
    scheduler.push(piece(0, 16, 8), normal(), SECOND);
    scheduler.push(piece(1, 11, 8), normal(), SECOND);
    step(&mut scheduler, SECOND);
    step(&mut scheduler, SECOND);
    step(&mut scheduler, SECOND);
    scheduler.slots_mut().filter(|slot| slot.work.id == 0).for_each(|slot| slot.work.paused = true);
    while scheduler.slots().any(|slot| slot.work.id == 1) {
        assert_eq!(step(&mut scheduler, SECOND), [1]);
    }
    assert!(step(&mut scheduler, SECOND).is_empty());
    scheduler.slots_mut().for_each(|slot| slot.work.paused = false);
    assert_eq!(order(&mut scheduler, SECOND), [0]);
}

#[test]
fn who_ends_during_a_step_leaves_the_places_of_the_others_alone() {
    let mut scheduler = scheduler();
    (0..3).for_each(|id| scheduler.push(piece(id, 2, 5), normal(), Duration::ZERO));
    step(&mut scheduler, Duration::ZERO);
    scheduler.running_mut(0).work.paused = true;
    let shares = scheduler.plan(Duration::ZERO, Vec::new());
    scheduler.running_mut(0).work.n_left = 0;
    scheduler.remove_finished();
    let ids: Vec<u32> = shares.iter().map(|share| scheduler.running()[share.slot_idx].work.id).collect();
    assert_eq!(ids, [1, 2], "a share names the sequence that it was planned for");
    shares.into_iter().for_each(|share| scheduler.advance(share));
    scheduler.remove_finished();
    assert_eq!(scheduler.running().len(), 2);
    scheduler.check();
}
