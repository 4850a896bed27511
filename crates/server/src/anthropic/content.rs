//! Content: a string, or blocks of text.

use crate::fields::{Fields, ParamError};
use serde_json::Value;

/// Most blocks of one message.
pub(crate) const BLOCKS_MAX: usize = 256;

const TEXT_ONLY: &str = "content is text";

/// The text at `param`.
pub(super) fn parse(param: String, value: Option<Value>) -> Result<String, ParamError> {
    match value {
        None => Err(ParamError::Missing { param, expected: "a string or an array of text blocks" }),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(blocks)) if blocks.len() <= BLOCKS_MAX => {
            blocks.into_iter().enumerate().map(|(idx, block)| parse_block(format!("{param}.{idx}"), block)).collect()
        }
        Some(other) => {
            let expected = format!("a string or an array of at most {BLOCKS_MAX} text blocks");
            Err(ParamError::wrong(param, expected, &other))
        }
    }
}

fn parse_block(path: String, value: Value) -> Result<String, ParamError> {
    let mut fields = Fields::new(path, value)?;
    let kind = fields.needed_string("type", "\"text\"")?;
    if kind != "text" {
        return Err(ParamError::Unsupported { param: fields.name("type"), supported: TEXT_ONLY });
    }
    let text = fields.needed_string("text", "a string")?;
    cache_control(&mut fields)?;
    if fields.take("citations").is_some_and(|value| value != Value::Array(Vec::new())) {
        return Err(ParamError::Unsupported { param: fields.name("citations"), supported: TEXT_ONLY });
    }
    fields.finish()?;
    Ok(text)
}

/// What a caller wants kept is kept: every prefix is, for as long as there is room.
pub(super) fn cache_control(fields: &mut Fields) -> Result<(), ParamError> {
    let Some(value) = fields.take("cache_control") else { return Ok(()) };
    let mut control = Fields::new(fields.name("cache_control"), value)?;
    let kind = control.needed_string("type", "\"ephemeral\"")?;
    if kind != "ephemeral" {
        return Err(ParamError::wrong(control.name("type"), "\"ephemeral\"", &kind.into()));
    }
    if let Some(ttl) = control.string("ttl")?
        && !["5m", "1h"].contains(&ttl.as_str())
    {
        return Err(ParamError::wrong(control.name("ttl"), "\"5m\" or \"1h\"", &ttl.into()));
    }
    control.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_of_text_are_joined() {
        let blocks = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
        assert_eq!(parse("system".to_owned(), Some(blocks)), Ok("ab".to_owned()));
        assert_eq!(parse("system".to_owned(), Some(json!("a"))), Ok("a".to_owned()));
    }

    #[test]
    fn what_is_wrong_with_a_block_is_named() {
        let cases = [
            (json!(1), "c"),
            (json!([1]), "c.0"),
            (json!([{"type": "image", "source": {}}]), "c.0.type"),
            (json!([{"type": "text"}]), "c.0.text"),
            (json!([{"text": "x"}]), "c.0.type"),
            (json!([{"type": "text", "text": "x", "mood": 1}]), "c.0.mood"),
            (json!([{"type": "text", "text": "x", "citations": [1]}]), "c.0.citations"),
            (json!([{"type": "text", "text": "x", "cache_control": {"type": "eternal"}}]), "c.0.cache_control.type"),
            (
                json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1y"}}]),
                "c.0.cache_control.ttl",
            ),
        ];
        for (content, param) in cases {
            assert_eq!(parse("c".to_owned(), Some(content.clone())).unwrap_err().param(), param, "{content}");
        }
        let many = |n: usize| parse("c".to_owned(), Some(json!(vec![json!({"type": "text", "text": "x"}); n])));
        assert!(many(BLOCKS_MAX).is_ok() && many(BLOCKS_MAX + 1).is_err());
    }
}
