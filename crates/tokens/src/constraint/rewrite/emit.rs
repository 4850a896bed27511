//! Shapes as a schema for the engine of grammars. What no value can fulfil is left out before: the engine would refuse the
//! whole for it.

use super::read::size;
use super::shape::{Record, Shape};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The schema of the first place. None if no value is valid by it.
pub(super) fn emit(places: &[Vec<Shape>]) -> Option<Value> {
    let can_be = possible(places);
    if !can_be[0] {
        return None;
    }
    let emitter = Emitter { places, can_be };
    let mut defs = Map::new();
    for idx in emitter.used() {
        defs.insert(format!("p{idx}"), emitter.schema(idx));
    }
    let mut root = emitter.schema(0);
    if let (Value::Object(fields), false) = (&mut root, defs.is_empty()) {
        fields.insert("$defs".to_owned(), Value::Object(defs));
    }
    Some(root)
}

/// Whether any value has one of the shapes of a place, for each place: the least answer that agrees with itself.
fn possible(places: &[Vec<Shape>]) -> Vec<bool> {
    let mut can_be = vec![false; places.len()];
    loop {
        let before = can_be.iter().filter(|can_be| **can_be).count();
        for (idx, shapes) in places.iter().enumerate() {
            can_be[idx] = shapes.iter().any(|shape| is_possible(shape, &can_be));
        }
        if can_be.iter().filter(|can_be| **can_be).count() == before {
            return can_be;
        }
    }
}

fn is_possible(shape: &Shape, can_be: &[bool]) -> bool {
    match shape {
        Shape::Anything | Shape::Plain(_) => true,
        Shape::Array { first, rest, min, .. } => {
            let needed = first.iter().take(size(*min));
            needed.clone().all(|place| can_be[*place]) && (*min <= first.len() as u64 || can_be[*rest])
        }
        Shape::Object(record) => {
            let required = record.named.iter().filter(|property| property.is_required);
            let n_required = required.clone().count() as u64;
            let others = record.patterns.iter().map(|(_, place)| place).chain([&record.rest]);
            let has_others = record.min <= n_required || others.into_iter().any(|place| can_be[*place]);
            required.into_iter().all(|property| can_be[property.place]) && has_others
        }
    }
}

struct Emitter<'a> {
    places: &'a [Vec<Shape>],
    can_be: Vec<bool>,
}

impl Emitter<'_> {
    /// Places that are referred to, from the first one on.
    fn used(&self) -> BTreeSet<usize> {
        let mut used = BTreeSet::new();
        let mut todo = vec![0];
        while let Some(idx) = todo.pop() {
            for shape in &self.places[idx] {
                for place in below(shape) {
                    if self.is_referred_to(place) && used.insert(place) {
                        todo.push(place);
                    }
                }
            }
        }
        used
    }

    /// Whether a place has a definition of its own; others are said where they are.
    fn is_referred_to(&self, place: usize) -> bool {
        let is_deep = |shape: &Shape| matches!(shape, Shape::Array { .. } | Shape::Object(_));
        self.can_be[place] && self.places[place].iter().any(is_deep)
    }

    fn at(&self, place: usize) -> Value {
        if self.is_referred_to(place) { json!({ "$ref": format!("#/$defs/p{place}") }) } else { self.schema(place) }
    }

    fn schema(&self, place: usize) -> Value {
        let shapes = self.places[place].iter().filter(|shape| is_possible(shape, &self.can_be));
        let mut options: Vec<Value> = shapes.map(|shape| self.shape(shape)).collect();
        if options.contains(&Value::Bool(true)) {
            return Value::Bool(true);
        }
        match options.len() {
            0 => Value::Bool(false),
            1 => options.remove(0),
            _ => json!({ "anyOf": options }),
        }
    }

    fn shape(&self, shape: &Shape) -> Value {
        match shape {
            Shape::Anything => Value::Bool(true),
            Shape::Plain(schema) => schema.clone(),
            Shape::Array { first, rest, min, max } => self.array(first, *rest, *min, *max),
            Shape::Object(record) => self.object(record),
        }
    }

    fn array(&self, first: &[usize], rest: usize, min: u64, max: Option<u64>) -> Value {
        let mut fields = Map::new();
        fields.insert("type".to_owned(), json!("array"));
        if !first.is_empty() {
            let first: Vec<Value> = first.iter().map(|place| self.at(*place)).collect();
            fields.insert("prefixItems".to_owned(), Value::Array(first));
        }
        fields.insert("items".to_owned(), self.at(rest));
        fields.insert("minItems".to_owned(), json!(min));
        if let Some(max) = max {
            fields.insert("maxItems".to_owned(), json!(max));
        }
        Value::Object(fields)
    }

    fn object(&self, record: &Record) -> Value {
        let schemas = |places: Vec<(&String, usize)>| {
            places.into_iter().map(|(name, place)| (name.clone(), self.at(place))).collect::<Map<String, Value>>()
        };
        let required = record.named.iter().filter(|property| property.is_required).map(|property| &property.name);
        let required: Vec<&String> = required.collect();
        let named = schemas(record.named.iter().map(|property| (&property.name, property.place)).collect());
        let patterns = schemas(record.patterns.iter().map(|(pattern, place)| (pattern, *place)).collect());
        let mut fields = Map::new();
        fields.insert("type".to_owned(), json!("object"));
        fields.insert("properties".to_owned(), Value::Object(named));
        if !patterns.is_empty() {
            fields.insert("patternProperties".to_owned(), Value::Object(patterns));
        }
        fields.insert("required".to_owned(), json!(required));
        fields.insert("additionalProperties".to_owned(), self.at(record.rest));
        if record.min > 0 {
            fields.insert("minProperties".to_owned(), json!(record.min));
        }
        if let Some(max) = record.max {
            fields.insert("maxProperties".to_owned(), json!(max));
        }
        Value::Object(fields)
    }
}

/// The places of items and properties.
fn below(shape: &Shape) -> Vec<usize> {
    match shape {
        Shape::Anything | Shape::Plain(_) => vec![],
        Shape::Array { first, rest, .. } => first.iter().copied().chain([*rest]).collect(),
        Shape::Object(record) => {
            let named = record.named.iter().map(|property| property.place);
            named.chain(record.patterns.iter().map(|(_, place)| *place)).chain([record.rest]).collect()
        }
    }
}
