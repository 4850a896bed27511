//! Which tokens begin a text: a sorted list of tokens, narrowed byte by byte.

use super::vocabulary::Vocabulary;
use ballast_backend::TokenId;

/// Tokens sorted by their bytes. A look-up costs the length of the longest match times the logarithm of the list.
#[derive(Debug)]
pub(crate) struct PrefixIndex {
    sorted: Vec<TokenId>,
    /// Whether some token begins with this byte.
    first_bytes: [bool; 256],
}

impl PrefixIndex {
    /// An index of tokens with 1 to `bytes_max` bytes; the others are left out.
    pub(crate) fn new(vocabulary: &Vocabulary, ids: impl Iterator<Item = TokenId>, bytes_max: usize) -> PrefixIndex {
        let mut sorted: Vec<TokenId> =
            ids.filter(|id| (1..=bytes_max).contains(&vocabulary.bytes(*id).len())).collect();
        sorted.sort_by_key(|id| (vocabulary.bytes(*id), *id));
        let mut first_bytes = [false; 256];
        for id in &sorted {
            first_bytes[usize::from(vocabulary.bytes(*id)[0])] = true;
        }
        PrefixIndex { sorted, first_bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The tokens whose bytes begin `text`, shortest first.
    pub(crate) fn beginning<'a>(
        &'a self,
        vocabulary: &'a Vocabulary,
        text: &'a [u8],
    ) -> impl Iterator<Item = TokenId> + 'a {
        let possible = text.first().is_some_and(|byte| self.first_bytes[usize::from(*byte)]);
        let mut rest: &[TokenId] = if possible { &self.sorted } else { &[] };
        let mut depth = 0;
        std::iter::from_fn(move || {
            loop {
                let first = *rest.first()?;
                // Sorted order puts a token before those it begins.
                if depth > 0 && vocabulary.bytes(first).len() == depth {
                    rest = &rest[1..];
                    return Some(first);
                }
                let byte = *text.get(depth)?;
                let start = rest.partition_point(|id| vocabulary.bytes(*id)[depth] < byte);
                let len = rest[start..].partition_point(|id| vocabulary.bytes(*id)[depth] == byte);
                rest = &rest[start..start + len];
                depth += 1;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::PrefixIndex;
    use crate::tokenizer::vocabulary::{TokenKind, TokenTexts, Vocabulary};

    fn beginning(text: &str, bytes_max: usize) -> Vec<u32> {
        let tokens = ["b", "ab", "abc", "a", "", "abd", "x"];
        let vocabulary = Vocabulary::new(TokenTexts::new(&tokens).unwrap(), vec![TokenKind::Normal; tokens.len()]);
        let index = PrefixIndex::new(&vocabulary, vocabulary.ids(), bytes_max);
        index.beginning(&vocabulary, text.as_bytes()).map(|id| id.0).collect()
    }

    #[test]
    fn tokens_that_begin_the_text_come_shortest_first() {
        assert_eq!(beginning("abcd", 8), [3, 1, 2]);
        assert_eq!(beginning("abd", 8), [3, 1, 5]);
        assert_eq!(beginning("a", 8), [3]);
        assert_eq!(beginning("ca", 8), [] as [u32; 0]);
        assert_eq!(beginning("", 8), [] as [u32; 0]);
    }

    #[test]
    fn tokens_over_the_bound_are_left_out() {
        assert_eq!(beginning("abcd", 2), [3, 1]);
    }
}
