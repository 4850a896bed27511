//! Core ML on Apple hardware: `.mlpackage` models compiled, loaded and run on CPU, GPU or neural engine.
//!
//! ```text
//! prepare: .mlpackage --Core ML's compiler--> .mlmodelc in the compile cache, by content, units and system build
//! open:    .mlmodelc --load--> plan (which unit runs what) --> canary prediction --> CoreMlModel, on its thread
//! predict: tensors lent to Core ML without a copy --> its queue --> completion handler --> tensors, or a deadline
//! ```
//!
//! - [`CoreMlEngine`]: the engine; [`CoreMLBackend`] is the name that the prior system gave it.
//! - [`CoreMlModel`]: an opened model. It stays on its thread; prediction by name, with state, in batches.
//! - [`PlanReport`]: which unit Core ML *plans* to run which operation on. It is no measurement.
//! - [`devices()`], [`MachineFacts`]: what the machine has.
//! - [`verify_mac`]: one report over all of it, for a person with a Mac.
//!
//! On other systems everything is there and answers [`CoreMlError::NotOnThisPlatform`].
//!
//! **Not yet run on a Mac.** The code is type-checked for `aarch64-apple-darwin`, and its unchanged source runs on
//! Linux against the classes of `simulator/coreml`, which proves ownership, pools, threads, strides, errors and
//! deadlines, and nothing about Apple's own behaviour, placement or speed.
//!
//! ## What holds at the boundary
//!
//! 1. Every call of the frameworks, and every body of a handler, runs in an autorelease pool of its own.
//! 2. No Objective-C type is public; every unsafe call is in `apple/raw.rs`.
//! 3. Every call ends: with its answer, at its time-out, or when its pulse asks. What comes later is dropped and counted.
//! 4. Errors of the frameworks become [`CoreMlError`]; a panic in a handler becomes [`CoreMlError::HandlerPanicked`].
//!    An Objective-C exception ends the process: run the engine in a worker (`ballast-worker`).
//! 5. A model is used by one thread: it can be moved by nobody and shared by nobody.
//! 6. Compiled bundles are directories that are moved into place whole; their key names the system's build.
//!
//! ```compile_fail,E0277
//! fn shared_between_threads<T: Sync>() {}
//! shared_between_threads::<ballast_coreml::CoreMlModel>();
//! ```
//!
//! ```compile_fail,E0277
//! fn moved_between_threads<T: Send>() {}
//! moved_between_threads::<ballast_coreml::CoreMlModel>();
//! ```
//!
//! ```
//! use ballast_backend::InferenceEngine;
//! use ballast_coreml::{CoreMLBackend, CoreMlOptions};
//! # struct Still;
//! # impl ballast_backend::Clock for Still { fn now(&self) -> std::time::Duration { std::time::Duration::ZERO } }
//! let engine = CoreMLBackend::new(CoreMlOptions::default(), std::sync::Arc::new(Still));
//! assert_eq!(engine.name(), "coreml");
//! assert_eq!(engine.get_metrics().infer_count, 0);
//! ```

#![cfg_attr(
    not(any(target_vendor = "apple", coreml_simulator)),
    allow(dead_code, reason = "what is made of Core ML's answers waits for Core ML")
)]

#[cfg(any(target_vendor = "apple", coreml_simulator))]
mod apple;
mod bundle;
mod call;
mod devices;
#[cfg(not(any(target_vendor = "apple", coreml_simulator)))]
mod elsewhere;
mod engine;
mod error;
mod flight;
mod layout;
mod metrics;
mod model;
mod options;
mod plan;
mod schema;
mod verify;
mod wait;

#[cfg(any(target_vendor = "apple", coreml_simulator))]
use apple as platform;
#[cfg(not(any(target_vendor = "apple", coreml_simulator)))]
use elsewhere as platform;

pub use devices::{ComputeDevice, DeviceKind, MachineFacts, devices, machine_facts};
pub use engine::{CoreMLBackend, CoreMlEngine, ENGINE_VERSION};
pub use error::{Action, CoreMlError};
pub use layout::LayoutError;
pub use metrics::{CoreMlMetrics, SAMPLES_MAX};
pub use model::{CoreMlModel, ModelState, SharedTensors};
pub use options::{Canary, CoreMlOptions, Hints, Planning, PredictApi, ReshapeFrequency, Specialization};
pub use plan::{PlanReport, PlannedOperation, Shares};
pub use verify::{
    Figures, LoadFigures, MemoryFigures, ParityFigures, Reference, UnitReport, VerifyOptions, VerifyParts,
    VerifyReport, verify_mac,
};

/// Whether this build has Core ML: on Apple's systems. What the machine has of it, [`devices()`] says.
pub const IS_AVAILABLE: bool = platform::IS_AVAILABLE;

/// The same as a question, for whoever would do nothing without it.
///
/// # Errors
/// [`CoreMlError::NotOnThisPlatform`].
pub fn check_available() -> Result<(), CoreMlError> {
    if IS_AVAILABLE { Ok(()) } else { Err(CoreMlError::not_here()) }
}
