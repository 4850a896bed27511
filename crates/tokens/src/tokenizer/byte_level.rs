//! GPT-2's spelling of bytes: each byte is one printable character, so that a token of any bytes is valid text.
//!
//! Bytes that are printable in Latin-1 are themselves; the other 68 are U+0100 and up, in order.

/// The character that stands for a byte.
pub(crate) fn char_of_byte(byte: u8) -> char {
    let n_moved_below = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => return char::from(byte),
        0x00..=0x20 => u32::from(byte),
        0x7f..=0xa0 => 0x21 + u32::from(byte - 0x7f),
        0xad => 0x43,
    };
    char::from_u32(0x100 + n_moved_below).expect("at most U+0143")
}

/// The byte that a character stands for.
pub(crate) fn byte_of_char(c: char) -> Option<u8> {
    let byte = match u32::from(c) {
        point @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => point,
        point @ 0x100..=0x120 => point - 0x100,
        point @ 0x121..=0x142 => point - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Appends the bytes that `text` spells. A character outside the spelling stands for itself.
pub(crate) fn decode(text: &str, bytes: &mut Vec<u8>) {
    for c in text.chars() {
        match byte_of_char(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Whether `text` is the spelling of `bytes`.
pub(crate) fn is_spelling(text: &str, bytes: &[u8]) -> bool {
    text.chars().map(byte_of_char).eq(bytes.iter().copied().map(Some))
}

/// Appends the spelling of `bytes`.
pub(crate) fn encode(bytes: &[u8], text: &mut String) {
    text.extend(bytes.iter().map(|byte| char_of_byte(*byte)));
}

#[cfg(test)]
mod tests {
    use super::{byte_of_char, char_of_byte, decode, encode, is_spelling};

    #[test]
    fn every_byte_has_one_character_and_back() {
        let chars: std::collections::HashSet<char> = (0..=255).map(char_of_byte).collect();
        assert_eq!(chars.len(), 256);
        for byte in 0..=255 {
            assert_eq!(byte_of_char(char_of_byte(byte)), Some(byte));
        }
        assert_eq!((char_of_byte(b' '), char_of_byte(b'\n'), char_of_byte(0xad)), ('Ġ', 'Ċ', 'Ń'));
        assert_eq!(('\0'..=char::MAX).filter(|c| byte_of_char(*c).is_some()).count(), 256);
    }

    #[test]
    fn spelling_round_trips_and_foreign_characters_stand_for_themselves() {
        let (mut text, mut bytes) = (String::new(), Vec::new());
        encode(" é\u{1}".as_bytes(), &mut text);
        decode(&text, &mut bytes);
        assert_eq!(bytes, " é\u{1}".as_bytes());
        assert!(is_spelling(&text, &bytes) && !is_spelling(&text, &bytes[1..]) && !is_spelling("中", "中".as_bytes()));
        bytes.clear();
        decode("a中 ", &mut bytes);
        assert_eq!(bytes, "a中 ".as_bytes());
    }
}
