//! Grammars in llama.cpp's format, and grammars that take too much work.

use crate::walk::{Verdict, compiler, grammar, tokenizer, verdict, walk};
use ballast_backend::{ErrorKind, ReasonCode};
use ballast_tokens::{Constraint, ConstraintError, GRAMMARS_KEPT_MAX, MatchError};
use serde_json::json;

/// JSON, as such grammars are commonly written.
const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws     ::= | " " | "\n" [ \t]{0,20}   # white space
"#;

fn gbnf(text: &str) -> Constraint {
    Constraint::Gbnf(text.to_owned())
}

#[test]
fn grammars_in_llama_cpps_format_are_obeyed() {
    let cases = [
        (JSON, r#"{"a": [1, -2.5e3, {"b": "x\n\u00e9"}], "c": null}"#, Verdict::Complete),
        (JSON, r"{}", Verdict::Complete),
        (JSON, r#"{"a": [1, ]}"#, Verdict::Wrong(10)),
        (JSON, r#"{"a": tru"#, Verdict::Partial),
        (JSON, "[]", Verdict::Wrong(0)),
        ("root ::= \"(\" root? \")\"", "((()))", Verdict::Complete),
        ("root ::= \"(\" root? \")\"", "((())", Verdict::Partial),
        ("root ::= (\"ab\" | \"a\" \"c\"){2}", "abac", Verdict::Complete),
        ("root ::= (\"ab\" | \"a\" \"c\"){2}", "abad", Verdict::Wrong(3)),
        ("root ::= [^a-z\\n]+ .", "É∂\n", Verdict::Complete),
        ("root ::= [^a-z\\n]+ .", "Éa", Verdict::Complete),
        ("root ::= [^a-z\\n]+ .", "a", Verdict::Wrong(0)),
        ("root ::= x? x?\nx ::= \"a\" root?", "aaa", Verdict::Complete),
        ("root ::= <|im_start|> \"a/b\"", "<|im_start|>a/b", Verdict::Complete),
        ("root ::= \"\" (\"a\" root)?", "aa", Verdict::Complete),
    ];
    for (text, answer, expected) in cases {
        assert_eq!(verdict(&gbnf(text), answer), expected, "{text}: {answer}");
    }
}

#[test]
fn a_grammar_that_cannot_be_compiled_is_refused_without_a_panic() {
    for text in ["start: x", "start: (", "", "start: /(/", "start: <|no-such-token|>", "a: b"] {
        let error = compiler().compile(&Constraint::Lark(text.to_owned())).unwrap_err();
        assert!(matches!(error, ConstraintError::Refused { .. }), "{text}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    for regex in ["(", "a(?=b)", r"(a)\1", "["] {
        let error = compiler().compile(&Constraint::Regex(regex.to_owned())).unwrap_err();
        assert!(matches!(error, ConstraintError::Refused { .. }), "{regex}: {error}");
    }
    // Repetitions are counted, not written out: these may pass, and cost nothing.
    for regex in ["a{9999999}", "(((a{1000}){1000}){1000}){1000}"] {
        let compiled = compiler().compile(&Constraint::Regex(regex.to_owned()));
        assert!(matches!(compiled, Ok(_) | Err(ConstraintError::Refused { .. })), "{regex}");
    }
}

#[test]
fn a_grammar_that_takes_too_much_work_says_so_and_stays_so() {
    // So ambiguous that what it may be in the middle of grows with each letter.
    let rules = "start: a\na: a a | a a a | a a a a | a a a a a | a a a a a a | a a a a a a a | a a a a a a a a | a a a a a a a a a | a a a a a a a a a a | a a a a a a a a a a a | a a a a a a a a a a a a | \"x\"";
    let mut matcher = grammar(&Constraint::Lark(rules.to_owned())).matcher(tokenizer().vocab_size());
    let token = tokenizer().id_of("x").unwrap();
    let error = (0..2000).find_map(|_| matcher.advance(token).err()).expect("a bound is met");
    assert!(matches!(error, MatchError::TooComplex { .. }), "{error}");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, ReasonCode::ConstraintTooComplex));
    assert_eq!(matcher.mask().unwrap_err(), error);
    assert_eq!(matcher.advance(token), Err(error));
    assert!(!matcher.is_done());
}

#[test]
fn sequences_of_one_grammar_do_not_see_each_other() {
    let grammar = grammar(&Constraint::Regex("a[a-z]+b".to_owned()));
    let fresh = |text: &str| {
        let mut matcher = grammar.matcher(tokenizer().vocab_size());
        (walk(&mut matcher, text), matcher.mask().unwrap().clone())
    };
    let alone = fresh("ab");
    let mut other = grammar.matcher(tokenizer().vocab_size());
    walk(&mut other, "axxxxxxb");
    assert_eq!(fresh("ab"), alone);
}

#[test]
fn the_grammars_asked_for_last_are_kept() {
    let compiler = ballast_tokens::GrammarCompiler::new(ballast_testkit::tiny_tokenizer());
    let constraint = |idx: usize| Constraint::Regex(format!("a{{{}}}", idx + 1));
    let n_kept = || format!("{compiler:?}");
    for idx in 0..=GRAMMARS_KEPT_MAX {
        compiler.compile(&constraint(idx)).unwrap();
    }
    assert!(n_kept().contains(&format!("n_kept: {GRAMMARS_KEPT_MAX}")), "{}", n_kept());
    let same = json!({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    let compiled = |schema: &serde_json::Value| compiler.compile(&Constraint::JsonSchema(schema.clone())).unwrap();
    assert_eq!(compiled(&same), compiled(&same.clone()));
    // Properties come in the order of the schema, so another order is another grammar.
    let other = json!({"properties": {"b": {"type": "string"}, "a": {"type": "string"}}});
    assert_ne!(compiled(&same), compiled(&other));
}
