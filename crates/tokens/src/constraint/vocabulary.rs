//! The vocabulary as the engine of grammars sees it: a trie of the tokens' bytes, special tokens marked, and the tokens
//! that end an answer.

use super::ConstraintError;
use crate::{EncodeOptions, ShowSpecial, Tokenizer};
use ballast_backend::TokenId;
use llguidance::toktrie::{INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// A tokenizer and the trie of its tokens.
struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

/// Builds the trie, which takes as long as to read the vocabulary several times over.
///
/// # Errors
/// If a token is longer than the trie can hold, or there are too many.
pub(super) fn environment(tokenizer: &Arc<Tokenizer>) -> Result<TokEnv, ConstraintError> {
    let build = || Ok(Vocabulary { tokenizer: Arc::clone(tokenizer), trie: trie(tokenizer) });
    let built = llguidance::panic_utils::catch_unwind(AssertUnwindSafe(build));
    let vocabulary = built.map_err(|error| ConstraintError::Vocabulary { cause: first_line(&error.to_string()) })?;
    Ok(Arc::new(vocabulary))
}

/// The first line of what the engine says; what follows repeats the grammar.
pub(super) fn first_line(words: &str) -> String {
    words.lines().next().unwrap_or_default().to_owned()
}

fn trie(tokenizer: &Tokenizer) -> TokTrie {
    let n_tokens = u32::try_from(tokenizer.vocab_size()).expect("token ids are 32 bits wide");
    let words: Vec<Vec<u8>> = (0..n_tokens).map(|id| word(tokenizer, TokenId(id))).collect();
    let ends: Vec<u32> = tokenizer.end_of_generation_ids().iter().map(|id| id.0).collect();
    let trie = TokTrie::from(&TokRxInfo::new(n_tokens, INVALID_TOKEN), &words);
    if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) }
}

/// The bytes of a token. Those of a special token begin with a mark that no text has, so that text never becomes one.
fn word(tokenizer: &Tokenizer, id: TokenId) -> Vec<u8> {
    if tokenizer.is_special(id) {
        let mut bytes = vec![TokTrie::SPECIAL_TOKEN_MARKER];
        bytes.extend_from_slice(tokenizer.token_text(id).as_bytes());
        return bytes;
    }
    tokenizer.token_bytes(id, ShowSpecial::No).to_vec()
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// The tokens that the tokenizer itself would choose, which are those that the model was trained on.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let as_text = EncodeOptions { add_special: false, parse_special: false };
        let encode = |text: &str| self.tokenizer.encode(text, as_text).into_iter().map(|id| id.0).collect();
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }
}
