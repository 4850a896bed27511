//! What conversations of this wire are made of: items, as the model sees them and as clients see them.

use crate::tools::whole_object;
use ballast_tokens::{ChatMessage, ToolCall};
use serde_json::{Map, Value, json};

/// One item of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) content: Content,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Message {
        role: Role,
        texts: Vec<String>,
    },
    /// A call of a tool; its arguments are a JSON object, or the beginning of one.
    Call {
        call_id: String,
        name: String,
        arguments: String,
    },
    /// What the assistant thought.
    Reasoning {
        text: String,
    },
    /// What a tool answered.
    CallOutput {
        call_id: String,
        texts: Vec<String>,
    },
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    System,
    /// OpenAI's newer name for the system; the templates of open models know only the older.
    Developer,
    User,
    Assistant,
}

impl Role {
    pub(super) const ALL: [Self; 4] = [Self::System, Self::Developer, Self::User, Self::Assistant];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    /// As templates know it.
    fn in_templates(self) -> &'static str {
        match self {
            Self::System | Self::Developer => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl Item {
    /// The item as the API shows it.
    pub(super) fn json(&self) -> Value {
        match &self.content {
            Content::Message { role, texts } => {
                let part = |text: &String| match role {
                    Role::Assistant => json!({ "type": "output_text", "text": text, "annotations": [] }),
                    Role::System | Role::Developer | Role::User => json!({ "type": "input_text", "text": text }),
                };
                let content: Vec<Value> = texts.iter().map(part).collect();
                let role = role.as_str();
                json!({ "type": "message", "id": self.id, "status": "completed", "role": role, "content": content })
            }
            Content::Call { call_id, name, arguments } => json!({
                "type": "function_call", "id": self.id, "status": "completed",
                "call_id": call_id, "name": name, "arguments": arguments,
            }),
            Content::Reasoning { text } => json!({
                "type": "reasoning", "id": self.id, "status": "completed",
                "summary": [], "content": [{ "type": "reasoning_text", "text": text }],
            }),
            Content::CallOutput { call_id, texts } => json!({
                "type": "function_call_output", "id": self.id, "status": "completed",
                "call_id": call_id, "output": texts.concat(),
            }),
        }
    }

    /// What it takes to keep it, about.
    pub(super) fn bytes(&self) -> usize {
        let of = |texts: &[String]| texts.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let content = match &self.content {
            Content::Message { texts, .. } => of(texts),
            Content::Call { call_id, name, arguments } => call_id.len() + name.len() + arguments.len(),
            Content::Reasoning { text } => text.len(),
            Content::CallOutput { call_id, texts } => call_id.len() + of(texts),
        };
        size_of::<Self>() + self.id.len() + content
    }
}

/// The conversation as the model sees it. `instructions` come first, and a system message that follows them is one with
/// them: many templates take only one. Calls belong to the message of the
/// assistant that they follow, thoughts to the one that follows them.
pub(super) fn messages<'a>(instructions: Option<&str>, items: impl IntoIterator<Item = &'a Item>) -> Vec<ChatMessage> {
    let (system, assistant) = (Role::System.in_templates(), Role::Assistant.in_templates());
    let mut messages: Vec<ChatMessage> = Vec::new();
    messages.extend(instructions.map(|text| ChatMessage::text(system, text)));
    for item in items {
        let is_first = messages.len() == 1 && instructions.is_some();
        match (&item.content, messages.last_mut()) {
            (Content::Message { role, texts }, Some(last)) if is_first && role.in_templates() == system => {
                last.content = format!("{}\n\n{}", last.content, texts.concat());
            }
            (Content::Message { role: Role::Assistant, texts }, Some(last)) if is_only_thought(last) => {
                last.content = texts.concat();
            }
            (Content::Reasoning { text }, _) => {
                messages.push(ChatMessage { reasoning: text.clone(), ..ChatMessage::text(assistant, "") });
            }
            (Content::Message { role, texts }, _) => {
                messages.push(ChatMessage::text(role.in_templates(), texts.concat()));
            }
            (Content::Call { call_id, name, arguments }, last) => {
                let call = ToolCall { id: call_id.clone(), name: name.clone(), arguments: object(arguments) };
                match last {
                    Some(last) if last.role == assistant => last.tool_calls.push(call),
                    _ => messages.push(ChatMessage { tool_calls: vec![call], ..ChatMessage::text(assistant, "") }),
                }
            }
            (Content::CallOutput { call_id, texts }, _) => {
                let answer = ChatMessage::text("tool", texts.concat());
                messages.push(ChatMessage { tool_call_id: Some(call_id.clone()), ..answer });
            }
        }
    }
    messages
}

/// Whether nothing has been said after a thought.
fn is_only_thought(message: &ChatMessage) -> bool {
    !message.reasoning.is_empty() && message.content.is_empty() && message.tool_calls.is_empty()
}

/// Arguments; of those that were cut off, what came.
fn object(arguments: &str) -> Map<String, Value> {
    match whole_object(arguments) {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(content: Content) -> Item {
        Item { id: "msg_1".to_owned(), content }
    }

    fn said(role: Role, text: &str) -> Item {
        item(Content::Message { role, texts: vec![text.to_owned()] })
    }

    #[test]
    fn instructions_and_a_system_message_are_one() {
        let of = |instructions: Option<&str>, roles: &[Role]| {
            let items: Vec<Item> = roles.iter().map(|role| said(*role, role.as_str())).collect();
            let messages = messages(instructions, &items);
            messages.into_iter().map(|m| format!("{}: {}", m.role, m.content)).collect::<Vec<_>>()
        };
        assert_eq!(of(None, &[Role::Developer, Role::User]), ["system: developer", "user: user"]);
        assert_eq!(of(Some("x"), &[Role::User, Role::System]), ["system: x", "user: user", "system: system"]);
        assert_eq!(of(Some("x"), &[Role::System, Role::User]), ["system: x\n\nsystem", "user: user"]);
        assert_eq!(of(Some("x"), &[Role::User, Role::Assistant]), ["system: x", "user: user", "assistant: assistant"]);
    }

    #[test]
    fn calls_belong_to_what_the_assistant_said_before_them() {
        let call = |id: &str, arguments: &str| {
            let (call_id, name) = (id.to_owned(), "look".to_owned());
            item(Content::Call { call_id, name, arguments: arguments.to_owned() })
        };
        let output = |id: &str| item(Content::CallOutput { call_id: id.to_owned(), texts: vec!["dark".to_owned()] });
        let items = [
            said(Role::User, "where?"),
            call("a", "{\"at\": 1}"),
            call("b", "{\"at\": 2, \"of\""),
            output("a"),
            said(Role::Assistant, "Well."),
            call("c", "{}"),
        ];
        let messages = messages(None, &items);
        let roles: Vec<_> = messages.iter().map(|m| (m.role.as_str(), m.tool_calls.len())).collect();
        assert_eq!(roles, [("user", 0), ("assistant", 2), ("tool", 0), ("assistant", 1)]);
        assert_eq!(messages[1].tool_calls[1].arguments, *json!({"at": 2}).as_object().unwrap());
        assert_eq!(messages[2].tool_call_id.as_deref(), Some("a"));
        assert_eq!(messages[3].content, "Well.");
    }

    #[test]
    fn thoughts_belong_to_what_the_assistant_says_next() {
        let thought = |text: &str| item(Content::Reasoning { text: text.to_owned() });
        let call = item(Content::Call { call_id: "a".to_owned(), name: "look".to_owned(), arguments: "{}".to_owned() });
        let items = [
            said(Role::User, "?"),
            thought("Hm."),
            said(Role::Assistant, "Yes."),
            said(Role::User, "Sure?"),
            thought("Let me see."),
            call,
        ];
        let messages = messages(None, &items);
        let read: Vec<_> =
            messages.iter().map(|m| (m.content.as_str(), m.reasoning.as_str(), m.tool_calls.len())).collect();
        assert_eq!(read, [("?", "", 0), ("Yes.", "Hm.", 0), ("Sure?", "", 0), ("", "Let me see.", 1)]);
    }
}
