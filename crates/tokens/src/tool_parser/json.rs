//! Where a JSON object ends.

/// An object that is being read: strings and brackets, so that its end is known. Its values are not checked.
#[derive(Clone, Debug, Default)]
pub(super) struct JsonObject {
    /// Brackets that are open.
    open: Vec<u8>,
    is_in_string: bool,
    is_escaped: bool,
}

/// How far an object has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Open,
    Whole,
    /// A bracket closes what is not open, or the object is nested too deeply.
    Broken,
}

/// Deepest nesting of arguments.
const DEPTH_MAX: usize = 64;

impl JsonObject {
    /// Reads on: how many bytes belong to the object, and whether it is complete.
    pub(super) fn scan(&mut self, text: &str) -> (usize, Scanned) {
        for (idx, byte) in text.bytes().enumerate() {
            if self.is_in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.is_in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.is_in_string = true,
                b'{' | b'[' if self.open.len() < DEPTH_MAX => self.open.push(byte),
                // An opening bracket is two codes before the closing one.
                b'}' | b']' if self.open.last() == Some(&(byte - 2)) => {
                    self.open.pop();
                    if self.open.is_empty() {
                        return (idx + 1, Scanned::Whole);
                    }
                }
                b'{' | b'[' | b'}' | b']' => return (idx, Scanned::Broken),
                _ => {}
            }
        }
        (text.len(), Scanned::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_ends_with_its_last_bracket() {
        let deep = |n: usize| "{\"a\":".repeat(n) + "1" + &"}".repeat(n);
        let (deepest, too_deep) = (deep(DEPTH_MAX), deep(DEPTH_MAX + 1));
        let cases = [
            ("{}x", 2, Scanned::Whole),
            (r#"{"a":[1,{"b":"}]\"}"}]} rest"#, 23, Scanned::Whole),
            (r#"{"a":"\\"} rest"#, 10, Scanned::Whole),
            (r#"{"a":"#, 5, Scanned::Open),
            (r#"{"a":[}"#, 6, Scanned::Broken),
            (deepest.as_str(), deepest.len(), Scanned::Whole),
            (too_deep.as_str(), 5 * DEPTH_MAX, Scanned::Broken),
        ];
        for (text, n, scanned) in cases {
            assert_eq!(JsonObject::default().scan(text), (n, scanned), "{text}");
        }
    }
}
