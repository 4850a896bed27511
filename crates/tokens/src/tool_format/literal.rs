//! Text that is the same around every call, but for an identifier or a number of the call in it.

/// A part of a [`Literal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    /// An identifier that the model makes up.
    Id,
    /// The number of the call, counted from this one.
    Index(usize),
}

/// What stands at one place around a call. Parts alternate: no two texts and no two others follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Literal(pub(crate) Vec<Part>);

/// How a text begins, compared with a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// With the literal, which takes so many bytes.
    Whole(usize),
    /// It is too short to tell.
    Partial,
    /// Not with the literal.
    Not,
}

/// Longest identifier that a model makes up.
const ID_BYTES_MAX: usize = 64;
/// Digits of a call's number.
const INDEX_BYTES_MAX: usize = 4;

impl Literal {
    pub(crate) fn text(text: &str) -> Self {
        Self(if text.is_empty() { Vec::new() } else { vec![Part::Text(text.to_owned())] })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn first_char(&self) -> Option<char> {
        match self.0.first() {
            Some(Part::Text(text)) => text.chars().next(),
            Some(Part::Id | Part::Index(_)) | None => None,
        }
    }

    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Text(part) if part.contains(text)))
    }

    /// One after the other.
    pub(crate) fn then(&self, next: &Self) -> Self {
        let mut parts = self.0.clone();
        for part in &next.0 {
            match (parts.last_mut(), part) {
                (Some(Part::Text(text)), Part::Text(more)) => text.push_str(more),
                (_, part) => parts.push(part.clone()),
            }
        }
        Self(parts)
    }

    /// The text around call `idx`, with some identifier.
    pub(crate) fn example(&self, idx: usize) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Id => "abcdefgh1".to_owned(),
            Part::Index(first) => (first + idx).to_string(),
        };
        self.0.iter().map(part).collect()
    }

    /// Compares the beginning of `text`.
    pub(crate) fn matches(&self, text: &str) -> Match {
        let mut at = 0;
        for part in &self.0 {
            let rest = &text[at..];
            match part {
                Part::Text(expected) if rest.starts_with(expected.as_str()) => at += expected.len(),
                Part::Text(expected) if expected.starts_with(rest) => return Match::Partial,
                Part::Text(_) => return Match::Not,
                Part::Id => match run(rest, ID_BYTES_MAX, |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
                {
                    Match::Whole(n) => at += n,
                    other @ (Match::Partial | Match::Not) => return other,
                },
                Part::Index(_) => match run(rest, INDEX_BYTES_MAX, |byte| byte.is_ascii_digit()) {
                    Match::Whole(n) => at += n,
                    other @ (Match::Partial | Match::Not) => return other,
                },
            }
        }
        Match::Whole(at)
    }
}

/// A run of one to `n_max` bytes, which is over where another follows.
pub(crate) fn run(text: &str, n_max: usize, is_of_it: impl Fn(u8) -> bool) -> Match {
    match text.bytes().position(|byte| !is_of_it(byte)) {
        Some(n) if (1..=n_max).contains(&n) => Match::Whole(n),
        None if text.len() <= n_max => Match::Partial,
        Some(_) | None => Match::Not,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_matches_in_whole_in_part_or_not() {
        let literal = Literal(vec![
            Part::Text("<a ".to_owned()),
            Part::Id,
            Part::Text(":".to_owned()),
            Part::Index(0),
            Part::Text(">".to_owned()),
        ]);
        let cases = [
            ("<a x1:0>rest", Match::Whole(8)),
            ("", Match::Partial),
            ("<", Match::Partial),
            ("<a ", Match::Partial),
            ("<a x", Match::Partial),
            ("<a x1:", Match::Partial),
            ("<a x1:12", Match::Partial),
            ("<b", Match::Not),
            ("<a :", Match::Not),
            ("<a x1:x", Match::Not),
            ("<a x1:12345>", Match::Not),
        ];
        for (text, expected) in cases {
            assert_eq!(literal.matches(text), expected, "{text}");
        }
        let long = |n: usize| literal.matches(&format!("<a {}:0>", "x".repeat(n)));
        assert_eq!((long(ID_BYTES_MAX), long(ID_BYTES_MAX + 1)), (Match::Whole(ID_BYTES_MAX + 6), Match::Not));
    }
}
