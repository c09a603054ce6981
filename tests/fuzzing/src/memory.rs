//! How much memory a piece of work takes at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread took and did not give back; less than nothing if it gave back what another took.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    /// The most that it ever was.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with what each thread takes counted. A program that makes it its global allocator has the
/// memory bounds of the targets checked; in others they hold unseen.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

fn count(by: isize) {
    // Nothing to count for a thread that is being torn down.
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
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist while one is copied to the other.
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

/// Does some work, which must not take more than `limit` bytes at any time beyond those taken before.
#[track_caller]
pub(crate) fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let before = TAKEN.get();
    MOST.set(before);
    let done = work();
    let most = MOST.get() - before;
    assert!(most <= limit as isize, "{most} bytes of memory were taken where at most {limit} may be");
    done
}
