//! Tensor models that are served: named, versioned, joined into batches, counted.
//!
//! ```text
//! shelf.rs        models by name and version; loaded, drained and unloaded
//! stock.rs        who builds them
//! served.rs       one version at work: checks, uses, runs
//! batcher.rs      which waiting requests are run together, and when: pure
//! desk.rs         the batcher with its lock, its timers and its runs
//! joined.rs       tensors of several requests as one, and apart again
//! statistics.rs   what was counted and measured
//! ```
//!
//! A version's life is the table in `shelf.rs`. The server is given built engines and never builds one.

mod batcher;
mod desk;
mod error;
mod joined;
mod served;
mod shelf;
mod statistics;
mod stock;

pub(crate) use error::TensorsError;
pub(crate) use served::{Run, Served, Tally};
pub(crate) use shelf::{IndexRow, VersionState};
pub use shelf::{ServedTensors, TENSOR_MODELS_MAX, TENSOR_NAME_BYTES_MAX, TensorHouseOptions, VERSIONS_MAX};
pub(crate) use statistics::{BatchFigures, Counted, Figures, Times};
pub use stock::{TensorModelError, TensorStock};

use ballast_runtime::supervised::SupervisedEngine;
use std::collections::BTreeMap;
use std::time::Duration;

/// One version of a tensor model. Clones are the same model.
#[derive(Clone, Debug)]
pub struct TensorModel {
    /// Its name on the wire.
    pub name: String,
    /// Its version, 1 or more. Where a request names none, the highest that is ready is meant.
    pub version: u64,
    /// What answers.
    pub engine: SupervisedEngine,
    /// What the model is, in a word, such as `onnx`.
    pub platform: String,
    /// How requests are joined.
    pub batching: Batching,
    /// Names of classes, by output, in the order of the elements.
    pub labels: BTreeMap<String, Vec<String>>,
}

/// How requests for a model are joined into one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Most items of a run, and of a request; 0: requests are run one by one, however many items they have.
    pub max_batch: usize,
    /// Whether requests that wait are run together. Default: yes.
    pub joins: bool,
    /// How long a request may wait for others while an instance is free. Default: not at all.
    pub max_wait: Duration,
    /// Numbers of items that are run at once when they are there, in place of waiting for more. Default: none.
    pub preferred: Vec<usize>,
    /// Most requests that wait; one more is refused. Default 256.
    pub queue_max: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_batch: 0, joins: true, max_wait: Duration::ZERO, preferred: Vec::new(), queue_max: 256 }
    }
}
