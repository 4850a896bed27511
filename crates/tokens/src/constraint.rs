//! What an answer must look like: a constraint is compiled into a grammar, which allows some tokens after each other.
//!
//! ```text
//! Constraint --check--> what can be enforced --compile--> Grammar --matcher--> one GrammarMatcher for each sequence
//!              |                                             |                   mask: tokens that may come next
//!              +-- refused by the name of what cannot be     +-- kept by content advance: one token further
//! ```
//!
//! [`GrammarCompiler`] does it for one vocabulary. The engine behind it is the crate `llguidance`; what that would ignore
//! is refused here, so that an answer that is complete obeys all that was asked. Nothing of it is seen outside.

mod compiler;
mod error;
mod gbnf;
mod lark;
mod matcher;
mod rewrite;
mod schema;
mod vocabulary;

pub use compiler::{GRAMMARS_KEPT_MAX, Grammar, GrammarCompiler};
pub use error::{ConstraintError, MatchError};
pub use gbnf::{GBNF_DEPTH_MAX, GBNF_PARTS_MAX, GBNF_TIMES_MAX};
pub use lark::LARK_BRACKETS_MAX;
pub use matcher::GrammarMatcher;
pub use rewrite::{SCHEMA_CHOICES_MAX, SCHEMA_PLACES_MAX, SCHEMA_STEPS_MAX};
pub use schema::{SCHEMA_DEPTH_MAX, SCHEMA_ITEMS_MAX, SCHEMA_LENGTH_MAX, SCHEMA_LEVELS_MAX, SCHEMA_NODES_MAX};

use serde_json::Value;

/// Longest text of a constraint, in bytes.
pub const CONSTRAINT_BYTES_MAX: usize = 256 << 10;

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// JSON that is valid by a schema. A keyword that cannot be enforced is an error, annotations aside.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
    /// Text that matches a regular expression from its beginning to its end.
    Regex(String),
    /// A grammar in llguidance's dialect of Lark. `<|name|>` is a special token of the vocabulary, `%json {..}` JSON by a
    /// schema, which is checked as in [`Constraint::JsonSchema`].
    Lark(String),
    /// A grammar in llama.cpp's format.
    Gbnf(String),
}

impl Constraint {
    /// What kind it is, in words for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "JSON schema",
            Self::JsonObject => "JSON object",
            Self::Regex(_) => "regular expression",
            Self::Lark(_) => "Lark grammar",
            Self::Gbnf(_) => "GBNF grammar",
        }
    }
}
