//! Whether an engine at work is still alive. Pure: told of the beats of a [`Pulse`](ballast_backend::Pulse), it says
//! what to think of them.
//!
//! ```text
//! Idle    => Alive              begin()
//! Alive   => Late               the call takes longer than it may, but beats
//! Alive | Late => Stalled       no beat for stall_after
//! Stalled => Alive | Late       it beats again before it was given up
//! any     => Idle               end()
//! ```

mod fence;

pub use fence::{FenceCounters, FenceState, Fences};

use std::time::Duration;

/// Looks at the beats within one `stall_after`: a stall is told at most this part of it late.
const CHECKS_PER_STALL: u32 = 4;

/// Bounds of an engine's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogOptions {
    /// A call without a beat for this long has stalled. Default 10 s.
    pub stall_after: Duration,
    /// Longest time of one call, however it beats; `None`: the request's deadline alone bounds it. Default `None`.
    pub call_max: Option<Duration>,
}

impl Default for WatchdogOptions {
    fn default() -> Self {
        Self { stall_after: Duration::from_secs(10), call_max: None }
    }
}

/// What to think of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No call is in progress.
    Idle,
    /// It works.
    Alive,
    /// It works, but the call takes longer than it may: interrupt it.
    Late {
        /// When the call's time was used up.
        since: Duration,
    },
    /// It gives no sign of life: give the instance up.
    Stalled {
        /// For how long, as far as the watcher was awake to see.
        silent_for: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Call {
    id: u64,
    began_at: Duration,
    beats: u64,
    observed_at: Duration,
    silent_for: Duration,
}

/// Watches the calls of one instance, one at a time.
#[derive(Clone, Debug)]
pub struct Watchdog {
    options: WatchdogOptions,
    call: Option<Call>,
    stalls: u64,
}

impl Watchdog {
    /// A watchdog of an idle instance.
    #[must_use]
    pub fn new(options: WatchdogOptions) -> Self {
        Self { options, call: None, stalls: 0 }
    }

    /// Call `id` begins, when the pulse has `beats`. It replaces a call that was not ended.
    pub fn begin(&mut self, id: u64, beats: u64, now: Duration) {
        self.call = Some(Call { id, began_at: now, beats, observed_at: now, silent_for: Duration::ZERO });
    }

    /// Takes note of the pulse's `beats`.
    ///
    /// Silence adds up over the times between looks, of which none counts for more than half of `stall_after`: a
    /// watcher that was itself stopped (a suspended machine, a debugger) does not blame the engine for the time it
    /// could not have looked.
    pub fn observe(&mut self, beats: u64, now: Duration) -> Verdict {
        let Some(call) = &mut self.call else { return Verdict::Idle };
        let gap = now.saturating_sub(call.observed_at);
        let was_stalled = call.silent_for >= self.options.stall_after;
        call.observed_at = call.observed_at.max(now);
        if beats == call.beats {
            call.silent_for += gap.min(self.options.stall_after / 2);
        } else {
            (call.beats, call.silent_for) = (beats, Duration::ZERO);
        }
        let late_at = self.options.call_max.map(|max| call.began_at.saturating_add(max));
        if call.silent_for >= self.options.stall_after {
            self.stalls += u64::from(!was_stalled);
            return Verdict::Stalled { silent_for: call.silent_for };
        }
        match late_at {
            Some(since) if now >= since => Verdict::Late { since },
            Some(_) | None => Verdict::Alive,
        }
    }

    /// The call in progress returned.
    pub fn end(&mut self) {
        self.call = None;
    }

    /// The call in progress.
    #[must_use]
    pub fn call(&self) -> Option<u64> {
        self.call.map(|call| call.id)
    }

    /// When to look again; `None`: not before the next call begins. Never earlier than `now`.
    #[must_use]
    pub fn next_check_at(&self, now: Duration) -> Option<Duration> {
        let call = self.call?;
        let step = (self.options.stall_after / CHECKS_PER_STALL).max(Duration::from_nanos(1));
        let left = self.options.stall_after.saturating_sub(call.silent_for);
        let stall_check = call.observed_at.saturating_add(if left.is_zero() { step } else { left.min(step) });
        let late_at = self.options.call_max.map(|max| call.began_at.saturating_add(max));
        let next = late_at.filter(|&at| at > call.observed_at).map_or(stall_check, |at| at.min(stall_check));
        Some(next.max(now))
    }

    /// Time since the engine's last sign of life was seen, for readiness; `None`: it is idle and owes none.
    #[must_use]
    pub fn heartbeat_age(&self, now: Duration) -> Option<Duration> {
        self.call.map(|call| call.silent_for + now.saturating_sub(call.observed_at))
    }

    /// Calls that stalled so far.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.stalls
    }
}

#[cfg(test)]
mod tests;
