//! WordPiece: the tokenizer of the BERT family. Words are cut into the longest pieces that the vocabulary has, from left
//! to right. (Google's neural machine translation system, arXiv:1609.08144; BERT, arXiv:1810.04805)
//!
//! A GGUF file marks the piece that begins a word with U+2581 and leaves the others bare, where the vocabulary files of
//! the field mark those that go on with `##`. The text of a user never becomes a control token here.

mod normalize;

use super::error::TokenizerError;
use super::source::keys as common;
use super::vocabulary::TokenTexts;
use ballast_backend::TokenId;
use ballast_gguf::{Metadata, StringArray};
use normalize::Normalizer;

/// What `tokenizer.ggml.model` says of such a vocabulary.
pub(super) const MODEL: &str = "bert";

/// A word of more characters is one unknown token, as in the tokenizers that these models were trained with.
pub const WORD_CHARS_MAX: usize = 100;

/// What a file puts in front of a piece that begins a word.
const WORD_START: char = '\u{2581}';

/// A BERT vocabulary. Immutable, and shared between threads freely.
#[derive(Debug)]
pub struct WordPiece {
    texts: TokenTexts,
    normalizer: Normalizer,
    /// Bytes of the longest piece: no match is looked for beyond.
    piece_bytes_max: usize,
    cls: TokenId,
    sep: TokenId,
    unknown: TokenId,
}

/// What an encoder reads: one text, or two that it compares, with the tokens that frame them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramedText {
    /// All tokens.
    pub tokens: Vec<TokenId>,
    /// How many of them are the first text's; the others have the second token type.
    pub n_first: usize,
}

impl FramedText {
    /// Tokens that a caller framed itself.
    #[must_use]
    pub fn of_tokens(tokens: Vec<TokenId>) -> Self {
        Self { n_first: tokens.len(), tokens }
    }
}

impl WordPiece {
    /// Whether a file's tokenizer is one of these.
    #[must_use]
    pub fn is_in(metadata: &Metadata) -> bool {
        matches!(metadata.string(common::MODEL), Ok(Some(MODEL)))
    }

    /// Reads the vocabulary of a GGUF file.
    ///
    /// # Errors
    /// When the file has another tokenizer or none, a value of the wrong type, tokens that are not text or not
    /// distinct, or nothing that begins, ends or stands for unknown words.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let model = metadata.string(common::MODEL)?.ok_or(TokenizerError::MetadataMissing { key: common::MODEL })?;
        if model != MODEL {
            return Err(TokenizerError::WordPieceExpected { model: model.to_owned() });
        }
        let strings =
            metadata.strings(common::TOKENS)?.ok_or(TokenizerError::MetadataMissing { key: common::TOKENS })?;
        let text = |(idx, text): (usize, Result<_, _>)| {
            text.map_err(|_| TokenizerError::TextNotUtf8 { key: common::TOKENS, idx })
        };
        let tokens: Vec<&str> = StringArray::strs(strings).enumerate().map(text).collect::<Result<_, _>>()?;
        let texts = TokenTexts::new(&tokens)?;
        let role = |keys: &[&'static str], name: &str| role(metadata, &texts, keys, name);
        let cls = role(&[keys::CLS, common::BOS], "[CLS]")?;
        let sep = role(&[keys::SEP, common::EOS], "[SEP]")?;
        let unknown = role(&[keys::UNKNOWN], "[UNK]")?;
        let lowercase = metadata.bool(keys::LOWERCASE)?.unwrap_or(true);
        let strip_accents = metadata.bool(keys::STRIP_ACCENTS)?.unwrap_or(lowercase);
        let piece_bytes_max = tokens.iter().map(|text| text.len()).max().unwrap_or(0);
        let normalizer = Normalizer::new(lowercase, strip_accents);
        Ok(Self { texts, normalizer, piece_bytes_max, cls, sep, unknown })
    }

    /// The tokens of a text, without the tokens that frame it.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        let mut tokens = Vec::new();
        let mut spelling = String::new();
        for word in self.normalizer.words(text) {
            self.word(&word, &mut spelling, &mut tokens);
        }
        tokens
    }

    /// A text as an encoder reads it: `[CLS] text [SEP]`.
    #[must_use]
    pub fn single(&self, text: &str) -> FramedText {
        let mut tokens = vec![self.cls];
        tokens.extend(self.encode(text));
        tokens.push(self.sep);
        FramedText::of_tokens(tokens)
    }

    /// Two texts as an encoder compares them: `[CLS] first [SEP] second [SEP]`.
    #[must_use]
    pub fn pair(&self, first: &str, second: &str) -> FramedText {
        let FramedText { mut tokens, n_first } = self.single(first);
        tokens.extend(self.encode(second));
        tokens.push(self.sep);
        FramedText { tokens, n_first }
    }

    /// The first tokens of a text that is too long, and the token that ends it. Of a pair the second text is cut first.
    #[must_use]
    pub fn truncate(&self, text: FramedText, tokens_max: usize) -> FramedText {
        let FramedText { mut tokens, n_first } = text;
        if tokens.len() > tokens_max {
            tokens.truncate(tokens_max.saturating_sub(1));
            tokens.push(self.sep);
        }
        FramedText { n_first: n_first.min(tokens.len()), tokens }
    }

    /// How many tokens there are; ids are below.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.texts.len()
    }

    /// The token as the file spells it; empty outside the vocabulary.
    #[must_use]
    pub fn token_text(&self, id: TokenId) -> &str {
        self.texts.text(id)
    }

    /// The longest pieces of a word; an unknown token if some part of it is no piece.
    fn word(&self, word: &str, spelling: &mut String, tokens: &mut Vec<TokenId>) {
        let n_before = tokens.len();
        if word.chars().nth(WORD_CHARS_MAX).is_some() {
            return tokens.push(self.unknown);
        }
        spelling.clear();
        spelling.push(WORD_START);
        spelling.push_str(word);
        // The mark belongs to the first piece, and alone it is none.
        let (mut start, mut least) = (0, WORD_START.len_utf8());
        while start < spelling.len() {
            let Some((id, end)) = self.longest(spelling, start, start + least) else {
                tokens.truncate(n_before);
                return tokens.push(self.unknown);
            };
            tokens.push(id);
            (start, least) = (end, 0);
        }
    }

    /// The longest piece at `start` that ends behind `least`.
    fn longest(&self, spelling: &str, start: usize, least: usize) -> Option<(TokenId, usize)> {
        let furthest = spelling.len().min(start + self.piece_bytes_max);
        let ends = (least + 1..=furthest).rev().filter(|end| spelling.is_char_boundary(*end));
        ends.into_iter().find_map(|end| self.texts.id_of(&spelling[start..end]).map(|id| (id, end)))
    }
}

/// The token that a key names, or else a name.
fn role(metadata: &Metadata, texts: &TokenTexts, keys: &[&'static str], name: &str) -> Result<TokenId, TokenizerError> {
    for key in keys {
        if let Some(id) = metadata.u32(key)? {
            let id = TokenId(id);
            let missing = TokenizerError::SpecialTokenMissing { flag: common::MODEL, key };
            return if id.index() < texts.len() { Ok(id) } else { Err(missing) };
        }
    }
    texts.id_of(name).ok_or(TokenizerError::SpecialTokenMissing { flag: common::MODEL, key: keys[0] })
}

/// The metadata keys that only these vocabularies use.
mod keys {
    pub(super) const CLS: &str = "tokenizer.ggml.cls_token_id";
    /// So spelled.
    pub(super) const SEP: &str = "tokenizer.ggml.seperator_token_id";
    pub(super) const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
    pub(super) const LOWERCASE: &str = "tokenizer.ggml.normalizer.lowercase";
    pub(super) const STRIP_ACCENTS: &str = "tokenizer.ggml.normalizer.strip_accents";
}

#[cfg(test)]
mod tests;
