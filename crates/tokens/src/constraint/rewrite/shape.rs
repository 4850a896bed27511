//! Facts as shapes: each is what the engine of grammars enforces of one kind of value.

use super::facts::Facts;
use super::format::{Said, said};
use super::holds::{at, kind_of};
use super::patterns::all_but;
use super::read::{size, whole};
use super::term::kind;
use super::{Rewriter, Set};
use crate::constraint::ConstraintError;
use crate::constraint::schema::wrong;
use serde_json::{Map, Value, json};

/// Most arrays that are listed where no two items may be the same.
const UNIQUE_MAX: usize = 256;
/// Most first items of an array that are told apart.
const FIRST_MAX: usize = 256;
/// Longest text, in characters, that is ruled out by itself.
const OUT_MAX: usize = 200;

/// What a value of one kind looks like. Items and properties are named by the number of their place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Anything,
    /// A schema without others in it.
    Plain(Value),
    Array {
        first: Vec<usize>,
        rest: usize,
        min: u64,
        max: Option<u64>,
    },
    Object(Record),
}

/// What an object looks like.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) named: Vec<Property>,
    /// Places of properties whose names match a pattern; no two of them match the same.
    pub(super) patterns: Vec<(String, usize)>,
    pub(super) rest: usize,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) place: usize,
    pub(super) is_required: bool,
}

type Shapes = Result<Vec<Shape>, ConstraintError>;

impl<'a> Rewriter<'a> {
    pub(super) fn shapes_of(&mut self, facts: &Facts<'a>) -> Shapes {
        if let Some(values) = &facts.values {
            return Ok(listed(facts, values));
        }
        let is_free =
            facts.is_free_number() && facts.is_free_string() && facts.is_free_array() && facts.is_free_object();
        if is_free && facts.kinds == kind::ANY {
            return Ok(vec![Shape::Anything]);
        }
        let mut shapes = constants(facts.kinds);
        if facts.has(kind::INTEGER) {
            shapes.extend(self.numbers(facts)?);
        } else if facts.has(kind::FRACTION) {
            // No expression tells numbers that are not whole from those that are: they are left out.
            self.n_narrowed += 1;
        }
        if facts.has(kind::STRING) {
            shapes.push(Shape::Plain(text(facts)));
        }
        if facts.has(kind::ARRAY) {
            shapes.extend(self.arrays(facts)?);
        }
        if facts.has(kind::OBJECT) {
            shapes.extend(self.records(facts)?);
        }
        Ok(shapes)
    }

    fn numbers(&mut self, facts: &Facts<'a>) -> Shapes {
        let step = common_step(&facts.steps).ok_or_else(|| {
            let pointer = super::schema::first_with(self.document.root(), "multipleOf", "").unwrap_or_default();
            wrong("multipleOf", &pointer, "a number of few digits, and so with others that hold")
        })?;
        let name = if facts.has(kind::FRACTION) { "number" } else { "integer" };
        let (mut least, mut most) = (facts.least, facts.most);
        for format in &facts.formats {
            if let Some(Said::Within(low, high)) = said(format) {
                least = Some(least.filter(|(bound, _)| *bound >= low).unwrap_or((low, false)));
                most = Some(most.filter(|(bound, _)| *bound <= high).unwrap_or((high, false)));
            }
        }
        let mut out: Vec<f64> = facts.not_values.iter().filter_map(|value| value.as_f64()).collect();
        out.sort_by(f64::total_cmp);
        out.dedup();
        let mut shapes = Vec::new();
        for cut in out.into_iter().filter(|cut| most.is_none_or(|(bound, _)| *cut <= bound)) {
            if is_between(least, Some((cut, true))) {
                shapes.push(Shape::Plain(number(name, least, Some((cut, true)), step)));
            }
            least = Some(least.filter(|(bound, _)| *bound > cut).unwrap_or((cut, true)));
        }
        if is_between(least, most) {
            shapes.push(Shape::Plain(number(name, least, most, step)));
        }
        Ok(shapes)
    }

    fn arrays(&mut self, facts: &Facts<'a>) -> Shapes {
        if let (Some(schema), true) = (facts.unique, facts.max_items.is_none_or(|max| max > 1)) {
            return self.unique_arrays(facts, schema);
        }
        let n_first = facts.lists.iter().map(|rule| rule.first.len()).max().unwrap_or(0);
        let n_first = facts.max_items.map_or(n_first, |max| n_first.min(size(max)));
        if n_first > FIRST_MAX {
            return Err(super::too_large(FIRST_MAX, "first items that are told apart"));
        }
        let first = (0..n_first).map(|idx| self.place(at(facts, idx))).collect::<Result<_, _>>()?;
        let rest = self.place(at(facts, usize::MAX))?;
        Ok(vec![Shape::Array { first, rest, min: facts.min_items, max: facts.max_items }])
    }

    /// Arrays of values that are few, listed one by one.
    fn unique_arrays(&mut self, facts: &Facts<'a>, schema: &'a Value) -> Shapes {
        const EXPECTED: &str = "items that are one of few constants, or at most one item";
        let wrong = |rewriter: &Self| wrong("uniqueItems", &rewriter.document.pointer(schema), EXPECTED);
        let mut all: Vec<Vec<Value>> = vec![vec![]];
        let mut longest = all.clone();
        let mut is_sorted = false;
        for idx in 0.. {
            if facts.max_items.is_some_and(|max| idx as u64 >= max) || longest.is_empty() {
                break;
            }
            let values = self.constants_of(&at(facts, idx))?.ok_or_else(|| wrong(self))?;
            let mut longer = extended(&longest, &values, is_sorted);
            if all.len() + longer.len() > UNIQUE_MAX && !is_sorted {
                // All orders are too many: one of them is left for each choice of items.
                self.n_narrowed += 1;
                is_sorted = true;
                all.retain(|list| is_in_order(list, &values));
                longest.retain(|list| is_in_order(list, &values));
                longer = extended(&longest, &values, is_sorted);
            }
            if all.len() + longer.len() > UNIQUE_MAX {
                return Err(wrong(self));
            }
            all.extend(longer.iter().cloned());
            longest = longer;
        }
        all.retain(|list| list.len() as u64 >= facts.min_items);
        Ok(if all.is_empty() { vec![] } else { vec![Shape::Plain(json!({ "enum": all }))] })
    }

    /// All values for which a set of schemas holds, where they are listed.
    fn constants_of(&mut self, set: &Set<'a>) -> Result<Option<Vec<Value>>, ConstraintError> {
        let ways = self.ways(set)?;
        let mut all: Vec<Value> = Vec::new();
        for facts in ways.facts.iter() {
            let values = match &facts.values {
                Some(values) if facts.formats.is_empty() => values.iter().map(|value| (*value).clone()).collect(),
                _ if facts.kinds & !(kind::NULL | kind::BOOLEAN) == 0 => {
                    let kinds = [(kind::NULL, Value::Null), (kind::FALSE, json!(false)), (kind::TRUE, json!(true))];
                    kinds.into_iter().filter(|(bit, _)| facts.has(*bit)).map(|(_, value)| value).collect()
                }
                _ => return Ok(None),
            };
            let values: Vec<Value> = values;
            for value in values {
                if !all.iter().any(|other| super::facts::is_equal(other, &value)) {
                    all.push(value);
                }
            }
        }
        Ok(Some(all))
    }
}

fn extended(lists: &[Vec<Value>], values: &[Value], is_sorted: bool) -> Vec<Vec<Value>> {
    let mut longer = Vec::new();
    for list in lists {
        for value in values.iter().filter(|value| !list.iter().any(|other| super::facts::is_equal(other, value))) {
            let mut list = list.clone();
            list.push(value.clone());
            if !is_sorted || is_in_order(&list, values) {
                longer.push(list);
            }
            if longer.len() > UNIQUE_MAX {
                return longer;
            }
        }
    }
    longer
}

/// Whether items stand in the order of a list.
fn is_in_order(list: &[Value], values: &[Value]) -> bool {
    let places = list.iter().map(|item| values.iter().position(|value| super::facts::is_equal(item, value)));
    places.collect::<Vec<_>>().is_sorted()
}

fn constants(kinds: u8) -> Vec<Shape> {
    let mut shapes = Vec::new();
    if kinds & kind::NULL != 0 {
        shapes.push(Shape::Plain(json!({ "type": "null" })));
    }
    match kinds & kind::BOOLEAN {
        0 => {}
        kind::TRUE => shapes.push(Shape::Plain(json!({ "const": true }))),
        kind::FALSE => shapes.push(Shape::Plain(json!({ "const": false }))),
        _ => shapes.push(Shape::Plain(json!({ "type": "boolean" }))),
    }
    shapes
}

/// Listed values. Of texts the formats still have to be said.
fn listed(facts: &Facts<'_>, values: &[&Value]) -> Vec<Shape> {
    let has_formats = facts.formats.iter().any(|format| matches!(said(format), Some(Said::Format(_))));
    let is_open = |value: &&Value| has_formats && kind_of(value) == kind::STRING;
    let (open, plain): (Vec<&Value>, Vec<&Value>) = values.iter().copied().partition(is_open);
    let mut shapes = Vec::new();
    if !plain.is_empty() {
        shapes.push(Shape::Plain(json!({ "enum": plain })));
    }
    if !open.is_empty() {
        shapes.push(Shape::Plain(json!({ "allOf": [text(facts), { "enum": open }] })));
    }
    shapes
}

fn is_between(least: Option<(f64, bool)>, most: Option<(f64, bool)>) -> bool {
    match (least, most) {
        (Some((least, is_above)), Some((most, is_below))) => least < most || (least == most && !is_above && !is_below),
        _ => true,
    }
}

fn number(name: &str, least: Option<(f64, bool)>, most: Option<(f64, bool)>, step: Option<f64>) -> Value {
    let mut fields = Map::new();
    fields.insert("type".to_owned(), json!(name));
    for (bound, plain, exclusive) in [(least, "minimum", "exclusiveMinimum"), (most, "maximum", "exclusiveMaximum")] {
        if let Some((bound, is_out)) = bound {
            fields.insert(if is_out { exclusive } else { plain }.to_owned(), json!(bound));
        }
    }
    if let Some(step) = step {
        fields.insert("multipleOf".to_owned(), json!(step));
    }
    Value::Object(fields)
}

fn text(facts: &Facts<'_>) -> Value {
    let mut fields = Map::new();
    fields.insert("type".to_owned(), json!("string"));
    if facts.min_length > 0 {
        fields.insert("minLength".to_owned(), json!(facts.min_length));
    }
    let out: Vec<&str> = facts.not_values.iter().filter_map(|value| value.as_str()).collect();
    let (out, too_long): (Vec<&str>, Vec<&str>) = out.iter().partition(|text| text.chars().count() <= OUT_MAX);
    // An expression of all texts but a long one would be long, too: with one that is out, all that are as long are.
    let max_length = if too_long.is_empty() { None } else { Some(OUT_MAX as u64) };
    if let Some(max) = facts.max_length.into_iter().chain(max_length).min() {
        fields.insert("maxLength".to_owned(), json!(max));
    }
    let mut patterns: Vec<String> = facts.patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    let mut formats = Vec::new();
    for format in &facts.formats {
        match said(format) {
            Some(Said::Format(name)) => formats.push(name),
            Some(Said::Pattern(pattern)) => patterns.push(pattern.to_owned()),
            Some(Said::Within(..) | Said::Anything) | None => {}
        }
    }
    if !out.is_empty() {
        patterns.push(all_but(&out));
    }
    let patterns = patterns.iter().map(|pattern| json!({ "type": "string", "pattern": pattern }));
    let formats = formats.iter().map(|format| json!({ "type": "string", "format": format }));
    let mut all: Vec<Value> = [Value::Object(fields)].into_iter().chain(patterns).chain(formats).collect();
    if all.len() == 1 { all.remove(0) } else { json!({ "allOf": all }) }
}

/// A number of which all multiples are multiples of all steps; none of none. The engine takes 32 bits of digits.
fn common_step(steps: &[f64]) -> Option<Option<f64>> {
    const PLACES_MAX: i32 = 9;
    if steps.len() < 2 {
        return Some(steps.first().copied());
    }
    let scale = (0..=PLACES_MAX).map(|n| 10f64.powi(n)).find(|scale| {
        steps.iter().map(|step| step * scale).all(|step| step.round() >= 1.0 && (step - step.round()).abs() < 1e-6)
    })?;
    let mut all: u64 = 1;
    for step in steps.iter().map(|step| (step * scale).round()) {
        if step > f64::from(u32::MAX) {
            return None;
        }
        let step = whole(step);
        let (mut a, mut b) = (all, step);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        all = (all / a).checked_mul(step).filter(|all| u32::try_from(*all).is_ok())?;
    }
    Some(Some(all as f64 / scale))
}
