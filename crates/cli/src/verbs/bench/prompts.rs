//! Prompts of a given length, seeded, the same for every program: the first part of them all may be one and the same,
//! and no two are.

use super::random::SplitMix;
use ballast::tokens::{EncodeOptions, Tokenizer};

/// Words that most vocabularies have a token for.
const WORDS: [&str; 64] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
];

/// What prompts are to be like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PromptPlan {
    /// Length of each, without what a chat template adds.
    pub(super) n_tokens: usize,
    /// Share of that length that all begin with, 0 to 1.
    pub(super) shared: f64,
    pub(super) seed: u64,
}

/// Makes prompts one after another.
#[derive(Debug)]
pub(super) struct Prompts<'a> {
    tokenizer: &'a Tokenizer,
    plan: PromptPlan,
    random: SplitMix,
    beginning: String,
    n_made: usize,
}

impl<'a> Prompts<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, plan: PromptPlan) -> Self {
        let mut random = SplitMix::new(plan.seed);
        let n_shared = (plan.n_tokens as f64 * plan.shared.clamp(0.0, 1.0)).round();
        // At most a prompt's length, which is a count.
        let n_shared = (0..=plan.n_tokens).rfind(|&n| n as f64 <= n_shared).unwrap_or(0);
        let beginning = fill(tokenizer, String::new(), n_shared, &mut random);
        Self { tokenizer, plan, random, beginning, n_made: 0 }
    }

    /// The next prompt. Its number stands in it, behind what is shared: where all is shared it is longer by that.
    pub(super) fn next(&mut self) -> String {
        let text = format!("{} {}", self.beginning, self.n_made);
        self.n_made += 1;
        fill(self.tokenizer, text, self.plan.n_tokens, &mut self.random)
    }
}

/// Adds words while the text has less than `n_tokens`.
fn fill(tokenizer: &Tokenizer, mut text: String, n_tokens: usize, random: &mut SplitMix) -> String {
    let length = |text: &str| tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: false }).len();
    let mut n_now = length(&text);
    while n_now < n_tokens {
        // A word is a token or more: so many are never too few to try at a time, and a vocabulary of bytes needs fewer.
        let n_words = ((n_tokens - n_now) / 8).max(1);
        let before = text.len();
        for _ in 0..n_words {
            let space = if text.is_empty() { "" } else { " " };
            text = text + space + WORDS[random.below(WORDS.len())];
        }
        n_now = length(&text);
        if n_now > n_tokens {
            text.truncate(before);
            // The last few, letter by letter.
            let mut letters = WORDS[random.below(WORDS.len())].chars().cycle();
            text.push(' ');
            while length(&text) < n_tokens {
                text.extend(letters.next());
            }
            n_now = n_tokens;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_testkit::tiny_tokenizer;

    #[test]
    fn prompts_have_their_length_share_their_beginning_and_differ() {
        let tokenizer = tiny_tokenizer();
        let prompts = |plan: PromptPlan| {
            let mut prompts = Prompts::new(&tokenizer, plan);
            [prompts.next(), prompts.next()]
        };
        let length = |text: &str| tokenizer.encode(text, EncodeOptions::default()).len();
        for (n_tokens, shared) in [(64, 0.0), (64, 0.5), (200, 0.25), (17, 0.0)] {
            let plan = PromptPlan { n_tokens, shared, seed: 7 };
            let [a, b] = prompts(plan);
            assert_eq!((length(&a), length(&b)), (n_tokens, n_tokens), "{plan:?}");
            let n_alike = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            assert!(a != b && length(&a[..n_alike]) as f64 >= n_tokens as f64 * shared, "{plan:?}: {a} / {b}");
            assert_eq!(prompts(plan), [a.clone(), b], "the same seed");
            assert_ne!(prompts(PromptPlan { seed: 8, ..plan })[0], a, "another seed");
        }
        let [a, b] = prompts(PromptPlan { n_tokens: 32, shared: 1.0, seed: 7 });
        assert!(a != b && a[..16] == b[..16], "{a} / {b}");
    }
}
