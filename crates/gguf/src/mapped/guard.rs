//! Keeps a truncated file from ending the process.
//!
//! Reading a mapped page that the file no longer reaches raises SIGBUS. The handler here, installed once and for the
//! whole process, puts zeros under the rest of the mapping it happened in and marks it damaged. A fault anywhere else
//! goes to the handler that was there before. A program that installs its own handler later must chain to ours.
#![expect(unsafe_code, reason = "signal handling")]

use crate::limits::MAPPINGS_MAX;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// A mapping the handler looks after. Only atomics: the handler may run at any instruction of any thread.
struct Slot {
    /// Raised before a slot gets a new range, so that a handler never pairs the start of one with the end of another.
    generation: AtomicUsize,
    /// The range's first address, [`FREE`] or [`RESERVED`].
    start: AtomicUsize,
    end: AtomicUsize,
    damaged: AtomicBool,
}

// FREE => RESERVED => an address => FREE
const FREE: usize = 0;
const RESERVED: usize = 1;

static REGISTRY: Registry<MAPPINGS_MAX> = Registry::new();

static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a page. Known once a mapping is registered.
pub(super) fn page_bytes() -> usize {
    PAGE_BYTES.load(SeqCst)
}

impl Slot {
    const fn free() -> Self {
        let (generation, start, end) = (AtomicUsize::new(0), AtomicUsize::new(FREE), AtomicUsize::new(0));
        Self { generation, start, end, damaged: AtomicBool::new(false) }
    }

    fn claim(&self, start: usize, n_bytes: usize) -> bool {
        if self.start.compare_exchange(FREE, RESERVED, SeqCst, SeqCst).is_err() {
            return false;
        }
        self.generation.fetch_add(1, SeqCst);
        self.damaged.store(false, SeqCst);
        self.end.store(start + n_bytes, SeqCst);
        self.start.store(start, SeqCst);
        true
    }

    fn release(&self) {
        self.start.store(FREE, SeqCst);
    }

    /// The end of the range if `address` is in it.
    fn end_if_holds(&self, address: usize) -> Option<usize> {
        let generation = self.generation.load(SeqCst);
        let (start, end) = (self.start.load(SeqCst), self.end.load(SeqCst));
        let steady = self.generation.load(SeqCst) == generation;
        (steady && start > RESERVED && (start..end).contains(&address)).then_some(end)
    }
}

/// The mappings looked after. Fixed in size: a handler cannot wait for one that is growing.
struct Registry<const N: usize> {
    slots: [Slot; N],
}

impl<const N: usize> Registry<N> {
    const fn new() -> Self {
        Self { slots: [const { Slot::free() }; N] }
    }

    fn claim(&self, start: usize, n_bytes: usize) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.claim(start, n_bytes))
    }

    /// The mapping that `address` is in, and its end.
    fn find(&self, address: usize) -> Option<(&Slot, usize)> {
        self.slots.iter().find_map(|slot| Some((slot, slot.end_if_holds(address)?)))
    }
}

/// A registered mapping.
pub(super) struct Guarded {
    slot: &'static Slot,
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("damaged", &self.is_damaged()).finish()
    }
}

impl Guarded {
    /// Looks after the mapping at `start`; `None` if there are too many.
    pub(super) fn register(start: usize, n_bytes: usize) -> io::Result<Option<Self>> {
        install()?;
        Ok(REGISTRY.claim(start, n_bytes).map(|slot| Self { slot }))
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.slot.damaged.load(SeqCst)
    }

    /// Lets go of the mapping. To be called once, last.
    pub(super) fn unregister(&self) {
        self.slot.release();
    }
}

/// The handler that was there before. Known before ours can run.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let outcome = INSTALLED.get_or_init(|| install_now().map_err(|error| error.raw_os_error().unwrap_or_default()));
    outcome.map_err(io::Error::from_raw_os_error)
}

fn install_now() -> io::Result<()> {
    // SAFETY: sysconf only answers a question.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page_bytes = usize::try_from(page_bytes).map_err(|_| io::Error::last_os_error())?;
    PAGE_BYTES.store(page_bytes, SeqCst);
    PREVIOUS.get_or_init(|| set_action(None));
    let mut ours = empty_action();
    ours.sa_sigaction = on_sigbus as *const () as usize;
    // On the alternate stack, where there is one: the fault may come with little stack left.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    set_action(Some(&ours));
    let now = set_action(None);
    if now.sa_sigaction == ours.sa_sigaction { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

/// The default action, with no signals masked.
fn empty_action() -> libc::sigaction {
    // SAFETY: a sigaction is integers and an optional pointer, for which zeros are valid: SIG_DFL and no flags.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Sets the action for SIGBUS if one is given. The one before.
fn set_action(action: Option<&libc::sigaction>) -> libc::sigaction {
    let mut before = empty_action();
    // SAFETY: both pointers are null or to a live sigaction; the handler given is `on_sigbus`, or one that was set
    // before. It fails only for signals that cannot be caught, and SIGBUS can.
    unsafe { libc::sigaction(libc::SIGBUS, action.map_or(ptr::null(), ptr::from_ref), &raw mut before) };
    before
}

/// The handler. Calls only what is safe in one: atomics, mmap (a bare system call in every C library), sigaction, raise.
extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to a handler with SA_SIGINFO.
    let (from_kernel, address) = unsafe { ((*info).si_code > 0, (*info).si_addr().addr()) };
    if from_kernel && repair(address) {
        return;
    }
    let previous = PREVIOUS.get().copied().unwrap_or_else(empty_action);
    match previous.sa_sigaction {
        libc::SIG_IGN if !from_kernel => {}
        // A fault that nobody handles ends the process, as if we were not here.
        libc::SIG_DFL | libc::SIG_IGN => {
            set_action(Some(&empty_action()));
            // SAFETY: raise is safe in a handler; the signal waits until this one returns.
            unsafe { libc::raise(signal) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: an action with SA_SIGINFO holds a handler of three arguments.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: an action without SA_SIGINFO that is neither default nor ignored holds a handler of one argument.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
            handler(signal);
        }
    }
}

/// Puts zeros under the mapping that `address` is in, from its page to the mapping's end, and marks it damaged.
///
/// To the end, not only the page: what follows a missing page is missing as well, and one fault per page would take
/// minutes over a large model.
fn repair(address: usize) -> bool {
    let Some((slot, end)) = REGISTRY.find(address) else { return false };
    slot.damaged.store(true, SeqCst);
    let page = address - address % page_bytes();
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the range is within a mapping that `Map` owns and only lends for reading; zeros take its place. The
    // mapping cannot end meanwhile: the fault came from a read of it, which borrows it.
    let mapped =
        unsafe { libc::mmap(ptr::with_exposed_provenance_mut(page), end - page, libc::PROT_READ, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_their_mapping_only() {
        let registry = Registry::<2>::new();
        registry.claim(0x1000, 0x100).unwrap();
        registry.claim(0x3000, 0x200).unwrap();
        let end = |address: usize| registry.find(address).map(|(_, end)| end);
        assert_eq!([end(0xfff), end(0x1000), end(0x10ff), end(0x1100)], [None, Some(0x1100), Some(0x1100), None]);
        assert_eq!([end(0x3000), end(0x3200), end(0)], [Some(0x3200), None, None]);
    }

    #[test]
    fn a_full_registry_refuses_until_a_slot_is_free() {
        let registry = Registry::<2>::new();
        let first = registry.claim(0x1000, 1).unwrap();
        registry.claim(0x2000, 1).unwrap();
        assert!(registry.claim(0x3000, 1).is_none());
        first.damaged.store(true, SeqCst);
        first.release();
        assert!(registry.find(0x1000).is_none());
        assert!(!registry.claim(0x3000, 1).unwrap().damaged.load(SeqCst));
    }
}
