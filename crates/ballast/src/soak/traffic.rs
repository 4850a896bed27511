//! What is asked, of whom it comes and how its reader behaves: drawn from a seed, so that a run can be repeated. Pure.

use crate::{Deadlines, Generate, PrefixCache, Priority, TenantId};
use std::time::Duration;

/// Tenants that ask.
const N_TENANTS: u64 = 4;
/// Conversations that go on side by side.
pub(super) const N_CHATS: usize = 6;
/// Bound of every request, far above what one takes: one that is still there then is stuck.
pub(super) const TOTAL_MAX: Duration = Duration::from_secs(240);
/// Words of the long prompts.
const LONG_WORDS_MAX: usize = 240;
/// Words of the passage that a tenant's requests begin with.
const PASSAGE_WORDS: usize = 80;

const WORDS: [&str; 24] = [
    "river", "stone", "morning", "harbour", "letter", "engine", "garden", "window", "winter", "paper", "mountain",
    "silver", "captain", "island", "bridge", "market", "lantern", "forest", "music", "thunder", "village", "copper",
    "orchard", "compass",
];

/// Seeded numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.index(most - least + 1)
    }

    /// An index below `n`, which is not 0.
    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("it is below a usize")
    }

    /// From 0 up to 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The time to the next of events that come `per_second` on average and do not know of each other.
    pub(super) fn gap(&mut self, per_second: f64) -> Duration {
        let seconds = -(1.0 - self.unit()).ln() / per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// How the reader of an answer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    /// Reads to the end.
    Reads,
    /// Reads to the end, with a wait after every token.
    ReadsSlowly,
    /// Reads one token and then nothing, but stays.
    StopsReading,
    /// Asks for the end after some time.
    Cancels(After),
    /// Drops the stream after some time.
    Leaves(After),
    /// Wants the whole answer in little time.
    Hurries,
}

/// When a reader has had enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// This long after it asked.
    Time(Duration),
    /// With this many tokens read.
    Tokens(usize),
}

/// Where the prompt comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// A prompt of its own.
    Text(String),
    /// The next turn of a conversation.
    Turn { chat_idx: usize, message: String },
}

/// A request to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) topic: Topic,
    pub(super) tenant: u64,
    pub(super) level: i8,
    pub(super) max_tokens: usize,
    pub(super) shares_prefix: bool,
    pub(super) conduct: Conduct,
}

/// Draws requests.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    dice: Dice,
    /// Share of requests whose reader does not simply read.
    faults: f64,
    long_words: usize,
}

impl Traffic {
    pub(super) fn new(seed: u64, faults: f64, context_len: usize) -> Self {
        Self { dice: Dice::new(seed), faults, long_words: LONG_WORDS_MAX.min(context_len / 20).max(9) }
    }

    /// The time until the next request comes.
    pub(super) fn gap(&mut self, per_second: f64) -> Duration {
        self.dice.gap(per_second)
    }

    /// The next request.
    pub(super) fn ask(&mut self) -> Ask {
        let tenant = self.dice.below(N_TENANTS);
        let (topic, shares_prefix) = match self.dice.below(10) {
            0..4 => (Topic::Text(self.sentence(8)), false),
            4..6 => (Topic::Text(self.long()), false),
            6..8 => (Topic::Text(self.after_the_passage(tenant)), tenant.is_multiple_of(2)),
            _ => {
                let chat_idx = self.dice.index(N_CHATS);
                (Topic::Turn { chat_idx, message: self.sentence(10) }, false)
            }
        };
        let tenant = if let Topic::Turn { chat_idx, .. } = topic { chat_idx as u64 % N_TENANTS } else { tenant };
        let level = [0, 0, 0, 1, -1, 5][self.dice.index(6)];
        let max_tokens = self.dice.between(8, 40);
        Ask { topic, tenant, level, max_tokens, shares_prefix, conduct: self.conduct() }
    }

    fn conduct(&mut self) -> Conduct {
        if self.dice.unit() >= self.faults {
            return Conduct::Reads;
        }
        let soon = After::Time(Duration::from_millis(self.dice.below(20)));
        let later = After::Time(Duration::from_millis(self.dice.below(2000)));
        let in_the_answer = After::Tokens(self.dice.between(1, 6));
        match self.dice.below(16) {
            0 | 1 => Conduct::Cancels(soon),
            2 | 3 => Conduct::Cancels(later),
            4 | 5 => Conduct::Cancels(in_the_answer),
            6 => Conduct::Leaves(soon),
            7 | 8 => Conduct::Leaves(later),
            9 | 10 => Conduct::Leaves(in_the_answer),
            11 | 12 => Conduct::ReadsSlowly,
            13 => Conduct::StopsReading,
            _ => Conduct::Hurries,
        }
    }

    fn sentence(&mut self, n_words: usize) -> String {
        let words: Vec<&str> = (0..n_words).map(|_| WORDS[self.dice.index(WORDS.len())]).collect();
        format!("Tell me about {}.", words.join(" "))
    }

    fn long(&mut self) -> String {
        let n_words = self.dice.between(self.long_words / 3, self.long_words);
        self.sentence(n_words)
    }

    /// A question behind a text that all of the tenant's have in common.
    fn after_the_passage(&mut self, tenant: u64) -> String {
        let passage = Self { dice: Dice::new(tenant), ..self.clone() }.sentence(PASSAGE_WORDS.min(self.long_words));
        format!("{passage} {}", self.sentence(6))
    }
}

impl Ask {
    /// The tenant who asks.
    pub(super) fn tenant_id(&self) -> TenantId {
        tenant_id(self.tenant)
    }

    /// As the library takes it, for a prompt that is already laid out.
    pub(super) fn generate(&self, prompt: Generate) -> Generate {
        let total = if self.conduct == Conduct::Hurries { Duration::from_millis(400) } else { TOTAL_MAX };
        Generate {
            max_tokens: Some(self.max_tokens),
            deadlines: Deadlines::total(total),
            tenant: self.tenant_id(),
            priority: Priority::new(self.level).unwrap_or_default(),
            prefix_cache: if self.shares_prefix { PrefixCache::Shared } else { PrefixCache::Tenant },
            ..prompt
        }
    }
}

/// The tenant of a number.
pub(super) fn tenant_id(number: u64) -> TenantId {
    format!("tenant-{number}").parse().expect("a short word is a name of a tenant")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(seed: u64, faults: f64, n: usize) -> Vec<Ask> {
        let mut traffic = Traffic::new(seed, faults, 8192);
        (0..n).map(|_| traffic.ask()).collect()
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        assert_eq!(asks(7, 0.3, 200), asks(7, 0.3, 200));
        assert_ne!(asks(7, 0.3, 200), asks(8, 0.3, 200));
    }

    #[test]
    fn as_many_readers_misbehave_as_were_asked_for() {
        let share = |faults| {
            let n = asks(1, faults, 4000).iter().filter(|ask| ask.conduct != Conduct::Reads).count();
            n as f64 / 4000.0
        };
        assert_eq!((share(0.0), share(1.0)), (0.0, 1.0));
        assert!((share(0.25) - 0.25).abs() < 0.03);
    }

    #[test]
    fn arrivals_come_at_the_rate_asked_for() {
        let mut dice = Dice::new(3);
        let all: Duration = (0..5000).map(|_| dice.gap(10.0)).sum();
        assert!((all.as_secs_f64() - 500.0).abs() < 25.0, "{all:?}");
    }

    #[test]
    fn every_kind_of_prompt_and_reader_occurs() {
        let asks = asks(5, 1.0, 2000);
        let is_there = |what: &dyn Fn(&Ask) -> bool| asks.iter().any(what);
        assert!(is_there(&|ask| matches!(ask.topic, Topic::Turn { .. })));
        assert!(is_there(&|ask| ask.shares_prefix));
        for conduct in [Conduct::ReadsSlowly, Conduct::StopsReading, Conduct::Hurries] {
            assert!(is_there(&|ask| ask.conduct == conduct), "{conduct:?}");
        }
        let tokens =
            |conduct| matches!(conduct, Conduct::Cancels(After::Tokens(_)) | Conduct::Leaves(After::Tokens(_)));
        assert!(is_there(&|ask| tokens(ask.conduct)) && is_there(&|ask| !tokens(ask.conduct)));
    }
}
