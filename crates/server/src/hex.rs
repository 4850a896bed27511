//! Numbers in hexadecimal digits, as identifiers have them: the formatter takes twenty times as long.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends the last `n_digits` digits of a number.
pub(crate) fn push(text: &mut String, number: u128, n_digits: u32) {
    text.extend((0..n_digits).rev().map(|place| char::from(DIGITS[(number >> (4 * place)) as usize & 15])));
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_as_the_formatter_writes_them() {
        for number in [0, 1, 0xdead_beef, u128::from(u64::MAX), u128::MAX, 1 << 100] {
            let mut text = String::from("x");
            super::push(&mut text, number, 32);
            assert_eq!(text, format!("x{number:032x}"));
        }
    }
}
