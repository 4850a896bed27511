//! Core ML's classes on Linux, as far as `crates/coreml` uses them, with a knob for every fault.
//!
//! They compile, describe, plan and execute the package that they are given, through `ballast-tensor`: a prediction gives
//! the package's own numbers, as typed, or rounded to f16 after every operation where an accelerator is allowed and
//! [`Knobs::accelerator`] says so.
//!
//! Every class counts its live objects ([`live`]); every method notes whether it was called in a pool ([`calls`]).
//! [`knobs`] makes calls fail, stall, lie.

mod arrays;
mod descriptions;
mod knobs;
mod model;
mod package;
mod plans;
mod settings;
mod shim;

pub use arrays::{deallocator_calls, live_arrays};
pub use knobs::{Fault, Knobs, knobs, late_work_is_done, live, release_stalled, set_knobs, stalled};
pub use shim::{calls, set_pools};

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Registers the classes, and waits for the turn of one test: the counts are those of the process.
pub fn start() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        settings::register();
        descriptions::register();
        arrays::register();
        model::register();
        plans::register();
    });
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    set_knobs(Knobs::default());
    set_pools(true);
    release_stalled();
    late_work_is_done();
    shim::forget_calls();
    turn
}
