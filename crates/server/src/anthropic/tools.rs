//! `tools` and `tool_choice`.

use super::content::cache_control;
use crate::fields::{Fields, ParamError};
use crate::tools::{Choice, Declared, Tool, Tools, declare};
use ballast_tokens::{CallCount, CallNeed};
use serde_json::Value;

const OWN_ONLY: &str = "tools are the caller's own, of type `custom`";
const CHOICES: &str = "auto, any, tool or none";

/// # Errors
/// The first thing that is wrong, by its name.
pub(super) fn take(fields: &mut Fields) -> Result<Tools, ParamError> {
    let offered = offered(fields.take("tools"))?;
    let (choice, count) = match fields.take("tool_choice") {
        None => (Choice::Auto, CallCount::Many),
        Some(value) => choice(value)?,
    };
    Tools::new(offered, &choice, count, "tool_choice")
}

fn offered(value: Option<Value>) -> Result<Vec<Tool>, ParamError> {
    declare(
        value,
        |idx| format!("tools.{idx}"),
        |mut fields| {
            if fields.string("type")?.is_some_and(|kind| kind != "custom") {
                return Err(ParamError::Unsupported { param: fields.name("type"), supported: OWN_ONLY });
            }
            if fields.peek("input_schema").is_none() {
                let param = fields.name("input_schema");
                return Err(ParamError::Missing { param, expected: "a JSON Schema of an object" });
            }
            cache_control(&mut fields)?;
            // Schemas are always kept to.
            fields.bool("strict")?;
            // Input is always streamed as it is generated.
            fields.bool("eager_input_streaming")?;
            Ok(Declared { fields, schema: "input_schema" })
        },
    )
}

fn choice(value: Value) -> Result<(Choice, CallCount), ParamError> {
    let mut fields = Fields::new("tool_choice".to_owned(), value)?;
    let kind = fields.needed_string("type", CHOICES)?;
    let choice = match kind.as_str() {
        "auto" => Choice::Auto,
        "any" => Choice::Required,
        "tool" => {
            let name = fields.needed_string("name", "the name of a tool")?;
            Choice::Only { names: vec![name], need: CallNeed::Required }
        }
        "none" => Choice::None,
        _ => return Err(ParamError::wrong(fields.name("type"), CHOICES, &kind.into())),
    };
    let is_one = fields.bool("disable_parallel_tool_use")?.unwrap_or(false);
    fields.finish()?;
    Ok((choice, if is_one { CallCount::One } else { CallCount::Many }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(extra: Value) -> Result<Tools, ParamError> {
        let schema = json!({"type": "object"});
        let look = json!({"name": "look", "input_schema": schema, "type": "custom", "strict": true});
        let cached = json!({"type": "ephemeral"});
        let go = json!({"name": "go", "input_schema": schema, "cache_control": cached, "eager_input_streaming": true});
        let mut body = json!({"tools": [look, go]});
        for (name, value) in extra.as_object().expect("extra fields are an object") {
            body[name] = value.clone();
        }
        let mut fields = Fields::new(String::new(), body)?;
        let tools = take(&mut fields)?;
        fields.finish()?;
        Ok(tools)
    }

    #[test]
    fn what_is_offered_and_chosen_is_read() {
        let cases = [
            (json!({}), vec!["look", "go"], CallNeed::Optional, CallCount::Many),
            (json!({"tool_choice": {"type": "auto"}}), vec!["look", "go"], CallNeed::Optional, CallCount::Many),
            (
                json!({"tool_choice": {"type": "any", "disable_parallel_tool_use": true}}),
                vec!["look", "go"],
                CallNeed::Required,
                CallCount::One,
            ),
            (json!({"tool_choice": {"type": "tool", "name": "go"}}), vec!["go"], CallNeed::Required, CallCount::Many),
            (json!({"tool_choice": {"type": "none"}}), vec![], CallNeed::Optional, CallCount::Many),
        ];
        for (extra, callable, need, count) in cases {
            let tools = of(extra.clone()).unwrap();
            assert_eq!((tools.may_call(), tools.need(), tools.count()), (callable, need, count), "{extra}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!({"tools": [{"name": "x"}]}), "tools.0.input_schema"),
            (json!({"tools": [{"input_schema": {}}]}), "tools.0.name"),
            (json!({"tools": [{"name": "x y", "input_schema": {}}]}), "tools.0.name"),
            (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools.0.type"),
            (json!({"tools": [{"name": "x", "input_schema": {}, "mood": 1}]}), "tools.0.mood"),
            (json!({"tools": [{"name": "x", "input_schema": {"type": "array"}}]}), "tools.0.input_schema"),
            (
                json!({"tools": [{"name": "x", "input_schema": {}, "eager_input_streaming": 1}]}),
                "tools.0.eager_input_streaming",
            ),
            (json!({"tool_choice": "auto"}), "tool_choice"),
            (json!({"tool_choice": {"type": "must"}}), "tool_choice.type"),
            (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name"),
            (json!({"tool_choice": {"type": "tool", "name": "fly"}}), "tool_choice"),
            (json!({"tool_choice": {"type": "auto", "name": "go"}}), "tool_choice.name"),
            (json!({"tools": [], "tool_choice": {"type": "any"}}), "tool_choice"),
        ];
        for (extra, param) in cases {
            assert_eq!(of(extra.clone()).unwrap_err().param(), param, "{extra}");
        }
    }
}
