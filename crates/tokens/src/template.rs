//! Chat templates: a conversation becomes the prompt that the model was trained on.
//!
//! Templates are Jinja2, written for Python and stored in model files. They are untrusted: source and output have
//! caps, every rendering has a budget of instructions and of nesting, and nothing outside its arguments can be
//! reached. The environment is the one Python tools render chat templates in: blocks are trimmed, loops have
//! `break` and `continue`, `raise_exception`, `strftime_now` and Python's `tojson` exist.
//!
//! What is bounded is work and output, not the memory of values in between: see [`FUEL_BASE`]. Parsing and rendering
//! run on stacks of their own, which hold the deepest nesting that the bounds allow.

mod dates;
mod environment;
mod error;
mod generation;
mod json;
mod stack;
#[cfg(test)]
mod tests;
mod values;

pub use error::TemplateError;

use crate::chat_message::{ArgumentsAs, ChatMessage};
use minijinja::{Environment, Value};
use stack::RenderStacks;
use std::borrow::Cow;
use std::io;

/// Longest template source. The longest in wide use have about 20 kB; parsing a chain of `not` takes time quadratic in
/// its length, so this is not more generous than it has to be.
pub const TEMPLATE_SOURCE_BYTES_MAX: usize = 64 * 1024;
/// Longest prompt a template may write.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Instructions that rendering any conversation may take.
///
/// This bounds work only roughly and memory not at all, since one instruction can copy or double a string: run
/// templates of unknown origin where running out of memory is survivable.
pub const FUEL_BASE: u64 = 1_000_000;
/// Instructions allowed on top for each pair of messages of a long conversation: some templates look through all messages for each one.
pub const FUEL_PER_MESSAGE_PAIR: u64 = 8;
/// Conversations of up to so many messages have no more than [`FUEL_BASE`].
const USUAL_MESSAGES: usize = 64;
/// Most instructions, whatever the conversation.
pub const FUEL_MAX: u64 = 10_000_000;
/// Deepest nesting of macros and loops that are in progress.
pub const RECURSION_MAX: usize = 100;

/// Name under which the template is registered; it shows in no message.
const NAME: &str = "chat";

/// What a rendering needs beside the messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenderOptions {
    /// Ends the prompt where the model is to answer.
    pub add_generation_prompt: bool,
    /// Tools the model may call, as the template expects them.
    pub tools: Option<serde_json::Value>,
    /// Further variables, such as `enable_thinking`. They cannot stand in for those that are always set.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// The time `strftime_now` shows: seconds since 1970-01-01 00:00 on the clock it is read from, so a caller that
    /// wants local time adds the offset. Without it `strftime_now` is an error.
    pub now: Option<i64>,
}

/// A time in seconds since 1970 as C's strftime has it in its default locale, in UTC; `None` where it cannot be said so.
#[must_use]
pub fn format_date(seconds: i64, format: &str) -> Option<String> {
    dates::format(seconds, format).ok()
}

/// A parsed chat template with the model's special tokens.
#[derive(Debug)]
pub struct ChatTemplate {
    /// With [`FUEL_BASE`].
    environment: Environment<'static>,
    stacks: RenderStacks,
    source: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// A source over [`TEMPLATE_SOURCE_BYTES_MAX`], a syntax error with its line.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, TemplateError> {
        if source.len() > TEMPLATE_SOURCE_BYTES_MAX {
            return Err(TemplateError::SourceTooLong { max: TEMPLATE_SOURCE_BYTES_MAX, got: source.len() });
        }
        let source = generation::strip(source);
        let parsed = source.clone();
        let environment = stack::run_on_own(stack::PARSE_BYTES, || {
            let mut environment = environment::new();
            environment.set_fuel(Some(FUEL_BASE));
            let added = environment.add_template_owned(NAME, parsed);
            added.map(|()| environment).map_err(|error| TemplateError::from_engine(&error, 0))
        })??;
        let stacks = RenderStacks::new(FUEL_BASE);
        Ok(Self { environment, stacks, source, bos_token: bos_token.to_owned(), eos_token: eos_token.to_owned() })
    }

    /// The template's text, without marks of generation, which render to nothing.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation, with calls of tools as they are given.
    ///
    /// # Errors
    /// As [`ChatTemplate::render_value`].
    pub fn render(&self, messages: &[ChatMessage], options: &RenderOptions) -> Result<String, TemplateError> {
        let messages = messages.iter().map(|message| message.to_json(ArgumentsAs::Object));
        self.render_value(&messages.collect(), options)
    }

    /// Renders a conversation given as the list of objects that the template sees.
    ///
    /// # Errors
    /// What the template raises, operations it cannot do, a bound that is reached, an extra variable with the name
    /// of one that is always set.
    pub fn render_value(&self, messages: &serde_json::Value, options: &RenderOptions) -> Result<String, TemplateError> {
        let fuel = fuel(messages.as_array().map_or(0, Vec::len));
        self.stacks.run(fuel, || self.render_with_fuel(messages, options, fuel))
    }

    /// The prompt, and how much fuel it took.
    fn render_with_fuel(
        &self,
        messages: &serde_json::Value,
        options: &RenderOptions,
        fuel: u64,
    ) -> Result<(String, u64), TemplateError> {
        let context = self.context(messages, options)?;
        let environment = self.environment(fuel);
        let template = environment.get_template(NAME).expect("it was added when this was made");
        let mut output = BoundedOutput::default();
        let rendered = template.render_captured_to(context, &mut output);
        if output.is_full {
            return Err(TemplateError::OutputTooLong { max: TEMPLATE_OUTPUT_BYTES_MAX });
        }
        let rendered = rendered.map_err(|error| TemplateError::from_engine(&error, fuel))?;
        let (fuel_used, _) = rendered.state().fuel_levels().expect("it has fuel");
        Ok((String::from_utf8(output.bytes).expect("a template writes whole strings"), fuel_used))
    }

    fn environment(&self, fuel: u64) -> Cow<'_, Environment<'static>> {
        if self.environment.fuel() == Some(fuel) {
            return Cow::Borrowed(&self.environment);
        }
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        Cow::Owned(environment)
    }

    fn context(&self, messages: &serde_json::Value, options: &RenderOptions) -> Result<Value, TemplateError> {
        let fixed = [
            ("messages", values::from_json(messages)?),
            ("tools", options.tools.as_ref().map_or(Ok(Value::from(())), values::from_json)?),
            ("add_generation_prompt", options.add_generation_prompt.into()),
            ("bos_token", self.bos_token.as_str().into()),
            ("eos_token", self.eos_token.as_str().into()),
            (environment::NOW, options.now.into()),
        ];
        // Python tools always pass documents, so templates ask whether it is none, not whether it is defined.
        let mut variables = vec![("documents", Value::from(()))];
        for (name, value) in &options.extra {
            if let Some(&(name, _)) = fixed.iter().find(|(taken, _)| taken == name) {
                return Err(TemplateError::ReservedName { name });
            }
            variables.push((name, values::from_json(value)?));
        }
        variables.extend(fixed);
        Ok(Value::from_pairs(variables))
    }
}

/// Instructions that rendering so many messages may take.
fn fuel(n_messages: usize) -> u64 {
    let n_messages = if n_messages > USUAL_MESSAGES { n_messages as u64 } else { 0 };
    FUEL_BASE.saturating_add(n_messages.saturating_mul(n_messages).saturating_mul(FUEL_PER_MESSAGE_PAIR)).min(FUEL_MAX)
}

/// Collects output up to [`TEMPLATE_OUTPUT_BYTES_MAX`].
#[derive(Default)]
struct BoundedOutput {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > TEMPLATE_OUTPUT_BYTES_MAX - self.bytes.len() {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
