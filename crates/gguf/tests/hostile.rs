//! Hostile files: each gives the error that names what is wrong, without a panic and without much memory.
#![expect(clippy::unwrap_used, reason = "test helpers")]
#![expect(unsafe_code, reason = "a global allocator that counts")]

#[path = "hostile/cases.rs"]
#[expect(dead_code, reason = "the corpus is for the others")]
mod cases;

use ballast_gguf::{Gguf, GgufError, Header};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The most that refusing one of these files may take at any moment.
const PEAK_BYTES_MAX: isize = 50 << 20;

/// The system's allocator, counting what each thread holds.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    LIVE.set(LIVE.get() + change);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Parses, and checks what it took.
fn parse(bytes: &[u8]) -> Result<Header, GgufError> {
    let before = LIVE.get();
    PEAK.set(before);
    let parsed = Gguf::parse(bytes);
    let peak = PEAK.get() - before;
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes for a file of {}", bytes.len());
    parsed
}

#[test]
fn each_wrong_file_gives_the_error_that_names_what_is_wrong() {
    let mut failures = Vec::new();
    for case in cases::all() {
        match (parse(&case.bytes), case.error) {
            (Ok(_), None) => {}
            (Err(got), Some(expected)) if format!("{got:?}").starts_with(expected) => {}
            (got, expected) => {
                failures.push(format!("{}: expected {expected:?}, got {:?}", case.name, got.map(|_| "a header")));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = cases::everything();
    let header = parse(&whole).unwrap();
    let end = header.tensors.iter().map(|tensor| tensor.offset + tensor.n_bytes).max().unwrap();
    for n_bytes in 0..usize::try_from(end).unwrap() {
        let error = parse(&whole[..n_bytes]).unwrap_err();
        let expected = matches!(error, GgufError::Truncated { .. } | GgufError::TensorOutOfBounds { .. });
        assert!(expected, "cut to {n_bytes}: {error}");
    }
}

#[test]
fn a_file_with_any_byte_changed_is_read_or_refused() {
    let mut bytes = cases::everything();
    for idx in 0..bytes.len() {
        let original = bytes[idx];
        for change in [0x01, 0x80, 0x7f, 0xff] {
            bytes[idx] = original ^ change;
            drop(parse(&bytes));
        }
        bytes[idx] = original;
    }
}

#[test]
fn memory_stays_in_proportion_to_a_large_hostile_header() {
    // Two megabytes of the things that grow most when read: empty arrays, and entries of one byte.
    let (arrays, entries) = (200_000u64, 60_000u64);
    let empty_array = [0u8; 12];
    let mut file = cases::with_array_of_arrays(arrays);
    file.extend(empty_array.repeat(usize::try_from(arrays).unwrap()));
    assert!(parse(&file).is_ok());
    let mut file = cases::with_entries(entries);
    file.truncate(file.len() - 1);
    assert!(matches!(parse(&file), Err(GgufError::Truncated { .. })));
}
