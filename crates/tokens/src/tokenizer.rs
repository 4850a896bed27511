//! Text to tokens and tokens to bytes, for byte-level BPE vocabularies.
//!
//! The path of a text: cut at special tokens (`special`), cut into pieces (the pre-tokenizer), each piece merged into
//! tokens (`merges`). `build` makes the tokenizer from a file's metadata, `roles` says which tokens begin and end.

mod build;
mod byte_level;
mod cache;
mod encode;
mod error;
mod hash;
mod merges;
mod prefixes;
mod roles;
mod source;
mod special;
mod vocabulary;
mod whole;
mod word_piece;

pub use error::TokenizerError;
pub use roles::FillTokens;
pub use source::TokenizerSource;
pub use word_piece::{FramedText, WORD_CHARS_MAX, WordPiece};

use crate::pretokenizer::{CharClasses, PreTokenizerRule};
use ballast_backend::TokenId;
use merges::Merges;
use prefixes::PrefixIndex;
use roles::Roles;
use special::SpecialTokens;
use vocabulary::Vocabulary;
use whole::WholePieces;

/// A model's tokenizer. Immutable, and shared between threads freely.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    algorithm: Algorithm,
    rule: PreTokenizerRule,
    classes: CharClasses,
    special: SpecialTokens,
    whole: WholePieces,
    roles: Roles,
    add_bos: bool,
    add_eos: bool,
}

/// How a piece of text becomes tokens.
#[derive(Debug)]
enum Algorithm {
    Merges(Box<Merges>),
    Table(Box<PrefixIndex>),
}

/// What to accept in a file beyond a complete tokenizer of a known kind. Whatever is accepted is also reported.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenizerOptions {
    /// Use GPT-2's pre-tokenizer where the file names one that is not known, or none.
    pub allow_unknown_pretokenizer: bool,
    /// Split text into bytes where the file has no tokens at all.
    pub allow_fallback: bool,
}

/// How a text is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add the BOS and EOS tokens that the model wants around a prompt.
    pub add_special: bool,
    /// Read the names of control tokens in the text as those tokens. Never for text from users.
    pub parse_special: bool,
}

/// Whether control tokens show in decoded text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShowSpecial {
    /// They decode to nothing.
    #[default]
    No,
    /// They decode to their names.
    Yes,
}

impl Tokenizer {
    /// The tokens of a text.
    #[must_use]
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Vec<TokenId> {
        encode::encode(self, text, options)
    }

    /// The bytes a token stands for, perhaps part of a character. An id outside the vocabulary stands for nothing.
    #[must_use]
    pub fn token_bytes(&self, id: TokenId, show_special: ShowSpecial) -> &[u8] {
        if show_special == ShowSpecial::No && self.is_special(id) { &[] } else { self.vocabulary.bytes(id) }
    }

    /// The bytes of a sequence of tokens. [`Detokenizer`](crate::Detokenizer) makes text of them as they come.
    #[must_use]
    pub fn decode(&self, ids: &[TokenId], show_special: ShowSpecial) -> Vec<u8> {
        ids.iter().flat_map(|id| self.token_bytes(*id, show_special)).copied().collect()
    }

    /// The text of a sequence of tokens, with U+FFFD for what is not UTF-8.
    #[must_use]
    pub fn decode_lossy(&self, ids: &[TokenId], show_special: ShowSpecial) -> String {
        String::from_utf8_lossy(&self.decode(ids, show_special)).into_owned()
    }

    /// How many tokens there are; ids are below.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The token that begins a text, where the file names one.
    #[must_use]
    pub fn bos(&self) -> Option<TokenId> {
        self.roles.bos
    }

    /// The token that ends a text, where the file names one.
    #[must_use]
    pub fn eos(&self) -> Option<TokenId> {
        self.roles.eos
    }

    /// Whether `add_special` puts the BOS token first.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether `add_special` puts the EOS token last.
    #[must_use]
    pub fn adds_eos(&self) -> bool {
        self.add_eos
    }

    /// Whether generation ends with this token: end of text, of a turn or of a message.
    #[must_use]
    pub fn is_end_of_generation(&self, id: TokenId) -> bool {
        self.roles.end_of_generation.binary_search(&id).is_ok()
    }

    /// Every token that ends generation, in order.
    #[must_use]
    pub fn end_of_generation_ids(&self) -> &[TokenId] {
        &self.roles.end_of_generation
    }

    /// The tokens that part a text whose middle is to be filled in, where the vocabulary has them.
    #[must_use]
    pub fn fill_tokens(&self) -> Option<FillTokens> {
        self.roles.fill
    }

    /// The token as the file spells it; empty outside the vocabulary.
    #[must_use]
    pub fn token_text(&self, id: TokenId) -> &str {
        self.vocabulary.text(id)
    }

    /// The token that the file spells so.
    #[must_use]
    pub fn id_of(&self, text: &str) -> Option<TokenId> {
        self.vocabulary.id_of(text)
    }

    /// Whether a token is markup: hidden in text unless asked for, read in text only with `parse_special`.
    #[must_use]
    pub fn is_special(&self, id: TokenId) -> bool {
        self.vocabulary.kind(id).is_special()
    }
}

#[cfg(test)]
mod tests;
