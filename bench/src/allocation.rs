//! Counts what a thread takes from the heap, to show that a read and an ack take nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// Counts what it hands on to the system's allocator.
struct Counting;

#[expect(unsafe_code, reason = "an allocator cannot be written otherwise; this one only counts and hands on")]
// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Nothing to count for a thread that is being torn down.
        let _gone = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // What follows is faster done by the system than by way of the above, and peers are measured in this process too.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let _gone = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _gone = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often this thread took memory from the heap so far.
pub(crate) fn taken() -> usize {
    TAKEN.get()
}
