//! Facts about objects as shapes. The engine of grammars wants patterns of which no two match the same name, and counts
//! properties only where those that are named are all required.

use super::facts::Facts;
use super::read::size;
use super::shape::{Property, Record, Shape};
use super::term::{Conjunct, RecordRule, kind};
use super::{Rewriter, Set};
use crate::constraint::ConstraintError;
use crate::constraint::schema::wrong;

/// Most ways to choose some of the properties that may be there.
const PICKS_MAX: usize = 64;
/// Steps that it counts for to compare two patterns.
const COMPARISON_STEPS: usize = 1000;

/// Names that are left of all by `propertyNames`.
enum Names {
    All,
    Listed(Vec<String>),
    Matching(String),
}

impl<'a> Rewriter<'a> {
    pub(super) fn records(&mut self, facts: &Facts<'a>) -> Result<Vec<Shape>, ConstraintError> {
        let nothing = self.place(vec![Conjunct::nothing()])?;
        let names = self.names_of(facts)?;
        let mut named = Vec::new();
        for name in mentioned(facts, &names) {
            let is_out = facts.forbidden.contains(name.as_str()) || !self.is_name(facts, &name)?;
            let set = self.of_property(&facts.records, &name);
            let place = if is_out { nothing } else { self.place(set)? };
            let is_required = facts.required.contains(&name.as_str());
            named.push(Property { name, place, is_required });
        }
        let groups = self.groups(facts)?;
        let rest: Set<'a> = facts.records.iter().filter_map(|rule| rule.rest.clone()).collect();
        let (patterns, rest) = match names {
            Names::All => {
                let mut patterns = Vec::new();
                for group in groups {
                    let set = of_group(&facts.records, &group);
                    patterns.push((joined(&group), self.place(set)?));
                }
                (patterns, self.place(rest)?)
            }
            Names::Listed(_) => (vec![], nothing),
            Names::Matching(_) if !groups.is_empty() => {
                self.n_narrowed += 1;
                (vec![], nothing)
            }
            Names::Matching(pattern) => (vec![(pattern, self.place(rest)?)], nothing),
        };
        let record = Record { named, patterns, rest, min: facts.min_properties, max: facts.max_properties };
        self.counted(record, nothing, facts)
    }

    /// Patterns of properties, those together that match the same names.
    fn groups(&mut self, facts: &Facts<'a>) -> Result<Vec<Vec<&'a str>>, ConstraintError> {
        let mut groups: Vec<Vec<&'a str>> = Vec::new();
        for (pattern, _) in facts.records.iter().flat_map(|rule| &rule.patterns) {
            if groups.iter().any(|group| group.contains(pattern)) {
                continue;
            }
            self.steps(COMPARISON_STEPS * groups.iter().map(Vec::len).sum::<usize>())?;
            let meets = |group: &Vec<&'a str>| group.iter().any(|other| !self.patterns.are_disjoint(other, pattern));
            let (met, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(meets);
            groups = apart;
            groups.push(met.into_iter().flatten().chain([*pattern]).collect());
            self.n_narrowed += usize::from(groups.last().is_some_and(|group| group.len() > 1));
        }
        Ok(groups)
    }

    /// The names that properties may have at all.
    fn names_of(&mut self, facts: &Facts<'a>) -> Result<Names, ConstraintError> {
        const EXPECTED: &str = "names that are listed, or of one pattern or length";
        let Some((_, schema)) = facts.names.first() else { return Ok(Names::All) };
        let wrong = |rewriter: &Self| wrong("propertyNames", &rewriter.document.pointer(schema), EXPECTED);
        let set: Set<'a> = facts.names.iter().map(|(conjunct, _)| conjunct.clone()).collect();
        let ways = self.ways(&set)?;
        let mut listed = Vec::new();
        let mut patterns = Vec::new();
        for facts in ways.facts.iter().filter(|facts| facts.has(kind::STRING)) {
            if let Some(values) = &facts.values {
                listed.extend(values.iter().filter_map(|value| value.as_str()).map(str::to_owned));
                continue;
            }
            let (min, max) = (facts.min_length, facts.max_length);
            let has_length = min > 0 || max.is_some();
            match facts.patterns.as_slice() {
                _ if !facts.formats.is_empty() || !facts.not_values.is_empty() => return Err(wrong(self)),
                [] if !has_length => return Ok(Names::All),
                [] => {
                    let max = max.map(|max| max.to_string()).unwrap_or_default();
                    patterns.push(format!("^(.|\\n){{{min},{max}}}$"));
                }
                [pattern] if !has_length => patterns.push((*pattern).to_owned()),
                _ => return Err(wrong(self)),
            }
        }
        match patterns.pop() {
            None => Ok(Names::Listed(listed)),
            Some(pattern) if patterns.is_empty() && listed.is_empty() => Ok(Names::Matching(pattern)),
            Some(_) => Err(wrong(self)),
        }
    }

    /// The same objects, in shapes in which properties can be counted.
    fn counted(
        &mut self,
        mut record: Record,
        nothing: usize,
        facts: &Facts<'a>,
    ) -> Result<Vec<Shape>, ConstraintError> {
        let n_required = record.named.iter().filter(|property| property.is_required).count() as u64;
        let is_open = record.rest != nothing || !record.patterns.is_empty();
        let may_be = |property: &&mut Property| !property.is_required && property.place != nothing;
        let n_missing = record.min.saturating_sub(n_required);
        let n_optional = record.named.iter_mut().filter(may_be).count() as u64;
        if n_missing > 0 && n_optional > 0 {
            if n_missing < n_optional || is_open {
                self.n_narrowed += 1;
            }
            for property in record.named.iter_mut().filter(may_be).take(size(n_missing)) {
                property.is_required = true;
            }
        }
        let n_missing = n_missing.saturating_sub(n_optional);
        if n_missing > 1 && is_open {
            // Properties that are not named may come twice, and count once then.
            let pointer = facts.min_properties_of.map(|schema| self.document.pointer(schema)).unwrap_or_default();
            let expected = "at most one more than the properties that are named";
            return Err(wrong("minProperties", &pointer, expected));
        }
        if n_missing > 0 && !is_open {
            return Ok(vec![]);
        }
        if n_missing == 0 {
            record.min = 0;
        }
        match record.max {
            None => Ok(vec![Shape::Object(record)]),
            Some(max) => Ok(self.at_most(record, max, nothing)),
        }
    }

    /// Objects of so many properties at most: those that may be there are named, or there are others.
    fn at_most(&mut self, record: Record, max: u64, nothing: usize) -> Vec<Shape> {
        let n_required = record.named.iter().filter(|property| property.is_required).count() as u64;
        let Some(n_free) = max.checked_sub(n_required) else { return vec![] };
        let may_be = |property: &Property| !property.is_required && property.place != nothing;
        let optional: Vec<usize> = (0..record.named.len()).filter(|idx| may_be(&record.named[*idx])).collect();
        let is_open = record.rest != nothing || !record.patterns.is_empty();
        if optional.is_empty() {
            return vec![Shape::Object(record)];
        }
        let with = |kept: &[usize]| {
            let mut named = record.named.clone();
            optional.iter().filter(|idx| !kept.contains(idx)).for_each(|idx| named[*idx].place = nothing);
            named
        };
        let mut shapes = Vec::new();
        if record.min == 0 {
            let (picks, are_all) = picks(&optional, size(n_free));
            self.n_narrowed += usize::from(!are_all || is_open);
            for kept in picks {
                let named = with(&kept);
                shapes.push(Shape::Object(Record { named, patterns: vec![], rest: nothing, min: 0, max: None }));
            }
        }
        if is_open && n_free > 0 {
            shapes.push(Shape::Object(Record { named: with(&[]), max: Some(max), ..record.clone() }));
        }
        shapes
    }
}

/// Names that are spoken of, in the order in which they are.
fn mentioned(facts: &Facts<'_>, names: &Names) -> Vec<String> {
    let named = facts.records.iter().flat_map(|rule| &rule.named).map(|(name, _)| *name);
    let listed = match names {
        Names::Listed(names) => names.as_slice(),
        Names::All | Names::Matching(_) => &[],
    };
    let all = named.chain(facts.required.iter().copied()).chain(facts.forbidden.iter().copied());
    let mut mentioned: Vec<String> = Vec::new();
    for name in all.chain(listed.iter().map(String::as_str)) {
        if !mentioned.iter().any(|other| other == name) {
            mentioned.push(name.to_owned());
        }
    }
    mentioned
}

/// What is said of properties of which it is known only that one of these patterns matches.
fn of_group<'a>(rules: &[RecordRule<'a>], group: &[&str]) -> Set<'a> {
    let mut set = Set::new();
    for rule in rules {
        let own = rule.patterns.iter().filter(|(pattern, _)| group.contains(pattern));
        set.extend(own.map(|(_, conjunct)| conjunct.clone()));
        let is_covered = group.iter().all(|pattern| rule.patterns.iter().any(|(other, _)| other == pattern));
        if !is_covered {
            set.extend(rule.rest.clone());
        }
    }
    set
}

/// One pattern of several. Those that are anchored are so one by one, which the engine has no words for inside of a
/// choice: what is not is said to go on.
fn joined(group: &[&str]) -> String {
    if let [one] = group {
        return (*one).to_owned();
    }
    let whole = |pattern: &&str| {
        let (start, rest) = pattern.strip_prefix('^').map_or(("(.|\\n)*", *pattern), |rest| ("", rest));
        let (rest, end) = rest.strip_suffix('$').map_or((rest, "(.|\\n)*"), |rest| (rest, ""));
        format!("{start}({rest}){end}")
    };
    format!("^({})$", group.iter().map(whole).collect::<Vec<_>>().join("|"))
}

/// All choices of so many of these, or the first one where there are too many; and whether they are all.
fn picks(of: &[usize], n: usize) -> (Vec<Vec<usize>>, bool) {
    if n >= of.len() {
        return (vec![of.to_vec()], true);
    }
    let mut picks: Vec<Vec<usize>> = vec![vec![]];
    for (idx, item) in of.iter().enumerate() {
        let n_left = of.len() - idx - 1;
        let with = picks.iter().filter(|pick| pick.len() < n).map(|pick| [pick.as_slice(), &[*item]].concat());
        let with: Vec<Vec<usize>> = with.collect();
        picks.retain(|pick| pick.len() + n_left >= n);
        picks.extend(with);
        if picks.len() > PICKS_MAX {
            return (vec![of[..n].to_vec()], false);
        }
    }
    (picks, true)
}

#[cfg(test)]
mod tests {
    use super::{joined, picks};

    #[test]
    fn all_choices_of_some_are_picked() {
        assert_eq!(picks(&[1, 2, 3], 2), (vec![vec![1, 2], vec![1, 3], vec![2, 3]], true));
        assert_eq!(picks(&[1, 2], 0), (vec![vec![]], true));
        assert_eq!(picks(&[1, 2], 5), (vec![vec![1, 2]], true));
        let many: Vec<usize> = (0..30).collect();
        assert_eq!(picks(&many, 3), (vec![vec![0, 1, 2]], false));
    }

    #[test]
    fn patterns_are_joined_with_their_anchors() {
        assert_eq!(joined(&["^a"]), "^a");
        assert_eq!(joined(&["^a", "b$"]), "^((a)(.|\\n)*|(.|\\n)*(b))$");
    }
}
