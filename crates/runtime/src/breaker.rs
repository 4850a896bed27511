//! Whether an engine is asked at all: Closed, Open, HalfOpen. Pure; [`CircuitBreaker`] is the shell that threads share.
//!
//! ```text
//! Closed   => Open      success rate, SLA violations, memory or parity over their limits
//! Open     => HalfOpen  its time has passed and somebody asks
//! HalfOpen => Closed    enough probes succeeded (and parity was seen within its tolerance, if parity opened it)
//! HalfOpen => Open      a probe failed, or memory or parity are over again; for twice as long
//! any      => ForcedOpen | ForcedClosed     a person says so
//! ForcedOpen | ForcedClosed => Closed       a person lets it decide again
//! ```

mod outcome;
mod shell;
mod window;
mod words;

pub use outcome::{Outcome, Weight};
pub use shell::{CircuitBreaker, PassGuard};
pub(crate) use window::Window;
pub use words::{BreakerCounters, Cause, Forced, Parity, Position, Rejected, Transition};

use crate::retry::Backoff;
use std::fmt;
use std::time::Duration;

/// When a breaker opens and how it closes again.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerOptions {
    /// How far back outcomes count. Default 60 s.
    pub window: Duration,
    /// Opens below this share of successes, in percent. Default 95.
    pub success_percent_min: u8,
    /// Samples in the window before the success rate counts. Default 10.
    pub samples_min: u32,
    /// Latency above which a success is an SLA violation; `None`: none is. Default `None`.
    pub sla: Option<Duration>,
    /// Opens above this many SLA violations per 100 inferences. Default 3.
    pub sla_violations_max: u32,
    /// Inferences in the window before SLA violations count. Default 100.
    pub sla_inferences_min: u32,
    /// Opens above this many bytes; `None`: memory does not count. Default 2048 MiB.
    pub memory_bytes_max: Option<u64>,
    /// How long it stays open: at first, growing with every probe that fails. Default 10 s, doubling up to 60 s, up to
    /// a tenth shorter by its seed.
    pub open_for: Backoff,
    /// Most probes out at a time, at least 1. Default 1.
    pub probes_max: u32,
    /// Probes that must succeed before it closes, at least 1. Default 2.
    pub successes_to_close: u32,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            success_percent_min: 95,
            samples_min: 10,
            sla: None,
            sla_violations_max: 3,
            sla_inferences_min: 100,
            memory_bytes_max: Some(2048 << 20),
            open_for: Backoff {
                initial: Duration::from_secs(10),
                factor: 2,
                max: Duration::from_secs(60),
                jitter: 0.1,
                seed: 0,
            },
            probes_max: 1,
            successes_to_close: 2,
        }
    }
}

/// Leave to call the engine once. Give it back with [`Breaker::record`] or [`Breaker::release`].
#[must_use = "a pass that is not given back keeps its probe's place"]
#[derive(Debug, PartialEq, Eq)]
pub struct Pass {
    generation: u64,
    is_probe: bool,
}

impl Pass {
    /// Whether the call decides if the breaker closes. Where [`Breaker::wants_parity`], its answer is to be compared.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }
}

/// The answer to [`Breaker::try_pass`].
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// Leave to call, or not.
    pub pass: Result<Pass, Rejected>,
    /// The change that asking made: Open to HalfOpen, once its time has passed.
    pub transition: Option<Transition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Duration,
        /// What opened it first, before any probe failed.
        origin: Cause,
    },
    HalfOpen {
        origin: Cause,
        successes: u32,
        parity_seen: bool,
    },
    ForcedOpen,
    ForcedClosed,
}

/// Indices into the window's counters.
const SUCCESSES: usize = 0;
const FAILURES: usize = 1;
const VIOLATIONS: usize = 2;

/// Decides from outcomes whether an engine may be called. Allocates nothing.
pub struct Breaker {
    options: BreakerOptions,
    state: State,
    window: Window<3>,
    /// Counts openings and a person's words: passes from before decide nothing.
    generation: u64,
    probes_out: u32,
    /// Openings since it was last closed.
    openings: u32,
    counters: BreakerCounters,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("state", &self.state).field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(options: BreakerOptions) -> Self {
        let window = Window::new(options.window);
        let counters = BreakerCounters::default();
        Self { options, state: State::Closed, window, generation: 0, probes_out: 0, openings: 0, counters }
    }

    /// Asks for leave to call the engine.
    pub fn try_pass(&mut self, now: Duration) -> Decision {
        let transition = match self.state {
            State::Open { until, origin } if now >= until => {
                self.enter(State::HalfOpen { origin, successes: 0, parity_seen: false }, None)
            }
            State::Closed | State::Open { .. } | State::HalfOpen { .. } | State::ForcedOpen | State::ForcedClosed => {
                None
            }
        };
        let pass = match self.state {
            State::Closed | State::ForcedClosed => Ok(Pass { generation: self.generation, is_probe: false }),
            State::HalfOpen { .. } if self.probes_out < self.options.probes_max.max(1) => {
                self.probes_out += 1;
                Ok(Pass { generation: self.generation, is_probe: true })
            }
            State::HalfOpen { origin, .. } => Err(Rejected { cause: origin, retry_after: None }),
            State::Open { until, origin } => Err(Rejected { cause: origin, retry_after: Some(until - now) }),
            State::ForcedOpen => Err(Rejected { cause: Cause::Forced, retry_after: None }),
        };
        self.counters.rejected += u64::from(pass.is_err());
        Decision { pass, transition }
    }

    /// Gives a pass back with what became of the call.
    pub fn record(&mut self, pass: Pass, outcome: Outcome, now: Duration) -> Option<Transition> {
        let generation = pass.generation;
        self.release(pass);
        if generation != self.generation {
            self.counters.stale += 1;
            return None;
        }
        let weight = outcome.weight(self.options.sla);
        match self.state {
            State::Closed => {
                self.count(weight, now);
                let cause = self.over_limits(now)?;
                self.open(cause, cause, now)
            }
            State::HalfOpen { origin, successes, parity_seen } => match weight {
                Weight::Nothing => None,
                Weight::Late if origin == Cause::SlaViolations => self.open(origin, Cause::ProbeFailed, now),
                Weight::Good | Weight::Late => {
                    self.close_if_earned(State::HalfOpen { origin, successes: successes + 1, parity_seen })
                }
                Weight::Bad => self.open(origin, Cause::ProbeFailed, now),
            },
            State::Open { .. } | State::ForcedOpen | State::ForcedClosed => None,
        }
    }

    /// Gives a pass back whose call was not made or says nothing about the engine.
    pub fn release(&mut self, pass: Pass) {
        self.probes_out -= u32::from(pass.is_probe);
    }

    /// Takes note of the memory the engine uses.
    pub fn observe_memory(&mut self, memory_bytes: u64, now: Duration) -> Option<Transition> {
        let is_over = self.options.memory_bytes_max.is_some_and(|max| memory_bytes > max);
        if is_over { self.trip(Cause::Memory, now) } else { None }
    }

    /// Takes note of a comparison with the reference engine.
    pub fn observe_parity(&mut self, parity: Parity, now: Duration) -> Option<Transition> {
        match (parity, self.state) {
            (Parity::Exceeded, _) => self.trip(Cause::Parity, now),
            (Parity::Within, State::HalfOpen { origin, successes, .. }) => {
                self.close_if_earned(State::HalfOpen { origin, successes, parity_seen: true })
            }
            (Parity::Within, State::Closed | State::Open { .. } | State::ForcedOpen | State::ForcedClosed) => None,
        }
    }

    /// Obeys a person. What was counted before is forgotten; [`Forced::Auto`] changes nothing that was not forced.
    pub fn force(&mut self, forced: Forced) -> Option<Transition> {
        let is_forced = matches!(self.state, State::ForcedOpen | State::ForcedClosed);
        let (state, cause) = match forced {
            Forced::Open => (State::ForcedOpen, Some(Cause::Forced)),
            Forced::Closed => (State::ForcedClosed, None),
            Forced::Auto if is_forced => (State::Closed, None),
            Forced::Auto => return None,
        };
        self.openings = 0;
        self.generation += 1;
        self.enter(state, cause)
    }

    /// What it does with calls, as far as the last call of any function here knows.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.state {
            State::Closed => Position::Closed,
            State::Open { .. } => Position::Open,
            State::HalfOpen { .. } => Position::HalfOpen,
            State::ForcedOpen => Position::ForcedOpen,
            State::ForcedClosed => Position::ForcedClosed,
        }
    }

    /// Whether it closes only after a probe's answer was compared with the reference engine's and found within.
    #[must_use]
    pub fn wants_parity(&self) -> bool {
        matches!(self.state, State::HalfOpen { origin: Cause::Parity, parity_seen: false, .. })
    }

    /// Probes that were passed and not given back.
    #[must_use]
    pub fn probes_out(&self) -> u32 {
        self.probes_out
    }

    /// What was counted since it was made.
    #[must_use]
    pub fn counters(&self) -> BreakerCounters {
        self.counters
    }

    fn count(&mut self, weight: Weight, now: Duration) {
        match weight {
            Weight::Nothing => {}
            Weight::Good => self.window.add(SUCCESSES, now),
            Weight::Bad => self.window.add(FAILURES, now),
            Weight::Late => {
                self.window.add(SUCCESSES, now);
                self.window.add(VIOLATIONS, now);
            }
        }
    }

    fn over_limits(&mut self, now: Duration) -> Option<Cause> {
        let [successes, failures, violations] = self.window.totals(now);
        let (options, n_samples) = (&self.options, successes + failures);
        if n_samples >= u64::from(options.samples_min)
            && successes * 100 < n_samples * u64::from(options.success_percent_min)
        {
            return Some(Cause::SuccessRate);
        }
        let is_late = n_samples >= u64::from(options.sla_inferences_min)
            && violations * 100 > n_samples * u64::from(options.sla_violations_max);
        is_late.then_some(Cause::SlaViolations)
    }

    /// Opens for something that is seen beside the calls.
    fn trip(&mut self, cause: Cause, now: Duration) -> Option<Transition> {
        match self.state {
            State::Closed | State::HalfOpen { .. } => self.open(cause, cause, now),
            State::Open { .. } | State::ForcedOpen | State::ForcedClosed => None,
        }
    }

    fn open(&mut self, origin: Cause, cause: Cause, now: Duration) -> Option<Transition> {
        let until = now.saturating_add(self.options.open_for.wait(self.openings));
        self.openings = self.openings.saturating_add(1);
        self.generation += 1;
        self.enter(State::Open { until, origin }, Some(cause))
    }

    fn close_if_earned(&mut self, earned: State) -> Option<Transition> {
        self.state = earned;
        let State::HalfOpen { origin, successes, parity_seen } = earned else { return None };
        if successes < self.options.successes_to_close.max(1) || (origin == Cause::Parity && !parity_seen) {
            return None;
        }
        self.openings = 0;
        self.enter(State::Closed, None)
    }

    /// Every change of position goes through here. What was counted in one says nothing in the next.
    fn enter(&mut self, state: State, cause: Option<Cause>) -> Option<Transition> {
        let from = self.position();
        self.state = state;
        let to = self.position();
        if let Some(cause) = cause.filter(|_| to != from) {
            self.counters.trips[cause as usize] += 1;
        }
        self.window.clear();
        (to != from).then_some(Transition { from, to, cause })
    }
}

#[cfg(test)]
mod tests;
