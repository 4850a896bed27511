//! The format for models whose template has none: Hermes', which most small models have seen in training.

use super::literal::Literal;
use super::{ToolFormat, ToolFormatOrigin};
use crate::chat_message::{ArgumentsAs, written};
use serde_json::Value;

/// What the system message says of tools, before and after their list: one JSON object a line.
pub const GENERIC_INSTRUCTIONS: [&str; 2] = [
    "You may call tools. These are the tools, one JSON object a line:\n<tools>\n",
    "</tools>\n\nTo call a tool, answer with its name and arguments as JSON, each call in a pair of tags:\n\
     <tool_call>\n{\"name\": \"name of the tool\", \"arguments\": {}}\n</tool_call>",
];

impl ToolFormat {
    /// The format for a template that has none of its own.
    #[must_use]
    pub fn generic(origin: ToolFormatOrigin) -> Self {
        Self {
            origin,
            start: Literal::default(),
            before_name: Literal::text("<tool_call>\n{\"name\": \""),
            before_arguments: Literal::text("\", \"arguments\": "),
            after_arguments: Literal::text("}\n</tool_call>"),
            separator: Some(Literal::text("\n")),
            end: Literal::default(),
            tagged: None,
            arguments: ArgumentsAs::Object,
            has_short_ids: false,
        }
    }
}

/// What is told of the tools.
pub(super) fn instructions(tools: &Value) -> String {
    let tools = tools.as_array().map(Vec::as_slice).unwrap_or_default();
    let lines: String = tools.iter().map(|tool| written(tool) + "\n").collect();
    GENERIC_INSTRUCTIONS.join(&lines)
}
