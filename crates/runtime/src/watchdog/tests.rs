//! When a call is late or stalled, and when it is not.

use super::{Verdict, Watchdog, WatchdogOptions};
use proptest::prelude::*;
use std::time::Duration;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn watchdog(call_max: Option<Duration>) -> Watchdog {
    Watchdog::new(WatchdogOptions { call_max, ..WatchdogOptions::default() })
}

/// Looks whenever the watchdog asks to, until `until`; `beats` says how many beats there are at a time.
fn run(
    watchdog: &mut Watchdog,
    from: Duration,
    until: Duration,
    beats: impl Fn(Duration) -> u64,
) -> (Duration, Verdict) {
    let mut now = from;
    while let Some(next) = watchdog.next_check_at(now) {
        assert!(next > now, "the watchdog would spin at {now:?}");
        if next > until {
            break;
        }
        now = next;
        let verdict = watchdog.observe(beats(now), now);
        if verdict != Verdict::Alive {
            return (now, verdict);
        }
    }
    (now, Verdict::Alive)
}

#[test]
fn a_call_that_never_beats_stalls_at_its_bound() {
    let mut watchdog = watchdog(None);
    watchdog.begin(7, 3, MS(500));
    let stalled = Verdict::Stalled { silent_for: MS(10_000) };
    assert_eq!(run(&mut watchdog, MS(500), MS(60_000), |_| 3), (MS(10_500), stalled));
    assert_eq!(watchdog.call(), Some(7));
    assert_eq!(watchdog.stalls(), 1);
    assert!(matches!(watchdog.observe(3, MS(11_000)), Verdict::Stalled { .. }));
    assert_eq!(watchdog.stalls(), 1, "it is one stall");
    assert_eq!(watchdog.observe(4, MS(11_100)), Verdict::Alive, "it beats again");
}

#[test]
fn a_look_between_the_looks_does_not_make_a_stall_later() {
    let mut watchdog = watchdog(None);
    watchdog.begin(1, 0, MS(0));
    assert_eq!(watchdog.observe(0, MS(1_000)), Verdict::Alive);
    assert_eq!(run(&mut watchdog, MS(1_000), MS(60_000), |_| 0).0, MS(10_000));
}

#[test]
fn a_call_that_beats_is_alive_for_ever() {
    let mut watchdog = watchdog(None);
    watchdog.begin(1, 0, MS(0));
    let beats = |now: Duration| u64::try_from(now.as_millis() / 9_000).unwrap();
    assert_eq!(run(&mut watchdog, MS(0), MS(3_600_000), beats).1, Verdict::Alive);
}

#[test]
fn a_call_over_its_time_is_late_though_it_beats_and_stalled_if_it_does_not() {
    let mut watchdog = watchdog(Some(MS(4_000)));
    watchdog.begin(1, 0, MS(100));
    let beats = |now: Duration| u64::try_from(now.as_millis()).unwrap();
    assert_eq!(run(&mut watchdog, MS(100), MS(60_000), beats), (MS(4_100), Verdict::Late { since: MS(4_100) }));
    for now in [9_000, 14_000, 19_000] {
        watchdog.observe(4_100, MS(now));
    }
    assert_eq!(watchdog.observe(4_100, MS(19_000)), Verdict::Stalled { silent_for: MS(14_900) });
}

#[test]
fn an_idle_instance_owes_no_beat() {
    let mut watchdog = watchdog(None);
    assert_eq!((watchdog.observe(0, MS(99_000)), watchdog.next_check_at(MS(0))), (Verdict::Idle, None));
    watchdog.begin(1, 0, MS(100_000));
    assert_eq!(watchdog.heartbeat_age(MS(100_700)), Some(MS(700)));
    watchdog.end();
    assert_eq!((watchdog.observe(0, MS(199_000)), watchdog.heartbeat_age(MS(199_000))), (Verdict::Idle, None));
}

#[test]
fn a_watcher_that_was_stopped_does_not_blame_the_engine() {
    let mut watchdog = watchdog(None);
    watchdog.begin(1, 0, MS(0));
    assert_eq!(watchdog.observe(0, MS(3_600_000)), Verdict::Alive, "an hour passed in one look");
    assert_eq!(watchdog.observe(1, MS(3_600_100)), Verdict::Alive, "the engine went on");
}

proptest! {
    #[test]
    fn a_stall_is_told_at_most_a_quarter_late_and_never_early(last_beat in 1_u64..40_000) {
        let mut watchdog = watchdog(None);
        watchdog.begin(1, 0, MS(0));
        // A beat every 100 ms, the last one at `last_beat`.
        let beats = |now: Duration| u64::try_from(now.as_millis()).unwrap().min(last_beat) / 100 + 1;
        let (at, verdict) = run(&mut watchdog, MS(0), MS(100_000), beats);
        let silence = at - MS(last_beat / 100 * 100);
        prop_assert!(matches!(verdict, Verdict::Stalled { .. }), "silent for {:?}: {:?}", silence, verdict);
        prop_assert!(MS(10_000) <= silence && silence <= MS(12_500), "{:?}", silence);
    }
}
