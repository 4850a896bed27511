//! What is to be encoded: a text, texts, tokens, or several texts in tokens.

use crate::fields::{Fields, ParamError};
use ballast_backend::TokenId;
use ballast_runtime::encoding::{Overlong, TextEncoder, TextTokens};
use serde_json::Value;

/// Most texts of one request.
pub const INPUTS_MAX: usize = 2048;
/// Most bytes of one text.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

const EXPECTED: &str = "a string, an array of strings, an array of tokens, or an array of arrays of tokens";

/// One text as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Text(String),
    /// Framed by the caller.
    Tokens(Vec<TokenId>),
}

impl Input {
    pub(crate) fn encode(self, encoder: &TextEncoder, overlong: Overlong) -> TextTokens {
        match self {
            Self::Text(text) => encoder.text(&text, overlong),
            Self::Tokens(tokens) => encoder.tokens(tokens, overlong),
        }
    }
}

/// The texts of a field.
///
/// # Errors
/// If there are none, too many or too long ones, or they are no texts.
pub(crate) fn inputs(fields: &mut Fields, field: &str) -> Result<Vec<Input>, ParamError> {
    let param = fields.name(field);
    let Some(value) = fields.take(field) else {
        return Err(ParamError::Missing { param, expected: EXPECTED });
    };
    let wrong = || ParamError::wrong(param.clone(), EXPECTED, &value);
    let inputs: Option<Vec<Input>> = match &value {
        Value::String(text) => Some(vec![Input::Text(text.clone())]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            tokens(items).map(|tokens| vec![Input::Tokens(tokens)])
        }
        Value::Array(items) => items.iter().map(input).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    let inputs = inputs.ok_or_else(wrong)?;
    if !(1..=INPUTS_MAX).contains(&inputs.len()) {
        return Err(ParamError::wrong(param.clone(), format!("1 to {INPUTS_MAX} texts"), &value));
    }
    for (idx, input) in inputs.iter().enumerate() {
        check_length(&format!("{param}[{idx}]"), input)?;
    }
    Ok(inputs)
}

fn check_length(param: &str, input: &Input) -> Result<(), ParamError> {
    let got = match input {
        Input::Text(text) => text.len(),
        Input::Tokens(tokens) => tokens.len(),
    };
    if got == 0 || got > TEXT_BYTES_MAX {
        let expected = format!("1 to {TEXT_BYTES_MAX} bytes or tokens");
        return Err(ParamError::Wrong { param: param.to_owned(), expected, got: got.to_string() });
    }
    Ok(())
}

fn input(value: &Value) -> Option<Input> {
    match value {
        Value::String(text) => Some(Input::Text(text.clone())),
        Value::Array(items) => tokens(items).map(Input::Tokens),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn tokens(items: &[Value]) -> Option<Vec<TokenId>> {
    let token = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok()).map(TokenId);
    items.iter().map(token).collect()
}

/// How many entries of a vector are wanted; `None`: all.
///
/// # Errors
/// If the model has not as many.
pub(crate) fn dimensions(fields: &mut Fields, width: usize) -> Result<Option<usize>, ParamError> {
    let dimensions = fields.count("dimensions")?;
    match dimensions {
        Some(got) if !(1..=width).contains(&got) => {
            Err(ParamError::wrong("dimensions".to_owned(), format!("1 to {width}"), &got.into()))
        }
        Some(_) | None => Ok(dimensions),
    }
}

/// What becomes of texts that are too long: `truncate_prompt_tokens` leaves so many tokens, or with -1 as many as the
/// model takes.
///
/// # Errors
/// If it is another number.
pub(crate) fn truncation(fields: &mut Fields) -> Result<Overlong, ParamError> {
    let field = "truncate_prompt_tokens";
    match fields.i64(field)? {
        None => Ok(Overlong::Refuse),
        Some(-1) => Ok(Overlong::Truncate { tokens_max: None }),
        Some(got) => match usize::try_from(got).ok().filter(|n| *n > 1) {
            Some(n) => Ok(Overlong::Truncate { tokens_max: Some(n) }),
            None => Err(ParamError::wrong(field.to_owned(), "2 or more, or -1", &got.into())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(value: Value) -> Result<Vec<Input>, ParamError> {
        inputs(&mut Fields::new(String::new(), json!({ "input": value })).unwrap(), "input")
    }

    #[test]
    fn texts_and_tokens_are_told_apart() {
        let text = |text: &str| Input::Text(text.to_owned());
        let tokens = |ids: &[u32]| Input::Tokens(ids.iter().copied().map(TokenId).collect());
        assert_eq!(parsed(json!("a")).unwrap(), [text("a")]);
        assert_eq!(parsed(json!(["a", "b"])).unwrap(), [text("a"), text("b")]);
        assert_eq!(parsed(json!([1, 2])).unwrap(), [tokens(&[1, 2])]);
        assert_eq!(parsed(json!([[1], [2, 3]])).unwrap(), [tokens(&[1]), tokens(&[2, 3])]);
        let wrong =
            [json!(1), json!({}), json!([]), json!([[]]), json!(""), json!(["a", ""]), json!([1, "a"]), json!([-1])];
        for value in wrong {
            assert!(parsed(value.clone()).is_err(), "{value}");
        }
        assert!(parsed(json!(["a", 1])).is_err() && parsed(json!([4_294_967_296_u64])).is_err());
        assert!(parsed(json!(vec!["a"; INPUTS_MAX])).is_ok() && parsed(json!(vec!["a"; INPUTS_MAX + 1])).is_err());
        assert!(parsed(json!("a".repeat(TEXT_BYTES_MAX))).is_ok());
        assert!(parsed(json!("a".repeat(TEXT_BYTES_MAX + 1))).is_err());
    }
}
