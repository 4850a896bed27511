//! The token table: each token's text as in the file, the bytes it stands for, its kind, and the way back from text
//! to id.

use super::TokenizerError;
use super::byte_level;
use super::hash::{SeededHash, home_slot};
use ballast_backend::TokenId;
use std::ops::Range;

/// Bounds every table here; the largest published vocabularies are near 2^18.
pub(crate) const N_TOKENS_MAX: usize = 1 << 22;

/// What a token is for. A file gives the kind as a number; some names override it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Undefined,
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenKind {
    pub(crate) fn from_gguf(number: i32) -> TokenKind {
        match number {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => TokenKind::Undefined,
        }
    }

    /// Kinds that are markup rather than text: not shown and not parsed unless asked.
    pub(crate) fn is_special(self) -> bool {
        matches!(self, TokenKind::Control | TokenKind::Unknown)
    }
}

/// Token texts with the way back to ids. Kinds are settled on top of it, and then it becomes a [`Vocabulary`].
#[derive(Debug)]
pub(crate) struct TokenTexts {
    texts: String,
    ends: Vec<u32>,
    /// Open addressing: ids, or `EMPTY`.
    slots: Vec<u32>,
    hash: SeededHash,
}

const EMPTY: u32 = u32::MAX;

impl TokenTexts {
    pub(crate) fn new(tokens: &[&str]) -> Result<TokenTexts, TokenizerError> {
        if tokens.len() > N_TOKENS_MAX {
            return Err(TokenizerError::TooManyTokens { n_tokens: tokens.len(), n_tokens_max: N_TOKENS_MAX });
        }
        let n_bytes: usize = tokens.iter().map(|text| text.len()).sum();
        if u32::try_from(n_bytes).is_err() {
            return Err(TokenizerError::TokensTooLong { n_bytes });
        }
        let mut table = TokenTexts {
            texts: String::with_capacity(n_bytes),
            ends: Vec::with_capacity(tokens.len()),
            slots: vec![EMPTY; (tokens.len() * 2).next_power_of_two()],
            hash: SeededHash::new(),
        };
        for text in tokens {
            table.push(text)?;
        }
        Ok(table)
    }

    /// An empty text names nothing, so any number of tokens may have it.
    fn push(&mut self, text: &str) -> Result<(), TokenizerError> {
        let id = u32_of(self.ends.len());
        if !text.is_empty() {
            let slot = match self.find(text.as_bytes()) {
                Ok(first) => return Err(TokenizerError::DuplicateToken { first, second: TokenId(id) }),
                Err(slot) => slot,
            };
            self.slots[slot] = id;
        }
        self.texts.push_str(text);
        self.ends.push(u32_of(self.texts.len()));
        Ok(())
    }

    /// The token with this text, or the slot where it would go.
    fn find(&self, text: &[u8]) -> Result<TokenId, usize> {
        let mut slot = home_slot(self.hash.of_bytes(text), self.slots.len());
        loop {
            let id = self.slots[slot];
            if id == EMPTY {
                return Err(slot);
            }
            if self.text(TokenId(id)).as_bytes() == text {
                return Ok(TokenId(id));
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    pub(crate) fn id_of(&self, text: &str) -> Option<TokenId> {
        self.find(text.as_bytes()).ok()
    }

    /// The token's text; empty outside the vocabulary.
    pub(crate) fn text(&self, id: TokenId) -> &str {
        range(&self.ends, id).map_or("", |range| &self.texts[range])
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// The finished, immutable token table.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    texts: TokenTexts,
    kinds: Vec<TokenKind>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Vocabulary {
    pub(crate) fn new(texts: TokenTexts, kinds: Vec<TokenKind>) -> Vocabulary {
        assert_eq!(texts.len(), kinds.len(), "one kind for each token");
        let mut vocabulary = Vocabulary { bytes: Vec::new(), ends: Vec::with_capacity(kinds.len()), texts, kinds };
        for (idx, kind) in vocabulary.kinds.iter().enumerate() {
            let text = vocabulary.texts.text(TokenId(u32_of(idx)));
            match kind {
                TokenKind::Normal => byte_level::decode(text, &mut vocabulary.bytes),
                TokenKind::Byte => vocabulary.bytes.extend(byte_of_hex(text)),
                TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined => {
                    vocabulary.bytes.extend_from_slice(text.as_bytes());
                }
                TokenKind::Unused | TokenKind::Undefined => {}
            }
            vocabulary.ends.push(u32_of(vocabulary.bytes.len()));
        }
        vocabulary
    }

    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(crate) fn id_of(&self, text: &str) -> Option<TokenId> {
        self.texts.id_of(text)
    }

    pub(crate) fn text(&self, id: TokenId) -> &str {
        self.texts.text(id)
    }

    /// The bytes the token stands for, markup included; empty outside the vocabulary.
    pub(crate) fn bytes(&self, id: TokenId) -> &[u8] {
        range(&self.ends, id).map_or(&[], |range| &self.bytes[range])
    }

    pub(crate) fn kind(&self, id: TokenId) -> TokenKind {
        self.kinds.get(id.index()).copied().unwrap_or(TokenKind::Undefined)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = TokenId> + use<> {
        (0..u32_of(self.len())).map(TokenId)
    }
}

fn range(ends: &[u32], id: TokenId) -> Option<Range<usize>> {
    let end = *ends.get(id.index())? as usize;
    let start = if id.0 == 0 { 0 } else { ends[id.index() - 1] as usize };
    Some(start..end)
}

/// `<0x0A>` as a byte.
fn byte_of_hex(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// Counts of tokens and of their bytes were checked to fit when the texts were taken in; decoded bytes are no more
/// than the text's.
fn u32_of(n: usize) -> u32 {
    u32::try_from(n).expect("bounded by TokenTexts::new")
}
