//! What bodies say of thinking, wire by wire.

use super::{Shown, Thinking};
use crate::Reasoning;
use crate::fields::{Fields, ParamError};
use serde_json::{Map, Value};

const EFFORTS: &[&str] = &["minimal", "low", "medium", "high", "xhigh", "max"];
const EFFORT: &str = "none, minimal, low, medium, high, xhigh or max";
const KINDS: &str = "enabled, disabled or adaptive";
/// Most variables of a request's own for a template.
pub const TEMPLATE_VARIABLES_MAX: usize = 64;

/// `reasoning_effort`, `thinking`, and llama.cpp's `reasoning_format`, `reasoning_budget_tokens`, `thinking_budget_tokens` and
/// `chat_template_kwargs`.
///
/// # Errors
/// The first thing that is wrong, by its name.
pub(crate) fn of_chat(fields: &mut Fields) -> Result<Thinking, ParamError> {
    let mut thinking = Thinking { variables: variables(fields)?, ..Thinking::default() };
    thinking.wish = match thinking.variables.shift_remove("enable_thinking") {
        None => None,
        Some(Value::Bool(is_on)) => Some(wish(is_on)),
        Some(other) => {
            let param = "chat_template_kwargs.enable_thinking".to_owned();
            return Err(ParamError::wrong(param, "true or false", &other));
        }
    };
    if let Some(kind) = kind(fields)? {
        thinking.wish = Some(kind.wish);
        thinking.tokens_max = kind.tokens_max;
    }
    effort(fields, "reasoning_effort", &mut thinking)?;
    for field in ["reasoning_budget_tokens", "thinking_budget_tokens"] {
        // Less than 0: as many as it likes.
        let tokens_max = fields.i64(field)?.and_then(|n| usize::try_from(n).ok());
        thinking.tokens_max = tokens_max.or(thinking.tokens_max);
    }
    thinking.shown = match fields.string("reasoning_format")?.as_deref() {
        None | Some("auto" | "deepseek") => Shown::Apart,
        Some("none") => Shown::InText,
        Some(other) => {
            let expected = "auto, deepseek or none";
            return Err(ParamError::wrong("reasoning_format".to_owned(), expected, &other.into()));
        }
    };
    Ok(thinking)
}

fn variables(fields: &mut Fields) -> Result<Map<String, Value>, ParamError> {
    match fields.take("chat_template_kwargs") {
        None => Ok(Map::new()),
        Some(Value::Object(variables)) if variables.len() <= TEMPLATE_VARIABLES_MAX => Ok(variables),
        Some(other) => {
            let expected = format!("an object of at most {TEMPLATE_VARIABLES_MAX} variables");
            Err(ParamError::wrong("chat_template_kwargs".to_owned(), expected, &other))
        }
    }
}

fn wish(is_on: bool) -> Reasoning {
    if is_on { Reasoning::On } else { Reasoning::Off }
}

/// An effort; `none` is not to think at all.
fn effort(fields: &mut Fields, field: &str, thinking: &mut Thinking) -> Result<(), ParamError> {
    let Some(effort) = fields.string(field)? else { return Ok(()) };
    if effort == "none" {
        thinking.wish = Some(Reasoning::Off);
        return Ok(());
    }
    if !EFFORTS.contains(&effort.as_str()) {
        return Err(ParamError::wrong(fields.name(field), EFFORT, &effort.into()));
    }
    thinking.wish = Some(Reasoning::On);
    thinking.effort = Some(effort);
    Ok(())
}

/// What `thinking` says, in Anthropic's shape and DeepSeek's.
struct Kind {
    wish: Reasoning,
    tokens_max: Option<usize>,
}

fn kind(fields: &mut Fields) -> Result<Option<Kind>, ParamError> {
    let Some(value) = fields.take("thinking") else { return Ok(None) };
    let mut fields = Fields::new("thinking".to_owned(), value)?;
    let name = fields.needed_string("type", KINDS)?;
    let wish = match name.as_str() {
        "enabled" | "adaptive" => Reasoning::On,
        // Between calls models write what they like, thinking or not.
        "disabled" | "between_tools" => Reasoning::Off,
        _ => return Err(ParamError::wrong(fields.name("type"), KINDS, &name.into())),
    };
    let tokens_max = match fields.count("budget_tokens")? {
        Some(n) if n == 0 || name != "enabled" => {
            let expected = "at least 1, and only where thinking is enabled";
            return Err(ParamError::wrong(fields.name("budget_tokens"), expected, &n.into()));
        }
        tokens_max => tokens_max,
    };
    if fields.string("display")?.is_some_and(|display| display != "summarized") {
        let supported = "thoughts are given as they are";
        return Err(ParamError::Unsupported { param: fields.name("display"), supported });
    }
    fields.finish()?;
    Ok(Some(Kind { wish, tokens_max }))
}

/// `thinking`, and `effort` in `output_config`, whose format is left. Nothing said is not to think, unless the server says so.
///
/// # Errors
/// The first thing that is wrong, by its name.
pub(crate) fn of_messages(fields: &mut Fields, server: Option<Reasoning>) -> Result<Thinking, ParamError> {
    let mut thinking = Thinking::default();
    if let Some(value) = fields.take("output_config") {
        let mut config = Fields::new("output_config".to_owned(), value)?;
        effort(&mut config, "effort", &mut thinking)?;
        fields.put_back("output_config", config);
    }
    let kind = kind(fields)?;
    thinking.tokens_max = kind.as_ref().and_then(|kind| kind.tokens_max);
    thinking.wish = Some(kind.map_or(server.unwrap_or(Reasoning::Off), |kind| kind.wish));
    Ok(thinking)
}

/// `think`: whether, or how hard.
///
/// # Errors
/// If it is neither.
pub(crate) fn of_ollama(fields: &mut Fields) -> Result<Thinking, ParamError> {
    let mut thinking = Thinking::default();
    match fields.peek("think").and_then(Value::as_bool) {
        Some(is_on) => {
            let _read = fields.take("think");
            thinking.wish = Some(wish(is_on));
        }
        None => effort(fields, "think", &mut thinking)?,
    }
    Ok(thinking)
}

/// `reasoning`: its effort. A summary may be asked for; there is none beside the thoughts themselves.
///
/// # Errors
/// The first thing that is wrong, by its name.
pub(crate) fn of_responses(fields: &mut Fields) -> Result<Thinking, ParamError> {
    let mut thinking = Thinking::default();
    let Some(value) = fields.take("reasoning") else { return Ok(thinking) };
    let mut reasoning = Fields::new("reasoning".to_owned(), value)?;
    effort(&mut reasoning, "effort", &mut thinking)?;
    for field in ["summary", "generate_summary"] {
        let summary = reasoning.string(field)?;
        if let Some(other) = summary.filter(|kind| !["auto", "concise", "detailed"].contains(&kind.as_str())) {
            return Err(ParamError::wrong(reasoning.name(field), "auto, concise or detailed", &other.into()));
        }
    }
    reasoning.finish()?;
    Ok(thinking)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Read = fn(&mut Fields) -> Result<Thinking, ParamError>;

    fn read(of: Read, body: Value) -> Result<Thinking, ParamError> {
        let mut fields = Fields::new(String::new(), body)?;
        let thinking = of(&mut fields)?;
        fields.finish()?;
        Ok(thinking)
    }

    fn messages(fields: &mut Fields) -> Result<Thinking, ParamError> {
        of_messages(fields, None)
    }

    #[test]
    fn every_wire_says_it_in_its_own_words() {
        let (on, off) = (Some(Reasoning::On), Some(Reasoning::Off));
        let cases: [(Read, Value, _, _, Option<&str>); 14] = [
            (messages, json!({}), off, None, None),
            (messages, json!({"thinking": {"type": "disabled"}}), off, None, None),
            (messages, json!({"thinking": {"type": "enabled", "budget_tokens": 50}}), on, Some(50), None),
            (messages, json!({"thinking": {"type": "adaptive", "display": "summarized"}}), on, None, None),
            (
                messages,
                json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
                on,
                None,
                Some("max"),
            ),
            (of_chat, json!({}), None, None, None),
            (of_chat, json!({"reasoning_effort": "none"}), off, None, None),
            (of_chat, json!({"reasoning_effort": "low"}), on, None, Some("low")),
            (of_chat, json!({"thinking": {"type": "disabled"}}), off, None, None),
            (of_chat, json!({"chat_template_kwargs": {"enable_thinking": false}}), off, None, None),
            (of_chat, json!({"reasoning_budget_tokens": 7}), None, Some(7), None),
            (of_chat, json!({"thinking_budget_tokens": -1}), None, None, None),
            (of_ollama, json!({"think": true}), on, None, None),
            (of_ollama, json!({"think": "high"}), on, None, Some("high")),
        ];
        for (of, body, wish, tokens_max, effort) in cases {
            let thinking = read(of, body.clone()).unwrap();
            assert_eq!(
                (thinking.wish, thinking.tokens_max, thinking.effort.as_deref()),
                (wish, tokens_max, effort),
                "{body}"
            );
        }
        assert_eq!(read(of_chat, json!({"reasoning_format": "none"})).unwrap().shown, Shown::InText);
        assert_eq!(read(of_responses, json!({"reasoning": {"effort": "none", "summary": "auto"}})).unwrap().wish, off);
        let own = of_messages(&mut Fields::new(String::new(), json!({})).unwrap(), on).unwrap();
        assert_eq!(own.wish, on, "as the server says");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(Read, Value, &str); 11] = [
            (messages, json!({"thinking": 1}), "thinking"),
            (messages, json!({"thinking": {"type": "much"}}), "thinking.type"),
            (messages, json!({"thinking": {"type": "enabled", "budget_tokens": 0}}), "thinking.budget_tokens"),
            (messages, json!({"thinking": {"type": "disabled", "budget_tokens": 9}}), "thinking.budget_tokens"),
            (messages, json!({"thinking": {"type": "adaptive", "display": "omitted"}}), "thinking.display"),
            (messages, json!({"output_config": {"effort": "huge"}}), "output_config.effort"),
            (of_chat, json!({"reasoning_effort": "huge"}), "reasoning_effort"),
            (of_chat, json!({"reasoning_format": "deepseek-legacy"}), "reasoning_format"),
            (
                of_chat,
                json!({"chat_template_kwargs": {"enable_thinking": "yes"}}),
                "chat_template_kwargs.enable_thinking",
            ),
            (of_ollama, json!({"think": "huge"}), "think"),
            (of_responses, json!({"reasoning": {"summary": "long"}}), "reasoning.summary"),
        ];
        for (of, body, param) in cases {
            assert_eq!(read(of, body.clone()).unwrap_err().param(), param, "{body}");
        }
        let many: Map<String, Value> = (0..=TEMPLATE_VARIABLES_MAX).map(|n| (n.to_string(), json!(n))).collect();
        assert!(read(of_chat, json!({"chat_template_kwargs": many})).is_err());
    }
}
