//! What is told of a model, loaded or not.

use super::{ModelFacts, ModelKind};
use std::time::Duration;

/// What is told of a model.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    pub(crate) id: String,
    /// Its other names.
    pub(crate) aliases: Vec<String>,
    pub(crate) created: i64,
    pub(crate) facts: ModelFacts,
    /// Positions of one sequence, where that is known.
    pub(crate) context_len: Option<usize>,
    pub(crate) state: Stage,
}

/// Where a model is in its life.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// The next request loads it.
    Unloaded,
    /// Its load failed a moment ago.
    Failed,
    /// With the share that is done, where that is known.
    Loading { fraction: Option<f64> },
    Loaded {
        /// What it can do, in Ollama's word.
        capability: &'static str,
        /// Memory that it takes, as planned.
        bytes: u64,
        /// How long it stays without use from now on; `None`: until the room is needed.
        expires_in: Option<Duration>,
    },
}

impl Stage {
    /// In the words of llama.cpp's router.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Failed => "failed",
            Self::Loading { .. } => "loading",
            Self::Loaded { .. } => "loaded",
        }
    }
}

impl ModelKind {
    /// What such a model can do, in Ollama's word.
    pub(super) fn capability(&self) -> &'static str {
        match self {
            Self::Generator(_) => "completion",
            Self::Encoder(_) => "embedding",
        }
    }
}
