//! The text of an answer, taken apart into text and calls of tools as it comes.
//!
//! ```text
//! Text      => Head      what has come may be the beginning of a call; it is held back
//! Head      => Text      it is not: given as text
//! Head      => Arguments it is: the call has begun (Tagged where arguments are pairs in tags)
//! Arguments => Tail      the object is complete
//! Arguments => Text      brackets that do not fit: the call has ended, the rest is text
//! Tagged    => Tail      what closes a call has come
//! Tagged    => Text      neither that nor another pair: the call has ended, the rest is text
//! Tail      => Between   what closes a call has come, or cannot come any more
//! Between   => Arguments the next call
//! Between   => Text      what closes all calls, or anything else
//! ```
//!
//! Events depend on the text only, not on how it was cut into pieces. Nothing is lost but white space around calls:
//! what merely looks like a call is text.

mod json;
mod tagged;
#[cfg(test)]
mod tests;

use crate::tool_format::{Literal, Match, Tagged, run};
use crate::{TOOL_CALLS_MAX, TOOL_NAME_BYTES_MAX, ToolFormat, ToolSpec};
use json::{JsonObject, Scanned};
use tagged::{Progress, TaggedArguments};

/// What came of a piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolEvent {
    /// Text that is no call.
    Text(String),
    /// A call has begun.
    CallStarted {
        /// Its place among the calls of the answer, from 0.
        index: usize,
        /// The tool.
        name: String,
    },
    /// More of a call's arguments, a JSON object.
    Arguments {
        /// The call.
        index: usize,
        /// What is new.
        text: String,
    },
    /// A call has ended.
    CallEnded {
        /// The call.
        index: usize,
        /// Whether its arguments are a whole object.
        completeness: Completeness,
    },
}

/// Whether something came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It did.
    Whole,
    /// The answer ended, or went wrong, within it.
    Cut,
}

#[derive(Clone, Debug)]
enum State {
    Text,
    Arguments(JsonObject),
    Tagged(TaggedArguments),
    Tail,
    Between,
}

/// Takes the text of one answer apart.
#[derive(Clone, Debug)]
pub struct ToolParser {
    /// Before the name of a first call, and of a further one.
    first: Literal,
    further: Option<Literal>,
    before_arguments: Literal,
    after_arguments: Literal,
    end: Literal,
    tagged: Option<Tagged>,
    tools: Vec<ToolSpec>,
    is_only_at_beginning: bool,
    state: State,
    /// Text that is not yet decided on.
    held: String,
    /// Text that is not only white space has come, since the last call.
    has_text: bool,
    n_calls: usize,
}

/// What a text begins with, taken as the beginning of a call.
enum Head {
    /// A call of this tool, whose arguments begin after so many bytes.
    Whole(usize, String),
    Partial,
    Not,
}

impl ToolParser {
    /// A parser for calls of these tools. Their schemas say which arguments are strings, where a format does not.
    #[must_use]
    pub fn new(format: &ToolFormat, tools: Vec<ToolSpec>) -> Self {
        Self {
            first: format.start.then(&format.before_name),
            further: format.separator.as_ref().map(|separator| separator.then(&format.before_name)),
            before_arguments: format.before_arguments.clone(),
            after_arguments: format.after_arguments.clone(),
            end: format.end.clone(),
            tagged: format.tagged.clone(),
            tools,
            is_only_at_beginning: format.is_only_at_beginning(),
            state: State::Text,
            held: String::new(),
            has_text: false,
            n_calls: 0,
        }
    }

    /// Calls that have begun.
    #[must_use]
    pub fn n_calls(&self) -> usize {
        self.n_calls
    }

    /// Takes the next text.
    pub fn push(&mut self, text: &str) -> Vec<ToolEvent> {
        self.held.push_str(text);
        let mut events = Vec::new();
        while self.step(&mut events) {}
        events
    }

    /// Ends the text: what was held back is text.
    #[must_use]
    pub fn finish(mut self) -> Vec<ToolEvent> {
        let mut events = Vec::new();
        match &self.state {
            State::Arguments(_) => self.ended(Completeness::Cut, &mut events),
            State::Tagged(arguments) => {
                let mut json = String::new();
                arguments.cut(&mut self.held, &mut json);
                self.argued(json, &mut events);
                self.ended(Completeness::Cut, &mut events);
            }
            State::Text | State::Tail | State::Between => {}
        }
        let is_around_calls = self.n_calls > 0 && !self.has_text && self.held.trim().is_empty();
        if !is_around_calls {
            self.text(self.held.len(), &mut events);
        }
        events
    }

    /// Takes what can be decided; whether there may be more.
    fn step(&mut self, events: &mut Vec<ToolEvent>) -> bool {
        match &mut self.state {
            State::Text => self.step_text(events),
            State::Arguments(object) => {
                let (n, scanned) = object.scan(&self.held);
                if n > 0 {
                    let text = self.held.drain(..n).collect();
                    events.push(ToolEvent::Arguments { index: self.n_calls - 1, text });
                }
                match scanned {
                    Scanned::Open => return false,
                    Scanned::Whole => {
                        self.ended(Completeness::Whole, events);
                        self.state = State::Tail;
                    }
                    Scanned::Broken => {
                        self.ended(Completeness::Cut, events);
                        self.state = State::Text;
                    }
                }
                true
            }
            State::Tagged(_) => self.step_tagged(events),
            State::Tail => self.step_tail(),
            State::Between => self.step_between(events),
        }
    }

    fn step_tagged(&mut self, events: &mut Vec<ToolEvent>) -> bool {
        let (State::Tagged(arguments), Some(tagged)) = (&mut self.state, &self.tagged) else { return false };
        let mut json = String::new();
        let progress = arguments.step(tagged, &self.after_arguments, &mut self.held, &mut json);
        self.argued(json, events);
        match progress {
            Progress::More => {}
            Progress::Open => return false,
            Progress::Whole => {
                self.ended(Completeness::Whole, events);
                self.state = State::Tail;
            }
            Progress::Broken => {
                self.ended(Completeness::Cut, events);
                self.state = State::Text;
            }
        }
        true
    }

    fn step_text(&mut self, events: &mut Vec<ToolEvent>) -> bool {
        let mut from = 0;
        while let Some(at) = self.next_candidate(from) {
            match self.head(&self.first, &self.held[at..]) {
                Head::Not => from = at + self.held[at..].chars().next().map_or(1, char::len_utf8),
                Head::Partial => {
                    self.release(at, events);
                    return false;
                }
                Head::Whole(n, name) => {
                    let n_text = self.held[..at].trim_end().len();
                    self.text(n_text, events);
                    self.held.drain(..at - n_text);
                    self.begin(n, name, events);
                    return true;
                }
            }
        }
        self.release(self.held.len(), events);
        false
    }

    /// Where a call may begin.
    fn next_candidate(&self, from: usize) -> Option<usize> {
        let first = self.first.first_char()?;
        let at = from + self.held[from..].find(first)?;
        let is_late =
            self.is_only_at_beginning && (self.has_text || self.n_calls > 0 || !self.held[..at].trim().is_empty());
        (!is_late && self.n_calls < TOOL_CALLS_MAX).then_some(at)
    }

    fn step_tail(&mut self) -> bool {
        match self.after_arguments.matches(&self.held) {
            Match::Partial => return false,
            Match::Whole(n) => drop(self.held.drain(..n)),
            Match::Not => {}
        }
        self.state = State::Between;
        true
    }

    fn step_between(&mut self, events: &mut Vec<ToolEvent>) -> bool {
        let further = self.further.as_ref().filter(|_| self.n_calls < TOOL_CALLS_MAX);
        let head = further.map_or(Head::Not, |further| self.head(further, &self.held));
        if let Head::Whole(n, name) = head {
            self.begin(n, name, events);
            return true;
        }
        let end = if self.end.is_empty() { Match::Not } else { self.end.matches(&self.held) };
        if let Match::Whole(n) = end {
            self.held.drain(..n);
        } else if matches!(head, Head::Partial) || end == Match::Partial {
            return false;
        }
        self.state = State::Text;
        true
    }

    /// Takes a text as the beginning of a call, up to the bracket that opens its arguments.
    fn head(&self, before_name: &Literal, text: &str) -> Head {
        let of = |matched| match matched {
            Match::Whole(n) => Ok(n),
            Match::Partial => Err(Head::Partial),
            Match::Not => Err(Head::Not),
        };
        let parsed = || {
            let name_at = of(before_name.matches(text))?;
            let rest = &text[name_at..];
            let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            let n_name = of(run(rest, TOOL_NAME_BYTES_MAX, is_of_it))?;
            let name = &rest[..n_name];
            let n_before = of(self.before_arguments.matches(&rest[n_name..]))?;
            let arguments_at = name_at + n_name + n_before;
            of(self.opens_arguments(&text[arguments_at..]))?;
            match self.tools.iter().any(|known| known.name == name) {
                true => Ok(Head::Whole(arguments_at, name.to_owned())),
                false => Err(Head::Not),
            }
        };
        parsed().unwrap_or_else(|head| head)
    }

    /// Whether a text is the beginning of arguments.
    fn opens_arguments(&self, text: &str) -> Match {
        let Some(tagged) = &self.tagged else { return Literal::text("{").matches(text) };
        match (Literal::text(&tagged.before_key).matches(text), self.after_arguments.matches(text)) {
            (Match::Whole(_), _) | (_, Match::Whole(_)) => Match::Whole(0),
            (Match::Partial, _) | (_, Match::Partial) => Match::Partial,
            (Match::Not, Match::Not) => Match::Not,
        }
    }

    fn begin(&mut self, n: usize, name: String, events: &mut Vec<ToolEvent>) {
        self.held.drain(..n);
        let tool = self.tools.iter().find(|tool| tool.name == name).filter(|_| self.tagged.is_some());
        self.state = match tool {
            Some(tool) => State::Tagged(TaggedArguments::new(tool.clone())),
            None => State::Arguments(JsonObject::default()),
        };
        events.push(ToolEvent::CallStarted { index: self.n_calls, name });
        self.n_calls += 1;
        self.has_text = false;
    }

    fn argued(&self, text: String, events: &mut Vec<ToolEvent>) {
        if !text.is_empty() {
            events.push(ToolEvent::Arguments { index: self.n_calls - 1, text });
        }
    }

    fn ended(&self, completeness: Completeness, events: &mut Vec<ToolEvent>) {
        events.push(ToolEvent::CallEnded { index: self.n_calls - 1, completeness });
    }

    /// Gives the first `n` bytes as text, but for white space at their end: a call may follow.
    fn release(&mut self, n: usize, events: &mut Vec<ToolEvent>) {
        let n = self.held[..n].trim_end().len();
        self.text(n, events);
    }

    fn text(&mut self, n: usize, events: &mut Vec<ToolEvent>) {
        if n > 0 {
            self.has_text |= !self.held[..n].trim().is_empty();
            events.push(ToolEvent::Text(self.held.drain(..n).collect()));
        }
    }
}
