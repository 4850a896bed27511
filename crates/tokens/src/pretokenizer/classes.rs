//! The four character classes that pre-tokenizers tell apart, as a table over all of Unicode.

use regex_syntax::hir::{Class, HirKind};

/// What a pre-tokenizer sees of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CharClass {
    /// None of the others: punctuation, symbols, marks, controls, unassigned.
    Other,
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`: the White_Space property.
    Space,
}

const BLOCK_LEN: usize = 256;

/// A two-stage table: characters in blocks of 256, equal blocks stored once.
#[derive(Debug)]
pub(crate) struct CharClasses {
    /// Most text is ASCII, and needs only this.
    ascii: [Option<CharClass>; 256],
    block_idx: Vec<u8>,
    blocks: Vec<[CharClass; BLOCK_LEN]>,
}

impl CharClasses {
    pub(crate) fn new() -> CharClasses {
        let mut flat = vec![CharClass::Other; char::MAX as usize + 1];
        for (pattern, class) in
            [(r"\p{L}", CharClass::Letter), (r"\p{N}", CharClass::Number), (r"\s", CharClass::Space)]
        {
            for (first, last) in ranges(pattern) {
                flat[first as usize..=last as usize].fill(class);
            }
        }
        let ascii = std::array::from_fn(|byte| (byte < 128).then(|| flat[byte]));
        let mut table = CharClasses { ascii, block_idx: Vec::new(), blocks: Vec::new() };
        for block in flat.as_chunks::<BLOCK_LEN>().0 {
            let idx = table.blocks.iter().position(|known| known == block).unwrap_or_else(|| {
                table.blocks.push(*block);
                table.blocks.len() - 1
            });
            table.block_idx.push(u8::try_from(idx).expect("Unicode has fewer than 256 distinct blocks of classes"));
        }
        table
    }

    pub(crate) fn of(&self, c: char) -> CharClass {
        let point = c as usize;
        self.blocks[usize::from(self.block_idx[point / BLOCK_LEN])][point % BLOCK_LEN]
    }

    /// The class of an ASCII character; `None` for a byte of another.
    pub(crate) fn of_ascii(&self, byte: u8) -> Option<CharClass> {
        self.ascii[usize::from(byte)]
    }
}

fn ranges(pattern: &str) -> Vec<(char, char)> {
    let hir = regex_syntax::parse(pattern).expect("the patterns are constants");
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
        panic!("{pattern} is a character class");
    };
    class.ranges().iter().map(|range| (range.start(), range.end())).collect()
}

#[cfg(test)]
mod tests {
    use super::{CharClass, CharClasses};

    #[test]
    fn agrees_with_the_standard_library_where_that_knows_the_class() {
        let classes = CharClasses::new();
        for c in '\0'..=char::MAX {
            assert_eq!(classes.of(c) == CharClass::Space, c.is_whitespace(), "{c:?}");
            if classes.of(c) == CharClass::Letter {
                assert!(c.is_alphabetic(), "{c:?}");
            }
        }
    }
}
