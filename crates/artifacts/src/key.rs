//! Cache keys: everything a prepared model depends on, as one text.

use ballast_backend::{ComputeUnits, ErrorKind, Quantization, Sha256};
use sha2::Digest as _;
use std::fmt::{self, Write as _};

/// Most bytes of a key. Longest real ones, of a model with dozens of inputs, have some hundred.
pub const KEY_BYTES_MAX: usize = 8 * 1024;

/// The parts of a key, in the order of its text.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// Digest of the model's content.
    pub sha256: Sha256,
    /// Engine, and the version of what it writes.
    pub engine_version: &'a str,
    /// Layout within the engine: a kernel set's name, `mlprogram` or the like.
    pub backend: &'a str,
    /// Units it was prepared for.
    pub compute_units: ComputeUnits,
    /// How weights are stored.
    pub quantization: Quantization,
    /// Shapes that were fixed, by input, in any order.
    pub shapes: &'a [(String, Vec<usize>)],
    /// Build of the system, or features of the CPU, where the result depends on them.
    pub build: &'a str,
}

/// The text `sha256:engine_version:backend:compute_units:quantization:shapes:build`.
///
/// `shapes` is each input's `name_dimxdim`, by name, joined by `_`, or `any` if no shape was fixed. Characters that
/// separate (`:` everywhere, `_` in names of inputs), `%`, and whatever is not printable ASCII are written as `%XX`, so
/// that different parts always give different keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey(String);

impl CacheKey {
    /// The key of `parts`.
    ///
    /// # Errors
    /// If a part is empty, an input is named twice, or the text is longer than [`KEY_BYTES_MAX`].
    pub fn new(parts: &KeyParts<'_>) -> Result<Self, KeyError> {
        let named = [("engine_version", parts.engine_version), ("backend", parts.backend), ("build", parts.build)];
        if let Some((part, _)) = named.into_iter().find(|(_, text)| text.is_empty()) {
            return Err(KeyError::PartEmpty { part });
        }
        let text = format!(
            "{}:{}:{}:{}:{}:{}:{}",
            parts.sha256,
            escaped(parts.engine_version, ""),
            escaped(parts.backend, ""),
            parts.compute_units.as_str(),
            parts.quantization.as_str(),
            shape_key(parts.shapes)?,
            escaped(parts.build, ""),
        );
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong { got: text.len() });
        }
        Ok(Self(text))
    }

    /// The whole key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the entry's directory: the digest of the key, which is safe on every file system.
    pub(crate) fn dir_name(&self) -> String {
        Sha256(sha2::Sha256::digest(self.0.as_bytes()).into()).to_string()
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn shape_key(shapes: &[(String, Vec<usize>)]) -> Result<String, KeyError> {
    let mut sorted: Vec<_> = shapes.iter().collect();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(KeyError::ShapeTwice { name: twice[0].0.clone() });
    }
    if sorted.is_empty() {
        return Ok("any".to_owned());
    }
    let input = |(name, dims): &(String, Vec<usize>)| {
        let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
        format!("{}_{}", escaped(name, "_"), dims.join("x"))
    };
    Ok(sorted.into_iter().map(input).collect::<Vec<_>>().join("_"))
}

/// `text` with `:`, `%`, the characters of `also`, and what is not printable ASCII as `%XX` for each byte.
fn escaped(text: &str, also: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_graphic() && c != ':' && c != '%' && !also.contains(c) {
            out.push(c);
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    out
}

/// Parts that give no key. All are [`ErrorKind::Invalid`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A part that says nothing.
    #[error("cache key: expected a text for {part}, got none")]
    PartEmpty {
        /// Which.
        part: &'static str,
    },
    /// An input with two shapes.
    #[error("cache key: expected one shape for the input {name:?}, got two")]
    ShapeTwice {
        /// The input.
        name: String,
    },
    /// Too long.
    #[error("cache key: expected at most {KEY_BYTES_MAX} bytes, got {got}")]
    TooLong {
        /// How long.
        got: usize,
    },
}

impl KeyError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::PartEmpty { .. } | Self::ShapeTwice { .. } | Self::TooLong { .. } => ErrorKind::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn parts<'a>(backend: &'a str, shapes: &'a [(String, Vec<usize>)]) -> KeyParts<'a> {
        KeyParts {
            sha256: Sha256([0xab; 32]),
            engine_version: "engine.1",
            backend,
            compute_units: ComputeUnits::CpuAndNe,
            quantization: Quantization::Fp16,
            shapes,
            build: "24A335",
        }
    }

    #[test]
    fn parts_stand_in_their_order() {
        let shapes = [("b".to_owned(), vec![1, 3]), ("a".to_owned(), vec![]), ("in_put:0".to_owned(), vec![7])];
        let key = CacheKey::new(&parts("mlprogram", &shapes)).unwrap();
        let expected = format!("{}:engine.1:mlprogram:cpu_ane:fp16:a__b_1x3_in%5Fput%3A0_7:24A335", "ab".repeat(32));
        assert_eq!(key.as_str(), expected);
        assert!(CacheKey::new(&parts("x", &[])).unwrap().as_str().contains(":any:"));
    }

    #[test]
    fn every_part_changes_the_key_and_its_directory() {
        let shapes = [("x".to_owned(), vec![1])];
        let base = parts("b", &shapes);
        let others = [
            KeyParts { sha256: Sha256([0xac; 32]), ..base },
            KeyParts { engine_version: "engine.2", ..base },
            KeyParts { backend: "c", ..base },
            KeyParts { compute_units: ComputeUnits::All, ..base },
            KeyParts { quantization: Quantization::Int8, ..base },
            KeyParts { shapes: &[], ..base },
            KeyParts { build: "24A336", ..base },
        ];
        let base = CacheKey::new(&base).unwrap();
        for other in others {
            let other_key = CacheKey::new(&other).unwrap();
            assert_ne!(other_key, base, "{other:?}");
            assert_ne!(other_key.dir_name(), base.dir_name(), "{other:?}");
        }
    }

    #[test]
    fn parts_that_say_nothing_or_too_much_are_refused() {
        assert_eq!(CacheKey::new(&parts("", &[])), Err(KeyError::PartEmpty { part: "backend" }));
        let long = "x".repeat(KEY_BYTES_MAX);
        assert!(matches!(CacheKey::new(&parts(&long, &[])), Err(KeyError::TooLong { .. })));
        let twice = [("x".to_owned(), vec![1]), ("x".to_owned(), vec![2])];
        assert_eq!(CacheKey::new(&parts("b", &twice)), Err(KeyError::ShapeTwice { name: "x".to_owned() }));
    }

    proptest! {
        #[test]
        fn different_parts_give_different_keys(
            a in ("[a_:%é]{1,4}", proptest::collection::btree_map("[a_:%1x]{1,4}", proptest::collection::vec(0_usize..3, 0..3), 0..3)),
            b in ("[a_:%é]{1,4}", proptest::collection::btree_map("[a_:%1x]{1,4}", proptest::collection::vec(0_usize..3, 0..3), 0..3)),
        ) {
            let key = |(backend, shapes): &(String, BTreeMap<String, Vec<usize>>)| {
                let shapes: Vec<_> = shapes.clone().into_iter().collect();
                CacheKey::new(&parts(backend, &shapes)).unwrap()
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
            prop_assert_eq!(key(&a).as_str().matches(':').count(), 6);
        }
    }
}
