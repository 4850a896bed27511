//! What Apple's runtime has and gcc's has not: reference counting by function, pools by function.
//!
//! Pools are counted for each thread, so that the classes can tell whether a call was made inside of one, and can be
//! switched off, which is the mutant that every test of leaks must fail.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

type Object = *mut c_void;
type Method = unsafe extern "C" fn();

unsafe extern "C" {
    // SAFETY: of gcc's runtime, with its types.
    fn objc_msg_lookup(receiver: Object, selector: *const c_void) -> Option<Method>;
    fn sel_registerName(name: *const c_char) -> *const c_void;
    fn objc_getClass(name: *const c_char) -> Object;
}

unsafe extern "C-unwind" {
    // SAFETY: of gcc's runtime, with its type.
    fn objc_exception_throw(exception: Object) -> !;
}

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

static POOLS: AtomicBool = AtomicBool::new(true);
static CALLS: AtomicU64 = AtomicU64::new(0);
static BARE_CALLS: AtomicU64 = AtomicU64::new(0);

/// Leaves pools out from now on, or not: every push and pop becomes nothing.
pub fn set_pools(are_made: bool) {
    POOLS.store(are_made, Ordering::SeqCst);
}

/// Calls of Core ML's classes in this test so far, and those of them that were made outside of a pool.
#[must_use]
pub fn calls() -> (u64, u64) {
    (CALLS.load(Ordering::SeqCst), BARE_CALLS.load(Ordering::SeqCst))
}

/// Begins to count anew.
pub(crate) fn forget_calls() {
    CALLS.store(0, Ordering::SeqCst);
    BARE_CALLS.store(0, Ordering::SeqCst);
}

/// Notes a call of one of the classes.
pub(crate) fn note_call() {
    CALLS.fetch_add(1, Ordering::SeqCst);
    if DEPTH.get() == 0 {
        BARE_CALLS.fetch_add(1, Ordering::SeqCst);
    }
}

fn send(object: Object, selector: &CStr) -> Object {
    if object.is_null() {
        return object;
    }
    // SAFETY: a live object that has the method, which takes nothing and gives an object or nothing that is looked at.
    unsafe {
        let selector = sel_registerName(selector.as_ptr());
        let method = objc_msg_lookup(object, selector).expect("gcc's runtime always has a method");
        let method: unsafe extern "C" fn(Object, *const c_void) -> Object = std::mem::transmute(method);
        method(object, selector)
    }
}

// SAFETY: the names and types are those of Apple's runtime, which `objc2` declares; each forwards to the method.
#[unsafe(no_mangle)]
extern "C" fn objc_retain(object: Object) -> Object {
    send(object, c"retain")
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn objc_release(object: Object) {
    send(object, c"release");
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn objc_autorelease(object: Object) -> Object {
    send(object, c"autorelease")
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn objc_autoreleaseReturnValue(object: Object) -> Object {
    send(object, c"autorelease")
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn objc_retainAutoreleaseReturnValue(object: Object) -> Object {
    send(send(object, c"retain"), c"autorelease")
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn objc_retainAutoreleasedReturnValue(object: Object) -> Object {
    send(object, c"retain")
}

// SAFETY: as above; the class pointer is an object's first word.
#[unsafe(no_mangle)]
extern "C" fn object_getClass(object: Object) -> *const c_void {
    if object.is_null() {
        return std::ptr::null();
    }
    // SAFETY: a live object.
    unsafe { *object.cast::<*const c_void>() }
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn objc_alloc(class: Object) -> Object {
    send(class, c"alloc")
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn objc_autoreleasePoolPush() -> *mut c_void {
    if !POOLS.load(Ordering::SeqCst) {
        return std::ptr::null_mut();
    }
    DEPTH.set(DEPTH.get() + 1);
    // SAFETY: the name of a class that GNUstep has.
    let class = unsafe { objc_getClass(c"NSAutoreleasePool".as_ptr()) };
    send(class, c"new").cast()
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn objc_autoreleasePoolPop(pool: *mut c_void) {
    if !pool.is_null() {
        DEPTH.set(DEPTH.get() - 1);
        send(pool.cast(), c"release");
    }
}

/// Throws an exception, as frameworks do where a caller breaks their contract.
pub(crate) fn throw() -> ! {
    // SAFETY: the name of a class that GNUstep has.
    let class = unsafe { objc_getClass(c"NSObject".as_ptr()) };
    let exception = send(class.cast(), c"new");
    // SAFETY: any live object can be thrown.
    unsafe { objc_exception_throw(exception) }
}
