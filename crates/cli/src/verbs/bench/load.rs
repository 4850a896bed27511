//! Load on a server: clients that ask again once they are answered, or requests that come whether or not others are
//! done; and what it came to.

use super::client::{Client, End, Exchange, Target};
use super::random::SplitMix;
use ballast_backend::Clock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Most requests in flight: further arrivals are not sent, and counted as such.
pub(super) const IN_FLIGHT_MAX: usize = 1024;

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arrivals {
    /// So many clients, each with one request at a time.
    Closed { clients: usize },
    /// So many requests a second on average, at random. (A Poisson process)
    Open { per_second: f64 },
}

/// What a load came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) exchanges: Vec<Exchange>,
    /// From the first request to the last end.
    pub(super) time: Duration,
    /// Arrivals for which there was no connection left.
    pub(super) not_sent: u64,
}

/// Sends every request of `requests` as `arrivals` says, and waits for all answers.
pub(super) async fn run(target: &Target, arrivals: Arrivals, requests: Vec<Vec<u8>>, seed: u64) -> Outcome {
    let begin = target.clock.now();
    let mut outcome = match arrivals {
        Arrivals::Closed { clients } => closed(target, clients, requests).await,
        Arrivals::Open { per_second } => open(target, per_second, requests, seed).await,
    };
    outcome.time = target.clock.now().saturating_sub(begin);
    outcome
}

async fn closed(target: &Target, n_clients: usize, requests: Vec<Vec<u8>>) -> Outcome {
    let (next, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(requests));
    let mut tasks = JoinSet::new();
    for _ in 0..n_clients.min(IN_FLIGHT_MAX) {
        let (target, next, requests) = (target.clone(), Arc::clone(&next), Arc::clone(&requests));
        tasks.spawn(async move {
            let (mut client, mut exchanges) = (Client::new(&target), Vec::new());
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                exchanges.push(client.ask(request).await);
            }
            exchanges
        });
    }
    Outcome { exchanges: tasks.join_all().await.concat(), ..Outcome::default() }
}

async fn open(target: &Target, per_second: f64, requests: Vec<Vec<u8>>, seed: u64) -> Outcome {
    let mut random = SplitMix::new(seed);
    let (mut outcome, mut tasks) = (Outcome::default(), JoinSet::new());
    let mut due = target.clock.now();
    for request in requests {
        tokio::time::sleep(due.saturating_sub(target.clock.now())).await;
        while let Some(ended) = tasks.try_join_next() {
            outcome.exchanges.extend(ended);
        }
        if tasks.len() < IN_FLIGHT_MAX {
            let (target, planned) = (target.clone(), due);
            tasks.spawn(async move {
                let exchange = Client::new(&target).ask(&request).await;
                // A generator that is late makes nobody's answer quicker.
                Exchange { begin: planned, ..exchange }
            });
        } else {
            outcome.not_sent += 1;
        }
        due += gap(per_second, random.unit());
    }
    while let Some(ended) = tasks.join_next().await {
        outcome.exchanges.extend(ended);
    }
    outcome
}

/// Time to the next arrival: exponentially distributed, from a number above 0 and up to 1.
fn gap(per_second: f64, unit: f64) -> Duration {
    Duration::try_from_secs_f64(-unit.ln() / per_second).unwrap_or(Duration::MAX)
}

impl Outcome {
    fn done(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().filter(|exchange| exchange.end == End::Done)
    }

    pub(super) fn n_done(&self) -> usize {
        self.done().count()
    }

    /// Answers a second.
    pub(super) fn requests_per_second(&self) -> f64 {
        self.n_done() as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Generated tokens a second of answers that were whole, all together.
    pub(super) fn tokens_per_second(&self) -> f64 {
        let n_tokens: u64 = self.done().map(|exchange| exchange.generated_tokens).sum();
        n_tokens as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Prompt tokens of a request, as the server counted, on average.
    pub(super) fn prompt_tokens(&self) -> Option<f64> {
        let n = self.n_done();
        let n_tokens: u64 = self.done().map(|exchange| exchange.prompt_tokens).sum();
        (n > 0 && n_tokens > 0).then(|| n_tokens as f64 / n as f64)
    }

    /// From sending a request to the first text, sorted.
    pub(super) fn first_tokens(&self) -> Vec<Duration> {
        let first = |exchange: &Exchange| Some(exchange.pieces.first()?.saturating_sub(exchange.begin));
        sorted(self.done().filter_map(first).collect())
    }

    /// From one piece of text to the next, sorted.
    pub(super) fn gaps(&self) -> Vec<Duration> {
        let gaps = |exchange: &Exchange| {
            exchange.pieces.windows(2).map(|two| two[1].saturating_sub(two[0])).collect::<Vec<_>>()
        };
        sorted(self.done().flat_map(gaps).collect())
    }

    /// What ended otherwise than with an answer, by status or in a word.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        let mut errors = BTreeMap::new();
        for exchange in &self.exchanges {
            let word = match &exchange.end {
                End::Done => continue,
                End::Refused { status, .. } => status.to_string(),
                End::Failed(why) => (*why).to_owned(),
            };
            *errors.entry(word).or_default() += 1;
        }
        if self.not_sent > 0 {
            errors.insert("not sent".to_owned(), self.not_sent);
        }
        errors
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// The time that `percent` of all sorted times do not exceed; `None` where there are none. (Nearest rank)
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(end: End, begin: u64, pieces: &[u64]) -> Exchange {
        let pieces: Vec<_> = pieces.iter().map(|&ms| Duration::from_millis(ms)).collect();
        let begin = Duration::from_millis(begin);
        Exchange { end, begin, generated_tokens: pieces.len() as u64, pieces, prompt_tokens: 7 }
    }

    #[test]
    fn figures_are_of_whole_answers_only() {
        let refused = End::Refused { status: 429, hint: None };
        let exchanges = vec![
            exchange(End::Done, 100, &[150, 160, 190]),
            exchange(End::Done, 100, &[120]),
            exchange(End::Failed("no end in time"), 100, &[101, 500]),
            exchange(refused.clone(), 100, &[]),
            exchange(refused, 100, &[]),
        ];
        let outcome = Outcome { exchanges, time: Duration::from_secs(2), not_sent: 1 };
        let millis = |times: Vec<Duration>| times.iter().map(Duration::as_millis).collect::<Vec<_>>();
        assert_eq!((millis(outcome.first_tokens()), millis(outcome.gaps())), (vec![20, 50], vec![10, 30]));
        assert_eq!((outcome.requests_per_second(), outcome.tokens_per_second()), (1.0, 2.0));
        assert_eq!(outcome.prompt_tokens(), Some(7.0));
        let errors: Vec<_> = outcome.errors().into_iter().collect();
        let expected = [("429", 2), ("no end in time", 1), ("not sent", 1)];
        assert_eq!(errors, expected.map(|(word, n)| (word.to_owned(), n)));
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let millis = |percent| percentile(&times, percent).map(|time| time.as_millis());
        assert_eq!((millis(50), millis(95), millis(99), millis(100)), (Some(50), Some(95), Some(99), Some(100)));
        assert_eq!(percentile(&times[..1], 99), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn arrivals_come_at_their_rate() {
        let mut random = SplitMix::new(3);
        let time: Duration = (0..10_000).map(|_| gap(50.0, random.unit())).sum();
        assert!((180.0..220.0).contains(&time.as_secs_f64()), "{time:?}");
        assert_eq!(gap(1.0, 1.0), Duration::ZERO);
    }
}
