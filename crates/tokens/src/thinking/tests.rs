//! Marks, texts cut apart, and thoughts that end when they must.

use super::*;
use crate::{EncodeOptions, TokenizerOptions, TokenizerSource};
use proptest::prelude::*;

const THINK: ThinkingFormat = ThinkingFormat { open: "<think>", close: "</think>" };

fn bytes() -> Tokenizer {
    let options = TokenizerOptions { allow_fallback: true, ..TokenizerOptions::default() };
    Tokenizer::new(&TokenizerSource::default(), &options).unwrap().0
}

fn tokens(text: &str) -> Vec<TokenId> {
    bytes().encode(text, EncodeOptions::default())
}

/// What was thought and what was said.
fn split<'a>(start: ThinkingStart, pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
    let mut parser = ThinkingParser::new(THINK, start);
    let mut events: Vec<_> = pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
    events.extend(parser.finish());
    let (mut thought, mut said) = (String::new(), String::new());
    for event in events {
        match event {
            ThinkingEvent::Thought(text) => thought += &text,
            ThinkingEvent::Said(text) => said += &text,
        }
    }
    (thought, said)
}

#[test]
fn marks_are_found_in_templates() {
    let cases = [
        ("{{ content.split('</think>')[-1] }}", Some("<think>")),
        ("{{ '[THINK]' }}{{ x }}{{ '[/THINK]' }} not <think></think>", Some("[THINK]")),
        ("<|START_THINKING|><|END_THINKING|>", Some("<|START_THINKING|>")),
        ("{{ '<|channel>thought\n' + x + '\n<channel|>' }}", Some("<|channel>thought")),
        ("{{ messages }}", None),
    ];
    for (source, open) in cases {
        assert_eq!(ThinkingFormat::of(source).map(|format| format.open()), open, "{source}");
    }
}

#[test]
fn a_prompt_may_have_opened_thoughts() {
    let tokenizer = bytes();
    let start = |prompt: &str| THINK.start(&tokenizer, &tokens(prompt));
    assert_eq!(start("what is <think>?<|im_start|>assistant\n"), ThinkingStart::Unopened);
    assert_eq!(start("<|im_start|>assistant\n<think>\n"), ThinkingStart::Opened);
    assert_eq!(start("<think>\n\n</think>\n\n"), ThinkingStart::Unopened);
}

#[test]
fn thoughts_are_cut_out_of_answers() {
    use ThinkingStart::{Opened, Unopened};
    let cases = [
        (Unopened, "<think>\nWhy?\n</think>\n\nBecause.", "Why?", "Because."),
        (Unopened, "\n<think>a</thin b</think>c", "a</thin b", "c"),
        (Unopened, "<think>\n\n</think>\n\nNo.", "", "No."),
        (Unopened, " Well, <think>no</think>", "", " Well, <think>no</think>"),
        (Unopened, "<thi", "", "<thi"),
        (Unopened, "<think>cut off </thi", "cut off </thi", ""),
        (Opened, "\nWhy?\n</think>\n\nBecause. </think>", "Why?", "Because. </think>"),
        (Opened, "never ended \n", "never ended", ""),
        (Opened, "</think>", "", ""),
    ];
    for (start, text, thought, said) in cases {
        assert_eq!(split(start, [text]), (thought.to_owned(), said.to_owned()), "{text}");
    }
}

proptest! {
    #[test]
    fn how_a_text_is_cut_changes_nothing(
        text in "(<|</|think>|<think>|</think>| |\n|a|\u{e9}){0,12}",
        opened: bool,
        cut in 0_usize..40,
    ) {
        let start = if opened { ThinkingStart::Opened } else { ThinkingStart::Unopened };
        let at = (0..=cut.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let whole = split(start, [text.as_str()]);
        prop_assert_eq!(&split(start, [&text[..at], &text[at..]]), &whole);
        prop_assert_eq!(&split(start, text.split_inclusive(|_| true)), &whole);
    }
}

/// Runs a model that wants to say `wanted`, a byte a token, and says what came of it.
fn watched(start: ThinkingStart, tokens_max: Option<usize>, wanted: &str) -> String {
    let tokenizer = bytes();
    let mut watch = ThinkingWatch::new(ThinkingPlan { format: THINK, start, tokens_max }, &tokenizer);
    let mut wanted = tokens(wanted).into_iter();
    let mut came = Vec::new();
    loop {
        let token = match watch.step() {
            ThinkingStep::Only(token) => token,
            ThinkingStep::AnswerOr(_) | ThinkingStep::Thought | ThinkingStep::Answer => match wanted.next() {
                Some(token) => token,
                None => return tokenizer.decode_lossy(&came, ShowSpecial::Yes),
            },
        };
        came.push(token);
        assert_eq!(watch.push(token, &tokenizer), b"", "a byte is no token that goes on after a mark");
    }
}

#[test]
fn thoughts_end_when_their_tokens_are_spent() {
    use ThinkingStart::{Opened, Unopened};
    let cases = [
        (Unopened, Some(3), "<think>abcdef", "<think>abc\n</think>\n\ndef"),
        (Unopened, Some(3), "\n<think>a</think>bcdef", "\n<think>a</\n</think>\n\nthink>bcdef"),
        (Unopened, Some(9), "<think>a</think>bcdef", "<think>a</think>bcdef"),
        (Unopened, Some(3), "abcdef<think>ghijkl", "abcdef<think>ghijkl"),
        (Unopened, Some(0), "<think>abc", "<think>\n</think>\n\nabc"),
        (Opened, Some(2), "abcdef", "ab\n</think>\n\ncdef"),
        (Opened, Some(0), "abc", "\n</think>\n\nabc"),
        (Opened, None, "abc</think>d", "abc</think>d"),
    ];
    for (start, tokens_max, wanted, came) in cases {
        assert_eq!(watched(start, tokens_max, wanted), came, "{wanted} {tokens_max:?}");
    }
}

#[test]
fn an_opening_that_no_answer_begins_with_is_completed() {
    let tokenizer = bytes();
    let plan = ThinkingPlan { format: THINK, start: ThinkingStart::Unopened, tokens_max: None };
    let mut watch = ThinkingWatch::new(plan, &tokenizer);
    let open = tokens(THINK.open);
    assert_eq!(watch.step(), ThinkingStep::AnswerOr(Some(open[0])));
    watch.open();
    for token in &open[1..] {
        assert!(watch.is_thinking());
        assert_eq!(watch.step(), ThinkingStep::Only(*token));
        let _rest = watch.push(*token, &tokenizer);
    }
    assert_eq!(watch.step(), ThinkingStep::Thought);
}
