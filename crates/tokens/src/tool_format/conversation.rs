//! Conversations with tools, as a template takes them.

use super::{ToolFormat, ToolFormatOrigin, generic};
use crate::chat_message::written;
use crate::{ChatMessage, ChatTemplate, RenderOptions, TemplateError};
use serde_json::Value;

/// Whether anything in a conversation has to do with tools.
pub(crate) fn has_tools(messages: &[ChatMessage], options: &RenderOptions) -> bool {
    options.tools.is_some() || messages.iter().any(|message| !message.tool_calls.is_empty() || message.role == "tool")
}

impl ToolFormat {
    /// The format of a template's calls, or ours if it has none.
    #[must_use]
    pub fn of_or_generic(template: &ChatTemplate) -> Self {
        Self::of(template).unwrap_or_else(|_| {
            let system = [ChatMessage::text("system", "probe_system"), ChatMessage::text("user", "probe_question")];
            let options = RenderOptions { now: Some(0), ..RenderOptions::default() };
            let shows = template.render(&system, &options).is_ok_and(|text| text.contains("probe_system"));
            Self::generic(if shows { ToolFormatOrigin::Generic } else { ToolFormatOrigin::GenericWithoutSystem })
        })
    }

    /// Renders a conversation with tools.
    ///
    /// # Errors
    /// As [`ChatTemplate::render_value`].
    pub fn render(
        &self,
        template: &ChatTemplate,
        messages: &[ChatMessage],
        options: &RenderOptions,
    ) -> Result<String, TemplateError> {
        let messages = named(messages);
        match self.origin {
            ToolFormatOrigin::Template => {
                let messages = messages.iter().map(|message| self.identified(message).to_json(self.arguments));
                template.render_value(&messages.collect(), options)
            }
            ToolFormatOrigin::Generic | ToolFormatOrigin::GenericWithoutSystem => {
                let messages = self.as_text(messages, options.tools.as_ref());
                template.render(&messages, &RenderOptions { tools: None, ..options.clone() })
            }
        }
    }

    /// With identifiers that the template takes.
    fn identified(&self, message: &ChatMessage) -> ChatMessage {
        let mut message = message.clone();
        if self.has_short_ids {
            message.tool_calls.iter_mut().for_each(|call| call.id = short(&call.id));
            message.tool_call_id = message.tool_call_id.as_deref().map(short);
        }
        message
    }

    /// Calls, answers and tools as text of messages that every template takes.
    fn as_text(&self, messages: Vec<ChatMessage>, tools: Option<&Value>) -> Vec<ChatMessage> {
        let mut turns: Vec<ChatMessage> = Vec::new();
        for message in messages {
            if message.role == "tool" {
                let answer = format!("<tool_response>\n{}\n</tool_response>", message.content);
                match turns.last_mut().filter(|last| last.tool_call_id.is_some()) {
                    Some(last) => last.content += &format!("\n{answer}"),
                    // Marked as an answer, so that the next joins it.
                    None => turns
                        .push(ChatMessage { tool_call_id: Some(String::new()), ..ChatMessage::text("user", answer) }),
                }
                continue;
            }
            let arguments: Vec<_> =
                message.tool_calls.iter().map(|call| written(&Value::Object(call.arguments.clone()))).collect();
            let calls =
                message.tool_calls.iter().zip(&arguments).map(|(call, text)| (call.name.as_str(), text.as_str()));
            let calls: Vec<_> = calls.collect();
            let written = if calls.is_empty() { String::new() } else { self.write(&calls) };
            let between = if written.is_empty() || message.content.is_empty() { "" } else { "\n" };
            let text = format!("{}{between}{written}", message.content);
            turns.push(ChatMessage { reasoning: message.reasoning, ..ChatMessage::text(message.role, text) });
        }
        for turn in &mut turns {
            turn.tool_call_id = None;
        }
        if let Some(tools) = tools {
            self.tell(&mut turns, &generic::instructions(tools));
        }
        turns
    }

    /// Puts what is told of the tools where the model learns of it.
    fn tell(&self, turns: &mut Vec<ChatMessage>, instructions: &str) {
        let role = if self.origin == ToolFormatOrigin::GenericWithoutSystem { "user" } else { "system" };
        match turns.first_mut().filter(|first| first.role == role) {
            Some(first) if role == "user" => first.content = format!("{instructions}\n\n{}", first.content),
            Some(first) => first.content = format!("{}\n\n{instructions}", first.content),
            None => turns.insert(0, ChatMessage::text(role, instructions)),
        }
    }
}

/// Answers of tools with the names and identifiers that their calls have, where one of the two is missing.
fn named(messages: &[ChatMessage]) -> Vec<ChatMessage> {
    let mut calls: Vec<(String, String)> = Vec::new();
    let mut named = messages.to_vec();
    for message in &mut named {
        if !message.tool_calls.is_empty() {
            calls = message.tool_calls.iter().map(|call| (call.id.clone(), call.name.clone())).collect();
        }
        if message.role != "tool" {
            continue;
        }
        let call = match (&message.tool_call_id, &message.name) {
            (Some(id), _) => calls.iter().find(|call| call.0 == *id),
            (None, Some(name)) => calls.iter().find(|call| call.1 == *name),
            (None, None) => calls.first(),
        };
        if let Some((id, name)) = call {
            message.tool_call_id.get_or_insert_with(|| id.clone());
            message.name.get_or_insert_with(|| name.clone());
        }
    }
    named
}

/// Nine letters and digits that stand for an identifier, always the same. (FNV-1a)
fn short(id: &str) -> String {
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let digit = |place: u32| {
        let place = (hash / 62_u64.pow(place)) % 62;
        char::from(digits[usize::try_from(place).expect("it is below 62")])
    };
    (0..9).map(digit).collect()
}
