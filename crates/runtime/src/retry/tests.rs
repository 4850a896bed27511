//! Which failures are retried, and how waits grow.

use super::{Backoff, Replay, RetryPolicy};
use ballast_backend::ErrorKind;
use proptest::prelude::*;

#[test]
fn retries_faults_of_the_engine_only_while_nothing_is_lost() {
    let kinds = [
        (ErrorKind::Invalid, false),
        (ErrorKind::Denied, false),
        (ErrorKind::Overloaded, false),
        (ErrorKind::Unavailable, true),
        (ErrorKind::Cancelled, false),
        (ErrorKind::Internal, true),
    ];
    let policy = RetryPolicy::default();
    for (kind, expected) in kinds {
        assert_eq!(policy.may_retry(kind, 0, 1, Replay::Unsafe), expected, "{kind:?}, nothing emitted");
        assert_eq!(policy.may_retry(kind, 3, 1, Replay::Safe), expected, "{kind:?}, recomputed");
        assert!(!policy.may_retry(kind, 3, 1, Replay::Unsafe), "{kind:?}, tokens would change");
        assert!(!policy.may_retry(kind, 0, 2, Replay::Safe), "{kind:?}, attempts used up");
    }
    let once = RetryPolicy { attempts_max: 1, ..policy };
    assert!(!once.may_retry(ErrorKind::Internal, 0, 1, Replay::Safe));
    assert_eq!([1, 2].map(|attempts| policy.wait(attempts)), [0, 1].map(|before| policy.backoff.wait(before)));
}

#[test]
fn waits_double_up_to_the_cap() {
    let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
    let waits: Vec<u128> = [0, 1, 2, 8, 9, 40, u32::MAX].map(|n| backoff.wait(n).as_millis()).to_vec();
    assert_eq!(waits, [100, 200, 400, 25_600, 30_000, 30_000, 30_000]);
}

proptest! {
    #[test]
    fn jitter_only_shortens_and_follows_its_seed(seed: u64, failures in 0_u32..100, jitter in -1.0..2.0) {
        let backoff = Backoff { seed, jitter, ..Backoff::default() };
        let longest = Backoff { jitter: 0.0, ..backoff }.wait(failures);
        let wait = backoff.wait(failures);
        prop_assert!(wait <= longest);
        prop_assert!(wait >= longest.mul_f64(1.0 - jitter.clamp(0.0, 1.0)) || jitter >= 1.0);
        prop_assert_eq!(wait, backoff.wait(failures));
    }
}

#[test]
fn different_seeds_spread_the_waits() {
    let waits: std::collections::BTreeSet<_> =
        (0..50).map(|seed| Backoff { seed, ..Backoff::default() }.wait(3)).collect();
    assert!(waits.len() > 45, "{} different waits of 50", waits.len());
}
