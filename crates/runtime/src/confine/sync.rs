//! The locks of confinement, named in one place, so that a model checker can put its own in their stead
//! (`tests/confine_shuttle.rs` includes the files beside this one over the checker's locks).

pub(super) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
