//! Panics of the product, kept so that they can be reported with their seed.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static SIMULATES: RefCell<bool> = const { RefCell::new(false) };
}

/// What the last panic of this thread said, and where.
pub(super) fn last_panic() -> String {
    LAST_PANIC.take()
}

/// Keeps what a panic says, so that it can be reported with its seed.
pub(super) fn catch_panics_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            LAST_PANIC.set(info.to_string());
            if !SIMULATES.with_borrow(|simulates| *simulates) {
                before(info);
            }
        }));
    });
}

/// While this lives, panics of this thread are kept and not printed.
pub(super) struct Quiet;

impl Quiet {
    pub(super) fn new() -> Quiet {
        catch_panics_quietly();
        SIMULATES.set(true);
        Quiet
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        SIMULATES.set(false);
    }
}
