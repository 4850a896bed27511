//! Vectors as OpenAI's clients want them by default: little-endian 32-bit floats in base64 (RFC 4648).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |idx: usize| u32::from(group.get(idx).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let is_padding = digit > group.len();
            let value = ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize];
            text.push(if is_padding { '=' } else { char::from(value) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn bytes_are_little_endian_and_padded() {
        let of = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
        assert_eq!(base64(&[]), "");
        assert_eq!(base64(&[of(*b"foob")]), "Zm9vYg==");
        assert_eq!(base64(&[of(*b"foob"), of(*b"arfo")]), "Zm9vYmFyZm8=");
        assert_eq!(base64(&[of(*b"foob"), of(*b"arfo"), of(*b"obar")]), "Zm9vYmFyZm9vYmFy");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[of([0xff; 4])]), "/////w==");
    }
}
