//! Stacks for untrusted templates.
//!
//! The template engine recurses over syntax trees, and over values when it drops them, as deep as a template nests
//! them. Both depths have bounds (the length of the source, the fuel), but what they allow overflows an ordinary
//! stack, and that ends the process. Pages that are not touched cost address space only.
//!
//! Work runs on such a stack where it is called, without another thread; an overflow meets a guard page.

use super::TemplateError;
use corosensei::on_stack;
use corosensei::stack::DefaultStack;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Frames of code that is not optimised are that much larger.
const FRAME_FACTOR: usize = if cfg!(debug_assertions) { 6 } else { 1 };
/// Enough for the deepest syntax tree of a source of the longest length: measured by the test of hostile templates.
pub(super) const PARSE_BYTES: usize = FRAME_FACTOR * (256 << 20);
/// Stack that dropping one level of nested values takes.
const LEVEL_BYTES: usize = FRAME_FACTOR * 192;
/// For everything else.
const RENDER_BASE_BYTES: usize = FRAME_FACTOR * (64 << 20);
/// Stacks that are kept for the next rendering, at most: a new one costs more than most renderings.
const KEPT_MAX: usize = 4;
/// Most fuel that a rendering may have used whose stack is kept. It nested values no deeper, so what it touched of its
/// stack, which stays in memory, is small.
const KEPT_FUEL_MAX: u64 = 20_000;

/// Enough for the deepest value that `fuel` instructions can build: one level each.
fn render_bytes(fuel: u64) -> usize {
    RENDER_BASE_BYTES.saturating_add(usize::try_from(fuel).unwrap_or(usize::MAX).saturating_mul(LEVEL_BYTES))
}

/// Stacks of renderings that may use so much fuel.
pub(super) struct RenderStacks {
    fuel_max: u64,
    kept: Mutex<Vec<DefaultStack>>,
}

impl fmt::Debug for RenderStacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderStacks").field("fuel_max", &self.fuel_max).field("kept", &self.kept().len()).finish()
    }
}

impl RenderStacks {
    pub(super) fn new(fuel_max: u64) -> Self {
        Self { fuel_max, kept: Mutex::default() }
    }

    /// Runs a rendering that may use `fuel`, and says how much it did use, on a stack that is enough for it.
    ///
    /// # Errors
    /// Those of `work`, and of [`run_on_own`].
    pub(super) fn run<T>(
        &self,
        fuel: u64,
        work: impl FnOnce() -> Result<(T, u64), TemplateError>,
    ) -> Result<T, TemplateError> {
        if fuel > self.fuel_max {
            return run_on_own(render_bytes(fuel), work)?.map(|(result, _)| result);
        }
        let kept = self.kept().pop();
        let mut stack = kept.map_or_else(|| new_stack(render_bytes(self.fuel_max)), Ok)?;
        let (result, fuel_used) = run_on(&mut stack, work)??;
        let mut kept = self.kept();
        if fuel_used <= KEPT_FUEL_MAX && kept.len() < KEPT_MAX {
            kept.push(stack);
        }
        Ok(result)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<DefaultStack>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `work` on a stack of this size.
///
/// # Errors
/// There is no room for the stack; `work` panics, as the template engine does on some templates (a reversed slice of an
/// empty list is one).
pub(super) fn run_on_own<T>(stack_bytes: usize, work: impl FnOnce() -> T) -> Result<T, TemplateError> {
    run_on(&mut new_stack(stack_bytes)?, work)
}

fn run_on<T>(stack: &mut DefaultStack, work: impl FnOnce() -> T) -> Result<T, TemplateError> {
    // What `work` borrows is the engine's parsed template, which no rendering changes.
    catch_unwind(AssertUnwindSafe(|| on_stack(stack, work))).map_err(|_| TemplateError::EngineFault)
}

fn new_stack(stack_bytes: usize) -> Result<DefaultStack, TemplateError> {
    DefaultStack::new(stack_bytes).map_err(|error| TemplateError::NoStack { stack_bytes, error: error.kind() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(fuel: u64) -> impl Fn() -> Result<((), u64), TemplateError> {
        move || Ok(((), fuel))
    }

    #[test]
    fn a_stack_is_used_again() {
        let stacks = RenderStacks::new(100);
        for _ in 0..3 {
            stacks.run(100, used(10)).unwrap();
            assert_eq!(stacks.kept().len(), 1);
        }
    }

    #[test]
    fn a_stack_that_may_have_been_touched_deep_is_not_kept() {
        let stacks = RenderStacks::new(1_000_000);
        stacks.run(1_000_000, used(KEPT_FUEL_MAX + 1)).unwrap();
        assert_eq!(stacks.kept().len(), 0);
        stacks.run(1_000_001, used(1)).unwrap();
        assert_eq!(stacks.kept().len(), 0, "a stack of another size");
    }

    #[test]
    fn a_panic_is_told_and_its_stack_not_used_again() {
        let stacks = RenderStacks::new(100);
        stacks.run(1, used(1)).unwrap();
        let failed = stacks.run(1, || -> Result<((), u64), _> { panic!("as the engine does on some templates") });
        assert!(matches!(failed, Err(TemplateError::EngineFault)), "{failed:?}");
        assert_eq!(stacks.kept().len(), 0);
    }

    #[test]
    fn few_stacks_are_kept_however_many_rendered() {
        let stacks = RenderStacks::new(100);
        let barrier = std::sync::Barrier::new(KEPT_MAX + 2);
        std::thread::scope(|scope| {
            for _ in 0..KEPT_MAX + 2 {
                scope.spawn(|| {
                    let work = || {
                        barrier.wait();
                        Ok(((), 1))
                    };
                    stacks.run(1, work).unwrap();
                });
            }
        });
        assert_eq!(stacks.kept().len(), KEPT_MAX);
    }
}
