//! Reads arguments in tags off a template: calls with two arguments are rendered, and what stands around keys and values
//! is how they are written. With an object in their place, the rest is read as for calls with JSON.

use super::super::tagged::Tagged;
use super::{IDS, KEY, NAMES, Probe, VALUES, arguments, around, common_suffix, cut_tag, format_of, written_as};
use crate::ToolCall;
use crate::tool_format::{ToolFormat, ToolFormatError};
use serde_json::{Map, Value};

const MORE_KEY: &str = "more_key";
const MORE_VALUES: [&str; 2] = ["more_value_1", "more_value_2"];

pub(super) fn derive(probe: &Probe<'_>, cue: &str, end_of_turn: &str) -> Result<ToolFormat, ToolFormatError> {
    let one = probe.asked(calls(1))?;
    let two = probe.asked(calls(2)).ok();
    let tagged = tagged_at(&one, 0).ok_or(ToolFormatError::ArgumentsNotJson)?.0;
    let of = |text: &str, n: usize| around(cue, &as_json(text, n, &tagged)?, n);
    let around = match two.as_deref().and_then(|two| of(two, 2)) {
        Some(around) => around,
        None => of(&one, 1).ok_or(ToolFormatError::ArgumentsNotJson)?,
    };
    let mut format = format_of(around, end_of_turn)?;
    // The end of a call tells the end of its arguments.
    if format.after_arguments.is_empty() {
        return Err(ToolFormatError::ArgumentsNotJson);
    }
    format.tagged = Some(tagged);
    let n = if format.takes_several() { 2 } else { 1 };
    reproduced(probe, &format, &calls(n))?;
    // Any value must stand between the same tags, and a string as it is; a call may have none.
    for value in [Value::from(17), Value::from("a <b> & \"c\"\nd")] {
        reproduced(probe, &format, &[call(0, Map::from_iter([(KEY.to_owned(), value)]))])?;
    }
    reproduced(probe, &format, &[call(0, Map::new())])?;
    // A name that is told twice would not be the same.
    if NAMES.iter().any(|name| format.mentions(name)) {
        return Err(ToolFormatError::NotReproduced);
    }
    Ok(format)
}

fn call(idx: usize, arguments: Map<String, Value>) -> ToolCall {
    ToolCall { id: IDS[idx].to_owned(), name: NAMES[idx].to_owned(), arguments }
}

fn calls(n: usize) -> Vec<ToolCall> {
    let of = |idx: usize| {
        let mut fields = arguments(idx);
        fields.insert(MORE_KEY.to_owned(), MORE_VALUES[idx].into());
        call(idx, fields)
    };
    (0..n).map(of).collect()
}

/// How the arguments of call `idx` are written, and from where to where.
fn tagged_at(text: &str, idx: usize) -> Option<(Tagged, usize, usize)> {
    let value = text.rfind(VALUES[idx])?;
    let key = text[..value].rfind(KEY)?;
    let name = text[..key].rfind(NAMES[idx])? + NAMES[idx].len();
    let value_end = value + VALUES[idx].len();
    let more_key = value_end + text[value_end..].find(MORE_KEY)?;
    let more_value = more_key + text[more_key..].find(MORE_VALUES[idx])?;
    let more_value_end = more_value + MORE_VALUES[idx].len();
    let (first, between) = (&text[name..key], &text[value_end..more_key]);
    let at = between.len() - common_suffix(first, between);
    let at = cut_tag(between, at).map_or(at, |(_, end)| end);
    let tagged = Tagged {
        before_key: between[at..].to_owned(),
        before_value: text[key + KEY.len()..value].to_owned(),
        after_value: between[..at].to_owned(),
    };
    let is_same = text[more_key + MORE_KEY.len()..more_value] == tagged.before_value
        && text[more_value_end..].starts_with(&tagged.after_value);
    let is_empty = [&tagged.before_key, &tagged.before_value, &tagged.after_value].into_iter().any(String::is_empty);
    let end = more_value_end + tagged.after_value.len();
    (is_same && !is_empty).then(|| (tagged.clone(), key - tagged.before_key.len(), end))
}

/// The text with the arguments of `n` calls as JSON.
fn as_json(text: &str, n: usize, tagged: &Tagged) -> Option<String> {
    let mut text = text.to_owned();
    for idx in 0..n {
        let (found, start, end) = tagged_at(&text, idx)?;
        if found != *tagged {
            return None;
        }
        text.replace_range(start..end, &Value::Object(arguments(idx)).to_string());
    }
    Some(text)
}

fn reproduced(probe: &Probe<'_>, format: &ToolFormat, calls: &[ToolCall]) -> Result<(), ToolFormatError> {
    let text = probe.asked(calls.to_vec())?;
    let arguments: Vec<_> = calls.iter().map(|call| Value::Object(call.arguments.clone()).to_string()).collect();
    let pairs = calls.iter().zip(&arguments).map(|(call, arguments)| (call.name.as_str(), arguments.as_str()));
    written_as(format, &pairs.collect::<Vec<_>>(), &text)
}
