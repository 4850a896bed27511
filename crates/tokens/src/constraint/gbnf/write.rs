//! From rules to Lark.

use super::{Part, Rules};
use std::fmt::Write as _;

/// Largest part that becomes one regular expression, in parts, with the rules that it uses written out.
const REGEX_PARTS_MAX: usize = 4000;

pub(super) fn lark(rules: &Rules) -> String {
    let writer = Writer { rules, sizes: sizes(rules) };
    let mut text = String::new();
    for (idx, part) in rules.rules.iter().enumerate() {
        if idx == 0 || writer.sizes[idx].is_none() {
            write!(text, "{}: ", name(idx)).expect("a string takes all");
            writer.part(part, &mut text);
            text.push('\n');
        }
    }
    text
}

fn name(idx: usize) -> String {
    if idx == 0 { "start".to_owned() } else { format!("r{idx}") }
}

/// How large the regular expression of each rule is; `None`: it has none, or one that is too large.
///
/// Rules are looked at until nothing changes: a rule whose own rules are known is known. What is left is recursive.
fn sizes(rules: &Rules) -> Vec<Option<usize>> {
    let mut sizes = vec![None; rules.rules.len()];
    loop {
        let mut is_changed = false;
        for (idx, part) in rules.rules.iter().enumerate() {
            if sizes[idx].is_none()
                && let Some(size) = size(part, &sizes)
            {
                sizes[idx] = Some(size);
                is_changed = true;
            }
        }
        if !is_changed {
            return sizes;
        }
    }
}

/// How large a part's regular expression is.
fn size(part: &Part, sizes: &[Option<usize>]) -> Option<usize> {
    let total = match part {
        Part::Text(text) => text.len().max(1),
        Part::Class { ranges, .. } if ranges.is_empty() => return None,
        Part::Class { ranges, .. } => ranges.len(),
        Part::Any => 1,
        Part::Special(_) => return None,
        Part::Rule(idx) => sizes[*idx]?,
        Part::Seq(parts) | Part::Either(parts) => {
            parts.iter().try_fold(1_usize, |total, part| Some(total.saturating_add(size(part, sizes)?)))?
        }
        Part::Repeat { part, .. } => size(part, sizes)?.saturating_add(1),
    };
    Some(total).filter(|total| *total <= REGEX_PARTS_MAX)
}

struct Writer<'a> {
    rules: &'a Rules,
    sizes: Vec<Option<usize>>,
}

impl Writer<'_> {
    fn is_regular(&self, part: &Part) -> bool {
        size(part, &self.sizes).is_some()
    }

    /// Writes a part as Lark.
    fn part(&self, part: &Part, out: &mut String) {
        if self.is_regular(part) {
            return self.lexeme(std::slice::from_ref(part), out);
        }
        match part {
            Part::Special(name) => out.push_str(name),
            Part::Rule(idx) => out.push_str(&name(*idx)),
            Part::Seq(parts) => self.seq(parts, out),
            Part::Either(parts) => {
                out.push('(');
                for (idx, part) in parts.iter().enumerate() {
                    out.push_str(if idx == 0 { "" } else { " | " });
                    self.part(part, out);
                }
                out.push(')');
            }
            Part::Repeat { part, min, max } => {
                out.push('(');
                self.part(part, out);
                out.push(')');
                out.push_str(&times(*min, *max));
            }
            // A class of no characters, negated or not, is the only one of these that is not regular.
            Part::Text(_) | Part::Any | Part::Class { is_negated: true, .. } => out.push_str("/(?s:.)/"),
            Part::Class { is_negated: false, .. } => out.push_str("/[^\\x{0}-\\x{10FFFF}]/"),
        }
    }

    /// Writes a sequence, with neighbours that are regular in one.
    fn seq(&self, parts: &[Part], out: &mut String) {
        for (idx, group) in parts.chunk_by(|a, b| self.is_regular(a) == self.is_regular(b)).enumerate() {
            out.push_str(if idx == 0 { "" } else { " " });
            if self.is_regular(&group[0]) {
                self.lexeme(group, out);
                continue;
            }
            for (idx, part) in group.iter().enumerate() {
                out.push_str(if idx == 0 { "" } else { " " });
                self.part(part, out);
            }
        }
    }

    /// Writes neighbours that are regular as one regular expression.
    fn lexeme(&self, parts: &[Part], out: &mut String) {
        let mut regex = String::new();
        parts.iter().for_each(|part| self.regex(part, &mut regex));
        if regex.is_empty() {
            out.push_str("\"\"");
        } else {
            write!(out, "/{regex}/").expect("a string takes all");
        }
    }

    fn regex(&self, part: &Part, out: &mut String) {
        match part {
            Part::Text(text) => text.chars().for_each(|c| character(c, out)),
            Part::Any => out.push_str("(?s:.)"),
            Part::Class { is_negated, ranges } => {
                out.push_str(if *is_negated { "[^" } else { "[" });
                for (first, last) in ranges {
                    character(*first, out);
                    out.push('-');
                    character(*last, out);
                }
                out.push(']');
            }
            Part::Rule(idx) => self.regex(&self.rules.rules[*idx], out),
            Part::Seq(parts) => parts.iter().for_each(|part| self.regex(part, out)),
            Part::Either(parts) => {
                for (idx, part) in parts.iter().enumerate() {
                    out.push_str(if idx == 0 { "(?:" } else { "|" });
                    self.regex(part, out);
                }
                out.push(')');
            }
            Part::Repeat { part, min, max } => {
                out.push_str("(?:");
                self.regex(part, out);
                out.push(')');
                out.push_str(&times(*min, *max));
            }
            Part::Special(_) => unreachable!("it is not regular"),
        }
    }
}

fn times(min: u32, max: Option<u32>) -> String {
    match (min, max) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    }
}

/// Writes a character so that it stands for itself in a regular expression.
fn character(c: char, out: &mut String) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        write!(out, "\\x{{{:X}}}", u32::from(c)).expect("a string takes all");
    }
}
