//! Comparison while serving: which requests run on a second engine, too, and whether what was seen is too much. Pure.
//!
//! ```text
//! a request     => not drawn                     Skip
//!               => drawn, too many are running   Skip, counted
//!               => drawn                         Run  => finish: Within | Exceeded   joins the window
//!                                                     => finish: Failed              counted, says nothing of parity
//!                                                     => time is up                  counted, its place is free
//! ```

use super::inputs::SplitMix;
use ballast_backend::ReasonCode;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// One in so many is the unit of [`LiveOptions::share_ppm`].
const MILLION: u64 = 1_000_000;

/// Which requests are compared, and what is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    /// Same seed, same requests.
    pub seed: u64,
    /// Share of the requests that are compared, in parts per million; a million or more: all.
    pub share_ppm: u32,
    /// Most comparisons at a time. Requests beyond it are served without one.
    pub concurrent_max: usize,
    /// Longest a comparison may take; past it its place is given to another.
    pub running_max: Duration,
    /// Comparisons that the verdict is about: the last so many, at least one.
    pub window: usize,
    /// How many of them over tolerance are too much, at least one.
    pub exceeded_trip: usize,
}

impl Default for LiveOptions {
    /// One request in a thousand, one at a time, and one over tolerance among the last hundred is too much.
    fn default() -> Self {
        Self {
            seed: 0,
            share_ppm: 1000,
            concurrent_max: 1,
            running_max: Duration::from_secs(30),
            window: 100,
            exceeded_trip: 1,
        }
    }
}

/// Whether to run a request on the second engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// Run it, and call [`LiveSampler::finish`].
    Run,
    /// Do not.
    Skip,
}

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowOutcome {
    /// Within tolerance.
    Within,
    /// Over tolerance.
    Exceeded,
    /// Not to be had: the second engine failed, or the request was cancelled.
    Failed,
}

/// What the last comparisons say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveVerdict {
    /// Nothing was compared yet.
    NotMeasured,
    /// No more than allowed were over tolerance.
    Within {
        /// Comparisons in the window.
        n_samples: usize,
        /// Of these, over tolerance.
        n_exceeded: usize,
    },
    /// Too many were.
    Exceeded {
        /// Comparisons in the window.
        n_samples: usize,
        /// Of these, over tolerance.
        n_exceeded: usize,
    },
}

impl LiveVerdict {
    /// What to tell a breaker; `None`: nothing.
    #[must_use]
    pub fn reason(self) -> Option<ReasonCode> {
        match self {
            Self::Exceeded { .. } => Some(ReasonCode::ParityExceeded),
            Self::NotMeasured | Self::Within { .. } => None,
        }
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveStats {
    /// Comparisons begun.
    pub begun: u64,
    /// Requests that were drawn, and not compared because too many comparisons were running.
    pub skipped_busy: u64,
    /// Comparisons within tolerance.
    pub within: u64,
    /// Comparisons over tolerance.
    pub exceeded: u64,
    /// Comparisons that came to nothing.
    pub failed: u64,
    /// Comparisons whose time was up.
    pub expired: u64,
}

/// Chooses requests to compare, and judges the last of them.
#[derive(Clone, Debug)]
pub struct LiveSampler {
    options: LiveOptions,
    /// Comparisons that run, by request, and when they began.
    running: BTreeMap<u64, Duration>,
    /// Whether the last comparisons were over tolerance, the oldest first.
    window: VecDeque<bool>,
    stats: LiveStats,
}

impl LiveSampler {
    /// Nothing compared yet.
    #[must_use]
    pub fn new(options: LiveOptions) -> Self {
        Self { options, running: BTreeMap::new(), window: VecDeque::new(), stats: LiveStats::default() }
    }

    /// Whether request number `request` is drawn: a function of seed and number alone.
    #[must_use]
    pub fn draws(&self, request: u64) -> bool {
        let mixed = SplitMix(self.options.seed).next().wrapping_add(request);
        let ticket = (u128::from(SplitMix(mixed).next()) * u128::from(MILLION)) >> 64;
        ticket < u128::from(self.options.share_ppm)
    }

    /// Whether to run request number `request` on the second engine. Numbers are not used twice.
    pub fn decide(&mut self, request: u64, now: Duration) -> Shadow {
        if !self.draws(request) {
            return Shadow::Skip;
        }
        let n_before = self.running.len();
        let running_max = self.options.running_max;
        self.running.retain(|_, began| now.saturating_sub(*began) < running_max);
        self.stats.expired += (n_before - self.running.len()) as u64;
        if self.running.len() >= self.options.concurrent_max || self.running.contains_key(&request) {
            self.stats.skipped_busy += 1;
            return Shadow::Skip;
        }
        self.running.insert(request, now);
        self.stats.begun += 1;
        Shadow::Run
    }

    /// Takes a comparison's outcome, and says what the last ones say. One that is not running (its time was up, or it
    /// was finished before) changes nothing.
    pub fn finish(&mut self, request: u64, outcome: ShadowOutcome) -> LiveVerdict {
        if self.running.remove(&request).is_some() {
            match outcome {
                ShadowOutcome::Within => {
                    self.stats.within += 1;
                    self.note(false);
                }
                ShadowOutcome::Exceeded => {
                    self.stats.exceeded += 1;
                    self.note(true);
                }
                ShadowOutcome::Failed => self.stats.failed += 1,
            }
        }
        self.verdict()
    }

    fn note(&mut self, is_exceeded: bool) {
        while self.window.len() >= self.options.window.max(1) {
            self.window.pop_front();
        }
        self.window.push_back(is_exceeded);
    }

    /// What the last comparisons say.
    #[must_use]
    pub fn verdict(&self) -> LiveVerdict {
        let n_samples = self.window.len();
        let n_exceeded = self.window.iter().filter(|is_exceeded| **is_exceeded).count();
        if n_samples == 0 {
            LiveVerdict::NotMeasured
        } else if n_exceeded >= self.options.exceeded_trip.max(1) {
            LiveVerdict::Exceeded { n_samples, n_exceeded }
        } else {
            LiveVerdict::Within { n_samples, n_exceeded }
        }
    }

    /// Forgets the window, for an engine that was replaced or a breaker that has closed again.
    pub fn forget(&mut self) {
        self.window.clear();
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> LiveStats {
        self.stats
    }

    /// Comparisons that run.
    #[must_use]
    pub fn n_running(&self) -> usize {
        self.running.len()
    }
}
