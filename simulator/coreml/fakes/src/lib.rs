//! Core ML's classes on Linux, as far as `crates/coreml` uses them, with a knob for every fault.
//!
//! A "package" is a folder with a file `fake.txt`: a line for each array, `input x f32 1,4`, `output y f32 1,4`,
//! `state s f32 2`. Each output's element `i` is `2 * (sum of the inputs' elements i) + 1`, plus what the state holds,
//! which grows by one with each prediction.
//!
//! Every class counts its live objects ([`live`]); every method notes whether it was called in a pool ([`calls`]).
//! [`knobs`] makes calls fail, stall, lie.

mod arrays;
mod knobs;
mod model;
mod package;
mod plans;
mod settings;
mod shim;

pub use arrays::{deallocator_calls, live_arrays};
pub use knobs::{Fault, Knobs, knobs, late_work_is_done, live, release_stalled, set_knobs, stalled};
pub use package::write_package;
pub use shim::{calls, set_pools};

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Registers the classes, and waits for the turn of one test: the counts are those of the process.
pub fn start() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        settings::register();
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
