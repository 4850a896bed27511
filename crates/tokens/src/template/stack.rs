//! A stack for untrusted templates.
//!
//! The template engine recurses over syntax trees, and over values when it drops them, as deep as a template nests
//! them. Both depths have bounds (the length of the source, the fuel), but what they allow overflows an ordinary
//! stack, and that ends the process. Pages that are not touched cost address space only.

use super::TemplateError;
use std::thread;

/// Frames of code that is not optimised are that much larger.
const FRAME_FACTOR: usize = if cfg!(debug_assertions) { 6 } else { 1 };
/// Enough for the deepest syntax tree of a source of the longest length: measured by the test of hostile templates.
pub(super) const PARSE_BYTES: usize = FRAME_FACTOR * (256 << 20);
/// Stack that dropping one level of nested values takes.
const LEVEL_BYTES: usize = FRAME_FACTOR * 192;
/// For everything else.
const RENDER_BASE_BYTES: usize = FRAME_FACTOR * (64 << 20);

/// Enough for the deepest value that `fuel` instructions can build: one level each.
pub(super) fn render_bytes(fuel: u64) -> usize {
    RENDER_BASE_BYTES.saturating_add(usize::try_from(fuel).unwrap_or(usize::MAX).saturating_mul(LEVEL_BYTES))
}

/// Runs `work` on a thread with a stack of this size.
///
/// # Errors
/// The thread cannot be started; `work` panics, as the template engine does on some templates (a reversed slice of an
/// empty list is one). What a panic leaves behind is dropped with the thread.
pub(super) fn run_on_own<T: Send>(stack_bytes: usize, work: impl FnOnce() -> T + Send) -> Result<T, TemplateError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("chat-template".to_owned()).stack_size(stack_bytes);
        let started = builder.spawn_scoped(scope, work);
        let handle = started.map_err(|error| TemplateError::NoThread { stack_bytes, error: error.kind() })?;
        handle.join().map_err(|_| TemplateError::EngineFault)
    })
}
