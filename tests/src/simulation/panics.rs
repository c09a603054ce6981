//! Capture of panics in the product, so that they can be reported with their seed.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static SIMULATES: RefCell<bool> = const { RefCell::new(false) };
}

/// Returns the message and location of this thread's last panic.
pub(super) fn last_panic() -> String {
    LAST_PANIC.take()
}

/// Installs a panic hook that records messages instead of printing them.
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

/// While this value lives, panics of this thread are recorded but not printed.
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
