//! All that is known of a value in one of the ways in which it can be valid, and what of it contradicts itself.

use super::term::{Conjunct, Frames, Key, Left, ListRule, RecordRule, Term, kind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What must hold together. What is known of one kind of value says nothing of others.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub(super) kinds: u8,
    pub(super) values: Option<Vec<&'a Value>>,
    /// Numbers and texts that it is not.
    pub(super) not_values: Vec<&'a Value>,
    /// The bound, and whether it is out itself.
    pub(super) least: Option<(f64, bool)>,
    pub(super) most: Option<(f64, bool)>,
    pub(super) steps: Vec<f64>,
    pub(super) min_length: u64,
    pub(super) max_length: Option<u64>,
    pub(super) patterns: Vec<&'a str>,
    pub(super) formats: Vec<&'a str>,
    pub(super) records: Vec<RecordRule<'a>>,
    pub(super) required: Vec<&'a str>,
    pub(super) forbidden: BTreeSet<&'a str>,
    pub(super) names: Vec<(Conjunct<'a>, &'a Value)>,
    pub(super) min_properties: u64,
    /// The schema that asks for most properties.
    pub(super) min_properties_of: Option<&'a Value>,
    pub(super) max_properties: Option<u64>,
    pub(super) lists: Vec<ListRule<'a>>,
    pub(super) min_items: u64,
    pub(super) max_items: Option<u64>,
    pub(super) unique: Option<&'a Value>,
    /// Schemas that are among these facts.
    pub(super) seen: BTreeSet<(Key, Frames)>,
    looked_at: BTreeMap<usize, LookedAt<'a>>,
    left: Vec<(Left, usize, Conjunct<'a>)>,
}

/// What of a value was looked at inside of a frame.
#[derive(Clone, Debug, Default)]
struct LookedAt<'a> {
    names: Vec<&'a str>,
    patterns: Vec<&'a str>,
    all_properties: bool,
    n_items: usize,
    all_items: bool,
}

impl<'a> Facts<'a> {
    /// Nothing is known.
    pub(super) fn none() -> Self {
        Self {
            kinds: kind::ANY,
            values: None,
            not_values: vec![],
            least: None,
            most: None,
            steps: vec![],
            min_length: 0,
            max_length: None,
            patterns: vec![],
            formats: vec![],
            records: vec![],
            required: vec![],
            forbidden: BTreeSet::new(),
            names: vec![],
            min_properties: 0,
            min_properties_of: None,
            max_properties: None,
            lists: vec![],
            min_items: 0,
            max_items: None,
            unique: None,
            seen: BTreeSet::new(),
            looked_at: BTreeMap::new(),
            left: vec![],
        }
    }

    pub(super) fn has(&self, kinds: u8) -> bool {
        self.kinds & kinds != 0
    }

    /// Whether nothing is known of numbers, texts, arrays or objects.
    pub(super) fn is_free_number(&self) -> bool {
        let none = self.least.is_none() && self.most.is_none() && self.steps.is_empty();
        none && self.not_values.iter().all(|value| !value.is_number())
    }

    pub(super) fn is_free_string(&self) -> bool {
        let bounds = self.min_length > 0 || self.max_length.is_some();
        let words = !self.patterns.is_empty() || !self.formats.is_empty();
        !bounds && !words && self.not_values.iter().all(|value| !value.is_string())
    }

    pub(super) fn is_free_array(&self) -> bool {
        self.lists.is_empty() && self.min_items == 0 && self.max_items.is_none() && self.unique.is_none()
    }

    pub(super) fn is_free_object(&self) -> bool {
        let bounds = self.min_properties > 0 || self.max_properties.is_some();
        let names = !self.required.is_empty() || !self.forbidden.is_empty() || !self.names.is_empty();
        self.records.is_empty() && !bounds && !names
    }

    /// Takes a term that is neither a schema nor a choice. False if nothing can be valid any more.
    pub(super) fn take(&mut self, term: Term<'a>) -> bool {
        match term {
            Term::Schema(..) | Term::Choice(_) | Term::Unsaid(..) => unreachable!("they are taken apart before"),
            Term::Kinds(kinds) => self.kinds &= kinds,
            Term::Values(values) => {
                let both =
                    |value: &&Value| self.values.as_ref().is_none_or(|all| all.iter().any(|a| is_equal(a, value)));
                self.values = Some(values.iter().filter(both).collect());
            }
            Term::NotValue(Value::Null) => self.kinds &= !kind::NULL,
            Term::NotValue(Value::Bool(value)) => self.kinds &= !if *value { kind::TRUE } else { kind::FALSE },
            Term::NotValue(value) => self.not_values.push(value),
            Term::AtLeast(bound) => self.raise((bound, false)),
            Term::Above(bound) => self.raise((bound, true)),
            Term::AtMost(bound) => self.lower((bound, false)),
            Term::Below(bound) => self.lower((bound, true)),
            Term::Step(step) => push_new(&mut self.steps, step),
            Term::MinLength(n) => self.min_length = self.min_length.max(n),
            Term::MaxLength(n) => self.max_length = Some(self.max_length.map_or(n, |max| max.min(n))),
            Term::Pattern(pattern) => push_new(&mut self.patterns, pattern),
            Term::Format(format) => push_new(&mut self.formats, format),
            Term::Record(rule, frames) => self.take_record(rule, &frames),
            Term::Require(name) => push_new(&mut self.required, name),
            Term::Forbid(name) => {
                self.forbidden.insert(name);
            }
            Term::Names(conjunct, schema) => self.names.push((conjunct, schema)),
            Term::MinProperties(n, schema) if n > self.min_properties => {
                (self.min_properties, self.min_properties_of) = (n, Some(schema));
            }
            Term::MinProperties(..) => {}
            Term::MaxProperties(n) => self.max_properties = Some(self.max_properties.map_or(n, |max| max.min(n))),
            Term::List(rule, frames) => self.take_list(rule, &frames),
            Term::MinItems(n) => self.min_items = self.min_items.max(n),
            Term::MaxItems(n) => self.max_items = Some(self.max_items.map_or(n, |max| max.min(n))),
            Term::Unique(schema) => self.unique = Some(schema),
            Term::Left { what, inner, outer, conjunct } => self.take_left(what, inner, &outer, conjunct),
        }
        self.drop_kinds_that_contradict_themselves();
        self.kinds != 0 && self.values.as_ref().is_none_or(|values| !values.is_empty())
    }

    fn raise(&mut self, bound: (f64, bool)) {
        let is_higher = |old: (f64, bool)| bound.0 > old.0 || (bound.0 == old.0 && bound.1);
        if self.least.is_none_or(is_higher) {
            self.least = Some(bound);
        }
    }

    fn lower(&mut self, bound: (f64, bool)) {
        let is_lower = |old: (f64, bool)| bound.0 < old.0 || (bound.0 == old.0 && bound.1);
        if self.most.is_none_or(is_lower) {
            self.most = Some(bound);
        }
    }

    fn take_record(&mut self, rule: RecordRule<'a>, frames: &Frames) {
        for frame in frames.iter() {
            let looked_at = self.looked_at.entry(*frame).or_default();
            looked_at.names.extend(rule.named.iter().map(|(name, _)| *name));
            looked_at.patterns.extend(rule.patterns.iter().map(|(pattern, _)| *pattern));
            looked_at.all_properties |= rule.rest.is_some();
        }
        self.records.push(rule);
    }

    fn take_list(&mut self, rule: ListRule<'a>, frames: &Frames) {
        for frame in frames.iter() {
            let looked_at = self.looked_at.entry(*frame).or_default();
            looked_at.n_items = looked_at.n_items.max(rule.first.len());
            looked_at.all_items |= rule.rest.is_some();
        }
        self.lists.push(rule);
    }

    fn take_left(&mut self, what: Left, inner: usize, outer: &Frames, conjunct: Conjunct<'a>) {
        for frame in outer.iter() {
            let looked_at = self.looked_at.entry(*frame).or_default();
            match what {
                Left::Properties => looked_at.all_properties = true,
                Left::Items => looked_at.all_items = true,
            }
        }
        self.left.push((what, inner, conjunct));
    }

    /// Turns what was left to those that nothing looked at into rules, when all is known.
    pub(super) fn finish(&mut self) {
        for (what, frame, conjunct) in std::mem::take(&mut self.left) {
            let looked_at = self.looked_at.get(&frame).cloned().unwrap_or_default();
            let free = |words: Vec<&'a str>| words.into_iter().map(|word| (word, Conjunct::anything())).collect();
            let rest = Some(conjunct);
            match what {
                Left::Properties if looked_at.all_properties => {}
                Left::Properties => {
                    let (named, patterns) = (free(looked_at.names), free(looked_at.patterns));
                    self.records.push(RecordRule { named, patterns, rest });
                }
                Left::Items if looked_at.all_items => {}
                Left::Items => {
                    let first = vec![Conjunct::anything(); looked_at.n_items];
                    self.lists.push(ListRule { first, rest });
                }
            }
        }
    }

    fn drop_kinds_that_contradict_themselves(&mut self) {
        if let (Some((least, is_above)), Some((most, is_below))) = (self.least, self.most)
            && (least > most || (least == most && (is_above || is_below)))
        {
            self.kinds &= !kind::NUMBER;
        }
        if self.max_length.is_some_and(|max| max < self.min_length) {
            self.kinds &= !kind::STRING;
        }
        if self.max_items.is_some_and(|max| max < self.min_items) {
            self.kinds &= !kind::ARRAY;
        }
        let n_required = self.min_properties.max(self.required.len() as u64);
        let is_forbidden = self.required.iter().any(|name| self.forbidden.contains(name));
        if is_forbidden || self.max_properties.is_some_and(|max| max < n_required) {
            self.kinds &= !kind::OBJECT;
        }
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Whether two values are the same in JSON Schema's sense: numbers by what they are worth.
pub(super) fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_equal(a, b)))
        }
        _ => a == b,
    }
}
