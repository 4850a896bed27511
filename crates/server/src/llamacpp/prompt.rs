//! Prompts as this wire has them: a text, tokens, both mixed, or a list of prompts.

use crate::fields::{Fields, ParamError};
use crate::openai::PROMPTS_MAX;
use ballast_backend::TokenId;
use ballast_tokens::{EncodeOptions, Tokenizer};
use serde_json::Value;

const PARAM: &str = "prompt";
const EXPECTED: &str = "a string, an array of strings and tokens, or an array of prompts";

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Token(TokenId),
}

/// The prompts of a request.
#[derive(Debug, PartialEq)]
pub(super) struct Prompts {
    prompts: Vec<Vec<Part>>,
    /// They were sent as a list, so their answers are one.
    pub(super) is_list: bool,
}

impl Prompts {
    /// Takes `prompt`.
    ///
    /// # Errors
    /// If there is none, or it is nothing of the kind.
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ParamError> {
        match fields.take(PARAM) {
            None => Err(ParamError::Missing { param: PARAM.to_owned(), expected: EXPECTED }),
            Some(Value::Array(items)) if is_list(&items) => {
                if items.len() > PROMPTS_MAX {
                    let expected = format!("at most {PROMPTS_MAX} prompts");
                    return Err(ParamError::wrong(PARAM.to_owned(), expected, &Value::Array(items)));
                }
                Ok(Self { prompts: items.into_iter().map(one).collect::<Result<_, _>>()?, is_list: true })
            }
            Some(value) => Ok(Self { prompts: vec![one(value)?], is_list: false }),
        }
    }

    /// The tokens of each. The first text of a prompt gets what the model wants before one.
    ///
    /// # Errors
    /// If a token is not one of the model's.
    pub(super) fn tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<TokenId>>, ParamError> {
        self.prompts.iter().map(|parts| tokens(parts, tokenizer)).collect()
    }
}

/// Whether the items are prompts and not the parts of one: none of them is a number by itself.
fn is_list(items: &[Value]) -> bool {
    !items.is_empty() && !items.iter().any(Value::is_number)
}

fn one(value: Value) -> Result<Vec<Part>, ParamError> {
    let wrong = |got: &Value| ParamError::wrong(PARAM.to_owned(), EXPECTED, got);
    let token = |value: &Value| {
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        token.map(|token| Part::Token(TokenId(token))).ok_or_else(|| wrong(value))
    };
    match value {
        Value::String(text) => Ok(vec![Part::Text(text)]),
        Value::Array(items) if !items.is_empty() => {
            let part = |item: Value| match item {
                Value::String(text) => Ok(Part::Text(text)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => token(&item),
            };
            items.into_iter().map(part).collect()
        }
        Value::Object(_) => {
            let mut fields = Fields::new(PARAM.to_owned(), value)?;
            let text = fields.needed_string("prompt_string", "a string")?;
            fields.refuse(&[("multimodal_data", crate::fields::is_empty, "the model reads text")])?;
            fields.finish()?;
            Ok(vec![Part::Text(text)])
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(wrong(&value)),
    }
}

fn tokens(parts: &[Part], tokenizer: &Tokenizer) -> Result<Vec<TokenId>, ParamError> {
    let mut tokens = Vec::new();
    for (idx, part) in parts.iter().enumerate() {
        match part {
            Part::Text(text) => {
                let options = EncodeOptions { add_special: idx == 0, parse_special: true };
                tokens.extend(tokenizer.encode(text, options));
            }
            Part::Token(token) if token.index() < tokenizer.vocab_size() => tokens.push(*token),
            Part::Token(token) => {
                let expected = format!("tokens below {}", tokenizer.vocab_size());
                return Err(ParamError::wrong(PARAM.to_owned(), expected, &token.0.into()));
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken(prompt: Value) -> Result<Prompts, ParamError> {
        Prompts::take(&mut Fields::new(String::new(), json!({ "prompt": prompt })).unwrap())
    }

    #[test]
    fn prompts_are_texts_tokens_and_mixtures_one_or_many() {
        let text = |text: &str| Part::Text(text.to_owned());
        let token = |id| Part::Token(TokenId(id));
        let cases = [
            (json!("a"), vec![vec![text("a")]], false),
            (json!([1, 2]), vec![vec![token(1), token(2)]], false),
            (json!([1, "a", 2]), vec![vec![token(1), text("a"), token(2)]], false),
            (json!({"prompt_string": "a"}), vec![vec![text("a")]], false),
            (json!(["a", "b"]), vec![vec![text("a")], vec![text("b")]], true),
            (json!([[1], "b", {"prompt_string": "c"}]), vec![vec![token(1)], vec![text("b")], vec![text("c")]], true),
        ];
        for (prompt, prompts, is_list) in cases {
            assert_eq!(taken(prompt.clone()).unwrap(), Prompts { prompts, is_list }, "{prompt}");
        }
        let many = |n: usize| taken(json!(vec!["x"; n]));
        assert!(many(PROMPTS_MAX).is_ok() && many(PROMPTS_MAX + 1).is_err());
    }

    #[test]
    fn other_prompts_are_refused_by_name() {
        let cases = [
            (json!(null), "prompt"),
            (json!(1), "prompt"),
            (json!([]), "prompt"),
            (json!([1, -2]), "prompt"),
            (json!([[]]), "prompt"),
            (json!({}), "prompt.prompt_string"),
            (json!({"prompt_string": "a", "multimodal_data": ["x"]}), "prompt.multimodal_data"),
        ];
        for (prompt, param) in cases {
            assert_eq!(taken(prompt.clone()).unwrap_err().param(), param, "{prompt}");
        }
    }

    #[test]
    fn only_the_first_text_gets_what_comes_before_one() {
        let tokenizer = ballast_testkit::tiny_tokenizer();
        let of = |prompt: Value| taken(prompt).unwrap().tokens(&tokenizer).unwrap();
        let alone = of(json!("a")).swap_remove(0);
        let mixed = of(json!(["a", "a"]));
        assert_eq!(mixed, vec![alone.clone(), alone], "two prompts");
        let bare = tokenizer.encode("a", EncodeOptions { add_special: false, parse_special: true });
        assert_eq!(of(json!([0, "a"])), vec![[vec![TokenId(0)], bare].concat()]);
        assert!(taken(json!([4_000_000_000_u32])).unwrap().tokens(&tokenizer).is_err());
    }
}
