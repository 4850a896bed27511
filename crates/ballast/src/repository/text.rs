//! The text format of protocol buffers, as far as configurations use it: fields with scalars, messages and lists.
//!
//! ```text
//! fields = { name ( ":" value | [":"] message ) [","|";"] }
//! value  = scalar | message | "[" value { "," value } "]"
//! message = "{" fields "}" | "<" fields ">"
//! ```

use super::config::ConfigError;

/// Deepest nesting of messages.
const DEPTH_MAX: usize = 16;

/// A field; one that is given as a list is there once for each of its items.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number or a word, as it is written.
    Word(String),
    Text(String),
    Message(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// The fields of a text.
///
/// # Errors
/// Where it is not well-formed.
pub(super) fn parse(text: &str) -> Result<Vec<Field>, ConfigError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let fields = parser.fields(0)?;
    match parser.peek() {
        None => Ok(fields),
        Some(_) => Err(parser.wrong("the name of a field")),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ConfigError> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        let length = match first {
            '\n' => {
                line += 1;
                1
            }
            c if c.is_whitespace() => c.len_utf8(),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => {
                let (text, length) = quoted(rest, first, line)?;
                tokens.push((line, Token::Text(text)));
                length
            }
            '{' | '}' | '<' | '>' | '[' | ']' | ':' | ',' | ';' => {
                tokens.push((line, Token::Sign(first)));
                1
            }
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                tokens.push((line, Token::Word(rest[..length].to_owned())));
                length
            }
            _ => return Err(ConfigError::Syntax { line, expected: "a field, a value or a bracket" }),
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// A text in quotes, and its length with them.
fn quoted(rest: &str, quote: char, line: usize) -> Result<(String, usize), ConfigError> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => break,
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, c @ ('\\' | '"' | '\''))) => text.push(c),
                _ => {
                    return Err(ConfigError::Syntax {
                        line,
                        expected: "one of \\n \\t \\\\ \\\" \\' after a backslash",
                    });
                }
            },
            c if c == quote => return Ok((text, at + 1)),
            c => text.push(c),
        }
    }
    Err(ConfigError::Syntax { line, expected: "a closing quote" })
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, sign: char) -> bool {
        let takes = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(takes);
        takes
    }

    fn line(&self) -> usize {
        let at = self.at.min(self.tokens.len().saturating_sub(1));
        self.tokens.get(at).map_or(1, |(line, _)| *line)
    }

    fn wrong(&self, expected: &'static str) -> ConfigError {
        ConfigError::Syntax { line: self.line(), expected }
    }

    /// Fields up to what is none.
    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, ConfigError> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("fewer messages in messages"));
        }
        let mut fields = Vec::new();
        while let Some(Token::Word(name)) = self.peek().cloned() {
            let line = self.line();
            self.at += 1;
            let has_colon = self.takes(':');
            let is_list = has_colon || matches!(self.peek(), Some(Token::Sign('[')));
            if is_list && self.takes('[') {
                while !self.takes(']') {
                    let value = self.value(depth, true)?;
                    fields.push(Field { name: name.clone(), line, value });
                    if !self.takes(',') && self.peek() != Some(&Token::Sign(']')) {
                        return Err(self.wrong("a comma or a closing bracket"));
                    }
                }
            } else {
                fields.push(Field { name, line, value: self.value(depth, has_colon)? });
            }
            if !self.takes(',') {
                self.takes(';');
            }
        }
        Ok(fields)
    }

    /// One value; a scalar stands behind a colon only.
    fn value(&mut self, depth: usize, may_be_scalar: bool) -> Result<Value, ConfigError> {
        for (open, close) in [('{', '}'), ('<', '>')] {
            if self.takes(open) {
                let fields = self.fields(depth + 1)?;
                return if self.takes(close) {
                    Ok(Value::Message(fields))
                } else {
                    Err(self.wrong("a closing bracket"))
                };
            }
        }
        match self.next() {
            Some(Token::Word(word)) if may_be_scalar => Ok(Value::Word(word)),
            Some(Token::Text(mut text)) if may_be_scalar => {
                // Texts that stand side by side are one.
                while let Some(Token::Text(more)) = self.peek().cloned() {
                    text += &more;
                    self.at += 1;
                }
                Ok(Value::Text(text))
            }
            _ => {
                self.at -= 1;
                Err(self.wrong("a value"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_lists_and_messages_are_read() {
        let text = "a: 1 # note\nb: \"x\\n\" 'y', c { d: [ 1, -2 ] } e: < f: T_Y >; g [ { h: 1 }, {} ] i: []";
        let fields = parse(text).unwrap();
        let told: Vec<String> = fields.iter().map(|field| format!("{}={:?}", field.name, field.value)).collect();
        assert_eq!(told[0], "a=Word(\"1\")");
        assert_eq!(told[1], "b=Text(\"x\\ny\")");
        assert_eq!(fields[1].line, 2);
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "e", "g", "g"]);
        let Value::Message(inner) = &fields[2].value else { panic!("a message") };
        assert_eq!(inner.len(), 2);
    }

    #[test]
    fn what_is_not_well_formed_is_refused_with_its_line() {
        let deep = "a {".repeat(DEPTH_MAX + 2);
        for (text, line) in [
            ("a 1", 1),
            ("a:", 1),
            ("a: {", 1),
            ("\n}", 2),
            ("a: \"x", 1),
            ("a: \"\\x\"", 1),
            ("a: [1 2]", 1),
            ("a: [1", 1),
            ("a: ?", 1),
            (&deep, 1),
        ] {
            let Err(ConfigError::Syntax { line: got, .. }) = parse(text) else { panic!("{text}") };
            assert_eq!(got, line, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_is_more_than_refused(text in "[a-z0-9:{}<>\\[\\],;\"'\\\\ \n#-]{0,60}") {
            drop(parse(&text));
        }
    }
}
