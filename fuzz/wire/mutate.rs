//! Changes protocol buffers so that they stay well-formed: one field, at any depth, and the lengths around it with it.
//! What a fuzzer does to the bytes alone seldom gets past the first length.

/// Deepest field that is changed.
const DEPTH_MAX: usize = 24;
/// Most bytes that a change adds.
const ROOM: usize = 64;
/// Numbers at which things go wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    7,
    8,
    255,
    1 << 16,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 63,
    u64::MAX,
];

/// A sequence of numbers from a seed.
pub struct Random(u64);

impl Random {
    /// From this seed on.
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed))
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % (n as u64).max(1)) as usize
    }
}

/// A field: its key, and what it holds.
#[derive(Clone)]
struct Field {
    key: u64,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Number(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
}

/// Changes the message in the first `size` of `data`, and tells how long it is now.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random::new(seed);
    if random.below(8) == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let changed = change(&data[..size], &mut random, 0);
    if changed.len() > max_size {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
}

/// The message with one field changed.
pub fn change(bytes: &[u8], random: &mut Random, depth: usize) -> Vec<u8> {
    let fields = (depth < DEPTH_MAX).then(|| parse(bytes)).flatten().filter(|fields| !fields.is_empty());
    let Some(mut fields) = fields else { return bent(bytes) };
    let at = random.below(fields.len());
    match random.below(16) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(at, fields[at].clone()),
        2 => {
            let other = random.below(fields.len());
            fields.swap(at, other);
        }
        3 => {
            let other = random.below(fields.len());
            fields[at].content = fields[other].content.clone();
        }
        4 if depth > 0 => return bent(bytes),
        _ => match &mut fields[at].content {
            Content::Number(value) if random.below(2) == 0 => *value = NUMBERS[random.below(NUMBERS.len())],
            Content::Number(value) => *value = value.wrapping_add([1, u64::MAX, 2][random.below(3)]),
            Content::Fixed(bytes) => {
                let idx = random.below(bytes.len());
                bytes[idx] ^= 1 << random.below(8);
            }
            Content::Bytes(bytes) => *bytes = change(bytes, random, depth + 1),
        },
    }
    fields.iter().flat_map(written).collect()
}

/// Bytes that are no message, changed as a fuzzer does.
fn bent(bytes: &[u8]) -> Vec<u8> {
    let mut bent = [bytes, &[0; ROOM]].concat();
    let room = bent.len();
    let size = libfuzzer_sys::fuzzer_mutate(&mut bent, bytes.len(), room);
    bent.truncate(size);
    bent
}

fn parse(mut rest: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let content = match key & 7 {
            0 => Content::Number(varint(&mut rest)?),
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, behind) = rest.split_at_checked(len)?;
                rest = behind;
                Content::Bytes(bytes.to_vec())
            }
            1 | 5 => {
                let (bytes, behind) = rest.split_at_checked(if key & 7 == 1 { 8 } else { 4 })?;
                rest = behind;
                Content::Fixed(bytes.to_vec())
            }
            _ => return None,
        };
        if key >> 3 == 0 || key >> 3 > 2000 {
            return None;
        }
        fields.push(Field { key, content });
    }
    Some(fields)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for idx in 0..10 {
        let byte = *rest.get(idx)?;
        value |= u64::from(byte & 0x7f).checked_shl(7 * idx as u32)?;
        if byte & 0x80 == 0 {
            *rest = &rest[idx + 1..];
            return Some(value);
        }
    }
    None
}

fn written(field: &Field) -> Vec<u8> {
    let mut out = Vec::new();
    put(field.key, &mut out);
    match &field.content {
        Content::Number(value) => put(*value, &mut out),
        Content::Fixed(bytes) => out.extend(bytes),
        Content::Bytes(bytes) => {
            put(bytes.len() as u64, &mut out);
            out.extend(bytes);
        }
    }
    out
}

fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
