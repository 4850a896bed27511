//! Clients that leave: while they wait, in prefill, in decode; with a streamed answer or a whole one.

use super::super::client::{Asked, Connection};
use super::super::prompts::PromptPlan;
use super::Trial;
use super::gauges::{self, Gauges};
use ballast_backend::Clock;
use std::time::Duration;

/// How long a phase is waited for.
const REACH_MAX: Duration = Duration::from_secs(30);
/// How long a server may hold what nobody waits for before that is told as the time.
const HELD_MAX: Duration = Duration::from_secs(10);
/// Length of a prompt whose prefill is soon over.
const SHORT_TOKENS: usize = 16;

/// Where in its life a request is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Queued,
    Prefill,
    Decode,
}

/// One way to leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) name: &'static str,
    phase: Phase,
    streamed: bool,
}

/// Every way to leave.
pub(super) const DEPARTURES: [Departure; 6] = [
    Departure { name: "left while queued, streamed: free after, ms", phase: Phase::Queued, streamed: true },
    Departure { name: "left while queued, whole: free after, ms", phase: Phase::Queued, streamed: false },
    Departure { name: "left in prefill, streamed: free after, ms", phase: Phase::Prefill, streamed: true },
    Departure { name: "left in prefill, whole: free after, ms", phase: Phase::Prefill, streamed: false },
    Departure { name: "left in decode, streamed: free after, ms", phase: Phase::Decode, streamed: true },
    Departure { name: "left in decode, whole: free after, ms", phase: Phase::Decode, streamed: false },
];

impl Departure {
    /// From the end of the connection until the request holds nothing; `None` where the phase was not met.
    pub(super) async fn time(self, trial: &Trial<'_>) -> Option<Duration> {
        let target = &trial.target;
        let is_idle = |gauges: &Gauges| gauges.running + gauges.waiting == 0.0;
        let idle = gauges::wait(target, REACH_MAX, is_idle).await;
        idle.0?;
        let mut others = Vec::new();
        if self.phase == Phase::Queued {
            for request in trial.long_answers(trial.args.parallel, 1) {
                let mut other = Connection::open(target, None).await.ok()?;
                other.send(&request).await.ok()?;
                others.push(other);
            }
            let n_running = trial.args.parallel as f64;
            gauges::wait(target, REACH_MAX, |gauges| gauges.running >= n_running).await.0?;
        }
        let request = self.request(trial);
        let mut connection = Connection::open(target, None).await.ok()?;
        connection.send(&request).await.ok()?;
        self.reach(trial, &mut connection, idle.1).await?;
        let begin = target.clock.now();
        drop(connection);
        let is_free = |gauges: &Gauges| match self.phase {
            Phase::Queued => gauges.waiting == 0.0,
            Phase::Prefill | Phase::Decode => is_idle(gauges),
        };
        // Whoever is never freed is freed too late.
        gauges::wait(target, HELD_MAX, is_free).await;
        Some(target.clock.now().saturating_sub(begin))
    }

    fn request(self, trial: &Trial<'_>) -> Vec<u8> {
        let requests = match self.phase {
            Phase::Queued | Phase::Decode => trial.long_answer(self.streamed),
            Phase::Prefill => trial.long_prompt(self.streamed),
        };
        requests.into_iter().next().unwrap_or_default()
    }

    /// Waits until the request is in its phase; `None` if it is not, or no longer.
    async fn reach(self, trial: &Trial<'_>, connection: &mut Connection, before: Gauges) -> Option<()> {
        let target = &trial.target;
        match (self.phase, self.streamed) {
            (Phase::Queued, _) => gauges::wait(target, REACH_MAX, |gauges| gauges.waiting >= 1.0).await.0.map(drop),
            (Phase::Prefill, _) => {
                let (reached, now) = gauges::wait(target, REACH_MAX, |gauges| gauges.running >= 1.0).await;
                reached.filter(|_| now.generated <= before.generated).map(drop)
            }
            (Phase::Decode, true) => connection.first_piece().await.ok(),
            (Phase::Decode, false) => {
                let decodes = |gauges: &Gauges| gauges.running >= 1.0 && gauges.generated > before.generated;
                gauges::wait(target, REACH_MAX, decodes).await.0.map(drop)
            }
        }
    }
}

impl Trial<'_> {
    fn long_answers(&self, n: usize, seed: u64) -> Vec<Vec<u8>> {
        let asked = Asked { max_tokens: self.args.context * 3 / 4, streamed: true };
        self.requests(n, PromptPlan { n_tokens: SHORT_TOKENS, shared: 0.0, seed }, asked)
    }

    fn long_answer(&self, streamed: bool) -> Vec<Vec<u8>> {
        let asked = Asked { max_tokens: self.args.context * 3 / 4, streamed };
        // The seed keeps what one left in the cache from the next.
        let seed = if streamed { 2 } else { 3 };
        self.requests(1, PromptPlan { n_tokens: SHORT_TOKENS, shared: 0.0, seed }, asked)
    }

    fn long_prompt(&self, streamed: bool) -> Vec<Vec<u8>> {
        let seed = if streamed { 4 } else { 5 };
        let plan = PromptPlan { n_tokens: self.args.context * 5 / 8, shared: 0.0, seed };
        self.requests(1, plan, Asked { max_tokens: self.args.context / 8, streamed })
    }
}
