//! `POST /infill`: what stands between a prefix and a suffix, for models that were trained to fill gaps.
//!
//! ```text
//! [repository] other files   prefix-token prefix prompt   suffix-token suffix   middle-token
//! ```
//!
//! The order and the texts between other files are llama.cpp's, so that models see what they see there. Nothing is cut:
//! what is too long for the context is refused.

use super::completion::{Asked, answer, submit};
use super::request::CompletionRequest;
use crate::api_error::ApiError;
use crate::fields::{Fields, ParamError};
use crate::generation::Taken;
use crate::incoming::Incoming;
use crate::state::Server;
use axum::extract::{Request, State};
use axum::response::Response;
use ballast_backend::TokenId;
use ballast_tokens::{EncodeOptions, FillTokens, Tokenizer};
use serde_json::Value;
use std::sync::Arc;

/// Most other files of one request.
pub const INFILL_FILES_MAX: usize = 256;
/// Before the text of another file, where the vocabulary has no token for it.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

pub(crate) async fn infill(State(server): State<Arc<Server>>, request: Request) -> Response {
    answer(server, request, take).await.unwrap_or_else(axum::response::IntoResponse::into_response)
}

fn take(server: &Arc<Server>, incoming: &Incoming) -> Result<Taken<Asked>, ApiError> {
    let mut fields = Fields::of_body(&incoming.body)?;
    let gap = Gap::take(&mut fields)?;
    let request = CompletionRequest::take(&mut fields, &server.options)?;
    fields.finish()?;
    let model = server.generator_of_many(request.model.as_deref())?;
    let tokenizer = model.format().tokenizer();
    let Some(fill) = tokenizer.fill_tokens() else {
        let why = "the model has no tokens for prefix, suffix and middle";
        return Err(ApiError::NotServed { what: "infill", why });
    };
    let prompt = gap.tokens(tokenizer, fill);
    submit((server, incoming), model, &request, (&[prompt], false))
}

/// What is around the gap.
#[derive(Debug)]
struct Gap {
    prefix: String,
    /// How what fills it begins.
    prompt: String,
    suffix: String,
    others: Vec<OtherFile>,
}

#[derive(Debug)]
struct OtherFile {
    name: String,
    text: String,
}

impl Gap {
    fn take(fields: &mut Fields) -> Result<Self, ParamError> {
        Ok(Self {
            prefix: fields.needed_string("input_prefix", "a string")?,
            suffix: fields.needed_string("input_suffix", "a string")?,
            prompt: fields.string("prompt")?.unwrap_or_default(),
            others: others(fields)?,
        })
    }

    fn tokens(&self, tokenizer: &Tokenizer, fill: FillTokens) -> Vec<TokenId> {
        let as_text = EncodeOptions { add_special: false, parse_special: false };
        let mut tokens = Vec::new();
        let text = |tokens: &mut Vec<TokenId>, text: &str| tokens.extend(tokenizer.encode(text, as_text));
        if let Some(repository) = fill.repository {
            tokens.push(repository);
            text(&mut tokens, "myproject\n");
        }
        for file in &self.others {
            match fill.file {
                Some(token) => {
                    tokens.push(token);
                    text(&mut tokens, &format!("{}\n", file.name));
                }
                None => text(&mut tokens, SNIPPET),
            }
            text(&mut tokens, &file.text);
        }
        if let Some(token) = fill.file {
            tokens.push(token);
            text(&mut tokens, "filename\n");
        }
        tokens.extend(tokenizer.bos().filter(|_| tokenizer.adds_bos()));
        tokens.push(fill.prefix);
        text(&mut tokens, &self.prefix);
        tokens.extend(tokenizer.encode(&self.prompt, EncodeOptions { add_special: false, parse_special: true }));
        tokens.push(fill.suffix);
        text(&mut tokens, &self.suffix);
        tokens.push(fill.middle);
        tokens
    }
}

/// `input_extra`.
fn others(fields: &mut Fields) -> Result<Vec<OtherFile>, ParamError> {
    let expected = "an array of objects with `text` and maybe `filename`";
    let files = match fields.take("input_extra") {
        None => Vec::new(),
        Some(Value::Array(files)) if files.len() <= INFILL_FILES_MAX => files,
        Some(other) => return Err(ParamError::wrong("input_extra".to_owned(), expected, &other)),
    };
    let file = |(idx, file): (usize, Value)| {
        let mut fields = Fields::new(format!("input_extra[{idx}]"), file)?;
        let text = fields.needed_string("text", "a string")?;
        let name = fields.string("filename")?.unwrap_or_else(|| "tmp".to_owned());
        fields.finish()?;
        Ok(OtherFile { name, text })
    };
    files.into_iter().enumerate().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken(extra: Value) -> Result<Gap, ParamError> {
        let mut body = json!({"input_prefix": "a", "input_suffix": "b"});
        for (name, value) in extra.as_object().expect("extra fields are an object") {
            body[name] = value.clone();
        }
        Gap::take(&mut Fields::new(String::new(), body).unwrap())
    }

    #[test]
    fn the_parts_stand_in_the_order_that_models_were_trained_with() {
        let tokenizer = ballast_testkit::tiny_tokenizer();
        let [prefix, suffix, middle] = [1, 2, 3].map(TokenId);
        let fill = FillTokens { prefix, suffix, middle, repository: None, file: None };
        let of = |text: &str| tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: false });
        let bos: Vec<TokenId> = tokenizer.bos().filter(|_| tokenizer.adds_bos()).into_iter().collect();
        let gap = taken(json!({"prompt": "c", "input_extra": [{"text": "d"}]})).unwrap();
        let parts =
            [of(SNIPPET), of("d"), bos.clone(), vec![prefix], of("a"), of("c"), vec![suffix], of("b"), vec![middle]];
        assert_eq!(gap.tokens(&tokenizer, fill), parts.concat());
        let named = FillTokens { repository: Some(TokenId(4)), file: Some(TokenId(5)), ..fill };
        let gap = taken(json!({"input_extra": [{"text": "d", "filename": "f"}]})).unwrap();
        let file = vec![TokenId(5)];
        let before = [vec![TokenId(4)], of("myproject\n"), file.clone(), of("f\n"), of("d"), file, of("filename\n")];
        let after = [bos, vec![prefix], of("a"), vec![suffix], of("b"), vec![middle]];
        assert_eq!(gap.tokens(&tokenizer, named), [before.concat(), after.concat()].concat());
    }

    #[test]
    fn what_is_wrong_with_a_gap_is_named() {
        let cases = [
            (json!({"input_prefix": null}), "input_prefix"),
            (json!({"input_suffix": 1}), "input_suffix"),
            (json!({"prompt": ["a"]}), "prompt"),
            (json!({"input_extra": {}}), "input_extra"),
            (json!({"input_extra": [{}]}), "input_extra[0].text"),
            (json!({"input_extra": [{"filename": 1, "text": "a"}]}), "input_extra[0].filename"),
            (json!({"input_extra": vec![json!({"text": ""}); INFILL_FILES_MAX + 1]}), "input_extra"),
        ];
        for (extra, param) in cases {
            assert_eq!(taken(extra.clone()).unwrap_err().param(), param, "{extra}");
        }
    }
}
