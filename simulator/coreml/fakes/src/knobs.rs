//! What the classes are told to do wrong, what is alive, who is stuck.

use ballast_tensor::Rounding;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What one kind of call does instead of its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Its work.
    #[default]
    None,
    /// An error of Core ML's domain with this code.
    Error(isize),
    /// Neither a result nor an error.
    Silence,
    /// Its handler is dropped, never called.
    Dropped,
    /// Its handler is called twice.
    Twice,
    /// It hangs on a thread of the framework until [`release_stalled`].
    Stall,
    /// It hangs on the caller's thread until [`release_stalled`].
    Freeze,
    /// It throws an Objective-C exception at its caller.
    Throw,
    /// The process ends by a signal, as with a bad compilation for the neural engine.
    Kill,
}

/// Everything that can be turned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Knobs {
    /// Compilations.
    pub compile: Fault,
    /// Loads.
    pub load: Fault,
    /// Predictions.
    pub predict: Fault,
    /// Plans.
    pub plan: Fault,
    /// Wrapping of inputs.
    pub wrap: Fault,
    /// How models that are loaded from now on compute where other units than the CPU are allowed.
    pub accelerator: Rounding,
    /// Elements of padding after each row of outputs.
    pub row_padding: usize,
    /// Added to each element of outputs: wrong numbers.
    pub error: f64,
    /// Outputs have strides that lead out of their buffer.
    pub lying_strides: bool,
    /// Outputs have elements of another type than described.
    pub other_type: bool,
    /// The first output is missing.
    pub missing_output: bool,
}

static KNOBS: Mutex<Option<Knobs>> = Mutex::new(None);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static STALLED: AtomicUsize = AtomicUsize::new(0);
static BUSY: AtomicUsize = AtomicUsize::new(0);
static GATE: Mutex<u64> = Mutex::new(0);
static OPENED: Condvar = Condvar::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As they are.
#[must_use]
pub fn knobs() -> Knobs {
    lock(&KNOBS).unwrap_or_default()
}

/// Turns them.
pub fn set_knobs(knobs: Knobs) {
    *lock(&KNOBS) = Some(knobs);
}

/// Objects of the fake classes that are alive.
#[must_use]
pub fn live() -> isize {
    LIVE.load(Ordering::SeqCst)
}

/// Calls that hang now.
#[must_use]
pub fn stalled() -> usize {
    STALLED.load(Ordering::SeqCst)
}

/// Lets every call that hangs now go on.
pub fn release_stalled() {
    *lock(&GATE) += 1;
    OPENED.notify_all();
}

/// Hangs until it is released.
pub(crate) fn stall() {
    let mut gate = lock(&GATE);
    let opened_before = *gate;
    STALLED.fetch_add(1, Ordering::SeqCst);
    while *gate == opened_before {
        gate = OPENED.wait(gate).unwrap_or_else(PoisonError::into_inner);
    }
    STALLED.fetch_sub(1, Ordering::SeqCst);
}

/// Waits until no call is at work on a thread of the framework.
///
/// # Panics
/// If that takes half a minute.
pub fn late_work_is_done() {
    for _ in 0..20_000 {
        if BUSY.load(Ordering::SeqCst) == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the framework's threads do not come to an end");
}

/// Runs `work` on a thread of the framework, which has no pool around it.
pub(crate) fn on_queue(work: impl FnOnce() + Send + 'static) {
    BUSY.fetch_add(1, Ordering::SeqCst);
    std::thread::spawn(move || {
        work();
        BUSY.fetch_sub(1, Ordering::SeqCst);
    });
}

/// A part of each object: while it is there, the object is alive.
#[derive(Debug)]
pub(crate) struct Alive;

impl Alive {
    pub(crate) fn new() -> Self {
        LIVE.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::SeqCst);
    }
}
