//! A conversation, and how the model's turn begins.
//!
//! A last message of the assistant is how the answer begins, as llama.cpp and Anthropic take it; `continue_final_message`
//! says so, or that it is not, in vLLM's words.

use super::messages;
use crate::api_error::ApiError;
use crate::fields::{Fields, ParamError};
use crate::models::GeneratorUse;
use ballast_backend::TokenId;
use ballast_tokens::{ChatMessage, EncodeOptions, RenderOptions};
use serde_json::Value;

/// What a prompt is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    messages: Vec<ChatMessage>,
    /// How the answer begins.
    prefill: Option<String>,
    /// The prompt ends where the model is to answer.
    pub(crate) adds_cue: bool,
}

impl Conversation {
    /// Takes `messages`, `continue_final_message` and `add_generation_prompt`.
    ///
    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ParamError> {
        let begun_in_parts = begun_in_parts(fields.peek("messages"));
        let mut messages = messages::parse(fields.take("messages"))?;
        let continues = fields.bool("continue_final_message")?;
        let adds_cue = fields.bool("add_generation_prompt")?;
        // Behind its thoughts an answer is over: nothing says where they would go on.
        let is_begun =
            |last: &ChatMessage| last.role == "assistant" && last.tool_calls.is_empty() && last.reasoning.is_empty();
        let is_last_begun = messages.last().is_some_and(is_begun);
        match (continues, adds_cue) {
            (Some(true), Some(true)) => {
                let supported = "an answer is begun anew or continued: not with `add_generation_prompt`";
                return Err(ParamError::Unsupported { param: "continue_final_message".to_owned(), supported });
            }
            (Some(true), _) if !is_last_begun => {
                let expected = "it only where the last message is text of the assistant";
                return Err(ParamError::wrong("continue_final_message".to_owned(), expected, &true.into()));
            }
            _ => {}
        }
        if continues == Some(false) || !is_last_begun {
            return Ok(Self { messages, prefill: None, adds_cue: adds_cue.unwrap_or(true) });
        }
        let prefill = messages.pop().map(|last| begun_in_parts.unwrap_or(last.content));
        Ok(Self { messages, prefill, adds_cue: true })
    }

    /// Its tokens, rendered with these options.
    ///
    /// # Errors
    /// If the model has no chat template or the template refuses the conversation.
    pub(crate) fn prompt(&self, model: &GeneratorUse, options: &RenderOptions) -> Result<Vec<TokenId>, ApiError> {
        let mut prompt = model.format().chat(&self.messages, options)?;
        self.begin(model, &mut prompt);
        Ok(prompt)
    }

    /// What is rendered.
    pub(crate) fn messages(&self) -> &[ChatMessage] {
        &self.messages
    }

    /// Adds to a rendered prompt how the answer begins.
    pub(crate) fn begin(&self, model: &GeneratorUse, prompt: &mut Vec<TokenId>) {
        if let Some(prefill) = &self.prefill {
            let as_text = EncodeOptions { add_special: false, parse_special: false };
            prompt.extend(model.format().tokenizer().encode(prefill, as_text));
        }
    }

    /// Its text, rendered with these options.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub(crate) fn text(&self, model: &GeneratorUse, options: &RenderOptions) -> Result<String, ApiError> {
        let text = model.format().chat_text(&self.messages, options)?;
        Ok(text + self.prefill.as_deref().unwrap_or_default())
    }
}

/// The text of a last message in parts: where they begin an answer, llama.cpp puts an empty line between them.
fn begun_in_parts(messages: Option<&Value>) -> Option<String> {
    let parts = messages?.as_array()?.last()?.get("content")?.as_array()?;
    let texts: Option<Vec<&str>> = parts.iter().map(|part| part.get("text")?.as_str()).collect();
    Some(texts?.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken(extra: &Value) -> Result<Conversation, ParamError> {
        let assistant = json!({"role": "assistant", "content": "I"});
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}, assistant]});
        for (name, value) in extra.as_object().expect("extra fields are an object") {
            body[name] = value.clone();
        }
        Conversation::take(&mut Fields::new(String::new(), body).unwrap())
    }

    #[test]
    fn a_last_message_of_the_assistant_is_how_the_answer_begins() {
        let of = |extra: Value| taken(&extra).map(|taken| (taken.messages.len(), taken.prefill, taken.adds_cue));
        let begun = Ok((1, Some("I".to_owned()), true));
        assert_eq!(of(json!({})), begun);
        assert_eq!(of(json!({"continue_final_message": true, "add_generation_prompt": false})), begun);
        assert_eq!(of(json!({"continue_final_message": false})), Ok((2, None, true)));
        assert_eq!(of(json!({"messages": [{"role": "user", "content": "hi"}]})), Ok((1, None, true)));
        let text = |text: &str| json!({"type": "text", "text": text});
        let parts = json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [text("I"), text("am")]}]});
        assert_eq!(of(parts), Ok((1, Some("I\n\nam".to_owned()), true)));
        let bare = json!({"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": false});
        assert_eq!(of(bare), Ok((1, None, false)));
        for wrong in [
            json!({"continue_final_message": true, "add_generation_prompt": true}),
            json!({"continue_final_message": true, "messages": [{"role": "user", "content": "hi"}]}),
        ] {
            assert_eq!(taken(&wrong).unwrap_err().param(), "continue_final_message", "{wrong}");
        }
    }
}
