//! Regular expressions of schemas, which match anywhere in a text: which texts they match, and whether two match the same.

use llguidance::derivre::{Regex, RegexAst, RegexBuilder};
use llguidance::regex_to_lark;
use std::collections::HashMap;

/// Most work to make one expression, in the engine's own measure.
const WORK_MAX: u64 = 10_000;

/// Expressions that were made.
#[derive(Default)]
pub(super) struct Patterns {
    made: HashMap<String, Option<Regex>>,
}

impl Patterns {
    /// Whether an expression is one that can be made.
    pub(super) fn is_known(&mut self, pattern: &str) -> bool {
        self.made(pattern).is_some()
    }

    /// Whether a text has a match. None for an expression that cannot be made.
    pub(super) fn is_match(&mut self, pattern: &str, text: &str) -> Option<bool> {
        self.made(pattern).as_mut().map(|regex| regex.is_match(text))
    }

    /// Whether no text has a match of both, as far as can be told.
    pub(super) fn are_disjoint(&self, a: &str, b: &str) -> bool {
        let mut builder = RegexBuilder::new();
        let search = |text: &str| RegexAst::SearchRegex(regex_to_lark(text, "dw"));
        let both = builder.mk(&RegexAst::And(vec![search(a), search(b)]));
        both.and_then(|both| builder.to_regex_limited(both, WORK_MAX)).is_ok_and(|mut regex| regex.always_empty())
    }

    fn made(&mut self, pattern: &str) -> &mut Option<Regex> {
        self.made.entry(pattern.to_owned()).or_insert_with(|| {
            let mut builder = RegexBuilder::new();
            let made = builder.mk_regex_for_serach(&regex_to_lark(pattern, "dw"));
            made.and_then(|made| builder.to_regex_limited(made, WORK_MAX)).ok()
        })
    }
}

/// A pattern of all texts but some.
pub(super) fn all_but(texts: &[&str]) -> String {
    let texts: Vec<Vec<char>> = texts.iter().map(|text| text.chars().collect()).collect();
    let texts: Vec<&[char]> = texts.iter().map(Vec::as_slice).collect();
    format!("^{}$", rest_of_all_but(&texts))
}

/// What may follow so that a text is none of those that go on like this.
fn rest_of_all_but(texts: &[&[char]]) -> String {
    let mut firsts: Vec<char> = texts.iter().filter_map(|text| text.first().copied()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    if firsts.is_empty() {
        return if texts.is_empty() { "(.|\\n)*".to_owned() } else { "(.|\\n)+".to_owned() };
    }
    let class: String = firsts.iter().map(|c| format!("\\x{{{:X}}}", u32::from(*c))).collect();
    let mut ways = vec![format!("[^{class}](.|\\n)*")];
    for first in &firsts {
        let rests: Vec<&[char]> =
            texts.iter().filter(|text| text.first() == Some(first)).map(|text| &text[1..]).collect();
        ways.push(format!("\\x{{{:X}}}{}", u32::from(*first), rest_of_all_but(&rests)));
    }
    let end = if texts.iter().any(|text| text.is_empty()) { "" } else { "?" };
    format!("({}){end}", ways.join("|"))
}

#[cfg(test)]
mod tests {
    use super::{Patterns, all_but};

    #[test]
    fn all_texts_but_some_are_matched() {
        let mut patterns = Patterns::default();
        for (out, within) in [
            (vec!["foo"], vec!["", "f", "fo", "fooo", "bar", "fo\no", "é"]),
            (vec!["", "a", "ab"], vec!["b", "abc", "aa", "\n"]),
            (vec!["a.b", "a\"b"], vec!["a", "axb", "a.bc"]),
        ] {
            let pattern = all_but(&out);
            for text in out {
                assert_eq!(patterns.is_match(&pattern, text), Some(false), "{pattern} {text:?}");
            }
            for text in within {
                assert_eq!(patterns.is_match(&pattern, text), Some(true), "{pattern} {text:?}");
            }
        }
    }

    #[test]
    fn expressions_that_match_the_same_are_told() {
        let patterns = Patterns::default();
        assert!(patterns.are_disjoint("^a", "^b"));
        assert!(!patterns.are_disjoint("a", "b"));
    }
}
