//! Engines that fail as a plan says: slow, wrong, hanging, lost, each by a list or by a seed.
//!
//! For tests on real threads. A hang ends when the test releases it ([`FaultControl::release`]) or, if the plan calls it
//! cooperative, when its pulse asks for the end; [`PATIENCE`] bounds both.

use crate::{PATIENCE, SplitMix};
use ballast_backend::{
    Dispatch, EngineError, ErrorKind, Generator, GeneratorShape, IoSchema, Logits, Predictor, Pulse, SequenceStep,
    TensorData, TensorMap,
};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time between two beats of a call that is slow or hangs with beats.
const BEAT: Duration = Duration::from_millis(2);

/// How a call that hangs behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// Beats, and returns when its pulse asks for it.
    Cooperative,
    /// Beats, and hears nothing.
    Deaf,
    /// Neither beats nor hears.
    Silent,
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It takes this much longer, beating, and returns early when its pulse asks for it.
    Slow(Duration),
    /// It returns an `Internal` error.
    Fail,
    /// It panics.
    Panic,
    /// It does not return until it is released.
    Hang(Hang),
    /// It answers, with other numbers.
    Wrong,
    /// It answers, and keeps this many bytes for ever.
    Leak(usize),
    /// It returns an `Unavailable` error, and so does every later call of this instance.
    Lost,
}

/// How often each fault comes, in calls of a thousand. What is left of a thousand goes well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Calls that are slow, and by how much.
    pub slow: (u16, Duration),
    /// Calls that fail.
    pub fail: u16,
    /// Calls that panic.
    pub panic: u16,
    /// Calls that hang, cooperatively.
    pub hang: u16,
    /// Calls that answer wrongly.
    pub wrong: u16,
    /// Calls that lose the instance.
    pub lost: u16,
}

/// What goes wrong, call by call. Clones go on from where they are, each by itself.
#[derive(Clone, Debug)]
pub struct FaultPlan(Source);

#[derive(Clone, Debug)]
enum Source {
    List { faults: Vec<Fault>, next: usize },
    Seed { random: SplitMix, rates: FaultRates },
    Flapping { good: usize, bad: usize, fault: Fault, next: usize },
}

impl FaultPlan {
    /// These faults in order, then none.
    #[must_use]
    pub fn list(faults: impl Into<Vec<Fault>>) -> Self {
        Self(Source::List { faults: faults.into(), next: 0 })
    }

    /// Nothing goes wrong.
    #[must_use]
    pub fn healthy() -> Self {
        Self::list([])
    }

    /// Faults at these rates, the same ones for the same seed.
    ///
    /// # Panics
    /// If the rates are more than a thousand together.
    #[must_use]
    pub fn seeded(seed: u64, rates: FaultRates) -> Self {
        let FaultRates { slow: (slow, _), fail, panic, hang, wrong, lost } = rates;
        let total: u32 = [slow, fail, panic, hang, wrong, lost].into_iter().map(u32::from).sum();
        assert!(total <= 1000, "rates: expected at most 1000 of a thousand, got {total}");
        Self(Source::Seed { random: SplitMix::new(seed), rates })
    }

    /// `good` calls that go well, then `bad` with `fault`, and so on for ever.
    ///
    /// # Panics
    /// If both numbers are 0.
    #[must_use]
    pub fn flapping(good: usize, bad: usize, fault: Fault) -> Self {
        assert!(good + bad > 0, "flapping: expected calls in a period, got none");
        Self(Source::Flapping { good, bad, fault, next: 0 })
    }

    /// The fault of the next call.
    pub fn next_fault(&mut self) -> Fault {
        match &mut self.0 {
            Source::List { faults, next } => {
                *next += 1;
                faults.get(*next - 1).copied().unwrap_or(Fault::None)
            }
            Source::Flapping { good, bad, fault, next } => {
                let at = *next % (*good + *bad);
                *next += 1;
                if at < *good { Fault::None } else { *fault }
            }
            Source::Seed { random, rates } => rates.pick(random.next_u64() % 1000),
        }
    }
}

impl FaultRates {
    fn pick(&self, mut at: u64) -> Fault {
        let (slow, by) = self.slow;
        let faults = [
            (slow, Fault::Slow(by)),
            (self.fail, Fault::Fail),
            (self.panic, Fault::Panic),
            (self.hang, Fault::Hang(Hang::Cooperative)),
            (self.wrong, Fault::Wrong),
            (self.lost, Fault::Lost),
        ];
        for (rate, fault) in faults {
            match at.checked_sub(u64::from(rate)) {
                Some(rest) => at = rest,
                None => return fault,
            }
        }
        Fault::None
    }
}

/// What a test holds of an engine that has moved to its owner. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct FaultControl(Arc<(Mutex<Progress>, Condvar)>);

#[derive(Debug, Default)]
struct Progress {
    n_calls: usize,
    n_hanging: usize,
    is_released: bool,
    n_leaked_bytes: usize,
}

impl FaultControl {
    /// Ends every hang, now and later.
    pub fn release(&self) {
        self.lock().is_released = true;
        self.0.1.notify_all();
    }

    /// Calls that have begun.
    #[must_use]
    pub fn n_calls(&self) -> usize {
        self.lock().n_calls
    }

    /// Calls that hang now.
    #[must_use]
    pub fn n_hanging(&self) -> usize {
        self.lock().n_hanging
    }

    /// Bytes that were leaked.
    #[must_use]
    pub fn n_leaked_bytes(&self) -> usize {
        self.lock().n_leaked_bytes
    }

    /// Waits until `n_hanging` calls hang.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn wait_hanging(&self, n_hanging: usize) {
        let waited = self.0.1.wait_timeout_while(self.lock(), PATIENCE, |progress| progress.n_hanging < n_hanging);
        let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(guard);
        assert!(!timeout.timed_out(), "no call hung within {PATIENCE:?}");
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as `hang` does, for so long or until the test releases it. Returns whether a pulse that it hears asked for
    /// the end.
    fn linger(&self, pulse: &Pulse, hang: Hang, for_long: Duration) -> bool {
        let mut left = for_long;
        let mut progress = self.lock();
        while !progress.is_released && !left.is_zero() {
            let asked = hang != Hang::Silent && pulse.beat().is_err();
            if asked && hang == Hang::Cooperative {
                return true;
            }
            let wait = BEAT.min(left);
            progress = self.0.1.wait_timeout(progress, wait).unwrap_or_else(PoisonError::into_inner).0;
            left -= wait;
        }
        false
    }
}

/// The error of a call that fails by its plan.
#[derive(Debug, thiserror::Error)]
#[error("the call fails by its plan: {0:?}")]
struct PlannedFailure(Fault);

/// The plan of one instance, and what became of it.
struct Faults {
    plan: FaultPlan,
    control: FaultControl,
    is_lost: bool,
    leaked: Vec<Vec<u8>>,
}

impl Faults {
    fn new(plan: FaultPlan, control: FaultControl) -> Self {
        Self { plan, control, is_lost: false, leaked: Vec::new() }
    }

    /// Does what the plan says before the call. `Ok(true)`: the answer is to be wrong.
    ///
    /// # Panics
    /// If the plan says so.
    fn strike(&mut self, pulse: &Pulse) -> Result<bool, EngineError> {
        self.control.lock().n_calls += 1;
        let fault = if self.is_lost { Fault::Lost } else { self.plan.next_fault() };
        let error = |kind| Err(EngineError::new(kind, PlannedFailure(fault)));
        match fault {
            Fault::None => Ok(false),
            Fault::Wrong => Ok(true),
            Fault::Fail => error(ErrorKind::Internal),
            Fault::Panic => panic!("the call panics by its plan"),
            Fault::Slow(by) if self.control.linger(pulse, Hang::Cooperative, by) => error(ErrorKind::Cancelled),
            Fault::Slow(_) => Ok(false),
            Fault::Hang(hang) => {
                self.control.lock().n_hanging += 1;
                self.control.0.1.notify_all();
                let asked = self.control.linger(pulse, hang, PATIENCE);
                self.control.lock().n_hanging -= 1;
                if asked || pulse.beat().is_err() { error(ErrorKind::Cancelled) } else { Ok(false) }
            }
            Fault::Leak(n_bytes) => {
                self.leaked.push(vec![1; n_bytes]);
                self.control.lock().n_leaked_bytes += n_bytes;
                Ok(false)
            }
            Fault::Lost => {
                self.is_lost = true;
                error(ErrorKind::Unavailable)
            }
        }
    }
}

/// From inputs to outputs.
pub type Function = dyn Fn(&TensorMap) -> TensorMap + Send + Sync;

/// A tensor model that is a function, with a plan of what goes wrong.
pub struct FaultyPredictor {
    io_schema: IoSchema,
    function: Arc<Function>,
    faults: Faults,
}

impl fmt::Debug for FaultyPredictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyPredictor").field("plan", &self.faults.plan).finish_non_exhaustive()
    }
}

impl FaultyPredictor {
    /// Answers `function` of its inputs, except where `plan` says otherwise.
    #[must_use]
    pub fn new(io_schema: IoSchema, function: Arc<Function>, plan: FaultPlan, control: FaultControl) -> Self {
        Self { io_schema, function, faults: Faults::new(plan, control) }
    }
}

impl Predictor for FaultyPredictor {
    fn io_schema(&self) -> &IoSchema {
        &self.io_schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), EngineError> {
        let is_wrong = self.faults.strike(pulse)?;
        *outputs = (self.function)(inputs);
        if is_wrong {
            outputs.values_mut().for_each(|tensor| falsify(tensor.data_mut()));
        }
        Ok(())
    }

    fn dispatch(&self) -> Option<Dispatch> {
        Some(Dispatch::CPU)
    }
}

/// Changes every element by much more than any tolerance.
fn falsify(data: &mut TensorData) {
    /// The sign bit of binary16, and of the upper half of binary32.
    const F16_SIGN: u16 = 0x8000;
    match data {
        TensorData::F32(values) => values.iter_mut().for_each(|value| *value = 1.0 - 2.0 * *value),
        TensorData::F64(values) => values.iter_mut().for_each(|value| *value = 1.0 - 2.0 * *value),
        TensorData::F16(bits) | TensorData::Bf16(bits) => bits.iter_mut().for_each(|bits| *bits ^= F16_SIGN),
        TensorData::I64(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::I32(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::I16(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::I8(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::U64(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::U32(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::U16(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::U8(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::Bool(values) => values.iter_mut().for_each(|value| *value = !*value),
        TensorData::Str(values) => values.iter_mut().for_each(|value| value.push('!')),
    }
}

/// A language-model engine with a plan of what goes wrong.
pub struct FaultyGenerator<G> {
    engine: G,
    faults: Faults,
}

impl<G> fmt::Debug for FaultyGenerator<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyGenerator").field("plan", &self.faults.plan).finish_non_exhaustive()
    }
}

impl<G: Generator> FaultyGenerator<G> {
    /// Steps as `engine` does, except where `plan` says otherwise.
    pub fn new(engine: G, plan: FaultPlan, control: FaultControl) -> Self {
        Self { engine, faults: Faults::new(plan, control) }
    }
}

impl<G: Generator> Generator for FaultyGenerator<G> {
    fn shape(&self) -> &GeneratorShape {
        self.engine.shape()
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), EngineError> {
        let is_wrong = self.faults.strike(pulse)?;
        self.engine.step(batch, logits, pulse)?;
        if is_wrong {
            (0..logits.n_rows()).for_each(|row| logits.row_mut(row).iter_mut().for_each(|logit| *logit = -*logit));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
