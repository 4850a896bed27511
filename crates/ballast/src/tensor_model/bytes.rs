//! Bytes from the beginning, the middle and the end of a file, as models take them that tell what a file is.

use super::manifest::BytesRule;

/// The numbers of the rule's parts, one after another.
pub(super) fn cut(content: &[u8], rule: &BytesRule) -> Vec<i64> {
    let block = rule.block.unwrap_or(content.len()).min(content.len());
    let (mut head, mut tail) = (&content[..block], &content[content.len() - block..]);
    if rule.strip {
        (head, tail) = (trimmed_start(head), trimmed_end(tail));
    }
    let head = &head[..rule.first.min(head.len())];
    let tail = &tail[tail.len().saturating_sub(rule.last)..];
    let start = content.len().saturating_sub(rule.middle) / 2;
    let middle = &content[start..][..rule.middle.min(content.len())];
    let pad = |n: usize| std::iter::repeat_n(i64::from(rule.pad), n);
    let mut all = Vec::with_capacity(rule.first + rule.middle + rule.last);
    all.extend(head.iter().copied().map(i64::from));
    all.extend(pad(rule.first - head.len()));
    all.extend(middle.iter().copied().map(i64::from));
    all.extend(pad(rule.middle - middle.len()));
    all.extend(pad(rule.last - tail.len()));
    all.extend(tail.iter().copied().map(i64::from));
    all
}

/// White space as Python's `bytes.strip` has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn trimmed_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| !is_space(byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn trimmed_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| !is_space(byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> BytesRule {
        BytesRule { first: 3, middle: 0, last: 2, pad: 256, block: None, strip: false }
    }

    #[test]
    fn parts_are_cut_and_padded_on_their_outer_side() {
        assert_eq!(cut(b"abcdef", &rule()), [97, 98, 99, 101, 102]);
        assert_eq!(cut(b"a", &rule()), [97, 256, 256, 256, 97]);
        assert_eq!(cut(b"", &rule()), [256; 5]);
        let middle = BytesRule { middle: 2, ..rule() };
        assert_eq!(cut(b"abcdef", &middle)[3..5], [99, 100]);
        assert_eq!(cut(b"a", &middle)[3..5], [97, 256]);
    }

    #[test]
    fn white_space_is_left_out_within_the_block_only() {
        let strip = BytesRule { strip: true, ..rule() };
        assert_eq!(cut(b" \n\x0b\x0cab \t\r", &strip), [97, 98, 32, 97, 98]);
        assert_eq!(cut(b"    ab", &BytesRule { block: Some(5), ..strip.clone() })[..3], [97, 256, 256]);
        assert_eq!(cut(b"   ", &strip), [256; 5]);
        assert_eq!(cut(b" a", &rule())[0], 32);
    }
}
