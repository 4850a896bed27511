//! Grammars in llama.cpp's format, translated to Lark.
//!
//! ```text
//! rule  ::= NAME "::=" either END          either ::= seq ("|" seq)*
//! seq   ::= (atom times?)*                 times  ::= "*" | "+" | "?" | "{" n "}" | "{" n "," n? "}"
//! atom  ::= TEXT | CLASS | "." | NAME | "(" either ")" | "<" NAME ">"
//! ```
//!
//! A rule ends at the end of its line, unless that comes right after `::=` or `|`, or in brackets. The rule `root` is
//! where an answer begins. A part without recursion becomes one regular expression; between such parts an answer is cut
//! at the longest match, as Lark does it, so a part that could end sooner does not.

mod parser;
mod write;

use super::ConstraintError;

/// Deepest nesting of brackets.
pub const GBNF_DEPTH_MAX: usize = 64;
/// Most parts of a grammar, those of all rules counted.
pub const GBNF_PARTS_MAX: usize = 20_000;
/// Most times that a part is repeated where it is bounded.
pub const GBNF_TIMES_MAX: u32 = 1000;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// One of some characters, or one of all others.
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Any character.
    Any,
    /// A special token, with its brackets.
    Special(String),
    /// A rule, by its place.
    Rule(usize),
    Seq(Vec<Part>),
    Either(Vec<Part>),
    Repeat {
        part: Box<Part>,
        min: u32,
        max: Option<u32>,
    },
}

/// A grammar's rules. The first is `root`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    rules: Vec<Part>,
}

/// Translates a grammar to Lark.
///
/// # Errors
/// If it is not well-formed, or too large.
pub(super) fn to_lark(grammar: &str) -> Result<String, ConstraintError> {
    Ok(write::lark(&parser::parse(grammar)?))
}

#[cfg(test)]
mod tests;
