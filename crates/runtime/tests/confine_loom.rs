//! The hand-off of jobs under a model checker: every order of steps, up to a number of preemptions, of one job that is
//! queued while somebody cancels it, gives the thread up, drains it, or lets its deadline pass. Exactly one outcome, and
//! nobody waits for ever: loom ends a test whose threads all wait.
//!
//! The files of `src/confine/` are included as they are, over loom's locks. More preemptions than the ordinary run
//! allows: `LOOM_MAX_PREEMPTIONS=4 cargo test -p ballast-runtime --test confine_loom`.
#![allow(dead_code, unreachable_pub, reason = "the files are made for the crate that they are part of")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod confine {
    #[path = "../../src/confine/desk.rs"]
    pub mod desk;
    #[path = "../../src/confine/ends.rs"]
    pub mod ends;
    #[path = "../../src/confine/error.rs"]
    pub mod error;
    #[path = "../../src/confine/jobs.rs"]
    pub mod jobs;
    #[path = "../../src/confine/model.rs"]
    pub mod model;
    #[path = "../../src/confine/options.rs"]
    pub mod options;
    #[path = "../../src/confine/parts.rs"]
    pub mod parts;
    #[path = "../../src/confine/slot.rs"]
    pub mod slot;
    #[path = "../../src/confine/work.rs"]
    pub mod work;

    /// Loom's locks in the place of the system's.
    mod sync {
        pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
        pub(super) use std::sync::PoisonError;
    }

    pub mod tests;
}
