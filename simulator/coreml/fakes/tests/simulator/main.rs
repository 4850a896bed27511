//! The Core ML backend, unchanged, against classes that have every fault.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod boundary;
mod engine;
mod house;
mod leaks;
mod packages;
mod real;

use ballast_coreml::{Action, CoreMlError};

#[path = "../../../../../crates/coreml/src/flight.rs"]
mod flight;

/// The unit tests of the handlers' part, which needs pools and so cannot run in the main workspace.
#[path = "."]
mod handlers {
    #[path = "../../../../../crates/coreml/src/apple/answer.rs"]
    #[expect(dead_code, reason = "its own tests use a part")]
    mod answer;

    mod raw {
        pub(super) fn pooled<R>(body: impl FnOnce() -> R) -> R {
            objc2::rc::autoreleasepool(|_| body())
        }
    }
}
