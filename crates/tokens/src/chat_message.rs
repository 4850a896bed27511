//! What conversations are made of: messages, calls of tools, and what the tools answered.

use serde_json::{Map, Value, json};

/// One turn of a conversation. Content in parts is rendered with
/// [`ChatTemplate::render_value`](crate::ChatTemplate::render_value).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user`, `assistant`, `tool` or whatever else the template knows.
    pub role: String,
    /// What is said; may be empty beside calls.
    pub content: String,
    /// What the assistant thought before; empty where nothing is known of it. Many templates show it only in the turns after
    /// the last question.
    pub reasoning: String,
    /// Tools that the assistant calls in this turn.
    pub tool_calls: Vec<ToolCall>,
    /// Of a tool's answer: the call that it answers.
    pub tool_call_id: Option<String>,
    /// Of a tool's answer: the tool.
    pub name: Option<String>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// What its answer refers to.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments by name, in the order they were said.
    pub arguments: Map<String, Value>,
}

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it is for; empty where nobody says.
    pub description: String,
    /// JSON Schema of its arguments, an object; `None`: it has none.
    pub parameters: Option<Value>,
}

/// How a template takes the arguments of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArgumentsAs {
    /// As an object, which it writes as JSON.
    #[default]
    Object,
    /// As text that is JSON, which it copies.
    Text,
}

impl ChatMessage {
    /// A message that is only text.
    #[must_use]
    pub fn text(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }

    /// The object that a template sees. Fields that are not used are absent, as templates ask whether they are defined.
    pub(crate) fn to_json(&self, arguments: ArgumentsAs) -> Value {
        let mut object = json!({ "role": self.role, "content": self.content });
        if !self.reasoning.is_empty() {
            object["reasoning_content"] = self.reasoning.as_str().into();
        }
        if !self.tool_calls.is_empty() {
            object["tool_calls"] = self.tool_calls.iter().map(|call| call.to_json(arguments)).collect();
        }
        if let Some(id) = &self.tool_call_id {
            object["tool_call_id"] = id.as_str().into();
        }
        if let Some(name) = &self.name {
            object["name"] = name.as_str().into();
        }
        object
    }
}

impl ToolCall {
    fn to_json(&self, arguments: ArgumentsAs) -> Value {
        let arguments = match arguments {
            ArgumentsAs::Object => Value::Object(self.arguments.clone()),
            ArgumentsAs::Text => written(&Value::Object(self.arguments.clone())).into(),
        };
        json!({ "id": self.id, "type": "function", "function": { "name": self.name, "arguments": arguments } })
    }
}

impl ToolSpec {
    /// The object that a template sees.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut function = json!({ "name": self.name, "description": self.description });
        let none = || json!({ "type": "object", "properties": {} });
        function["parameters"] = self.parameters.clone().unwrap_or_else(none);
        json!({ "type": "function", "function": function })
    }
}

/// JSON with a blank after `,` and `:`, as templates write it and models learned it.
pub(crate) fn written(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("{}: {}", Value::from(name.as_str()), written(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_see_calls_with_arguments_as_they_take_them() {
        let arguments = json!({"place": "Z\u{fc}rich", "days": [1, 2]}).as_object().unwrap().clone();
        let call = ToolCall { id: "c1".to_owned(), name: "weather".to_owned(), arguments };
        let message = ChatMessage { tool_calls: vec![call], ..ChatMessage::text("assistant", "") };
        let of = |arguments| message.to_json(arguments)["tool_calls"][0]["function"]["arguments"].clone();
        assert_eq!(of(ArgumentsAs::Object), json!({"place": "Z\u{fc}rich", "days": [1, 2]}));
        assert_eq!(of(ArgumentsAs::Text), json!("{\"place\": \"Z\u{fc}rich\", \"days\": [1, 2]}"));
        assert_eq!(
            ChatMessage::text("user", "x").to_json(ArgumentsAs::Object),
            json!({"role": "user", "content": "x"})
        );
    }
}
