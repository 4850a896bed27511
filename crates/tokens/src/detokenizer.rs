//! Tokens back to text, one at a time. Only whole characters leave; a token may end in the middle of one.

use crate::tokenizer::{ShowSpecial, Tokenizer};
use ballast_backend::TokenId;
use std::sync::Arc;

/// Turns a stream of tokens into text.
///
/// What [`push`](Detokenizer::push) and [`finish`](Detokenizer::finish) return, joined, is exactly
/// `String::from_utf8_lossy` of all the tokens' bytes. At most three bytes are held back between calls: the beginning
/// of a character whose end has not come yet.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    show_special: ShowSpecial,
    /// The beginning of a character.
    held: Vec<u8>,
    /// What the last call returned.
    text: String,
}

impl Detokenizer {
    /// A detokenizer at the start of a text.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>, show_special: ShowSpecial) -> Detokenizer {
        Detokenizer { tokenizer, show_special, held: Vec::new(), text: String::new() }
    }

    /// Takes one token and returns the characters it completes, often none. An id outside the vocabulary adds nothing.
    pub fn push(&mut self, id: TokenId) -> &str {
        self.text.clear();
        self.held.extend_from_slice(self.tokenizer.token_bytes(id, self.show_special));
        let n_done = take_complete(&self.held, &mut self.text);
        self.held.drain(..n_done);
        &self.text
    }

    /// Ends the text: a character that never became whole is returned as U+FFFD. The next push begins a new text.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.held.is_empty() {
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.held.clear();
        }
        &self.text
    }

    /// How many bytes wait for the rest of their character; at most three.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }
}

/// Appends every complete or invalid sequence of `bytes` to `text` and returns how many bytes those were.
fn take_complete(bytes: &[u8], text: &mut String) -> usize {
    let mut pos = 0;
    loop {
        let error = match std::str::from_utf8(&bytes[pos..]) {
            Ok(valid) => {
                text.push_str(valid);
                return bytes.len();
            }
            Err(error) => error,
        };
        let valid = &bytes[pos..pos + error.valid_up_to()];
        text.push_str(std::str::from_utf8(valid).expect("valid_up_to bounds valid UTF-8"));
        pos += error.valid_up_to();
        match error.error_len() {
            Some(n_invalid) => {
                text.push(char::REPLACEMENT_CHARACTER);
                pos += n_invalid;
            }
            None => return pos,
        }
    }
}
