//! Turns, room and fairness of the queue.

use super::{Entry, Queue};
use crate::Priority;
use crate::telemetry::TenantId;
use proptest::prelude::*;
use std::time::Duration;

const STEP: Duration = Duration::from_millis(100);

fn entry(job: u64, n_tokens: &[usize]) -> Entry {
    Entry {
        job,
        first: 0,
        n_tokens: n_tokens.to_vec(),
        tenant: TenantId::default(),
        priority: Priority::NORMAL,
        arrived: Duration::ZERO,
        is_alone: false,
    }
}

/// Jobs of the next batch and their texts.
fn batch(queue: &mut Queue, now: Duration) -> Vec<(u64, std::ops::Range<usize>)> {
    queue.batch(now).into_iter().map(|share| (share.job, share.texts)).collect()
}

#[test]
fn a_batch_is_filled_in_order_and_what_is_left_goes_to_whoever_fits() {
    let mut queue = Queue::new(STEP, (100, 3));
    queue.push(entry(1, &[60, 30]));
    queue.push(entry(2, &[50]));
    queue.push(entry(3, &[10]));
    queue.push(entry(4, &[1]));
    assert_eq!(batch(&mut queue, Duration::ZERO), [(1, 0..2), (3, 0..1)]);
    assert_eq!(batch(&mut queue, Duration::ZERO), [(2, 0..1), (4, 0..1)]);
    assert_eq!(batch(&mut queue, Duration::ZERO), []);
}

#[test]
fn a_request_larger_than_a_batch_is_served_over_several() {
    let mut queue = Queue::new(STEP, (100, 8));
    queue.push(entry(1, &[70, 70, 30]));
    assert_eq!(batch(&mut queue, Duration::ZERO), [(1, 0..1)]);
    assert_eq!(batch(&mut queue, Duration::ZERO), [(1, 1..3)]);
}

#[test]
fn priority_comes_first_and_waiting_raises_it() {
    let with = |job, priority, arrived| Entry { priority, arrived, ..entry(job, &[100]) };
    let mut queue = Queue::new(STEP, (100, 8));
    queue.push(with(1, Priority::LOW, Duration::ZERO));
    queue.push(with(2, Priority::NORMAL, Duration::ZERO));
    queue.push(with(3, Priority::HIGH, Duration::ZERO));
    assert_eq!(batch(&mut queue, Duration::ZERO), [(3, 0..1)]);
    queue.push(with(4, Priority::HIGH, 3 * STEP));
    assert_eq!(batch(&mut queue, 3 * STEP), [(2, 0..1)]);
    assert_eq!(batch(&mut queue, 3 * STEP), [(1, 0..1)]);
}

#[test]
fn a_tenant_with_many_requests_does_not_keep_another_waiting() {
    let of = |job, name: &str| Entry { tenant: name.parse::<TenantId>().unwrap(), ..entry(job, &[100]) };
    let mut queue = Queue::new(STEP, (100, 8));
    (0..5).for_each(|job| queue.push(of(job, "many")));
    queue.push(of(9, "one"));
    let order: Vec<u64> = (0..6).flat_map(|_| batch(&mut queue, Duration::ZERO)).map(|(job, _)| job).collect();
    assert_eq!(order, [0, 9, 1, 2, 3, 4]);
}

#[test]
fn a_share_that_runs_again_runs_alone() {
    let mut queue = Queue::new(STEP, (100, 8));
    queue.push(entry(1, &[10, 10]));
    queue.push(entry(2, &[10]));
    let shares = queue.batch(Duration::ZERO);
    shares.iter().for_each(|share| queue.again_alone(share));
    queue.push(entry(3, &[10]));
    queue.push(entry(4, &[10]));
    let rest: Vec<_> = (0..4).map(|_| batch(&mut queue, Duration::ZERO)).collect();
    assert_eq!(rest, [vec![(1, 0..2)], vec![(2, 0..1)], vec![(3, 0..1), (4, 0..1)], vec![]]);
}

#[test]
fn what_is_removed_does_not_run() {
    let mut queue = Queue::new(STEP, (100, 8));
    queue.push(entry(1, &[10]));
    queue.push(entry(2, &[10]));
    queue.remove(1);
    assert_eq!(batch(&mut queue, Duration::ZERO), [(2, 0..1)]);
}

proptest! {
    #[test]
    fn every_text_runs_once_within_the_bounds(
        jobs in prop::collection::vec((prop::collection::vec(1_usize..=50, 1..10), -10_i8..=10, any::<bool>()), 1..20),
    ) {
        let mut queue = Queue::new(STEP, (50, 4));
        for (job, (n_tokens, level, is_alone)) in (0..).zip(&jobs) {
            let priority = Priority::new(*level).unwrap();
            queue.push(Entry { priority, is_alone: *is_alone, ..entry(job, n_tokens) });
        }
        let mut next = vec![0; jobs.len()];
        for _ in 0..1000 {
            let shares = queue.batch(Duration::ZERO);
            if shares.is_empty() {
                break;
            }
            let n_tokens: usize = shares.iter().flat_map(|share| &share.n_tokens).sum();
            let n_texts: usize = shares.iter().map(|share| share.texts.len()).sum();
            prop_assert!(n_tokens <= 50 && n_texts <= 4);
            for share in &shares {
                let job = usize::try_from(share.job).unwrap();
                prop_assert!(!jobs[job].2 || shares.len() == 1);
                prop_assert_eq!(share.texts.start, next[job]);
                prop_assert_eq!(&share.n_tokens, &jobs[job].0[share.texts.clone()]);
                next[job] = share.texts.end;
            }
        }
        let lens: Vec<usize> = jobs.iter().map(|(n_tokens, _, _)| n_tokens.len()).collect();
        prop_assert_eq!(next, lens);
    }
}
