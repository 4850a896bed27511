//! BERT's basic tokenizer: text to words. Control characters go, white space and punctuation part words, every Chinese
//! character is a word, and where the model was trained so, letters are lower case and without accents.

use regex_syntax::hir::{Class, HirKind};
use std::iter;
use unicode_normalization::UnicodeNormalization;

/// Which characters a model tells apart.
#[derive(Debug)]
pub(super) struct Normalizer {
    lowercase: bool,
    strip_accents: bool,
    control: Ranges,
    nonspacing: Ranges,
    punctuation: Ranges,
}

/// Characters, as ranges in order.
#[derive(Debug)]
struct Ranges(Vec<(char, char)>);

impl Ranges {
    fn new(pattern: &str) -> Self {
        let hir = regex_syntax::parse(pattern).expect("the patterns are constants");
        let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
            panic!("{pattern} is a character class");
        };
        Self(class.ranges().iter().map(|range| (range.start(), range.end())).collect())
    }

    fn contains(&self, c: char) -> bool {
        let at = self.0.partition_point(|(_, end)| *end < c);
        self.0.get(at).is_some_and(|(start, _)| *start <= c)
    }
}

impl Normalizer {
    pub(super) fn new(lowercase: bool, strip_accents: bool) -> Self {
        Self {
            lowercase,
            strip_accents,
            control: Ranges::new(r"[\p{Cc}\p{Cf}\p{Co}--[\t\n\r]]"),
            nonspacing: Ranges::new(r"\p{Mn}"),
            punctuation: Ranges::new(r"[\p{P}[:punct:]]"),
        }
    }

    /// The words of a text, none of them empty.
    pub(super) fn words(&self, text: &str) -> Vec<String> {
        let is_dropped = |c: &char| *c == '\0' || *c == char::REPLACEMENT_CHARACTER || self.control.contains(*c);
        let apart = |c| if is_chinese(c) { [Some(' '), Some(c), Some(' ')] } else { [Some(c), None, None] };
        let clean = text.chars().filter(|c| !is_dropped(c)).flat_map(apart).flatten();
        if self.strip_accents {
            self.split(clean.nfd().filter(|c| !self.nonspacing.contains(*c)))
        } else {
            self.split(clean)
        }
    }

    fn split(&self, chars: impl Iterator<Item = char>) -> Vec<String> {
        let lower = |c: char| {
            let lower = self.lowercase.then(|| c.to_lowercase());
            let same = iter::once(c).filter(|_| !self.lowercase);
            lower.into_iter().flatten().chain(same)
        };
        let (mut words, mut word) = (Vec::new(), String::new());
        for c in chars.flat_map(lower) {
            let is_alone = self.punctuation.contains(c);
            if (is_alone || c.is_whitespace()) && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if is_alone {
                words.push(c.to_string());
            } else if !c.is_whitespace() {
                word.push(c);
            }
        }
        words.extend(Some(word).filter(|word| !word.is_empty()));
        words
    }
}

/// The ideographs that BERT's vocabularies have one by one. The gap before U+2B920 is the reference tokenizer's.
fn is_chinese(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x2_0000..=0x2_a6df
            | 0x2_a700..=0x2_b73f
            | 0x2_b740..=0x2_b81f
            | 0x2_b920..=0x2_ceaf
            | 0xf900..=0xfaff
            | 0x2_f800..=0x2_fa1f
    )
}

#[cfg(test)]
mod tests {
    use super::Normalizer;

    struct Case {
        text: &'static str,
        uncased: &'static [&'static str],
        cased: &'static [&'static str],
    }

    #[test]
    fn texts_are_cut_into_words() {
        let cases = [
            Case { text: "", uncased: &[], cased: &[] },
            Case { text: " \t\n ", uncased: &[], cased: &[] },
            Case { text: "Äpfel, bitte", uncased: &["apfel", ",", "bitte"], cased: &["Äpfel", ",", "bitte"] },
            Case { text: "a中文b", uncased: &["a", "中", "文", "b"], cased: &["a", "中", "文", "b"] },
            Case { text: "x\u{0}y\u{fffd}\u{200d}z", uncased: &["xyz"], cased: &["xyz"] },
            Case { text: "$5+`~", uncased: &["$", "5", "+", "`", "~"], cased: &["$", "5", "+", "`", "~"] },
            Case { text: "a\u{3000}b\u{2028}c", uncased: &["a", "b", "c"], cased: &["a", "b", "c"] },
            Case {
                text: "İI¿„x“", uncased: &["ii", "¿", "„", "x", "“"], cased: &["İI", "¿", "„", "x", "“"]
            },
        ];
        let (uncased, cased) = (Normalizer::new(true, true), Normalizer::new(false, false));
        for Case { text, uncased: without, cased: with } in cases {
            assert_eq!(uncased.words(text), without, "{text:?}");
            assert_eq!(cased.words(text), with, "{text:?}");
        }
        assert_eq!(Normalizer::new(true, false).words("Äpfel"), ["äpfel"]);
        assert_eq!(Normalizer::new(false, true).words("Äpfel"), ["Apfel"]);
    }
}
