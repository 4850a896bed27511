//! What a caller may be allowed to do.

use std::fmt;
use std::str::FromStr;

/// A permission. Every route but liveness needs exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Have text generated.
    Generate,
    /// Have texts embedded and ranked.
    Embed,
    /// Have tensor models run.
    Predict,
    /// Look at models, count and split tokens: nothing runs on a model.
    Read,
    /// Read what is counted.
    Metrics,
    /// Change what the server does: load and unload models, save and erase state.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Generate, Self::Embed, Self::Predict, Self::Read, Self::Metrics, Self::Admin];

    /// Its name, as key files, claims and command lines have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Embed => "embed",
            Self::Predict => "predict",
            Self::Read => "read",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected generate, embed, predict, read, metrics or admin")]
pub struct ScopeUnknown;

impl FromStr for Scope {
    type Err = ScopeUnknown;

    fn from_str(word: &str) -> Result<Self, ScopeUnknown> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word).ok_or(ScopeUnknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_known_by_their_names_only() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        assert_eq!("Admin".parse::<Scope>(), Err(ScopeUnknown));
        assert_eq!("".parse::<Scope>(), Err(ScopeUnknown));
    }
}
