//! What a schema says, taken apart into terms: all of them hold together, and a choice holds if one of its options does.

use super::document::Scope;
use serde_json::Value;
use std::rc::Rc;

pub(super) static TRUE: Value = Value::Bool(true);
pub(super) static FALSE: Value = Value::Bool(false);

/// Kinds of values, as a set of bits. A number with a part after the point is no integer.
pub(super) mod kind {
    pub(in super::super) const NULL: u8 = 1;
    pub(in super::super) const FALSE: u8 = 2;
    pub(in super::super) const TRUE: u8 = 4;
    pub(in super::super) const INTEGER: u8 = 8;
    pub(in super::super) const FRACTION: u8 = 16;
    pub(in super::super) const STRING: u8 = 32;
    pub(in super::super) const ARRAY: u8 = 64;
    pub(in super::super) const OBJECT: u8 = 128;
    pub(in super::super) const NUMBER: u8 = INTEGER | FRACTION;
    pub(in super::super) const BOOLEAN: u8 = FALSE | TRUE;
    pub(in super::super) const ANY: u8 = u8::MAX;
}

/// A schema that holds for a value, or does not.
#[derive(Clone, Debug)]
pub(super) struct Conjunct<'a> {
    pub(super) schema: &'a Value,
    pub(super) holds: bool,
    pub(super) scope: Scope,
}

impl<'a> Conjunct<'a> {
    pub(super) fn anything() -> Self {
        Self { schema: &TRUE, holds: true, scope: Rc::new([]) }
    }

    pub(super) fn nothing() -> Self {
        Self { schema: &FALSE, holds: true, scope: Rc::new([]) }
    }

    pub(super) fn not(self) -> Self {
        Self { holds: !self.holds, ..self }
    }

    /// Whether it says that anything is valid (true), or nothing (false), where that is plain to see.
    pub(super) fn verdict(&self) -> Option<bool> {
        match self.schema {
            Value::Bool(is_valid) => Some(*is_valid == self.holds),
            Value::Object(fields) if fields.is_empty() => Some(self.holds),
            Value::Object(_) | Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    pub(super) fn key(&self) -> Key {
        Key(std::ptr::from_ref(self.schema).addr(), self.holds, Rc::clone(&self.scope))
    }
}

/// Tells conjuncts of one document apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(usize, bool, Scope);

/// Schemas with `unevaluatedProperties` or `unevaluatedItems` that a schema is part of.
pub(super) type Frames = Rc<[usize]>;

/// What is said of properties by their names.
#[derive(Clone, Debug)]
pub(super) struct RecordRule<'a> {
    pub(super) named: Vec<(&'a str, Conjunct<'a>)>,
    pub(super) patterns: Vec<(&'a str, Conjunct<'a>)>,
    /// Of all that have none of these names.
    pub(super) rest: Option<Conjunct<'a>>,
}

/// What is said of items by their places.
#[derive(Clone, Debug)]
pub(super) struct ListRule<'a> {
    pub(super) first: Vec<Conjunct<'a>>,
    pub(super) rest: Option<Conjunct<'a>>,
}

impl<'a> ListRule<'a> {
    pub(super) fn at(&self, idx: usize) -> Option<&Conjunct<'a>> {
        self.first.get(idx).or(self.rest.as_ref())
    }
}

/// What of a value has not been looked at by other parts of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Properties,
    Items,
}

/// One thing that a schema says. What is said of values of one kind leaves those of others free.
#[derive(Clone, Debug)]
pub(super) enum Term<'a> {
    Schema(Conjunct<'a>, Frames),
    Choice(Vec<Vec<Term<'a>>>),
    /// What cannot be said in other words: the keyword, and the schema that has it.
    Unsaid(&'a str, &'a Value),
    Kinds(u8),
    Values(&'a [Value]),
    NotValue(&'a Value),
    AtLeast(f64),
    Above(f64),
    AtMost(f64),
    Below(f64),
    Step(f64),
    MinLength(u64),
    MaxLength(u64),
    Pattern(&'a str),
    Format(&'a str),
    Record(RecordRule<'a>, Frames),
    Require(&'a str),
    Forbid(&'a str),
    Names(Conjunct<'a>, &'a Value),
    MinProperties(u64, &'a Value),
    MaxProperties(u64),
    List(ListRule<'a>, Frames),
    MinItems(u64),
    MaxItems(u64),
    Unique(&'a Value),
    /// What was not looked at inside of a frame, and the frames that it is in itself.
    Left {
        what: Left,
        inner: usize,
        outer: Frames,
        conjunct: Conjunct<'a>,
    },
}
