//! From text to rules.

use super::{ConstraintError, GBNF_DEPTH_MAX, GBNF_PARTS_MAX, GBNF_TIMES_MAX, Part, Rules};
use std::collections::BTreeMap;

/// Where an answer begins.
const ROOT: &str = "root";

/// # Errors
/// If the text is not well-formed, a rule is missing, or a bound is met.
pub(super) fn parse(grammar: &str) -> Result<Rules, ConstraintError> {
    let mut parser = Parser {
        rest: grammar,
        line: 1,
        n_parts: 0,
        names: BTreeMap::from([(ROOT, 0)]),
        rules: vec![Named { name: ROOT, line: 1, part: None }],
    };
    parser.skip_space(Newlines::Skipped);
    while !parser.rest.is_empty() {
        parser.rule()?;
    }
    let whole = |rule: Named<'_>| {
        rule.part.ok_or_else(|| ConstraintError::NoRule { line: rule.line, rule: rule.name.chars().take(64).collect() })
    };
    Ok(Rules { rules: parser.rules.into_iter().map(whole).collect::<Result<_, _>>()? })
}

/// What ends of lines are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Newlines {
    Skipped,
    Kept,
}

/// A rule that was named; `None`: it has not been defined yet.
struct Named<'a> {
    name: &'a str,
    line: usize,
    part: Option<Part>,
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    n_parts: usize,
    names: BTreeMap<&'a str, usize>,
    rules: Vec<Named<'a>>,
}

impl<'a> Parser<'a> {
    fn expects(&self, expected: &'static str) -> ConstraintError {
        ConstraintError::Syntax { line: self.line, expected }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn takes(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_space(&mut self, newlines: Newlines) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => {}
                '\n' | '\r' if newlines == Newlines::Skipped => {}
                '#' => {
                    let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    fn rule(&mut self) -> Result<(), ConstraintError> {
        let idx = self.name()?;
        self.skip_space(Newlines::Kept);
        if !self.takes("::=") {
            return Err(self.expects("`::=` after the name of a rule"));
        }
        self.skip_space(Newlines::Skipped);
        let part = self.either(0)?;
        if !matches!(self.peek(), None | Some('\n' | '\r')) {
            return Err(self.expects("the end of the line after a rule"));
        }
        if self.rules[idx].part.replace(part).is_some() {
            return Err(self.expects("each rule once"));
        }
        self.skip_space(Newlines::Skipped);
        Ok(())
    }

    /// Takes the name of a rule, and gives it a place if it has none.
    fn name(&mut self) -> Result<usize, ConstraintError> {
        let end = self.rest.find(|c: char| !is_of_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return Err(self.expects("the name of a rule"));
        }
        self.rest = rest;
        let (n_rules, line) = (self.rules.len(), self.line);
        let idx = *self.names.entry(name).or_insert(n_rules);
        if idx == n_rules {
            self.count()?;
            self.rules.push(Named { name, line, part: None });
        }
        Ok(idx)
    }

    fn count(&mut self) -> Result<(), ConstraintError> {
        self.n_parts += 1;
        if self.n_parts > GBNF_PARTS_MAX {
            return Err(ConstraintError::TooLarge { what: "GBNF grammar", max: GBNF_PARTS_MAX, unit: "parts" });
        }
        Ok(())
    }

    fn either(&mut self, depth: usize) -> Result<Part, ConstraintError> {
        let mut parts = vec![self.seq(depth)?];
        while self.takes("|") {
            self.skip_space(Newlines::Skipped);
            parts.push(self.seq(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Part::Either(parts) })
    }

    fn seq(&mut self, depth: usize) -> Result<Part, ConstraintError> {
        self.count()?;
        let newlines = if depth > 0 { Newlines::Skipped } else { Newlines::Kept };
        let mut parts = Vec::new();
        while let Some(part) = self.atom(depth)? {
            self.count()?;
            parts.push(self.times(part)?);
            self.skip_space(newlines);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Part::Seq(parts) })
    }

    /// The next part of a sequence; `None`: it has ended.
    fn atom(&mut self, depth: usize) -> Result<Option<Part>, ConstraintError> {
        let Some(first) = self.peek() else { return Ok(None) };
        let part = match first {
            '"' => self.text()?,
            '[' => self.class()?,
            '.' => {
                self.next();
                Part::Any
            }
            '(' => self.group(depth)?,
            '<' => self.special()?,
            _ if is_of_name(first) => Part::Rule(self.name()?),
            '|' | ')' | '\n' | '\r' => return Ok(None),
            _ => return Err(self.expects("a text, a class of characters, a group, or the name of a rule")),
        };
        Ok(Some(part))
    }

    fn group(&mut self, depth: usize) -> Result<Part, ConstraintError> {
        if depth == GBNF_DEPTH_MAX {
            return Err(ConstraintError::TooLarge { what: "GBNF grammar", max: GBNF_DEPTH_MAX, unit: "levels" });
        }
        self.next();
        self.skip_space(Newlines::Skipped);
        let part = self.either(depth + 1)?;
        if self.takes(")") { Ok(part) } else { Err(self.expects("`)`")) }
    }

    fn special(&mut self) -> Result<Part, ConstraintError> {
        let end = self.rest.find(|c: char| c == '>' || c.is_whitespace()).filter(|end| *end > 1);
        let end = end.filter(|end| self.rest[*end..].starts_with('>') && !self.rest[1..*end].contains('<'));
        let (name, rest) =
            self.rest.split_at(end.ok_or_else(|| self.expects("the name of a token in `<` and `>`"))? + 1);
        self.rest = rest;
        Ok(Part::Special(name.to_owned()))
    }

    fn text(&mut self) -> Result<Part, ConstraintError> {
        self.next();
        let mut text = String::new();
        while !self.takes("\"") {
            text.push(self.character()?);
        }
        Ok(Part::Text(text))
    }

    fn class(&mut self) -> Result<Part, ConstraintError> {
        self.next();
        let is_negated = self.takes("^");
        let mut ranges = Vec::new();
        while !self.takes("]") {
            self.count()?;
            let first = self.character()?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let last = if is_range {
                self.next();
                self.character()?
            } else {
                first
            };
            if last < first {
                return Err(self.expects("a range of characters that does not end before it begins"));
            }
            ranges.push((first, last));
        }
        Ok(Part::Class { is_negated, ranges })
    }

    /// A character, perhaps escaped.
    fn character(&mut self) -> Result<char, ConstraintError> {
        const EXPECTED: &str = "a character, or the end of a text or class";
        match self.next() {
            None | Some('\n' | '\r') => Err(self.expects(EXPECTED)),
            Some('\\') => match self.next() {
                Some('t') => Ok('\t'),
                Some('r') => Ok('\r'),
                Some('n') => Ok('\n'),
                Some(c @ ('"' | '\\' | '[' | ']' | '-' | '^' | '/')) => Ok(c),
                Some('x') => self.hex(2),
                Some('u') => self.hex(4),
                Some('U') => self.hex(8),
                _ => Err(self.expects("an escaped character that is known")),
            },
            Some(c) => Ok(c),
        }
    }

    fn hex(&mut self, n_digits: usize) -> Result<char, ConstraintError> {
        let digits = self.rest.get(..n_digits).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let c = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        let c = c.ok_or_else(|| self.expects("the hexadecimal number of a character"))?;
        self.rest = &self.rest[n_digits..];
        Ok(c)
    }

    /// How often a part is repeated. Several signs follow each other.
    fn times(&mut self, part: Part) -> Result<Part, ConstraintError> {
        let mut part = part;
        loop {
            let (min, max) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    part = self.counted(part)?;
                    continue;
                }
                _ => return Ok(part),
            };
            self.next();
            self.count()?;
            // A repetition of a repetition nests as deep as it has signs, so it is made one.
            part = repeated(part, min, max);
        }
    }

    fn counted(&mut self, part: Part) -> Result<Part, ConstraintError> {
        self.next();
        self.count()?;
        self.skip_space(Newlines::Kept);
        let min = self.number()?.ok_or_else(|| self.expects("a number"))?;
        self.skip_space(Newlines::Kept);
        let max = if self.takes(",") {
            self.skip_space(Newlines::Kept);
            self.number()?
        } else {
            Some(min)
        };
        self.skip_space(Newlines::Kept);
        if !self.takes("}") || max.is_some_and(|max| max < min) {
            return Err(self.expects("`{n}`, `{n,}` or `{n,m}` with n at most m"));
        }
        if matches!(part, Part::Repeat { .. }) {
            return Err(self.expects("brackets around what is repeated before it is repeated again"));
        }
        Ok(Part::Repeat { part: Box::new(part), min, max })
    }

    fn number(&mut self) -> Result<Option<u32>, ConstraintError> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        if end == 0 {
            return Ok(None);
        }
        let (digits, rest) = self.rest.split_at(end);
        let number = digits.parse().ok().filter(|number| *number <= GBNF_TIMES_MAX);
        let unit = "times that a part is repeated";
        self.rest = rest;
        number.map(Some).ok_or(ConstraintError::TooLarge { what: "GBNF grammar", max: GBNF_TIMES_MAX as usize, unit })
    }
}

fn repeated(part: Part, min: u32, max: Option<u32>) -> Part {
    let boxed = |part| Part::Repeat { part: Box::new(part), min, max };
    let Part::Repeat { part, min: before, max: max_before } = part else { return boxed(part) };
    if before > 1 || max_before.is_some_and(|max| max > 1) {
        return boxed(Part::Repeat { part, min: before, max: max_before });
    }
    let max = if max.is_none() || max_before.is_none() { None } else { Some(1) };
    Part::Repeat { part, min: min.min(before), max }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
