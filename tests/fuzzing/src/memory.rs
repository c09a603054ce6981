//! Measures the most memory that a piece of work takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread allocated and did not free; negative if it freed what another thread allocated.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    /// The maximum of `TAKEN`.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread takes. The memory bounds of the targets are checked only in programs
/// whose global allocator it is.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

fn count(by: isize) {
    // A thread that is being torn down is not counted.
    let _gone = TAKEN.try_with(|taken| {
        taken.set(taken.get() + by);
        let _gone = MOST.try_with(|most| most.set(most.get().max(taken.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator cannot be written otherwise; this one only counts and hands on")]
// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller guarantees what this call requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may exist while one is copied to the other.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Does some work, and panics if it ever takes more than `limit` bytes in addition to those taken before.
#[track_caller]
pub(crate) fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let before = TAKEN.get();
    MOST.set(before);
    let done = work();
    let most = MOST.get() - before;
    assert!(most <= limit as isize, "{most} bytes of memory were taken where at most {limit} may be");
    done
}
