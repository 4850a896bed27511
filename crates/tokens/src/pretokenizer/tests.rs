//! The scanners against the published expressions.

use super::{CharClasses, PreTokenizer, pieces};
use fancy_regex::Regex;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

fn split(regex: &Regex, text: &str) -> Vec<String> {
    regex.find_iter(text).map(|m| m.unwrap().as_str().to_owned()).collect()
}

/// Two expressions one after the other: the first isolates digits, the second cuts what is between them.
fn split_smollm(text: &str) -> Vec<String> {
    let gpt2 = Regex::new(GPT2).unwrap();
    let parts = Regex::new(r"\p{N}|[^\p{N}]+").unwrap();
    split(&parts, text).iter().flat_map(|part| split(&gpt2, part)).collect()
}

type Split = Box<dyn Fn(&str) -> Vec<String>>;

fn oracle(pre_tokenizer: PreTokenizer) -> Split {
    let regex = |pattern: &str| {
        let regex = Regex::new(pattern).unwrap();
        Box::new(move |text: &str| split(&regex, text))
    };
    match pre_tokenizer {
        PreTokenizer::Gpt2 => regex(GPT2),
        PreTokenizer::Llama3 => regex(LLAMA3),
        PreTokenizer::Qwen2 => regex(&LLAMA3.replace("{1,3}", "")),
        PreTokenizer::SmolLm => Box::new(split_smollm),
    }
}

const ALL: [PreTokenizer; 4] = [PreTokenizer::Gpt2, PreTokenizer::SmolLm, PreTokenizer::Llama3, PreTokenizer::Qwen2];

/// A small generator, so that a failing seed can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn text(&mut self, n_chars: usize) -> String {
        const DENSE: &[char] = &[
            ' ', ' ', ' ', '\n', '\r', '\t', '\'', 's', 'S', 'T', 'l', 'L', 'v', 'e', 'r', 'd', 'm', '1', '2', '.',
            '!', 'é', '中', '٣', '\u{301}', '\u{a0}', '\u{85}', '\u{3000}', '½', '🦙', '\u{17f}', 'Ⅷ', '\0', '`',
        ];
        (0..n_chars)
            .map(|_| match self.below(8) {
                0 => char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap()).unwrap_or('\u{fffd}'),
                1 => char::from_u32(u32::try_from(self.below(0x3000)).unwrap()).unwrap(),
                _ => DENSE[self.below(DENSE.len())],
            })
            .collect()
    }
}

#[test]
fn cuts_where_the_published_expression_cuts() {
    let classes = CharClasses::new();
    for pre_tokenizer in ALL {
        let oracle = oracle(pre_tokenizer);
        for seed in 0..2000 {
            let mut random = Random(seed);
            let n_chars = random.below(60);
            let text = random.text(n_chars);
            let got: Vec<_> = pieces(pre_tokenizer, &classes, &text).collect();
            assert_eq!(got, oracle(&text), "{pre_tokenizer:?} seed {seed} text {text:?}");
        }
    }
}

#[test]
fn pieces_join_to_the_text() {
    let classes = CharClasses::new();
    for pre_tokenizer in ALL {
        for text in ["", " ", "'", "''s", "a\r\n\r\n b", "\n\n\n  x", "12345 678", "   9", "x   "] {
            assert_eq!(pieces(pre_tokenizer, &classes, text).collect::<String>(), text);
        }
    }
}

#[test]
fn every_main_name_is_its_own_rule() {
    for pre_tokenizer in ALL {
        assert_eq!(PreTokenizer::from_name(pre_tokenizer.name()), Some(pre_tokenizer));
        assert!(PreTokenizer::NAMES.contains(&pre_tokenizer.name()));
    }
    assert_eq!(PreTokenizer::from_name("tekken"), None);
}
