//! Constraints on a small vocabulary: what a grammar lets through, where it ends, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "constraint/ends.rs"]
mod ends;
#[path = "constraint/grammars.rs"]
mod grammars;
#[path = "constraint/keywords.rs"]
mod keywords;
#[path = "constraint/other_words.rs"]
mod other_words;
#[path = "constraint/schemas.rs"]
mod schemas;
#[path = "constraint/walk.rs"]
mod walk;
