//! Permits, without threads.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn seats(n_instances: usize, concurrency: usize) -> Seats {
    Seats::new(PoolOptions { n_instances, concurrency, waiters_max: 3, ..PoolOptions::default() })
}

fn ask(seats: &mut Seats, rank: u8) -> Result<Asked, PoolError> {
    seats.acquire(Call { deadline: Duration::MAX, rank: Rank(rank) }, Duration::ZERO)
}

fn granted(seats: &mut Seats) -> Grant {
    match ask(seats, 0) {
        Ok(Asked::Granted(grant)) => grant,
        other => panic!("expected a permit, got {other:?}"),
    }
}

/// A permit over an instance that is open.
fn seated(seats: &mut Seats) -> SeatId {
    let grant = granted(seats);
    if grant.opens {
        seats.opened(grant.seat);
    }
    grant.seat
}

#[test]
fn an_idle_instance_goes_before_a_new_one_and_a_new_one_before_sharing() {
    let mut seats = seats(2, 2);
    let first = seated(&mut seats);
    assert_eq!(granted(&mut seats), Grant { seat: SeatId { idx: 1, generation: 1 }, opens: true });
    assert_eq!(granted(&mut seats), Grant { seat: first, opens: false }, "what is being opened is not shared");
    assert!(matches!(ask(&mut seats, 0), Ok(Asked::Wait(_))));
    assert!(!seats.release(first));
    assert_eq!(seats.serve(SECOND).len(), 1);
}

#[test]
fn who_comes_after_its_deadline_is_refused_though_there_is_a_permit() {
    let mut seats = seats(1, 1);
    for (deadline, now) in [(SECOND, SECOND), (SECOND, 2 * SECOND)] {
        let asked = seats.acquire(Call { deadline, rank: Rank(0) }, now);
        assert_eq!((asked, seats.stats().free), (Err(PoolError::Deadline), 1));
    }
    assert_eq!(seats.stats().timed_out, 2);
}

#[test]
fn a_wait_ends_with_the_patience_that_ends_first() {
    let timeout = PoolOptions::default().acquire_timeout;
    let told = PoolError::TimedOut { waited: timeout };
    let cases = [(timeout - SECOND, PoolError::Deadline), (timeout, told), (timeout + SECOND, told)];
    for (deadline, expected) in cases {
        let mut seats = seats(1, 1);
        seated(&mut seats);
        let call = Call { deadline, rank: Rank(0) };
        assert!(matches!(seats.acquire(call, Duration::ZERO), Ok(Asked::Wait(_))));
        let ends_at = deadline.min(timeout);
        assert_eq!(seats.expire(ends_at - Duration::from_nanos(1)), []);
        let errors: Vec<_> = seats.expire(ends_at).into_iter().map(|(_, error)| error).collect();
        assert_eq!(errors, [expected], "deadline {deadline:?}");
    }
}

#[test]
fn waiters_are_served_by_rank_and_then_in_order() {
    let mut seats = seats(1, 1);
    let mut holder = seated(&mut seats);
    let tickets = [9, 1, 9].map(|rank| match ask(&mut seats, rank) {
        Ok(Asked::Wait(ticket)) => ticket,
        other => panic!("expected to wait, got {other:?}"),
    });
    assert_eq!(ask(&mut seats, 0), Err(PoolError::Exhausted { waiters_max: 3 }));
    for expected in [1, 0, 2] {
        seats.release(holder);
        let served = seats.serve(SECOND);
        assert_eq!(served.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [tickets[expected]]);
        holder = served[0].1.seat;
    }
    let stats = seats.stats();
    assert_eq!((stats.successful, stats.failed, stats.waiting, stats.wait_max), (4, 1, 0, SECOND));
}

#[test]
fn the_mean_wait_moves_by_a_tenth() {
    let mut seats = seats(1, 1);
    let holder = seated(&mut seats);
    ask(&mut seats, 0).unwrap();
    seats.release(holder);
    seats.serve(SECOND);
    assert_eq!(seats.stats().wait_mean, Some(SECOND / 10));
}

#[test]
fn an_opening_that_fails_leaves_the_seat_vacant() {
    let mut seats = seats(1, 1);
    let opening = granted(&mut seats);
    assert!(opening.opens);
    seats.release(opening.seat);
    assert_eq!((seats.stats().open_failures, seats.stats().free), (1, 1));
    assert!(granted(&mut seats).opens);
}

#[test]
fn a_lost_seat_is_vacant_when_its_thread_has_ended_and_its_permits_are_back() {
    for returns_first in [true, false] {
        let mut seats = seats(1, 2);
        let (first, second) = (seated(&mut seats), seated(&mut seats));
        assert!(seats.lose(first));
        assert!(!seats.lose(second), "it is lost once");
        seats.release(second);
        assert_eq!((seats.stats().active, seats.stats().dying, seats.stats().free), (1, 1, 0));
        let vacated = if returns_first {
            assert!(!seats.release(first));
            seats.ended(0)
        } else {
            assert!(!seats.ended(0));
            seats.release(first)
        };
        assert!(vacated);
        let next = granted(&mut seats);
        assert!(next.opens);
        seats.opened(next.seat);
        assert!(!seats.lose(first), "news of the old instance is not taken for the new one");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { rank: u8, deadline_ms: u64 },
    Release(usize),
    Open(usize),
    Lose(usize),
    End(usize),
    Cancel(usize),
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, 1..9000_u64).prop_map(|(rank, deadline_ms)| Step::Ask { rank, deadline_ms }),
        3 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::Open),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => (0..4_usize).prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (0..4000_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

proptest! {
    #[test]
    fn permits_out_free_and_dying_are_all_there_are(
        (n_instances, concurrency) in (1..4_usize, 1..3_usize),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut seats = seats(n_instances, concurrency);
        let (mut now, mut out, mut opening, mut waiting) = (Duration::ZERO, Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Ask { rank, deadline_ms } => {
                    let call = Call { deadline: now + Duration::from_millis(deadline_ms), rank: Rank(rank) };
                    match seats.acquire(call, now) {
                        Ok(Asked::Granted(grant)) => {
                            prop_assert!(waiting.is_empty(), "nobody overtakes");
                            if grant.opens { opening.push(grant.seat) } else { out.push(grant.seat) }
                        }
                        Ok(Asked::Wait(ticket)) => waiting.push(ticket),
                        Err(error) => prop_assert_eq!(error, PoolError::Exhausted { waiters_max: 3 }),
                    }
                }
                Step::Release(nth) => {
                    let all = out.len() + opening.len();
                    if all > 0 {
                        let nth = nth % all;
                        let seat = if nth < out.len() { out.remove(nth) } else { opening.remove(nth - out.len()) };
                        seats.release(seat);
                    }
                }
                Step::Open(nth) if !opening.is_empty() => {
                    let seat = opening.remove(nth % opening.len());
                    seats.opened(seat);
                    out.push(seat);
                }
                Step::Lose(nth) if !out.is_empty() => { seats.lose(out[nth % out.len()]); }
                Step::End(idx) if idx < n_instances => { seats.ended(idx); }
                Step::Cancel(nth) if !waiting.is_empty() => {
                    let ticket = waiting.remove(nth % waiting.len());
                    prop_assert!(seats.cancel(ticket));
                }
                Step::Pass { ms } => now += Duration::from_millis(ms),
                Step::Open(_) | Step::Lose(_) | Step::End(_) | Step::Cancel(_) => {}
            }
            for (ticket, _) in seats.expire(now) {
                waiting.retain(|waiting| *waiting != ticket);
            }
            for (ticket, grant) in seats.serve(now) {
                prop_assert_eq!(waiting.iter().min(), Some(&ticket), "the first is served");
                waiting.retain(|waiting| *waiting != ticket);
                if grant.opens { opening.push(grant.seat) } else { out.push(grant.seat) }
            }
            let stats = seats.stats();
            prop_assert_eq!(stats.active, out.len() + opening.len());
            prop_assert_eq!(stats.active + stats.free + stats.dying, n_instances * concurrency);
            prop_assert_eq!(stats.waiting, waiting.len());
            for idx in 0..n_instances {
                prop_assert!(out.iter().chain(&opening).filter(|seat| seat.idx == idx).count() <= concurrency);
            }
        }
    }
}
