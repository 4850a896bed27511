//! Reads the format of calls off a template: renders a conversation with calls whose names and arguments are known, and
//! looks at what stands around them.

mod tagged;

use super::literal::{Literal, Part};
use super::{ToolFormat, ToolFormatError, ToolFormatOrigin};
use crate::chat_message::ArgumentsAs;
use crate::{ChatMessage, ChatTemplate, RenderOptions, TemplateError, ToolCall, ToolSpec};
use serde_json::{Map, Value, json};

const NAMES: [&str; 2] = ["probe_first", "other_second"];
const KEY: &str = "probe_key";
const VALUES: [&str; 2] = ["probe_value_1", "probe_value_2"];
const IDS: [&str; 2] = ["idprobe01", "idprobe02"];
const QUESTION: &str = "probe_question";
const TEXT: &str = "probe_text";
const ANSWER: &str = "probe_answer";
/// Stands for an identifier while texts are compared, so that it is one character.
const ID: char = '\u{e001}';
/// Stand for the number of a call, counted from 0 and from 1.
const INDEX: [char; 2] = ['\u{e002}', '\u{e003}'];

/// What stands where in a rendering of calls; identifiers are [`ID`].
struct Around {
    before_name: String,
    /// One for each call.
    before_arguments: Vec<String>,
    /// Between the first call's arguments and the second's name.
    between: Option<String>,
    after: String,
}

/// Renders conversations of the probe.
struct Probe<'a> {
    template: &'a ChatTemplate,
    arguments: ArgumentsAs,
}

pub(super) fn derive(template: &ChatTemplate) -> Result<ToolFormat, ToolFormatError> {
    let mut probe = Probe { template, arguments: ArgumentsAs::Object };
    let cue = probe.render(&[], RenderOptions { add_generation_prompt: true, ..RenderOptions::default() })?;
    if !cue.contains(NAMES[0]) {
        return Err(ToolFormatError::ToolsNotListed);
    }
    let one = match probe.one_call() {
        Ok(text) => Some(text),
        Err(ToolFormatError::ArgumentsNotJson) => None,
        Err(error) => return Err(error),
    };
    let answer = ChatMessage {
        tool_call_id: Some(IDS[0].to_owned()),
        name: Some(NAMES[0].to_owned()),
        ..ChatMessage::text("tool", ANSWER)
    };
    if !probe.render(&[asking(1, IDS), answer], RenderOptions::default())?.contains(ANSWER) {
        return Err(ToolFormatError::AnswersNotShown);
    }
    let text = probe.render(&[ChatMessage::text("assistant", TEXT)], RenderOptions::default())?;
    let end_of_turn = text.rfind(TEXT).map_or("", |at| &text[at + TEXT.len()..]);
    let mut format = match one {
        Some(one) => with_json(&probe, &cue, &one, end_of_turn)?,
        None => tagged::derive(&probe, &cue, end_of_turn)?,
    };
    format.arguments = probe.arguments;
    let long = "call_0123456789abcdefghijklmn";
    format.has_short_ids = probe.calls(1, [long, long]).is_err();
    Ok(format)
}

/// The format of calls with arguments as JSON, of which `one` shows one.
fn with_json(probe: &Probe<'_>, cue: &str, one: &str, end_of_turn: &str) -> Result<ToolFormat, ToolFormatError> {
    let two = probe.calls(2, IDS).ok();
    let around = match two.as_deref().and_then(|two| around(cue, two, 2)) {
        Some(around) => around,
        None => around(cue, one, 1).ok_or(ToolFormatError::ArgumentsNotJson)?,
    };
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == ID;
    let is_name_open = around.before_arguments.iter().any(|text| text.chars().next().is_none_or(is_of_a_name));
    let format = format_of(around, end_of_turn)?;
    if is_name_open {
        return Err(ToolFormatError::ArgumentsNotJson);
    }
    reproduced(&format, two.as_deref().filter(|_| format.takes_several()).unwrap_or(one))?;
    Ok(format)
}

impl Probe<'_> {
    /// What follows the question, rendered with both tools.
    fn render(&self, turns: &[ChatMessage], options: RenderOptions) -> Result<String, TemplateError> {
        let user = ChatMessage::text("user", QUESTION);
        let messages = [user].iter().chain(turns).map(|message| message.to_json(self.arguments)).collect();
        let tools = NAMES.map(|name| {
            let parameters = json!({"type": "object", "properties": {"probe_other": {"type": "string"}}});
            ToolSpec { name: name.to_owned(), description: "Probes.".to_owned(), parameters: Some(parameters) }
                .to_json()
        });
        // Some templates say which day it is; any day will do.
        self.template.render_value(&messages, &RenderOptions { tools: Some(json!(tools)), now: Some(0), ..options })
    }

    fn calls(&self, n: usize, ids: [&str; 2]) -> Result<String, TemplateError> {
        self.render(&[asking(n, ids)], RenderOptions::default())
    }

    fn asked(&self, tool_calls: Vec<ToolCall>) -> Result<String, TemplateError> {
        let turn = ChatMessage { tool_calls, ..ChatMessage::text("assistant", "") };
        self.render(&[turn], RenderOptions::default())
    }

    /// One call, with arguments as the template takes them.
    fn one_call(&mut self) -> Result<String, ToolFormatError> {
        let object = self.calls(1, IDS);
        if let Ok(text) = &object {
            if json_at(text, 0).is_some() {
                return Ok(text.clone());
            }
            // Printed as Python would, an object is meant to be text.
            let is_printed = text.contains(&format!("{{'{KEY}'"));
            if text.contains(VALUES[0]) && !is_printed {
                return Err(ToolFormatError::ArgumentsNotJson);
            }
        }
        self.arguments = ArgumentsAs::Text;
        let text = self.calls(1, IDS)?;
        if json_at(&text, 0).is_some() {
            return Ok(text);
        }
        object?;
        Err(if text.contains(VALUES[0]) { ToolFormatError::ArgumentsNotJson } else { ToolFormatError::CallsNotShown })
    }
}

fn asking(n: usize, ids: [&str; 2]) -> ChatMessage {
    let call =
        |idx: usize| ToolCall { id: ids[idx].to_owned(), name: NAMES[idx].to_owned(), arguments: arguments(idx) };
    ChatMessage { tool_calls: (0..n).map(call).collect(), ..ChatMessage::text("assistant", "") }
}

fn arguments(idx: usize) -> Map<String, Value> {
    [(KEY.to_owned(), VALUES[idx].into())].into_iter().collect()
}

/// Where the arguments of call `idx` stand as a JSON object.
fn json_at(text: &str, idx: usize) -> Option<(usize, usize)> {
    let at = text.rfind(VALUES[idx])?;
    let start = text[..at].rfind('{')?;
    let end = at + text[at..].find('}')? + 1;
    let object: Value = serde_json::from_str(&text[start..end]).ok()?;
    (object == Value::Object(arguments(idx))).then_some((start, end))
}

/// What stands around `n` calls; `None` if they are not all there, in order, each as a name and a JSON object after it.
fn around(cue: &str, text: &str, n: usize) -> Option<Around> {
    let turn = turn_start(cue, text);
    let plain = |range: &str| IDS.iter().fold(range.to_owned(), |range, id| range.replace(id, &ID.to_string()));
    let mut from = turn;
    let mut gaps = Vec::new();
    let mut before_arguments = Vec::new();
    for idx in 0..n {
        let (start, end) = json_at(text, idx)?;
        let name = from + text.get(from..start)?.rfind(NAMES[idx])?;
        gaps.push(plain(&text[from..name]));
        before_arguments.push(plain(&text[name + NAMES[idx].len()..start]));
        from = end;
    }
    let mut gaps = gaps.into_iter();
    Some(Around {
        before_name: lead(&gaps.next()?),
        before_arguments,
        between: gaps.next(),
        after: plain(&text[from..]),
    })
}

/// Where the model's turn begins. What it begins with may look like what the cue ends with, up to the middle of a tag.
fn turn_start(cue: &str, text: &str) -> usize {
    let n = common_prefix(cue, text);
    if n == cue.len() {
        return n;
    }
    open_tag(&text[..n]).unwrap_or(n)
}

/// The beginning of a tag that is not closed.
fn open_tag(text: &str) -> Option<usize> {
    let at = text.rfind(['<', '['])?;
    let close = if text[at..].starts_with('<') { '>' } else { ']' };
    (!text[at..].contains(close)).then_some(at)
}

/// The tag that a cut at `at` goes through: where it begins, and where it ends.
fn cut_tag(text: &str, at: usize) -> Option<(usize, usize)> {
    let start = text[..at].rfind('<').filter(|&start| !text[start..at].contains('>'))?;
    let end = at + text[at..].find('>')? + 1;
    Some((start, end))
}

/// What is before a call, without thoughts and white space, which a model may write or not.
fn lead(text: &str) -> String {
    let thought = text.rfind("think>").map_or(0, |at| at + "think>".len());
    text[thought..].trim_start().to_owned()
}

fn format_of(around: Around, end_of_turn: &str) -> Result<ToolFormat, ToolFormatError> {
    let Around { before_name: mut first, before_arguments, between, after } = around;
    let mut after = ended(&after, end_of_turn);
    let before_arguments = numbered(&before_arguments).ok_or(ToolFormatError::NotReproduced)?;
    let (start, before_name, after_arguments, separator, end) = match between {
        None => (String::new(), first, after, None, String::new()),
        Some(mut between) => {
            let n = number_before_suffix(&mut first, &mut between);
            let before_name = first.split_off(first.len() - n);
            between.truncate(between.len() - n);
            let n = number_after_prefix(&mut between, &mut after);
            let end = after.split_off(n);
            (first, before_name, after, Some(between.split_off(n)), end)
        }
    };
    if start.is_empty() && before_name.chars().nth(1).is_none() {
        return Err(ToolFormatError::NoMarker);
    }
    Ok(ToolFormat {
        origin: ToolFormatOrigin::Template,
        start: literal(&start),
        before_name: literal(&before_name),
        before_arguments: literal(&before_arguments),
        after_arguments: literal(&after_arguments),
        separator: separator.as_deref().map(literal),
        end: literal(end.trim_end()),
        tagged: None,
        arguments: ArgumentsAs::Object,
        has_short_ids: false,
    })
}

/// What follows the calls, without what ends every turn or another token in its place.
fn ended(after: &str, end_of_turn: &str) -> String {
    let n = after.len() - common_suffix(after, end_of_turn);
    let rest = match cut_tag(after, n) {
        None => &after[..n],
        // Only the last tag ends the turn.
        Some((start, end)) => &after[..if after[end..].trim().is_empty() { start } else { end }],
    };
    rest.trim_end().to_owned()
}

/// The text that is the same for all calls but for their number.
fn numbered(texts: &[String]) -> Option<String> {
    let [first, rest @ ..] = texts else { return None };
    let Some(second) = rest.first().filter(|second| *second != first) else { return Some(first.clone()) };
    let (mut first, mut second) = (first.clone(), second.clone());
    let at = common_prefix(&first, &second);
    replace_number(&mut first, &mut second, at, at)?;
    (first == second).then_some(first)
}

/// The length of the common end of what is before the first and the second call, with their numbers as one and in whole
/// tags.
fn number_before_suffix(first: &mut String, second: &mut String) -> usize {
    let n = common_suffix(first, second);
    let (a, b) = (first.len() - n, second.len() - n);
    if a > 0 && b > 0 && first.is_char_boundary(a - 1) && second.is_char_boundary(b - 1) {
        // Nothing to do where there is no number.
        let _numbered = replace_number(first, second, a - 1, b - 1);
    }
    let n = common_suffix(first, second);
    first.len() - cut_tag(first, first.len() - n).map_or(first.len() - n, |(_, end)| end)
}

/// The length of the common beginning of what is after the first and the last call, with their numbers as one and in
/// whole tags.
fn number_after_prefix(first: &mut String, last: &mut String) -> usize {
    let n = common_prefix(first, last);
    let _numbered = replace_number(first, last, n, n);
    let n = common_prefix(first, last);
    cut_tag(last, n).map_or(n, |(start, _)| start)
}

/// Puts the mark of a number where two texts have successive ones.
fn replace_number(first: &mut String, second: &mut String, a: usize, b: usize) -> Option<()> {
    let mark = match (first.as_bytes().get(a)?, second.as_bytes().get(b)?) {
        (b'0', b'1') => INDEX[0],
        (b'1', b'2') => INDEX[1],
        _ => return None,
    };
    first.replace_range(a..=a, mark.encode_utf8(&mut [0; 4]));
    second.replace_range(b..=b, mark.encode_utf8(&mut [0; 4]));
    Some(())
}

fn literal(text: &str) -> Literal {
    let part = |part: &str| match part.chars().next() {
        Some(c) if c == ID => Part::Id,
        Some(c) if INDEX.contains(&c) => Part::Index(usize::from(c == INDEX[1])),
        _ => Part::Text(part.to_owned()),
    };
    let is_mark = |c: char| c == ID || INDEX.contains(&c);
    let parts = text.split_inclusive(is_mark).flat_map(|text| match text.chars().next_back() {
        Some(c) if is_mark(c) => vec![&text[..text.len() - c.len_utf8()], &text[text.len() - c.len_utf8()..]],
        _ => vec![text],
    });
    Literal(parts.filter(|text| !text.is_empty()).map(part).collect())
}

/// Whether the format gives the calls that it was read off.
fn reproduced(format: &ToolFormat, text: &str) -> Result<(), ToolFormatError> {
    let n = if format.takes_several() { 2 } else { 1 };
    let mut calls = Vec::new();
    for (idx, name) in NAMES.iter().enumerate().take(n) {
        let (start, end) = json_at(text, idx).ok_or(ToolFormatError::NotReproduced)?;
        calls.push((*name, &text[start..end]));
    }
    written_as(format, &calls, text)
}

/// Whether the format writes these calls as the text has them.
fn written_as(format: &ToolFormat, calls: &[(&str, &str)], text: &str) -> Result<(), ToolFormatError> {
    let example = Literal(vec![Part::Id]).example(0);
    let text = IDS.iter().fold(text.to_owned(), |text, id| text.replace(id, &example));
    if text.contains(&format.write(calls)) { Ok(()) } else { Err(ToolFormatError::NotReproduced) }
}

/// In bytes, of whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// In bytes, of whole characters.
fn common_suffix(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}
