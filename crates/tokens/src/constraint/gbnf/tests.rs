//! What is read, what is written, and what is refused.

use super::{GBNF_DEPTH_MAX, GBNF_PARTS_MAX, GBNF_TIMES_MAX, to_lark};
use crate::ConstraintError;
use proptest::prelude::*;

#[test]
fn a_grammar_without_recursion_is_one_regular_expression() {
    let cases = [
        ("root ::= \"ab\"", "start: /ab/\n"),
        ("root ::= \"a\" | \"b\" [0-9]+", "start: /(?:a|b(?:[0-9])+)/\n"),
        ("root ::= x{2,3} y?\nx ::= [^a\\n]\ny ::= .", "start: /(?:[^a-a\\x{A}-\\x{A}]){2,3}(?:(?s:.))?/\n"),
        ("# c\nroot ::= \"a\" |\n  (\n \"b\"\n) # d\n", "start: /(?:a|b)/\n"),
        ("root ::=\n  \"\\x41\\u00e9\\\"/\"", "start: /A\\x{E9}\\x{22}\\x{2F}/\n"),
        ("root ::= ", "start: \"\"\n"),
        (
            "root ::= [-a] [a-] [\\]]{3}",
            "start: /[\\x{2D}-\\x{2D}a-a][a-a\\x{2D}-\\x{2D}](?:[\\x{5D}-\\x{5D}]){3,3}/\n",
        ),
    ];
    for (grammar, expected) in cases {
        assert_eq!(to_lark(grammar).as_deref(), Ok(expected), "{grammar}");
    }
}

#[test]
fn recursion_and_special_tokens_stay_rules() {
    let nested = "root ::= \"(\" root? \")\" end\nend ::= [.]";
    assert_eq!(to_lark(nested).as_deref(), Ok("start: /\\x{28}/ (start)? /\\x{29}[\\x{2E}-\\x{2E}]/\n"));
    let special = "root ::= <|call|> \"a\" Other{2,}\nOther ::= <x>";
    assert_eq!(to_lark(special).as_deref(), Ok("start: <|call|> /a/ (r1){2,}\nr1: <x>\n"));
}

#[test]
fn what_is_not_well_formed_is_refused_with_its_line() {
    let cases = [
        ("root = \"a\"", 1),
        ("root ::= \"a", 1),
        ("root ::= \"a\nb\"", 2),
        ("\nroot ::= (\"a\"", 2),
        ("root ::= \"a\"\n | \"b\"", 2),
        ("root ::= \"a\" )", 1),
        ("root ::= [b-a]", 1),
        ("root ::= \"\\q\"", 1),
        ("root ::= \"\\ud800\"", 1),
        ("root ::= \"a\"{3,2}", 1),
        ("root ::= \"a\"{,2}", 1),
        ("root ::= \"a\"{2}{3}", 1),
        ("root ::= \"a\"\nroot ::= \"b\"", 2),
        ("root ::= <a b>", 1),
        ("root ::= !<a>", 1),
    ];
    for (grammar, expected) in cases {
        let Err(ConstraintError::Syntax { line, .. }) = to_lark(grammar) else { panic!("{grammar}") };
        assert_eq!(line, expected, "{grammar}");
    }
    for (grammar, name) in [("root ::= \"a\"\nx ::= y", "y"), ("x ::= \"a\"", "root"), ("", "root")] {
        let Err(ConstraintError::NoRule { rule, .. }) = to_lark(grammar) else { panic!("{grammar}") };
        assert_eq!(rule, name);
    }
}

#[test]
fn bounds_of_grammars_hold() {
    let is_too_large = |grammar: String| matches!(to_lark(&grammar), Err(ConstraintError::TooLarge { .. }));
    let nested = |n: usize| format!("root ::= {}\"a\"{}", "(".repeat(n), ")".repeat(n));
    assert!(!is_too_large(nested(GBNF_DEPTH_MAX)) && is_too_large(nested(GBNF_DEPTH_MAX + 1)));
    let times = |n: u32| format!("root ::= \"a\"{{{n}}}");
    assert!(!is_too_large(times(GBNF_TIMES_MAX)) && is_too_large(times(GBNF_TIMES_MAX + 1)));
    // A sequence is a part, and so is each of its own.
    let parts = |n: usize| format!("root ::= {}", "\"a\" ".repeat(n));
    assert!(!is_too_large(parts(GBNF_PARTS_MAX - 1)) && is_too_large(parts(GBNF_PARTS_MAX)));
    assert!(!is_too_large(format!("root ::= \"a\"{}", "*".repeat(GBNF_PARTS_MAX / 2))), "signs do not nest");
}

/// Rules that use each other twice would double with each of them if they were written out.
#[test]
fn what_would_grow_when_it_is_written_out_stays_rules() {
    let rule = |idx: usize| format!("x{idx} ::= x{} x{}\n", idx + 1, idx + 1);
    let rules: String = (0..200).map(rule).collect();
    let lark = to_lark(&format!("root ::= x0\n{rules}x200 ::= \"a\"")).unwrap();
    assert!(lark.len() < 1 << 20, "{}", lark.len());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(root ::= )?[a-z\"()\\[\\]|*+?{}0-9,.<>:=\\\\#\n -]{0,60}") {
        let _is_well_formed = to_lark(&text).is_ok();
    }
}
