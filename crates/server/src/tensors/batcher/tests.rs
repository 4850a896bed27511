//! The batcher under a clock that a test moves.

use super::*;
use ballast_backend::Clock;
use ballast_testkit::VirtualClock;
use proptest::prelude::*;

const WAIT: Duration = Duration::from_millis(10);

fn batching(max_batch: usize, max_wait: Duration) -> Batching {
    Batching { max_batch, max_wait, ..Batching::default() }
}

fn waiting(ticket: u64, n_items: usize, since: Duration) -> Waiting {
    let (shapes, priority) = (vec![vec![3]], Priority::NORMAL);
    Waiting { ticket: Ticket(ticket), shapes, n_items, priority, since }
}

fn run(tickets: &[u64]) -> Next {
    Next::Run(tickets.iter().copied().map(Ticket).collect())
}

#[test]
fn without_a_wait_a_request_alone_is_run_at_once() {
    let mut batcher = Batcher::new(batching(4, Duration::ZERO), 1);
    assert_eq!(batcher.next(Duration::ZERO), Next::Idle);
    batcher.offer(waiting(0, 1, Duration::ZERO)).unwrap();
    assert_eq!(batcher.next(Duration::ZERO), run(&[0]));
    assert_eq!(batcher.next(Duration::ZERO), Next::Idle);
}

#[test]
fn who_comes_while_every_slot_is_taken_is_joined_afterwards() {
    let mut batcher = Batcher::new(batching(4, Duration::ZERO), 1);
    for ticket in 0..6 {
        batcher.offer(waiting(ticket, 1, Duration::ZERO)).unwrap();
        let next = batcher.next(Duration::ZERO);
        assert_eq!(next, if ticket == 0 { run(&[0]) } else { Next::Idle });
    }
    batcher.ended();
    assert_eq!(batcher.next(Duration::ZERO), run(&[1, 2, 3, 4]), "no more than four items");
    batcher.ended();
    assert_eq!(batcher.next(Duration::ZERO), run(&[5]));
}

#[test]
fn where_nothing_is_joined_requests_are_run_one_by_one_at_once() {
    let mut batcher = Batcher::new(Batching { joins: false, preferred: vec![2], ..batching(4, WAIT) }, 2);
    for ticket in 0..3 {
        batcher.offer(waiting(ticket, 1, Duration::ZERO)).unwrap();
    }
    let next: Vec<Next> = (0..3).map(|_| batcher.next(Duration::ZERO)).collect();
    assert_eq!(next, [run(&[0]), run(&[1]), Next::Idle]);
    batcher.ended();
    assert_eq!(batcher.next(Duration::ZERO), run(&[2]));
}

#[test]
fn a_request_alone_waits_no_longer_than_it_may() {
    let clock = VirtualClock::new();
    let mut batcher = Batcher::new(batching(4, WAIT), 1);
    batcher.offer(waiting(0, 1, clock.now())).unwrap();
    assert_eq!(batcher.next(clock.now()), Next::WaitUntil(WAIT));
    clock.advance(WAIT / 2);
    batcher.offer(waiting(1, 1, clock.now())).unwrap();
    assert_eq!(batcher.next(clock.now()), Next::WaitUntil(WAIT), "the first one's wait counts");
    clock.advance(WAIT / 2);
    assert_eq!(batcher.next(clock.now()), run(&[0, 1]));
}

#[test]
fn a_full_batch_waits_for_nothing() {
    let mut batcher = Batcher::new(batching(4, WAIT), 2);
    for (ticket, n_items) in [(0, 1), (1, 2), (2, 3)] {
        batcher.offer(waiting(ticket, n_items, Duration::ZERO)).unwrap();
    }
    assert_eq!(batcher.next(Duration::ZERO), run(&[0, 1]), "the third does not fit, so the first two are full");
    assert_eq!(batcher.next(Duration::ZERO), Next::WaitUntil(WAIT));
}

#[test]
fn a_preferred_number_is_run_when_it_is_there() {
    let preferred = Batching { preferred: vec![2, 4], ..batching(8, WAIT) };
    let mut batcher = Batcher::new(preferred, 1);
    batcher.offer(waiting(0, 1, Duration::ZERO)).unwrap();
    assert_eq!(batcher.next(Duration::ZERO), Next::WaitUntil(WAIT));
    for ticket in 1..5 {
        batcher.offer(waiting(ticket, 1, Duration::ZERO)).unwrap();
    }
    assert_eq!(batcher.next(Duration::ZERO), run(&[0, 1, 2, 3]), "the larger of the two");
    batcher.ended();
    assert_eq!(batcher.next(Duration::ZERO), Next::WaitUntil(WAIT));
    assert_eq!(batcher.next(WAIT), run(&[4]), "in the end any number is run");
}

#[test]
fn only_equal_shapes_are_joined_and_a_full_batch_overtakes_one_that_waits() {
    let mut batcher = Batcher::new(batching(2, WAIT), 2);
    let other = |ticket| Waiting { shapes: vec![vec![5]], ..waiting(ticket, 1, Duration::ZERO) };
    batcher.offer(waiting(0, 1, Duration::ZERO)).unwrap();
    batcher.offer(other(1)).unwrap();
    batcher.offer(other(2)).unwrap();
    assert_eq!(batcher.next(Duration::ZERO), run(&[1, 2]));
    assert_eq!(batcher.next(Duration::ZERO), Next::WaitUntil(WAIT));
    assert_eq!(batcher.next(WAIT), run(&[0]));
}

#[test]
fn higher_priorities_go_first() {
    let mut batcher = Batcher::new(batching(1, Duration::ZERO), 3);
    let levels = [Priority::LOW, Priority::NORMAL, Priority::HIGH];
    for (ticket, priority) in (0..).zip(levels) {
        batcher.offer(Waiting { priority, ..waiting(ticket, 1, Duration::ZERO) }).unwrap();
    }
    let order: Vec<Next> = (0..3).map(|_| batcher.next(Duration::ZERO)).collect();
    assert_eq!(order, [run(&[2]), run(&[1]), run(&[0])]);
}

#[test]
fn a_full_queue_refuses_and_who_leaves_makes_room() {
    let mut batcher = Batcher::new(Batching { queue_max: 1, ..batching(2, WAIT) }, 1);
    batcher.offer(waiting(0, 1, Duration::ZERO)).unwrap();
    assert_eq!(batcher.offer(waiting(1, 1, Duration::ZERO)), Err(QueueFull));
    batcher.leave(Ticket(0));
    assert_eq!((batcher.n_waiting(), batcher.next(WAIT)), (0, Next::Idle));
    batcher.offer(waiting(1, 1, Duration::ZERO)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes: every request is run once or has left, no run has too many items or unequal shapes, no more
    /// runs are out than slots, and nobody waits beyond its time while a slot is free.
    #[test]
    fn every_request_is_run_once_within_the_bounds(
        events in prop::collection::vec((0_u8..4, 1_usize..5, 0_usize..3, 0_u64..20), 1..200),
        slots in 1_usize..4,
        preferred in prop::collection::vec(1_usize..5, 0..3),
    ) {
        let clock = VirtualClock::new();
        let options = Batching { preferred, queue_max: 16, ..batching(4, WAIT) };
        let mut batcher = Batcher::new(options.clone(), slots);
        let mut open: Vec<Waiting> = Vec::new();
        let mut n_running = 0;
        for (number, (event, n_items, shape, millis)) in (0..).zip(events) {
            match event {
                0 | 1 => {
                    let shapes = vec![vec![shape]];
                    let waiting = Waiting { shapes, ..waiting(number, n_items, clock.now()) };
                    let taken = batcher.offer(waiting.clone());
                    prop_assert_eq!(taken.is_err(), open.len() == options.queue_max);
                    open.extend(taken.is_ok().then_some(waiting));
                }
                2 if n_running > 0 => {
                    batcher.ended();
                    n_running -= 1;
                }
                2 => {}
                _ => clock.advance(Duration::from_millis(millis)),
            }
            loop {
                match batcher.next(clock.now()) {
                    Next::Run(tickets) => {
                        n_running += 1;
                        prop_assert!(n_running <= slots && !tickets.is_empty());
                        let joined: Vec<Waiting> =
                            open.iter().filter(|waiting| tickets.contains(&waiting.ticket)).cloned().collect();
                        prop_assert_eq!(joined.len(), tickets.len(), "each waits, and only once");
                        prop_assert!(joined.iter().all(|waiting| waiting.shapes == joined[0].shapes));
                        prop_assert!(joined.iter().map(|waiting| waiting.n_items).sum::<usize>() <= options.max_batch);
                        open.retain(|waiting| !tickets.contains(&waiting.ticket));
                    }
                    Next::WaitUntil(at) => {
                        prop_assert!(at > clock.now() && n_running < slots);
                        prop_assert!(open.iter().all(|waiting| waiting.since + WAIT >= at));
                        break;
                    }
                    Next::Idle => {
                        prop_assert!(open.is_empty() || n_running == slots);
                        break;
                    }
                }
            }
            prop_assert_eq!(batcher.n_waiting(), open.len());
        }
    }
}
