//! What a set of schemas says of values that are known, and of each other.

use super::facts::{Facts, is_equal};
use super::format::{Said, said};
use super::term::{Conjunct, RecordRule, Term, kind};
use super::{Rewriter, Set};
use crate::constraint::ConstraintError;
use serde_json::Value;

/// How deep it is looked for what tells two schemas apart.
const LOOK_MAX: usize = 3;

pub(super) fn kind_of(value: &Value) -> u8 {
    match value {
        Value::Null => kind::NULL,
        Value::Bool(false) => kind::FALSE,
        Value::Bool(true) => kind::TRUE,
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => kind::INTEGER,
        Value::Number(_) => kind::FRACTION,
        Value::String(_) => kind::STRING,
        Value::Array(_) => kind::ARRAY,
        Value::Object(_) => kind::OBJECT,
    }
}

impl<'a> Rewriter<'a> {
    /// Whether a set of schemas is known to hold for a value.
    pub(super) fn accepts(&mut self, set: &Set<'a>, value: &Value) -> Result<bool, ConstraintError> {
        let ways = self.ways(set)?;
        self.n_narrowed += usize::from(!ways.is_exact);
        for facts in ways.facts.iter().filter(|_| ways.is_known) {
            if self.allows(facts, value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keeps of listed values those for which all facts hold. False if none is left.
    pub(super) fn keep_values_that_hold(&mut self, facts: &mut Facts<'a>) -> Result<bool, ConstraintError> {
        let Some(values) = facts.values.take() else { return Ok(true) };
        let mut kept = Vec::new();
        for value in values {
            if self.allows(facts, value)? {
                kept.push(value);
            }
        }
        let any = !kept.is_empty();
        facts.values = Some(kept);
        Ok(any)
    }

    fn allows(&mut self, facts: &Facts<'a>, value: &Value) -> Result<bool, ConstraintError> {
        self.steps(1 + facts.not_values.len())?;
        let is_out = |other: &&Value| is_equal(other, value);
        let is_listed = facts.values.as_ref().is_none_or(|values| values.iter().any(is_out));
        if !facts.has(kind_of(value)) || !is_listed || facts.not_values.iter().any(is_out) {
            return Ok(false);
        }
        match value {
            Value::Null | Value::Bool(_) => Ok(true),
            Value::Number(number) => Ok(allows_number(facts, number.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) => Ok(self.allows_text(facts, text)),
            Value::Array(items) => self.allows_items(facts, items),
            Value::Object(fields) => {
                let n = fields.len() as u64;
                let all_there = facts.required.iter().all(|name| fields.contains_key(*name));
                let none_else = fields.keys().all(|name| !facts.forbidden.contains(name.as_str()));
                let is_counted = n >= facts.min_properties && facts.max_properties.is_none_or(|max| n <= max);
                if !all_there || !none_else || !is_counted {
                    return Ok(false);
                }
                for (name, value) in fields {
                    let set = self.of_property(&facts.records, name);
                    if !self.is_name(facts, name)? || !self.accepts(&set, value)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    fn allows_text(&mut self, facts: &Facts<'a>, text: &str) -> bool {
        let n = text.chars().count() as u64;
        let is_of_length = n >= facts.min_length && facts.max_length.is_none_or(|max| n <= max);
        let matches = |patterns: &mut super::Patterns, pattern: &str| patterns.is_match(pattern, text) == Some(true);
        is_of_length
            && facts.patterns.iter().all(|pattern| matches(&mut self.patterns, pattern))
            && facts.formats.iter().all(|format| match said(format) {
                Some(Said::Pattern(pattern)) => matches(&mut self.patterns, pattern),
                Some(Said::Anything | Said::Within(..)) => true,
                // The engine's own expression of it is not to be had. It is said of texts that are listed when they are given
                // to the engine, and of those inside of arrays and objects nothing is known.
                Some(Said::Format(_)) | None => {
                    self.n_narrowed += 1;
                    facts.values.is_some()
                }
            })
    }

    fn allows_items(&mut self, facts: &Facts<'a>, items: &[Value]) -> Result<bool, ConstraintError> {
        let n = items.len() as u64;
        let is_twice = |idx: usize| items[..idx].iter().any(|other| is_equal(other, &items[idx]));
        let is_wrong = facts.unique.is_some() && (0..items.len()).any(is_twice);
        if is_wrong || n < facts.min_items || facts.max_items.is_some_and(|max| n > max) {
            return Ok(false);
        }
        for (idx, item) in items.iter().enumerate() {
            if !self.accepts(&at(facts, idx), item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a property may be called so.
    pub(super) fn is_name(&mut self, facts: &Facts<'a>, name: &str) -> Result<bool, ConstraintError> {
        let set = facts.names.iter().map(|(conjunct, _)| conjunct.clone()).collect::<Set<'a>>();
        if set.is_empty() { Ok(true) } else { self.accepts(&set, &Value::String(name.to_owned())) }
    }

    /// What is said of the property of a name.
    pub(super) fn of_property(&mut self, rules: &[RecordRule<'a>], name: &str) -> Set<'a> {
        let mut set = Set::new();
        for rule in rules {
            let named = rule.named.iter().filter(|(other, _)| *other == name).map(|(_, conjunct)| conjunct.clone());
            let before = set.len();
            set.extend(named);
            for (pattern, conjunct) in &rule.patterns {
                if self.patterns.is_match(pattern, name) != Some(false) {
                    set.push(conjunct.clone());
                }
            }
            if set.len() == before {
                set.extend(rule.rest.clone());
            }
        }
        set
    }

    /// Whether nothing is valid for a property that must be there. Found early, it ends choices before they multiply.
    pub(super) fn contradicts_itself_below(&mut self, facts: &Facts<'a>) -> Result<bool, ConstraintError> {
        if facts.kinds != kind::OBJECT || facts.records.len() < 2 || self.n_below == LOOK_MAX {
            return Ok(false);
        }
        self.n_below += 1;
        let mut contradicts = false;
        for name in &facts.required {
            let set = self.of_property(&facts.records, name);
            let ways = if set.len() < 2 { None } else { Some(self.ways(&set)?) };
            if let Some(ways) = ways.filter(|ways| ways.facts.is_empty()) {
                self.n_narrowed += usize::from(!ways.is_exact);
                self.unsaid = self.unsaid.or(ways.unsaid);
                contradicts = true;
                break;
            }
        }
        self.n_below -= 1;
        Ok(contradicts)
    }

    /// Whether no value is valid by both sets, as far as that is plain.
    pub(super) fn are_disjoint(&mut self, a: &Set<'a>, b: &Set<'a>, depth: usize) -> Result<bool, ConstraintError> {
        if depth == LOOK_MAX {
            return Ok(false);
        }
        let (a, b) = (self.ways(a)?, self.ways(b)?);
        if !a.is_exact || !b.is_exact {
            return Ok(false);
        }
        for a in a.facts.iter() {
            for b in b.facts.iter() {
                if !self.exclude_each_other(a, b, depth)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn exclude_each_other(&mut self, a: &Facts<'a>, b: &Facts<'a>, depth: usize) -> Result<bool, ConstraintError> {
        if let (Some(a), Some(b)) = (&a.values, &b.values) {
            return Ok(!a.iter().any(|a| b.iter().any(|b| is_equal(a, b))));
        }
        for (listed, other) in [(a, b), (b, a)] {
            let Some(values) = &listed.values else { continue };
            let (before, mut any) = (self.n_narrowed, false);
            for value in values {
                any |= self.allows(other, value)?;
            }
            let is_exact = std::mem::replace(&mut self.n_narrowed, before) == before;
            return Ok(!any && is_exact);
        }
        let shared = a.kinds & b.kinds;
        if shared & !kind::OBJECT != 0 {
            let numbers = shared & !(kind::NUMBER | kind::OBJECT) == 0 && numbers_are_apart(a, b);
            if !numbers {
                return Ok(false);
            }
        }
        if shared & kind::OBJECT == 0 {
            return Ok(true);
        }
        for name in a.required.iter().chain(&b.required) {
            if a.forbidden.contains(name) || b.forbidden.contains(name) {
                return Ok(true);
            }
            let (of_a, of_b) = (self.of_property(&a.records, name), self.of_property(&b.records, name));
            if self.are_disjoint(&of_a, &of_b, depth + 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The ways in which an array or an object is not another: some of them.
    pub(super) fn not_value(&mut self, value: &'a Value) -> Vec<Vec<Term<'a>>> {
        self.n_narrowed += 1;
        let kinds = kind_of(value);
        let mut ways = vec![vec![Term::Kinds(!kinds)]];
        match value {
            Value::Object(fields) => {
                ways.extend(fields.keys().map(|name| vec![Term::Kinds(kinds), Term::Forbid(name)]));
                ways.push(vec![Term::Kinds(kinds), Term::MinProperties(fields.len() as u64 + 1, value)]);
            }
            Value::Array(items) => {
                let n = items.len() as u64;
                ways.extend(n.checked_sub(1).map(|max| vec![Term::Kinds(kinds), Term::MaxItems(max)]));
                ways.push(vec![Term::Kinds(kinds), Term::MinItems(n + 1)]);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        ways
    }
}

/// What is said of the item at a place.
pub(super) fn at<'a>(facts: &Facts<'a>, idx: usize) -> Set<'a> {
    facts.lists.iter().filter_map(|rule| rule.at(idx)).cloned().collect::<Vec<Conjunct<'a>>>()
}

fn allows_number(facts: &Facts<'_>, number: f64) -> bool {
    let is_step = |step: &f64| {
        let times = number / step;
        (times - times.round()).abs() < 1e-9
    };
    facts.least.is_none_or(|(bound, is_out)| number > bound || (number == bound && !is_out))
        && facts.most.is_none_or(|(bound, is_out)| number < bound || (number == bound && !is_out))
        && facts.steps.iter().all(is_step)
}

fn numbers_are_apart(a: &Facts<'_>, b: &Facts<'_>) -> bool {
    let is_below = |low: &Facts<'_>, high: &Facts<'_>| match (low.most, high.least) {
        (Some((most, most_out)), Some((least, least_out))) => {
            most < least || (most == least && (most_out || least_out))
        }
        _ => false,
    };
    is_below(a, b) || is_below(b, a)
}
