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
    /// Open addressing: half of the hash above an id, or `EMPTY`. The hash spares most looks at other texts.
    slots: Vec<u64>,
    hash: SeededHash,
}

/// No token has this id, so no slot in use has this value.
const EMPTY: u64 = u64::MAX;
const HASH_HALF: u64 = 0xffff_ffff_0000_0000;

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
            let hash = self.hash.of_bytes(text.as_bytes());
            let slot = match self.find(hash, text) {
                Ok(first) => return Err(TokenizerError::DuplicateToken { first, second: TokenId(id) }),
                Err(slot) => slot,
            };
            self.slots[slot] = hash & HASH_HALF | u64::from(id);
        }
        self.texts.push_str(text);
        self.ends.push(u32_of(self.texts.len()));
        Ok(())
    }

    /// The token with this text, or the slot where it would go.
    fn find(&self, hash: u64, text: &str) -> Result<TokenId, usize> {
        let mut slot = home_slot(hash, self.slots.len());
        loop {
            let entry = self.slots[slot];
            if entry == EMPTY {
                return Err(slot);
            }
            let id = TokenId(u32::try_from(entry & !HASH_HALF).expect("the lower half"));
            if entry & HASH_HALF == hash & HASH_HALF && self.text(id) == text {
                return Ok(id);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    pub(crate) fn id_of(&self, text: &str) -> Option<TokenId> {
        self.find(self.hash.of_bytes(text.as_bytes()), text).ok()
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

#[cfg(test)]
mod tests {
    use super::{N_TOKENS_MAX, TokenKind, TokenTexts, Vocabulary};
    use crate::tokenizer::TokenizerError;
    use ballast_backend::TokenId;

    #[test]
    fn texts_lead_to_ids_and_back() {
        let tokens: Vec<String> = (0..5000).map(|n| format!("token{n}")).collect();
        let texts = TokenTexts::new(&tokens.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        for (id, token) in (0..).map(TokenId).zip(&tokens) {
            assert_eq!((texts.text(id), texts.id_of(token)), (token.as_str(), Some(id)));
        }
        assert_eq!((texts.id_of("token"), texts.text(TokenId(5000))), (None, ""));
    }

    #[test]
    fn empty_texts_name_no_token_and_may_repeat() {
        let texts = TokenTexts::new(&["", "a", ""]).unwrap();
        assert_eq!((texts.len(), texts.id_of("")), (3, None));
    }

    #[test]
    fn more_tokens_than_the_bound_are_refused() {
        let error = TokenTexts::new(&vec![""; N_TOKENS_MAX + 1]).unwrap_err();
        assert!(matches!(error, TokenizerError::TooManyTokens { .. }), "{error}");
    }

    #[test]
    fn a_token_stands_for_the_bytes_of_its_kind() {
        let cases = [
            ("Ġa", TokenKind::Normal, &b" a"[..]),
            ("<0x0A>", TokenKind::Byte, b"\n"),
            ("<0xZZ>", TokenKind::Byte, b""),
            ("Ġb", TokenKind::Control, "Ġb".as_bytes()),
            ("Ġc", TokenKind::UserDefined, "Ġc".as_bytes()),
            ("unused", TokenKind::Unused, b""),
            ("undefined", TokenKind::Undefined, b""),
        ];
        let texts = TokenTexts::new(&cases.map(|(text, _, _)| text)).unwrap();
        let vocabulary = Vocabulary::new(texts, cases.map(|(_, kind, _)| kind).to_vec());
        for (id, (text, kind, bytes)) in vocabulary.ids().zip(cases) {
            assert_eq!((vocabulary.text(id), vocabulary.kind(id), vocabulary.bytes(id)), (text, kind, bytes));
        }
    }
}
