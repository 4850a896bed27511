//! Where an answer may end, and where it must.

use crate::walk::{Verdict, grammar, tokenizer, verdict, walk};
use ballast_tokens::{Constraint, MatchError};
use serde_json::json;

#[test]
fn text_that_obeys_is_let_through_and_other_text_is_not() {
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name", "age"],
        "additionalProperties": false,
    });
    let schema = Constraint::JsonSchema(schema);
    let cases = [
        (&schema, r#"{"name":"Ann","age":7}"#, Verdict::Complete),
        (&schema, r#"{"name": "Ann", "age": 7}"#, Verdict::Complete),
        (&schema, r#"{"name":"Ann""#, Verdict::Partial),
        (&schema, r#"{"name":"Ann"}"#, Verdict::Wrong(13)),
        (&schema, r#"{"age":7}"#, Verdict::Wrong(2)),
        (&schema, r#"{"name":"Ann","age":-7}"#, Verdict::Wrong(20)),
        (&Constraint::JsonObject, r#"{"a":[1,{"b":null}]}"#, Verdict::Complete),
        (&Constraint::JsonObject, "[]", Verdict::Wrong(0)),
        (&Constraint::Regex("[0-9]{3}-[a-f]+".to_owned()), "123-abc", Verdict::Complete),
        (&Constraint::Regex("[0-9]{3}-[a-f]+".to_owned()), "12-abc", Verdict::Wrong(2)),
        (&Constraint::Lark("start: \"yes\" | \"no\"".to_owned()), "no", Verdict::Complete),
        (&Constraint::Lark("start: \"yes\" | \"no\"".to_owned()), "nay", Verdict::Wrong(1)),
    ];
    for (constraint, text, expected) in cases {
        assert_eq!(verdict(constraint, text), expected, "{constraint:?} {text}");
    }
}

#[test]
fn an_answer_that_nothing_can_follow_is_done_and_allows_no_token() {
    let mut matcher = grammar(&Constraint::Lark("start: \"yes\"".to_owned())).matcher(tokenizer().vocab_size());
    assert!(!matcher.is_done());
    assert_eq!(walk(&mut matcher, "yes"), Verdict::Complete);
    assert!(matcher.is_done() && matcher.mask().unwrap().is_empty());
    let token = tokenizer().id_of("y").unwrap();
    assert_eq!(matcher.advance(token), Err(MatchError::NotAllowed { token }));
}

#[test]
fn every_token_that_ends_a_generation_is_allowed_where_the_answer_may_end_and_nowhere_else() {
    let mut matcher = grammar(&Constraint::Regex("a+".to_owned())).matcher(tokenizer().vocab_size());
    let ends = tokenizer().end_of_generation_ids();
    assert!(!ends.is_empty() && ends.iter().all(|end| !matcher.mask().unwrap().is_allowed(*end)));
    assert_eq!(walk(&mut matcher, "aa"), Verdict::Complete);
    assert!(!matcher.is_done() && ends.iter().all(|end| matcher.mask().unwrap().is_allowed(*end)));
    matcher.advance(ends[0]).unwrap();
    assert!(matcher.is_done());
}

#[test]
fn special_tokens_are_themselves_in_a_grammar_and_never_a_part_of_text() {
    let named = Constraint::Lark("start: <|im_start|> /[a-z]+/".to_owned());
    assert_eq!(verdict(&named, "<|im_start|>abc"), Verdict::Complete);
    let mut matcher = grammar(&Constraint::Regex("(?s:.*)".to_owned())).matcher(tokenizer().vocab_size());
    let special = tokenizer().id_of("<|im_start|>").unwrap();
    assert!(!matcher.mask().unwrap().is_allowed(special));
}

#[test]
fn tokens_past_the_tokenizers_vocabulary_are_never_allowed() {
    let n_tokens = tokenizer().vocab_size();
    let mut matcher = grammar(&Constraint::Regex("(?s:.*)".to_owned())).matcher(n_tokens + 77);
    let mask = matcher.mask().unwrap();
    let past = u32::try_from(n_tokens).unwrap()..u32::try_from(n_tokens + 77).unwrap();
    assert_eq!(mask.vocab_size(), n_tokens + 77);
    assert!(past.map(ballast_backend::TokenId).all(|id| !mask.is_allowed(id)));
}
