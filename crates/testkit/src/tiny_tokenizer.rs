//! The smallest tokenizer that is whole: every byte is a token with the byte's own number, then a few merges, then
//! the control tokens of ChatML.

use ballast_backend::TokenId;
use ballast_gguf::{Gguf, StringArray, Writer};
use ballast_tokens::{ChatTemplate, EncodeOptions, PromptFormat, Tokenizer, TokenizerOptions};
use std::sync::Arc;

/// Begins a turn of the conversation.
pub const IM_START: &str = "<|im_start|>";
/// Ends a turn, and generation.
pub const IM_END: &str = "<|im_end|>";
/// What a prompt rendered with [`tiny_template`] ends with: the model's turn begins.
pub const ASSISTANT_TURN: &str = "<|im_start|>assistant\n";
/// The chat template, ChatML.
pub const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}\
    <|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Pairs that are merged, in rank order, in the spelling of byte-level BPE (`Ġ` is a space).
const MERGES: &[(&str, &str)] = &[("h", "e"), ("l", "l"), ("Ġ", "t"), ("Ġt", "he"), ("he", "ll"), ("hell", "o")];
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// GPT-2's spelling of a byte: printable ones are themselves, the rest follow from U+0100 on.
fn spelling(byte: u8) -> char {
    let is_printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if is_printable(&byte) {
        return char::from(byte);
    }
    let n_before = (0..byte).filter(|byte| !is_printable(byte)).count();
    u32::try_from(n_before).ok().and_then(|n| char::from_u32(0x100 + n)).expect("68 bytes are not printable")
}

/// Adds the tokenizer and the chat template to a file. Returns the number of tokens.
///
/// # Panics
/// If there are more tokens than `u32` can number; there are not.
pub fn tiny_metadata(writer: &mut Writer<'_>) -> u32 {
    let bytes = (0..=u8::MAX).map(|byte| spelling(byte).to_string());
    let merged = MERGES.iter().map(|(left, right)| format!("{left}{right}"));
    let mut tokens: Vec<String> = bytes.chain(merged).collect();
    let n_normal = tokens.len();
    tokens.extend([IM_START.to_owned(), IM_END.to_owned()]);
    let n_tokens = u32::try_from(tokens.len()).expect("there are fewer than 300");
    let types: Vec<i32> = (0..tokens.len()).map(|idx| if idx < n_normal { NORMAL } else { CONTROL }).collect();
    let merges: StringArray = MERGES.iter().map(|(left, right)| format!("{left} {right}")).collect();
    writer
        .metadata("tokenizer.ggml.model", "gpt2")
        .metadata("tokenizer.ggml.pre", "gpt-2")
        .metadata("tokenizer.ggml.tokens", tokens.iter().collect::<StringArray>())
        .metadata("tokenizer.ggml.token_type", types)
        .metadata("tokenizer.ggml.merges", merges)
        .metadata("tokenizer.ggml.bos_token_id", n_tokens - 2)
        .metadata("tokenizer.ggml.eos_token_id", n_tokens - 1)
        .metadata("tokenizer.ggml.add_bos_token", false)
        .metadata("tokenizer.chat_template", CHATML);
    n_tokens
}

/// The tokenizer. Token `n` below 256 is the byte `n`.
///
/// # Panics
/// If reading back what was written fails.
#[must_use]
pub fn tiny_tokenizer() -> Arc<Tokenizer> {
    let mut writer = Writer::new();
    tiny_metadata(&mut writer);
    let bytes = writer.to_bytes().expect("the entries are well-formed");
    let header = Gguf::parse(&bytes).expect("the writer writes what the reader takes");
    let built = Tokenizer::from_gguf(&header.metadata, &TokenizerOptions::default());
    Arc::new(built.expect("the tokenizer is complete").0)
}

/// The chat template.
///
/// # Panics
/// If the template does not parse.
#[must_use]
pub fn tiny_template() -> ChatTemplate {
    ChatTemplate::new(CHATML, IM_START, IM_END).expect("the template parses")
}

/// Tokenizer and chat template together.
#[must_use]
pub fn tiny_prompt_format() -> PromptFormat {
    PromptFormat::new(tiny_tokenizer(), Some(tiny_template()))
}

/// The tokens of a text, control tokens by their names.
#[must_use]
pub fn tokens_of(tokenizer: &Tokenizer, text: &str) -> Vec<TokenId> {
    tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_tokens::{ChatMessage, RenderOptions, ShowSpecial};

    #[test]
    fn bytes_are_their_own_tokens() {
        let tokenizer = tiny_tokenizer();
        for byte in 0..=u8::MAX {
            assert_eq!(tokenizer.token_bytes(TokenId(byte.into()), ShowSpecial::No), [byte]);
        }
    }

    #[test]
    fn text_comes_back_and_merges_are_used() {
        let tokenizer = tiny_tokenizer();
        let text = "hello the \u{1f600}\n";
        let tokens = tokens_of(&tokenizer, text);
        assert_eq!(tokenizer.decode_lossy(&tokens, ShowSpecial::No), text);
        assert_eq!(tokens_of(&tokenizer, "hello").len(), 1);
    }

    #[test]
    fn a_conversation_ends_with_the_models_turn() {
        let format = tiny_prompt_format();
        let messages = [ChatMessage::text("user", "hi")];
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        let tokens = format.chat(&messages, &options).unwrap();
        assert!(tokens.ends_with(&tokens_of(format.tokenizer(), ASSISTANT_TURN)));
        let im_end = format.tokenizer().id_of(IM_END).unwrap();
        assert!(format.tokenizer().is_end_of_generation(im_end));
    }
}
