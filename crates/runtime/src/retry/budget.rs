//! How many retries there may be, so that a failing engine is not buried under them.

use crate::breaker::Window;
use std::time::Duration;

/// Bounds of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudgetOptions {
    /// How far back requests and retries count. Default 60 s.
    pub window: Duration,
    /// Retries for 100 requests. Default 20.
    pub retries_per_100: u32,
    /// Retries that are allowed in a window however few requests there are. Default 10.
    pub retries_floor: u32,
}

impl Default for RetryBudgetOptions {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), retries_per_100: 20, retries_floor: 10 }
    }
}

const REQUESTS: usize = 0;
const RETRIES: usize = 1;

/// Counts requests and retries over a sliding window: retries stay within a share of the requests, plus a floor.
#[derive(Debug)]
pub struct RetryBudget {
    options: RetryBudgetOptions,
    window: Window<2>,
}

impl RetryBudget {
    /// A budget with nothing counted.
    #[must_use]
    pub fn new(options: RetryBudgetOptions) -> Self {
        Self { options, window: Window::new(options.window) }
    }

    /// Counts a request's first attempt.
    pub fn note_request(&mut self, now: Duration) {
        self.window.add(REQUESTS, now);
    }

    /// Takes leave for one retry; `false`: the budget is used up.
    #[must_use]
    pub fn try_spend(&mut self, now: Duration) -> bool {
        let [requests, retries] = self.window.totals(now);
        let allowed = u64::from(self.options.retries_floor)
            + requests.saturating_mul(u64::from(self.options.retries_per_100)) / 100;
        let may = retries < allowed;
        if may {
            self.window.add(RETRIES, now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::{RetryBudget, RetryBudgetOptions};
    use proptest::prelude::*;
    use std::time::Duration;

    fn spend_all(budget: &mut RetryBudget, now: Duration) -> u32 {
        (0..1000).map(|_| u32::from(budget.try_spend(now))).sum()
    }

    #[test]
    fn allows_the_floor_then_a_fifth_of_the_requests() {
        let mut budget = RetryBudget::new(RetryBudgetOptions::default());
        let now = Duration::from_secs(5);
        assert_eq!(spend_all(&mut budget, now), 10);
        (0..100).for_each(|_| budget.note_request(now));
        assert_eq!(spend_all(&mut budget, now), 20);
        assert_eq!(spend_all(&mut budget, now + Duration::from_secs(60)), 10, "the window has passed");
    }

    proptest! {
        #[test]
        fn retries_never_storm(
            events in prop::collection::vec((0_u64..3_000, any::<bool>()), 1..400),
            floor in 0_u32..5,
        ) {
            let options = RetryBudgetOptions { retries_floor: floor, ..RetryBudgetOptions::default() };
            let mut budget = RetryBudget::new(options);
            let (mut now, mut requests, mut retries) = (Duration::ZERO, Vec::new(), Vec::new());
            for (gap, is_request) in events {
                now += Duration::from_millis(gap);
                if is_request {
                    budget.note_request(now);
                    requests.push(now);
                } else if budget.try_spend(now) {
                    retries.push(now);
                    let young = |times: &[Duration], age| {
                        times.iter().filter(|&&at| now - at < Duration::from_secs(age)).count()
                    };
                    prop_assert!(young(&retries, 55) <= floor as usize + young(&requests, 60) / 5);
                }
            }
        }
    }
}
