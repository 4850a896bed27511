//! Where a model comes from, and what it will take.

use crate::load::planned_bytes;
use crate::{Engine, Error, LoadOptions};
use ballast_backend::{Pulse, ReasonCode};
use ballast_gguf::Gguf;
use ballast_runtime::events;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens an engine. Called on a thread of its own, for each load; may take long, and should obey its pulse.
pub type OpenModel = dyn Fn(&Pulse) -> Result<Engine, Error> + Send + Sync;

/// Where a model comes from.
#[derive(Clone)]
pub struct ModelSource(Origin);

#[derive(Clone)]
enum Origin {
    File { path: PathBuf, options: Box<LoadOptions> },
    Opened { bytes: u64, open: Arc<OpenModel> },
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::File { path, .. } => f.debug_struct("File").field("path", path).finish_non_exhaustive(),
            Origin::Opened { bytes, .. } => f.debug_struct("Opened").field("bytes", bytes).finish_non_exhaustive(),
        }
    }
}

impl ModelSource {
    /// A GGUF file.
    #[must_use]
    pub fn file(path: &Path, options: &LoadOptions) -> Self {
        Self(Origin::File { path: path.to_owned(), options: Box::new(options.clone()) })
    }

    /// A model that takes `bytes` and is opened by the caller's function. The engine it returns is given away: it is
    /// stopped when the model is unloaded, whoever else holds a clone of it.
    #[must_use]
    pub fn opened(bytes: u64, open: Arc<OpenModel>) -> Self {
        Self(Origin::Opened { bytes, open })
    }

    /// Finds out what it takes. A file whose own budget says nothing else is planned within `budget_bytes`.
    ///
    /// # Errors
    /// If the file is not a model that can be run, or does not fit a strict budget.
    pub(super) fn plan(mut self, budget_bytes: u64) -> Result<Planned, Error> {
        let bytes = match &mut self.0 {
            Origin::File { path, options } => {
                // Said once and for all, so that each load comes to the same plan.
                options.memory.bytes.get_or_insert(budget_bytes);
                planned_bytes(&Gguf::open(path)?, options)?
            }
            Origin::Opened { bytes, .. } => *bytes,
        };
        Ok(Planned { source: self, bytes })
    }
}

/// A source and what it takes.
#[derive(Debug)]
pub(super) struct Planned {
    source: ModelSource,
    pub(super) bytes: u64,
}

impl Planned {
    /// Opens the engine.
    ///
    /// # Errors
    /// As [`Engine::load`]; or if the file has become larger than was planned for.
    pub(super) fn open(&self, pulse: &Pulse) -> Result<Engine, Error> {
        match &self.source.0 {
            Origin::Opened { open, .. } => open(pulse),
            Origin::File { path, options } => {
                let needed_bytes = planned_bytes(&Gguf::open(path)?, options)?;
                if needed_bytes > self.bytes {
                    options.telemetry.emit(&events::MemoryBudget { reason: ReasonCode::MemoryBudgetExceeded });
                    return Err(Error::MemoryBudgetExceeded { needed_bytes, budget_bytes: self.bytes });
                }
                Engine::load(path, options)
            }
        }
    }
}
