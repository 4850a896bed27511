//! The item that is being written: a message, thoughts or a call, and what is told of it.

use super::item::{Content, Item, Role};
use serde_json::{Value, json};

/// An event's name and its fields.
pub(super) type Told = (&'static str, Value);

/// An item in progress.
#[derive(Debug)]
pub(super) struct Draft {
    id: String,
    /// What was said, or the arguments.
    text: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Message { logprobs: Vec<Value> },
    Reasoning,
    Call { call_id: String, name: String },
}

impl Draft {
    pub(super) fn message(id: String) -> Self {
        Self { id, text: String::new(), kind: Kind::Message { logprobs: Vec::new() } }
    }

    pub(super) fn reasoning(id: String) -> Self {
        Self { id, text: String::new(), kind: Kind::Reasoning }
    }

    pub(super) fn call(id: String, call_id: String, name: String) -> Self {
        Self { id, text: String::new(), kind: Kind::Call { call_id, name } }
    }

    pub(super) fn is_message(&self) -> bool {
        match self.kind {
            Kind::Message { .. } => true,
            Kind::Reasoning | Kind::Call { .. } => false,
        }
    }

    pub(super) fn is_reasoning(&self) -> bool {
        match self.kind {
            Kind::Reasoning => true,
            Kind::Message { .. } | Kind::Call { .. } => false,
        }
    }

    /// What is told before the first word of item number `idx`.
    pub(super) fn opening(&self, idx: usize) -> Vec<Told> {
        let mut item = self.json("in_progress");
        match self.kind {
            Kind::Message { .. } | Kind::Reasoning => {
                item["content"] = json!([]);
                let part = self.of_part(idx, json!({ "part": self.part() }));
                vec![added(idx, &item), ("response.content_part.added", part)]
            }
            Kind::Call { .. } => vec![added(idx, &item)],
        }
    }

    /// Adds text, and the log probabilities of its tokens.
    pub(super) fn add(&mut self, text: &str, more: Vec<Value>, idx: usize) -> Told {
        self.text += text;
        match &mut self.kind {
            Kind::Message { logprobs } => {
                let told = json!({ "delta": text, "logprobs": more });
                logprobs.extend(more);
                ("response.output_text.delta", self.of_part(idx, told))
            }
            Kind::Reasoning => ("response.reasoning_text.delta", self.of_part(idx, json!({ "delta": text }))),
            Kind::Call { .. } => {
                ("response.function_call_arguments.delta", self.of_item(idx, json!({ "delta": text })))
            }
        }
    }

    /// What is told after the last word of it.
    pub(super) fn closing(&self, status: &str, idx: usize) -> Vec<Told> {
        let done = ("response.output_item.done", json!({ "output_index": idx, "item": self.json(status) }));
        match &self.kind {
            Kind::Message { logprobs } => {
                let text = self.of_part(idx, json!({ "text": self.text, "logprobs": logprobs }));
                let part = self.of_part(idx, json!({ "part": self.part() }));
                vec![("response.output_text.done", text), ("response.content_part.done", part), done]
            }
            Kind::Reasoning => {
                let text = self.of_part(idx, json!({ "text": self.text }));
                let part = self.of_part(idx, json!({ "part": self.part() }));
                vec![("response.reasoning_text.done", text), ("response.content_part.done", part), done]
            }
            Kind::Call { name, .. } => {
                let arguments = self.of_item(idx, json!({ "name": name, "arguments": self.text }));
                vec![("response.function_call_arguments.done", arguments), done]
            }
        }
    }

    /// The item as the API shows it.
    pub(super) fn json(&self, status: &str) -> Value {
        match &self.kind {
            Kind::Message { .. } => json!({
                "type": "message", "id": self.id, "status": status, "role": "assistant", "content": [self.part()],
            }),
            Kind::Reasoning => json!({
                "type": "reasoning", "id": self.id, "status": status, "summary": [], "content": [self.part()],
            }),
            Kind::Call { call_id, name } => json!({
                "type": "function_call", "id": self.id, "status": status,
                "call_id": call_id, "name": name, "arguments": self.text,
            }),
        }
    }

    /// The item as a part of the conversation.
    pub(super) fn into_item(self) -> Item {
        let content = match self.kind {
            Kind::Message { .. } => Content::Message { role: Role::Assistant, texts: vec![self.text] },
            Kind::Reasoning => Content::Reasoning { text: self.text },
            Kind::Call { call_id, name } => Content::Call { call_id, name, arguments: self.text },
        };
        Item { id: self.id, content }
    }

    fn part(&self) -> Value {
        let logprobs = match &self.kind {
            Kind::Message { logprobs } => logprobs.as_slice(),
            Kind::Reasoning => return json!({ "type": "reasoning_text", "text": self.text }),
            Kind::Call { .. } => &[],
        };
        json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": logprobs })
    }

    /// An event's fields, with those that say which item it tells of.
    fn of_item(&self, idx: usize, mut fields: Value) -> Value {
        fields["item_id"] = self.id.as_str().into();
        fields["output_index"] = idx.into();
        fields
    }

    fn of_part(&self, idx: usize, fields: Value) -> Value {
        let mut fields = self.of_item(idx, fields);
        fields["content_index"] = 0.into();
        fields
    }
}

fn added(idx: usize, item: &Value) -> Told {
    ("response.output_item.added", json!({ "output_index": idx, "item": item }))
}
