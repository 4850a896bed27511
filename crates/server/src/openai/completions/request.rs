//! The request, parsed once: every field is read, refused by name, or unknown.

use crate::ServerOptions;
use crate::api_error::ApiError;
use crate::constraint;
use crate::fields::{Fields, ParamError, Refused, is_one};
use crate::openai::params::{self, Mode};
use crate::params::{GenerationParams, Telling, deadline, model_name, strings};
use ballast_backend::TokenId;
use ballast_runtime::PrefixCache;
use ballast_tokens::{EncodeOptions, Tokenizer};
use serde_json::Value;

/// Most prompts of one request.
pub const PROMPTS_MAX: usize = 64;
/// Most tokens of an answer when the request does not say: this wire's own default.
pub const COMPLETION_TOKENS_DEFAULT: usize = 16;

/// Parameters of this wire that this server knows and cannot obey.
const UNSUPPORTED: &[Refused] = &[
    ("best_of", is_one, "every answer that is made is given: use `n`"),
    ("suffix", |value| value == "", "text goes on from the prompt only"),
];

/// A prompt as it was sent.
#[derive(Clone, Debug, PartialEq)]
enum Prompt {
    Text(String),
    Tokens(Vec<TokenId>),
}

impl Prompt {
    /// Its tokens.
    ///
    /// # Errors
    /// If a token is not one of the model's.
    fn tokens(&self, tokenizer: &Tokenizer, options: EncodeOptions) -> Result<Vec<TokenId>, ParamError> {
        match self {
            Self::Text(text) => Ok(tokenizer.encode(text, options)),
            Self::Tokens(tokens) => match tokens.iter().find(|token| token.index() >= tokenizer.vocab_size()) {
                None => Ok(tokens.clone()),
                Some(token) => {
                    let expected = format!("tokens below {}", tokenizer.vocab_size());
                    Err(ParamError::wrong("prompt".to_owned(), expected, &token.0.into()))
                }
            },
        }
    }
}

/// A request for completions.
#[derive(Debug)]
pub(super) struct CompletionRequest {
    pub(super) model: String,
    pub(super) mode: Mode,
    /// Answers to each prompt.
    pub(super) n_choices: usize,
    /// The prompt comes back before its answer.
    pub(super) echo: bool,
    pub(super) generation: GenerationParams,
    prompts: Vec<Prompt>,
    /// Names of control tokens in prompts stand for those tokens.
    parse_special: bool,
}

impl CompletionRequest {
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn parse(body: &[u8], options: &ServerOptions) -> Result<Self, ApiError> {
        let mut fields = Fields::of_body(body)?;
        let request = Self {
            model: model_name(&mut fields, options)?,
            prompts: prompts(&mut fields)?,
            mode: params::mode(&mut fields)?,
            n_choices: params::n_choices(&mut fields)?,
            echo: fields.bool("echo")?.unwrap_or(false),
            generation: generation(&mut fields, options)?,
            // Who sends a prompt of this wire writes all of it, the model's control tokens included.
            parse_special: fields.bool("parse_special")?.unwrap_or(true),
        };
        params::labels(&mut fields)?;
        fields.refuse(UNSUPPORTED)?;
        if request.echo && request.generation.sampling.n_logprobs.is_some() {
            let supported = "log probabilities are those of the answer, so not with `logprobs`";
            return Err(ParamError::Unsupported { param: "echo".to_owned(), supported }.into());
        }
        fields.finish()?;
        Ok(request)
    }

    /// The prompts' tokens.
    ///
    /// # Errors
    /// If a token is not one of the model's.
    pub(super) fn prompts(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<TokenId>>, ApiError> {
        let options = EncodeOptions { add_special: true, parse_special: self.parse_special };
        Ok(self.prompts.iter().map(|prompt| prompt.tokens(tokenizer, options)).collect::<Result<_, _>>()?)
    }
}

fn generation(fields: &mut Fields, options: &ServerOptions) -> Result<GenerationParams, ApiError> {
    let (constraint, constrained_by) = constraint::of_openai(fields)?.unzip();
    let n_logprobs = fields.count("logprobs")?;
    let params = GenerationParams {
        sampling: params::sampling(fields, n_logprobs, options)?,
        stop: strings(fields, "stop")?,
        max_tokens: max_tokens(fields)?,
        ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
        constraint,
        constrained_by,
        thinking: None,
        show_special: false,
        telling: Telling::take(fields)?,
        prefix_cache: PrefixCache::default(),
        deadline: deadline(fields, options)?,
        priority: params::priority(fields)?,
    };
    params.checked()
}

/// `max_tokens`, or llama.cpp's `n_predict`, where below 0 is until the context is full.
fn max_tokens(fields: &mut Fields) -> Result<Option<usize>, ParamError> {
    let theirs = fields.i64("n_predict")?;
    match (params::max_tokens(fields)?, theirs) {
        (Some(n), _) => Ok(Some(n)),
        (None, Some(0)) => Err(ParamError::wrong("n_predict".to_owned(), "at least 1, or -1 for no bound", &0.into())),
        (None, Some(n)) => Ok(usize::try_from(n).ok()),
        (None, None) => Ok(Some(COMPLETION_TOKENS_DEFAULT)),
    }
}

/// `prompt`: a text, texts, tokens, or lists of tokens.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ParamError> {
    let param = "prompt".to_owned();
    let expected = format!("a string, an array of tokens, or an array of 1 to {PROMPTS_MAX} of them");
    match fields.take("prompt") {
        None => Err(ParamError::Missing { param, expected: "a string" }),
        Some(Value::String(text)) => Ok(vec![Prompt::Text(text)]),
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            tokens(&items).map(|tokens| vec![Prompt::Tokens(tokens)])
        }
        Some(Value::Array(items)) if (1..=PROMPTS_MAX).contains(&items.len()) => {
            let prompt = |item: Value| match item {
                Value::String(text) => Ok(Prompt::Text(text)),
                Value::Array(items) => tokens(&items).map(Prompt::Tokens),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    Err(ParamError::wrong(param.clone(), expected.clone(), &item))
                }
            };
            items.into_iter().map(prompt).collect()
        }
        Some(other) => Err(ParamError::wrong(param, expected, &other)),
    }
}

fn tokens(items: &[Value]) -> Result<Vec<TokenId>, ParamError> {
    let token = |item: &Value| {
        let token = item.as_u64().and_then(|token| u32::try_from(token).ok()).map(TokenId);
        token.ok_or_else(|| ParamError::wrong("prompt".to_owned(), "token ids", item))
    };
    items.iter().map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broken::bodies_are_refused_without_a_panic;
    use serde_json::json;
    use std::sync::Arc;

    fn parse(extra: Value) -> Result<CompletionRequest, ApiError> {
        let mut request = json!({"model": "m", "prompt": "once"});
        for (name, value) in extra.as_object().expect("extra fields are an object") {
            request[name] = value.clone();
        }
        let options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
        CompletionRequest::parse(request.to_string().as_bytes(), &options)
    }

    #[test]
    fn prompts_are_texts_or_tokens_one_or_many() {
        let text = |text: &str| Prompt::Text(text.to_owned());
        let tokens = |ids: &[u32]| Prompt::Tokens(ids.iter().copied().map(TokenId).collect());
        let cases = [
            (json!("a"), vec![text("a")]),
            (json!(["a", "b"]), vec![text("a"), text("b")]),
            (json!([1, 2]), vec![tokens(&[1, 2])]),
            (json!([[1], [2, 3]]), vec![tokens(&[1]), tokens(&[2, 3])]),
            (json!(["a", [1]]), vec![text("a"), tokens(&[1])]),
        ];
        for (prompt, expected) in cases {
            assert_eq!(parse(json!({ "prompt": prompt })).unwrap().prompts, expected, "{prompt}");
        }
        let many = |n: usize| parse(json!({ "prompt": vec!["x"; n] }));
        assert!(many(PROMPTS_MAX).is_ok() && many(PROMPTS_MAX + 1).is_err());
    }

    #[test]
    fn names_of_control_tokens_stand_for_them_unless_they_are_to_be_text() {
        let tokenizer = ballast_testkit::tiny_tokenizer();
        let n_tokens = |parse_special: bool| {
            let request = parse(json!({"prompt": ballast_testkit::IM_END, "parse_special": parse_special})).unwrap();
            request.prompts(&tokenizer).unwrap()[0].len()
        };
        assert_eq!((n_tokens(true), n_tokens(false)), (1, ballast_testkit::IM_END.len()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!({"prompt": null}), "prompt", "missing_parameter"),
            (json!({"prompt": []}), "prompt", "invalid_value"),
            (json!({"prompt": 1}), "prompt", "invalid_value"),
            (json!({"prompt": [1, "a"]}), "prompt", "invalid_value"),
            (json!({"prompt": [-1]}), "prompt", "invalid_value"),
            (json!({"prompt": [[1.5]]}), "prompt", "invalid_value"),
            (json!({"logprobs": 21}), "top_logprobs", "invalid_value"),
            (json!({"echo": true, "logprobs": 1}), "echo", "unsupported_parameter"),
            (json!({"best_of": 2}), "best_of", "unsupported_parameter"),
            (json!({"suffix": "end"}), "suffix", "unsupported_parameter"),
            (json!({"messages": []}), "messages", "unknown_parameter"),
        ];
        for (extra, param, code) in cases {
            let error = parse(extra.clone()).unwrap_err();
            assert_eq!((error.param().as_deref(), error.code().as_str()), (Some(param), code), "{extra}");
            assert_eq!(error.status(), 400, "{extra}");
        }
        assert_eq!(parse(json!({})).unwrap().generation.max_tokens, Some(COMPLETION_TOKENS_DEFAULT));
    }

    #[test]
    fn broken_bodies_are_refused_without_a_panic() {
        let options = ServerOptions::new(Arc::new(|| 0), Arc::new(|| 0));
        let whole = json!({"model": "m", "prompt": ["h\u{e9}", [1, 2]], "echo": true, "n": 2, "stop": "a", "logit_bias": {"1": 1}});
        bodies_are_refused_without_a_panic(&whole, |body| CompletionRequest::parse(body, &options));
    }
}
