//! Keywords that are said in other words: a choice between schemas of which one holds, and items that must be among others.

use super::Rewriter;
use super::read::{Open, size};
use super::term::{Conjunct, Frames, ListRule, Term, kind};
use crate::constraint::ConstraintError;
use serde_json::Value;

/// Most places at which items that an array must contain are tried.
const OFFSETS_MAX: usize = 4;
/// Most items that an array must contain, or may.
const CONTAINED_MAX: u64 = 64;

impl<'a> Rewriter<'a> {
    /// One option that holds, and no other. What an option rules out by itself is not said again.
    pub(super) fn one_of(&mut self, options: &'a [Value], open: &Open<'a>) -> Result<Term<'a>, ConstraintError> {
        let sets: Vec<_> = options.iter().map(|schema| vec![self.seen(open.conjunct(schema))]).collect();
        let mut choice = Vec::new();
        for (idx, schema) in options.iter().enumerate() {
            let mut terms = vec![open.here(schema)];
            for (other_idx, other) in options.iter().enumerate() {
                if idx != other_idx && !self.are_disjoint(&sets[idx], &sets[other_idx], 0)? {
                    terms.push(open.not_here(other));
                }
            }
            choice.push(terms);
        }
        Ok(Term::Choice(choice))
    }

    /// Items that an array must contain stand beside each other, at one of a few places.
    pub(super) fn contains(&mut self, schema: &'a Value, open: &Open<'a>) -> Result<Vec<Term<'a>>, ConstraintError> {
        let (min, max) = self.contains_bounds(open)?;
        if min == 0 && max.is_none() {
            return Ok(vec![]);
        }
        let one = self.seen(open.conjunct(schema));
        let (n_min, n_max) = (size(min), max.map(size));
        if n_max.is_some_and(|max| max < n_min) {
            return Ok(vec![Term::Kinds(!kind::ARRAY)]);
        }
        if n_min == 0 && max == Some(0) {
            let rule = ListRule { first: vec![], rest: Some(one.not()) };
            return Ok(vec![Term::List(rule, Frames::from([]))]);
        }
        self.n_narrowed += 1;
        let n_offsets = if n_min == 0 { 0 } else { OFFSETS_MAX.min(self.n_contains.max(n_first(open))) };
        let mut choice = Vec::new();
        for offset in 0..=n_offsets {
            let before = if max.is_some() { one.clone().not() } else { Conjunct::anything() };
            let mut first = vec![before; offset];
            first.extend(vec![one.clone(); n_min]);
            if let Some(max) = n_max {
                first.extend(vec![Conjunct::anything(); max - n_min]);
            }
            let rest = max.map(|_| one.clone().not());
            let min_items = if n_min == 0 { 0 } else { (offset + n_min) as u64 };
            choice.push(vec![
                Term::Kinds(kind::ARRAY),
                Term::MinItems(min_items),
                Term::List(ListRule { first, rest }, Frames::from([])),
            ]);
        }
        choice.push(vec![Term::Kinds(!kind::ARRAY)]);
        Ok(vec![Term::Choice(choice)])
    }

    /// How many items must be, and may be.
    pub(super) fn contains_bounds(&self, open: &Open<'a>) -> Result<(u64, Option<u64>), ConstraintError> {
        let bound = |keyword: &'static str| {
            let value = open.get(keyword).filter(|_| !self.document.is_old() || open.fields.contains_key(keyword));
            let n = value.map(|value| self.size(keyword, value, open)).transpose()?;
            if n.is_some_and(|n| n > CONTAINED_MAX) {
                return Err(self.wrong(keyword, open, "a whole number from 0 to 64"));
            }
            Ok(n)
        };
        Ok((bound("minContains")?.unwrap_or(1), bound("maxContains")?))
    }

    /// A conjunct as it is seen from inside its own resource.
    pub(super) fn seen(&self, conjunct: Conjunct<'a>) -> Conjunct<'a> {
        let scope = self.document.entered(&conjunct.scope, conjunct.schema);
        Conjunct { scope, ..conjunct }
    }
}

fn n_first(open: &Open<'_>) -> usize {
    open.get("prefixItems").or_else(|| open.get("items")).and_then(Value::as_array).map_or(0, Vec::len)
}
