//! Digests of secrets, compared in a time that tells nothing of them.
//!
//! It holds by construction: a digest has one length, whatever was presented, and its bytes leave this file only to be
//! written down; `==` on it is [`subtle`]'s comparison, so that no other can be made by mistake; and whoever looks for
//! one among several compares with each, found or not. What is left, the time of SHA-256, depends on the length of what
//! was presented alone.

use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// SHA-256 of a secret.
#[derive(Clone, Copy)]
pub(crate) struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Of no secret that anybody knows: what a stranger's key is compared with.
    pub(crate) const NOBODYS: Self = Self([0; 32]);

    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// As it was written down.
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// To be written down; whoever compares these tells how much of them was right.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Whether it is one of `known`.
    pub(crate) fn is_any_of(&self, known: &[Self]) -> bool {
        any(known, |one| one.0.ct_eq(&self.0)).into()
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest")
    }
}

/// Looks at each, whatever it has found.
fn any<T>(all: &[T], mut is_it: impl FnMut(&T) -> Choice) -> Choice {
    all.iter().fold(Choice::from(0), |found, one| found | is_it(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What makes the time constant is what is done, which can be counted; a clock would show the machine's noise.
    #[test]
    fn as_much_is_compared_whichever_key_it_is_or_none() {
        let known: Vec<KeyDigest> = (0..5).map(|n| KeyDigest::of(&format!("key {n}"))).collect();
        let long = "x".repeat(10_000);
        for presented in ["key 0", "key 2", "key 4", "key 9", "", &long] {
            let (digest, mut n_compared) = (KeyDigest::of(presented), 0);
            let found = any(&known, |one| {
                n_compared += 1;
                one.0.ct_eq(&digest.0)
            });
            assert_eq!(n_compared, known.len(), "{presented:?}");
            assert_eq!(bool::from(found), presented.len() == 5 && presented != "key 9");
            assert_eq!(digest.is_any_of(&known), bool::from(found));
        }
    }

    #[test]
    fn digests_are_the_same_where_every_bit_is() {
        let one = KeyDigest::of("a key");
        assert!(one == KeyDigest::of("a key") && one != KeyDigest::NOBODYS);
        for bit in 0..256 {
            let mut bytes = one.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(one != KeyDigest::new(bytes) && !one.is_any_of(&[KeyDigest::new(bytes)]), "bit {bit}");
        }
        assert_eq!(format!("{one:?}"), "KeyDigest");
    }
}
