//! Schemas in other words: all that the engine of grammars would ignore or refuse is said by what it enforces.
//!
//! ```text
//! schemas that hold together --take apart--> choice of facts --shape--> one schema of one kind of value for each choice
//!          ^                                                                |
//!          +------------------- those of its items and properties ----------+
//! ```
//!
//! A schema is taken apart into the ways in which a value can be valid; each is a list of facts that hold together
//! ([`facts`]). What a schema rules out is turned round until it says what is left ([`negate`]). Items and properties
//! are given the schemas that hold for them together, as a definition that is made once, so that recursion ends.
//!
//! What comes out accepts nothing that the schema does not. It may accept less where the schema says what no grammar
//! can: docs/API.md lists how. What cannot be said at all is refused by the name of its keyword.

mod choose;
mod document;
mod emit;
mod facts;
mod format;
mod holds;
mod negate;
mod patterns;
mod read;
mod record;
mod shape;
mod term;

use self::document::Document;
use self::facts::Facts;
use self::patterns::Patterns;
use self::read::Open;
use self::shape::Shape;
use self::term::{Conjunct, Frames, Key, Term};
use super::ConstraintError;
use super::schema::{self, SCHEMA_DEPTH_MAX, unsupported};
use serde_json::Value;
use std::collections::HashMap;
use std::rc::Rc;

/// Most ways in which a value can be valid, of one place in a schema.
pub const SCHEMA_CHOICES_MAX: usize = 1024;
/// Most places that are told apart when a schema is said in other words.
pub const SCHEMA_PLACES_MAX: usize = 2048;
/// Most steps that it may take to say a schema in other words.
pub const SCHEMA_STEPS_MAX: usize = 200_000;
/// Most sets of schemas that are looked at one for the sake of the other.
const OPEN_MAX: usize = 64;
/// Most choices inside of each other; each takes stack.
const CHOICES_DEPTH_MAX: usize = 512;

/// Says a schema in words that the engine of grammars enforces.
///
/// # Errors
/// The first keyword that cannot be said otherwise, with its place; a bound that is met; that nothing is valid.
pub(super) fn rewrite(schema: &Value) -> Result<Value, ConstraintError> {
    if depth(schema) > 2 * SCHEMA_DEPTH_MAX + 2 {
        return Err(too_large(SCHEMA_DEPTH_MAX, "levels"));
    }
    let document = Document::new(schema)?;
    let mut rewriter = Rewriter {
        patterns: Patterns::default(),
        places: Vec::new(),
        known: HashMap::new(),
        ways: HashMap::new(),
        open: Vec::new(),
        n_frames: 0,
        n_steps: 0,
        n_choices: 0,
        n_below: 0,
        n_narrowed: 0,
        n_contains: count(schema, "contains"),
        unsaid: None,
        document,
    };
    let outermost = Conjunct { schema, holds: true, scope: rewriter.document.outermost() };
    rewriter.place(vec![outermost])?;
    let mut shaped = Vec::new();
    while shaped.len() < rewriter.places.len() {
        let set = rewriter.places[shaped.len()].clone();
        shaped.push(rewriter.shapes(&set)?);
    }
    emit::emit(&shaped).ok_or_else(nothing_is_valid)
}

/// What is said of one place: schemas that all hold.
type Set<'a> = Vec<Conjunct<'a>>;

/// The ways in which a set of schemas holds.
#[derive(Clone)]
struct Ways<'a> {
    facts: Rc<Vec<Facts<'a>>>,
    /// They are all there are, and leave out nothing.
    is_exact: bool,
    /// They were found. They are not where to find them takes themselves.
    is_known: bool,
    /// The first keyword for which a way was left out.
    unsaid: Option<(&'a str, &'a Value)>,
}

struct Rewriter<'a> {
    document: Document<'a>,
    patterns: Patterns,
    places: Vec<Set<'a>>,
    known: HashMap<Vec<Key>, usize>,
    ways: HashMap<Vec<Key>, Ways<'a>>,
    /// Sets whose ways are being looked for, one for the sake of the other.
    open: Vec<Vec<Key>>,
    n_frames: usize,
    n_steps: usize,
    /// Choices that the one that is looked at stands in.
    n_choices: usize,
    /// Properties that what is looked at lies below.
    n_below: usize,
    /// Times that something valid was left out.
    n_narrowed: usize,
    n_contains: usize,
    /// The first keyword that was left out with a way to be valid.
    unsaid: Option<(&'a str, &'a Value)>,
}

impl<'a> Rewriter<'a> {
    fn unsupported(&self, keyword: &str, schema: &Value) -> ConstraintError {
        unsupported(keyword, &self.document.pointer(schema))
    }

    /// The number of the place that a set of schemas speaks of.
    fn place(&mut self, set: Set<'a>) -> Result<usize, ConstraintError> {
        let (set, key) = plain(set);
        if let Some(idx) = self.known.get(&key) {
            return Ok(*idx);
        }
        if self.places.len() == SCHEMA_PLACES_MAX {
            return Err(too_large(SCHEMA_PLACES_MAX, "places that are told apart"));
        }
        self.places.push(set);
        self.known.insert(key, self.places.len() - 1);
        Ok(self.places.len() - 1)
    }

    /// The ways in which a set of schemas holds, each only once.
    fn ways(&mut self, set: &Set<'a>) -> Result<Ways<'a>, ConstraintError> {
        let (set, key) = plain(set.clone());
        if let Some(ways) = self.ways.get(&key) {
            return Ok(ways.clone());
        }
        if self.open.contains(&key) || self.open.len() == OPEN_MAX {
            return Ok(Ways { facts: Rc::new(vec![Facts::none()]), is_exact: false, is_known: false, unsaid: None });
        }
        self.open.push(key.clone());
        let (before, unsaid) = (self.n_narrowed, self.unsaid.take());
        let todo = set.into_iter().rev().map(|conjunct| Term::Schema(conjunct, Frames::from([]))).collect();
        let mut found = Vec::new();
        self.follow(Facts::none(), todo, Vec::new(), &mut found)?;
        self.open.pop();
        let is_exact = self.n_narrowed == before;
        let unsaid = std::mem::replace(&mut self.unsaid, unsaid);
        let ways = Ways { facts: Rc::new(found), is_exact, is_known: true, unsaid };
        self.ways.insert(key, ways.clone());
        Ok(ways)
    }

    /// Takes terms apart until facts are left; those that are a choice last, one after the other.
    fn follow(
        &mut self,
        mut facts: Facts<'a>,
        mut todo: Vec<Term<'a>>,
        mut choices: Vec<Vec<Vec<Term<'a>>>>,
        found: &mut Vec<Facts<'a>>,
    ) -> Result<(), ConstraintError> {
        while let Some(term) = todo.pop() {
            self.step()?;
            if let Term::Schema(conjunct, frames) = term {
                match conjunct.verdict() {
                    Some(true) => {}
                    Some(false) => return Ok(()),
                    None => {
                        let conjunct = self.seen(conjunct);
                        if facts.seen.insert((conjunct.key(), Frames::clone(&frames))) {
                            todo.extend(self.open(conjunct, frames)?.into_iter().rev());
                        }
                    }
                }
            } else if let Term::Choice(mut options) = term {
                match options.len() {
                    1 => todo.extend(options.remove(0).into_iter().rev()),
                    _ => choices.push(options),
                }
            } else if let Term::Unsaid(keyword, schema) = term {
                self.n_narrowed += 1;
                self.unsaid.get_or_insert((keyword, schema));
                return Ok(());
            } else if let Term::NotValue(value @ (Value::Array(_) | Value::Object(_))) = term {
                choices.push(self.not_value(value));
            } else {
                if let (Term::Values(more), Some(values)) = (&term, &facts.values) {
                    self.steps(more.len() * values.len())?;
                }
                if !facts.take(term) {
                    return Ok(());
                }
            }
        }
        if self.contradicts_itself_below(&facts)? {
            return Ok(());
        }
        if !choices.is_empty() {
            self.n_choices += 1;
            if self.n_choices > CHOICES_DEPTH_MAX {
                return Err(too_large(CHOICES_DEPTH_MAX, "choices that go together"));
            }
            for option in choices.remove(0) {
                let option = option.into_iter().rev().collect();
                self.follow(facts.clone(), option, choices.clone(), found)?;
            }
            self.n_choices -= 1;
            return Ok(());
        }
        facts.finish();
        if self.keep_values_that_hold(&mut facts)? {
            found.push(facts);
        }
        if found.len() > SCHEMA_CHOICES_MAX {
            return Err(too_large(SCHEMA_CHOICES_MAX, "ways to be valid"));
        }
        Ok(())
    }

    fn open(&mut self, conjunct: Conjunct<'a>, frames: Frames) -> Result<Vec<Term<'a>>, ConstraintError> {
        let schema = conjunct.schema;
        let Some(fields) = schema.as_object() else {
            return Err(ConstraintError::NotASchema { pointer: self.document.pointer(schema) });
        };
        let open = Open { schema, fields, scope: conjunct.scope, frames };
        if conjunct.holds { self.terms(open) } else { Ok(vec![Term::Choice(self.ways_to_fail(&open)?)]) }
    }

    fn step(&mut self) -> Result<(), ConstraintError> {
        self.steps(1)
    }

    /// Counts work.
    fn steps(&mut self, n: usize) -> Result<(), ConstraintError> {
        self.n_steps += n;
        if self.n_steps > SCHEMA_STEPS_MAX {
            return Err(too_large(SCHEMA_STEPS_MAX, "steps to say it in other words"));
        }
        Ok(())
    }

    /// The shapes that a value can have for which a set of schemas holds.
    fn shapes(&mut self, set: &Set<'a>) -> Result<Vec<Shape>, ConstraintError> {
        let ways = self.ways(set)?;
        let mut shapes = Vec::new();
        for facts in ways.facts.iter() {
            for shape in self.shapes_of(facts)? {
                if !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
        }
        let unsaid = ways.unsaid.or(self.unsaid.take());
        match unsaid {
            Some((keyword, schema)) if shapes.is_empty() => Err(self.unsupported(keyword, schema)),
            _ => Ok(shapes),
        }
    }
}

/// A set without what says nothing, in an order of its own for comparison.
fn plain(set: Set<'_>) -> (Set<'_>, Vec<Key>) {
    if set.iter().any(|conjunct| conjunct.verdict() == Some(false)) {
        let nothing = Conjunct::nothing();
        let key = nothing.key();
        return (vec![nothing], vec![key]);
    }
    let mut plain: Set<'_> = Vec::new();
    let mut key = Vec::new();
    for conjunct in set.into_iter().filter(|conjunct| conjunct.verdict().is_none()) {
        if !key.contains(&conjunct.key()) {
            key.push(conjunct.key());
            plain.push(conjunct);
        }
    }
    key.sort_unstable();
    (plain, key)
}

fn too_large(max: usize, unit: &'static str) -> ConstraintError {
    ConstraintError::TooLarge { what: "schema", max, unit }
}

fn nothing_is_valid() -> ConstraintError {
    ConstraintError::Refused { what: "JSON schema", cause: "unsatisfiable: no value is valid by it".to_owned() }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn count(value: &Value, keyword: &str) -> usize {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| usize::from(name == keyword) + count(value, keyword)).sum()
        }
        Value::Array(items) => items.iter().map(|value| count(value, keyword)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
