//! Takes a schema apart that must not hold: one of the things that it says must fail.

use super::Rewriter;
use super::read::{Open, says_nothing, size};
use super::term::{Conjunct, Frames, ListRule, RecordRule, Term, kind};
use crate::constraint::ConstraintError;
use serde_json::Value;

/// One of these fails.
type Options<'a> = Result<Vec<Vec<Term<'a>>>, ConstraintError>;

impl<'a> Rewriter<'a> {
    /// The ways in which a schema does not hold.
    pub(super) fn ways_to_fail(&mut self, open: &Open<'a>) -> Options<'a> {
        let mut options = Vec::new();
        for (keyword, value) in open.fields {
            options.extend(self.failing(keyword, value, open)?);
        }
        Ok(options)
    }

    fn failing(&mut self, keyword: &'a str, value: &'a Value, open: &Open<'a>) -> Options<'a> {
        Ok(match keyword {
            "$ref" | "$dynamicRef" => {
                vec![vec![Term::Schema(self.reference(keyword, value, open)?.not(), Frames::from([]))]]
            }
            "allOf" => self.list(keyword, value, open)?.iter().map(|schema| vec![open.not_here(schema)]).collect(),
            "anyOf" => vec![self.list(keyword, value, open)?.iter().map(|schema| open.not_here(schema)).collect()],
            "oneOf" => none_or_two(self.list(keyword, value, open)?, open),
            "not" => vec![vec![open.here(value)]],
            "if" => {
                let both = |first, keyword| open.get(keyword).map(|schema| vec![first, open.not_here(schema)]);
                let ways = [both(open.here(value), "then"), both(open.not_here(value), "else")];
                ways.into_iter().flatten().collect()
            }
            "const" | "enum" => vec![self.values(keyword, value, open)?.iter().map(Term::NotValue).collect()],
            "type" => vec![vec![Term::Kinds(!self.kinds(value, open)?)]],
            "minLength" | "maxLength" => failing_length(keyword, self.length(keyword, value, open)?),
            "minItems" | "maxItems" | "minProperties" | "maxProperties" => self.failing_size(keyword, value, open)?,
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                self.failing_bound(keyword, value, open)?
            }
            "required" => {
                let names = self.names(keyword, value, open)?;
                names.into_iter().map(|name| vec![Term::Kinds(kind::OBJECT), Term::Forbid(name)]).collect()
            }
            "properties" => {
                self.map(keyword, open)?.into_iter().map(|(name, one)| failing_property(name, one)).collect()
            }
            "additionalProperties" if Conjunct::verdict(&open.conjunct(value)) == Some(true) => vec![],
            "prefixItems" | "items" | "additionalItems" => self.failing_items(keyword, open)?,
            "contains" => self.failing_contains(value, open)?,
            "uniqueItems" if value.as_bool() == Some(false) => vec![],
            "pattern"
            | "format"
            | "patternProperties"
            | "additionalProperties"
            | "propertyNames"
            | "uniqueItems"
            | "dependentRequired"
            | "dependentSchemas"
            | "dependencies"
            | "unevaluatedProperties"
            | "unevaluatedItems" => {
                vec![vec![Term::Unsaid(keyword, open.schema)]]
            }
            _ if says_nothing(keyword) => vec![],
            _ => return Err(self.unsupported(keyword, open.schema)),
        })
    }

    fn failing_size(&self, keyword: &str, value: &Value, open: &Open<'a>) -> Options<'a> {
        let n = self.size(keyword, value, open)?;
        let below = n.checked_sub(1);
        let way = match keyword {
            "minItems" => below.map(|max| (kind::ARRAY, Term::MaxItems(max))),
            "maxItems" => Some((kind::ARRAY, Term::MinItems(n + 1))),
            "minProperties" => below.map(|max| (kind::OBJECT, Term::MaxProperties(max))),
            _ => Some((kind::OBJECT, Term::MinProperties(n + 1, open.schema))),
        };
        Ok(way.map(|(kinds, term)| vec![Term::Kinds(kinds), term]).into_iter().collect())
    }

    fn failing_bound(&self, keyword: &str, value: &'a Value, open: &Open<'a>) -> Options<'a> {
        let way = match self.bound(keyword, value, open)? {
            Some(Term::AtLeast(number)) => Term::Below(number),
            Some(Term::Above(number)) => Term::AtMost(number),
            Some(Term::AtMost(number)) => Term::Above(number),
            Some(Term::Below(number)) => Term::AtLeast(number),
            Some(_) => Term::Unsaid("multipleOf", open.schema),
            None => return Ok(vec![]),
        };
        Ok(vec![vec![Term::Kinds(kind::NUMBER), way]])
    }

    /// An item is wrong: one of the first ones, or the one behind them.
    fn failing_items(&mut self, keyword: &str, open: &Open<'a>) -> Options<'a> {
        let rule = self.list_rule(open)?;
        let is_first =
            open.fields.keys().find(|name| matches!(name.as_str(), "prefixItems" | "items" | "additionalItems"));
        if is_first.is_none_or(|first| first != keyword) {
            return Ok(vec![]);
        }
        self.n_narrowed += 1;
        let all = rule.first.iter().chain(&rule.rest).cloned().enumerate();
        Ok(all.map(|(idx, one)| failing_item(idx, one)).collect())
    }

    fn failing_contains(&mut self, schema: &'a Value, open: &Open<'a>) -> Options<'a> {
        let (min, max) = self.contains_bounds(open)?;
        let one = self.seen(open.conjunct(schema));
        self.n_narrowed += 1;
        let mut ways = Vec::new();
        if min > 0 {
            let first = vec![Conjunct::anything(); size(min) - 1];
            let rule = ListRule { first, rest: Some(one.clone().not()) };
            ways.push(vec![Term::Kinds(kind::ARRAY), Term::List(rule, Frames::from([]))]);
        }
        if let Some(max) = max {
            let rule = ListRule { first: vec![one; size(max) + 1], rest: None };
            ways.push(vec![Term::Kinds(kind::ARRAY), Term::MinItems(max + 1), Term::List(rule, Frames::from([]))]);
        }
        Ok(ways)
    }
}

/// Of schemas of which one must hold, none does, or two do.
fn none_or_two<'a>(options: &'a [Value], open: &Open<'a>) -> Vec<Vec<Term<'a>>> {
    let mut ways = vec![options.iter().map(|schema| open.not_here(schema)).collect()];
    for (idx, first) in options.iter().enumerate() {
        ways.extend(options[idx + 1..].iter().map(|second| vec![open.here(first), open.here(second)]));
    }
    ways
}

fn failing_length<'a>(keyword: &str, n: u64) -> Vec<Vec<Term<'a>>> {
    let way = match keyword {
        "minLength" => n.checked_sub(1).map(Term::MaxLength),
        _ => Some(Term::MinLength(n + 1)),
    };
    way.map(|term| vec![Term::Kinds(kind::STRING), term]).into_iter().collect()
}

fn failing_property<'a>(name: &'a str, conjunct: Conjunct<'a>) -> Vec<Term<'a>> {
    let rule = RecordRule { named: vec![(name, conjunct.not())], patterns: vec![], rest: None };
    vec![Term::Kinds(kind::OBJECT), Term::Require(name), Term::Record(rule, Frames::from([]))]
}

fn failing_item(idx: usize, conjunct: Conjunct<'_>) -> Vec<Term<'_>> {
    let mut first = vec![Conjunct::anything(); idx];
    first.push(conjunct.not());
    let rule = ListRule { first, rest: None };
    vec![Term::Kinds(kind::ARRAY), Term::MinItems(idx as u64 + 1), Term::List(rule, Frames::from([]))]
}
