//! Arguments in tags, taken apart as they come and given as the text of a JSON object.

use crate::ToolSpec;
use crate::tool_format::{Literal, Match, Tagged, ValueKind};
use serde_json::Value;

/// Longest name of an argument in a tag, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// Arguments of one call that are being read.
#[derive(Clone, Debug)]
pub(super) struct TaggedArguments {
    tool: ToolSpec,
    n_values: usize,
    /// The value that has begun: how to read it.
    value: Option<ValueKind>,
}

/// How far arguments have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something was taken; there may be more.
    More,
    Open,
    Whole,
    /// Neither another argument nor the end of the call.
    Broken,
}

impl TaggedArguments {
    pub(super) fn new(tool: ToolSpec) -> Self {
        Self { tool, n_values: 0, value: None }
    }

    /// Reads on: takes from `held` what can be decided, and appends to `json` what it stands for. `after` is what closes
    /// the call.
    pub(super) fn step(&mut self, tagged: &Tagged, after: &Literal, held: &mut String, json: &mut String) -> Progress {
        match self.value.clone() {
            None => self.step_key(tagged, after, held, json),
            Some(ValueKind::Text) => self.step_text(tagged, held, json),
            Some(kind) => self.step_json(&kind, tagged, held, json),
        }
    }

    /// What came of a value that is not closed, where it is a string.
    pub(super) fn cut(&self, held: &mut String, json: &mut String) {
        let rest = std::mem::take(held);
        if self.value == Some(ValueKind::Text) {
            escape(&rest, json);
        }
    }

    fn step_key(&mut self, tagged: &Tagged, after: &Literal, held: &mut String, json: &mut String) -> Progress {
        match Literal::text(&tagged.before_key).matches(held) {
            Match::Whole(n) => {
                let Some(n_key) = held[n..].find(&tagged.before_value) else {
                    let is_long = held.len() - n >= KEY_BYTES_MAX + tagged.before_value.len();
                    return if is_long { Progress::Broken } else { Progress::Open };
                };
                if !(1..=KEY_BYTES_MAX).contains(&n_key) {
                    return Progress::Broken;
                }
                self.begin(&held[n..n + n_key], json);
                held.drain(..n + n_key + tagged.before_value.len());
                Progress::More
            }
            Match::Partial => Progress::Open,
            Match::Not => match after.matches(held) {
                // The tail takes it.
                Match::Whole(_) => {
                    json.push_str(if self.n_values == 0 { "{}" } else { "}" });
                    Progress::Whole
                }
                Match::Partial => Progress::Open,
                Match::Not => Progress::Broken,
            },
        }
    }

    fn begin(&mut self, key: &str, json: &mut String) {
        let kind = ValueKind::of(&self.tool, key);
        json.push_str(if self.n_values == 0 { "{" } else { ", " });
        json.push_str(&Value::from(key).to_string());
        json.push_str(if kind == ValueKind::Text { ": \"" } else { ": " });
        self.n_values += 1;
        self.value = Some(kind);
    }

    fn step_text(&mut self, tagged: &Tagged, held: &mut String, json: &mut String) -> Progress {
        let closing = &tagged.after_value;
        if let Some(n) = held.find(closing) {
            escape(&held[..n], json);
            json.push('"');
            held.drain(..n + closing.len());
            self.value = None;
            return Progress::More;
        }
        let begins = |&(at, _): &(usize, char)| closing.starts_with(&held[at..]);
        let n = held.char_indices().find(begins).map_or(held.len(), |(at, _)| at);
        escape(&held[..n], json);
        held.drain(..n);
        Progress::Open
    }

    /// A value is given when it is whole: until then it may be a string.
    fn step_json(&mut self, kind: &ValueKind, tagged: &Tagged, held: &mut String, json: &mut String) -> Progress {
        let closing = &tagged.after_value;
        for (n, _) in held.match_indices(closing) {
            let text = &held[..n];
            // JSON that is not complete has what looks like a tag in a string.
            let is_within = *kind == ValueKind::Json
                && text.contains('"')
                && serde_json::from_str::<Value>(text).is_err_and(|error| error.is_eof());
            if !is_within {
                json.push_str(&kind.json(text));
                held.drain(..n + closing.len());
                self.value = None;
                return Progress::More;
            }
        }
        Progress::Open
    }
}

/// The text as it stands within a string of JSON.
fn escape(text: &str, json: &mut String) {
    let quoted = Value::from(text).to_string();
    json.push_str(&quoted[1..quoted.len() - 1]);
}
