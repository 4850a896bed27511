//! A loaded model, and the use of one.

use crate::Engine;
use ballast_runtime::lifecycle::Lease;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// An engine that belongs to the house. Dropped, it is stopped, whoever else holds a clone of it: what it took is free
/// when the house says so.
#[derive(Debug)]
pub(super) struct Housed {
    engine: Engine,
    version: u64,
}

impl Housed {
    pub(super) fn new(engine: Engine, version: u64) -> Self {
        Self { engine, version }
    }
}

impl Drop for Housed {
    fn drop(&mut self) {
        self.engine.runtime().drain(Duration::ZERO);
    }
}

/// A use of a loaded model. The model is not unloaded before its last lease is dropped, so that a lease must be held
/// until the last of its streams has ended. An [`Engine`] that was cloned out of it is stopped when the model is
/// unloaded; its requests then end with `DRAINING`. A reference to it cannot outlive the lease:
///
/// ```compile_fail,E0505
/// fn outlive(lease: ballast::ModelLease) {
///     let engine: &ballast::Engine = &lease;
///     drop(lease);
///     engine.report();
/// }
/// ```
pub struct ModelLease(Lease<Housed>);

impl ModelLease {
    pub(super) fn new(lease: Lease<Housed>) -> Self {
        Self(lease)
    }

    /// The version that serves: 1 as declared, one more with each swap.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version
    }
}

impl Deref for ModelLease {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0.engine
    }
}

impl fmt::Debug for ModelLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelLease").field("version", &self.version()).finish_non_exhaustive()
    }
}
