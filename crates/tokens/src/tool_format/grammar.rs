//! What an answer with tools may be, as a grammar: so that a call, once begun, is one of a tool that is there, with
//! arguments of its schema.
//!
//! The grammar is in the dialect of Lark that constraints are written in: `%json` for a schema, `<[7]>` for a control
//! token, `[lazy]` for what ends as soon as it can.

mod tagged;

use super::literal::{Literal, Part};
use super::{TOOL_CALLS_MAX, ToolFormat};
use crate::ToolSpec;
use ballast_backend::TokenId;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Any text.
const TEXT: &str = "TEXT: /(?s:.*)/\n";

/// Whether an answer has to call a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallNeed {
    /// It is text, or text and calls.
    Optional,
    /// It is calls.
    Required,
}

/// How many calls an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallCount {
    /// At most one.
    One,
    /// At most [`TOOL_CALLS_MAX`], where the model's format has room for more than one.
    Many,
}

/// What an answer may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolGrammar<'a> {
    /// Tools that may be called; at least one.
    pub tools: &'a [ToolSpec],
    /// Whether one has to be.
    pub need: CallNeed,
    /// How many times.
    pub count: CallCount,
    /// Names of the control tokens that calls may be written with.
    pub control_tokens: &'a [(String, TokenId)],
}

impl ToolFormat {
    /// The grammar of answers in this format.
    #[must_use]
    pub fn grammar(&self, wanted: &ToolGrammar<'_>) -> String {
        let mut rules = String::new();
        let quote = |literal: &Literal| quoted(literal, wanted.control_tokens);
        for (idx, tool) in wanted.tools.iter().enumerate() {
            if let Some(tagged) = &self.tagged {
                tagged::arguments(&mut rules, tagged, idx, (tool, wanted.control_tokens));
                continue;
            }
            let none = || json!({ "type": "object", "properties": {}, "additionalProperties": false });
            let schema = tool.parameters.clone().unwrap_or_else(none);
            rule(&mut rules, &format!("args_{idx}"), &format!("%json {schema}"));
        }
        if let Some(tagged) = &self.tagged {
            tagged::text_value(&mut rules, tagged, wanted.control_tokens);
        }
        let head = self.start.then(&self.before_name);
        let (lead, rest) = lead_of(&head);
        let calls = |before: &Literal| {
            let call = |(idx, tool): (usize, &ToolSpec)| {
                let head = before.then(&Literal::text(&tool.name)).then(&self.before_arguments);
                format!("{} args_{idx} {}", quote(&head), quote(&self.after_arguments))
            };
            wanted.tools.iter().enumerate().map(call).collect::<Vec<_>>().join(" | ")
        };
        let is_led = wanted.need == CallNeed::Optional && !self.is_only_at_beginning();
        rule(&mut rules, "first", &calls(if is_led { &rest } else { &head }));
        let mut answer = "first".to_owned();
        if let (CallCount::Many, Some(separator)) = (wanted.count, &self.separator) {
            rule(&mut rules, "further", &calls(&separator.then(&self.before_name)));
            write!(answer, " further{{0,{}}}", TOOL_CALLS_MAX - 1).expect("a String takes everything");
        }
        if !self.end.is_empty() {
            rule(&mut rules, "end", &quote(&self.end));
            answer += " end?";
        }
        match wanted.need {
            CallNeed::Required => format!("start: {answer}\n{rules}"),
            CallNeed::Optional if is_led => {
                let is_control = wanted.control_tokens.iter().any(|(name, _)| lead.0 == [Part::Text(name.clone())]);
                let lead = if is_control {
                    // No text spells a control token.
                    format!("lead: TEXT {}\n", quote(&lead))
                } else {
                    format!("lead[lazy]: TEXT {}\n", quote(&lead))
                };
                format!("start: TEXT | lead {answer}\n{lead}{TEXT}{rules}")
            }
            CallNeed::Optional => {
                let first = head.first_char().unwrap_or('{');
                let text = format!("TEXT: /(?s:[ \\t\\r\\n]*([^\\{first} \\t\\r\\n].*)?)/\n");
                format!("start: TEXT | {answer}\n{text}{rules}")
            }
        }
    }
}

fn rule(rules: &mut String, name: &str, body: &str) {
    writeln!(rules, "{name}: {}", body.trim_end()).expect("a String takes everything");
}

/// What tells a call from text, and what is still to come after it: a tag where there is one.
fn lead_of(head: &Literal) -> (Literal, Literal) {
    let Some((Part::Text(text), rest)) = head.0.split_first() else { return (head.clone(), Literal::default()) };
    let close = match text.chars().next() {
        Some('<') => text.find('>'),
        Some('[') => text.find(']'),
        Some(_) | None => None,
    };
    let at = close.map_or(text.len(), |at| at + 1);
    let mut after = Literal::text(&text[at..]);
    after.0.extend_from_slice(rest);
    (Literal::text(&text[..at]), after)
}

/// A literal in the grammar's words; nothing where it is empty.
fn quoted(literal: &Literal, control_tokens: &[(String, TokenId)]) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => quoted_text(text, control_tokens),
        Part::Id => "/[a-zA-Z0-9]{9}/".to_owned(),
        Part::Index(_) => "/[0-9]{1,2}/".to_owned(),
    };
    literal.0.iter().map(part).collect::<Vec<_>>().join(" ")
}

fn quoted_text(text: &str, control_tokens: &[(String, TokenId)]) -> String {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let found = control_tokens.iter().filter_map(|(name, token)| Some((rest.find(name.as_str())?, name, token)));
        // The first one, and of those that begin there the longest.
        let next = found.min_by_key(|&(at, name, _)| (at, usize::MAX - name.len()));
        let (before, after) = match next {
            Some((at, name, token)) => {
                let words = (&rest[..at], Some(format!("<[{}]>", token.0)));
                rest = &rest[at + name.len()..];
                words
            }
            None => (std::mem::take(&mut rest), None),
        };
        words.extend((!before.is_empty()).then(|| Value::from(before).to_string()));
        words.extend(after);
    }
    words.join(" ")
}
