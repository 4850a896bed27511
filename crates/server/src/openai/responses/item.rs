//! What conversations of this wire are made of: items, as the model sees them and as clients see them.

use ballast_tokens::ChatMessage;
use serde_json::{Value, json};

/// One item of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) content: Content,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Message { role: Role, texts: Vec<String> },
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
        }
    }

    /// What it takes to keep it, about.
    pub(super) fn bytes(&self) -> usize {
        let Content::Message { texts, .. } = &self.content;
        size_of::<Self>() + self.id.len() + texts.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>()
    }
}

/// The conversation as the model sees it. `instructions` come first, and a system message that follows them is one with
/// them: many templates take only one.
pub(super) fn messages<'a>(instructions: Option<&str>, items: impl IntoIterator<Item = &'a Item>) -> Vec<ChatMessage> {
    let system = Role::System.in_templates();
    let mut messages: Vec<ChatMessage> = Vec::new();
    messages.extend(instructions.map(|text| message(system, text.to_owned())));
    for item in items {
        let Content::Message { role, texts } = &item.content;
        let is_second = messages.len() == 1 && instructions.is_some() && role.in_templates() == system;
        match messages.last_mut() {
            Some(first) if is_second => first.content = format!("{}\n\n{}", first.content, texts.concat()),
            _ => messages.push(message(role.in_templates(), texts.concat())),
        }
    }
    messages
}

fn message(role: &str, content: String) -> ChatMessage {
    ChatMessage::text(role, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(role: Role, text: &str) -> Item {
        Item { id: "msg_1".to_owned(), content: Content::Message { role, texts: vec![text.to_owned()] } }
    }

    #[test]
    fn instructions_and_a_system_message_are_one() {
        let of = |instructions: Option<&str>, roles: &[Role]| {
            let items: Vec<Item> = roles.iter().map(|role| item(*role, role.as_str())).collect();
            let messages = messages(instructions, &items);
            messages.into_iter().map(|m| format!("{}: {}", m.role, m.content)).collect::<Vec<_>>()
        };
        assert_eq!(of(None, &[Role::Developer, Role::User]), ["system: developer", "user: user"]);
        assert_eq!(of(Some("x"), &[Role::User, Role::System]), ["system: x", "user: user", "system: system"]);
        assert_eq!(of(Some("x"), &[Role::System, Role::User]), ["system: x\n\nsystem", "user: user"]);
        assert_eq!(of(Some("x"), &[Role::User, Role::Assistant]), ["system: x", "user: user", "assistant: assistant"]);
    }
}
