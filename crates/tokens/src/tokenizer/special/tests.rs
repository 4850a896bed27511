//! Cutting against the definition: for each token, longest first, search every stretch of text that is left.

use super::{Fragment, SpecialTokens, Strip};
use crate::tokenizer::vocabulary::{TokenKind, TokenTexts, Vocabulary};
use ballast_backend::TokenId;
use proptest::prelude::*;

const TOKENS: &[(&str, TokenKind)] = &[
    ("a", TokenKind::Normal),
    ("<a>", TokenKind::Control),
    ("<ab>", TokenKind::UserDefined),
    ("b><a", TokenKind::UserDefined),
    ("ab", TokenKind::UserDefined),
    ("  ", TokenKind::UserDefined),
    ("   ", TokenKind::UserDefined),
    ("<?>", TokenKind::Unknown),
    ("", TokenKind::UserDefined),
];

fn vocabulary() -> Vocabulary {
    let texts: Vec<&str> = TOKENS.iter().map(|(text, _)| *text).collect();
    let kinds = TOKENS.iter().map(|(_, kind)| *kind).collect();
    Vocabulary::new(TokenTexts::new(&texts).unwrap(), kinds)
}

fn strips() -> Vec<(TokenId, Strip)> {
    vec![(TokenId(1), Strip { left: true, right: false }), (TokenId(2), Strip { left: true, right: true })]
}

/// Text as (text) and tokens as (id).
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Token(u32),
    Text(String),
}

fn cut(text: &str, strips: Vec<(TokenId, Strip)>, parse_special: bool) -> Vec<Part> {
    let vocabulary = vocabulary();
    let fragments = SpecialTokens::new(&vocabulary, strips).cut(&vocabulary, text, parse_special);
    let part = |fragment| match fragment {
        Fragment::Token(id) => Part::Token(id.0),
        Fragment::Text(range) => Part::Text(text[range].to_owned()),
    };
    fragments.into_iter().map(part).collect()
}

fn by_definition(text: &str, strips: &[(TokenId, Strip)], parse_special: bool) -> Vec<Part> {
    let mut ids: Vec<usize> = (0..TOKENS.len()).filter(|idx| !TOKENS[*idx].0.is_empty()).collect();
    ids.sort_by_key(|idx| std::cmp::Reverse(TOKENS[*idx].0.len()));
    let mut parts = vec![Part::Text(text.to_owned())];
    for idx in ids {
        let (name, kind) = TOKENS[idx];
        let id = TokenId(u32::try_from(idx).unwrap());
        if kind == TokenKind::Normal || (kind.is_special() && !parse_special) {
            continue;
        }
        let strip = strips.iter().find(|(known, _)| *known == id).map(|(_, strip)| *strip).unwrap_or_default();
        parts = parts.into_iter().flat_map(|part| split(part, name, id, strip)).collect();
    }
    parts
}

fn split(part: Part, name: &str, id: TokenId, strip: Strip) -> Vec<Part> {
    let Part::Text(mut rest) = part else { return vec![part] };
    let mut parts = Vec::new();
    while let Some(at) = rest.find(name) {
        let (mut left, mut right) = (&rest[..at], &rest[at + name.len()..]);
        if strip.left {
            left = left.trim_end_matches([' ', '\n']);
        }
        if strip.right {
            right = right.trim_start_matches([' ', '\n']);
        }
        parts.extend([Part::Text(left.to_owned()), Part::Token(id.0)]);
        rest = right.to_owned();
    }
    parts.push(Part::Text(rest));
    parts.retain(|part| *part != Part::Text(String::new()));
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn cuts_as_one_search_for_each_token_would(text in "[ab<>? \n]{0,30}", parse_special: bool, strip: bool) {
        let strips = if strip { strips() } else { Vec::new() };
        let expected = by_definition(&text, &strips, parse_special);
        prop_assert_eq!(cut(&text, strips, parse_special), expected);
    }
}

#[test]
fn control_tokens_are_text_unless_they_are_asked_for() {
    let text = |text: &str| Part::Text(text.to_owned());
    assert_eq!(cut("x<a>y", Vec::new(), false), [text("x<a>y")]);
    assert_eq!(cut("x<a>y", Vec::new(), true), [text("x"), Part::Token(1), text("y")]);
    assert_eq!(cut("x<ab>y", Vec::new(), false), [text("x"), Part::Token(2), text("y")]);
    assert_eq!(cut("", Vec::new(), true), []);
}

#[test]
fn the_longer_token_wins_wherever_it_stands() {
    let text = |text: &str| Part::Text(text.to_owned());
    assert_eq!(cut("<ab><a>", Vec::new(), true), [Part::Token(2), Part::Token(1)]);
    assert_eq!(cut("xb><a>", Vec::new(), true), [text("x"), Part::Token(3), text(">")]);
}

#[test]
fn runs_of_nested_tokens_are_cut_into_the_longest() {
    let parts = cut(&" ".repeat(100_001), Vec::new(), false);
    assert_eq!(parts.len(), 33_334);
    assert_eq!((&parts[0], &parts[33_333]), (&Part::Token(6), &Part::Token(5)));
}
