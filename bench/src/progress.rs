//! Shows on a terminal that a benchmark runs, and for how long.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The interval at which the line is written again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs a benchmark, and shows meanwhile on the standard error, if that is a terminal, how many seconds it has run.
pub(crate) fn show<T>(benchmark: impl FnOnce() -> T) -> T {
    if !stderr().is_terminal() {
        return benchmark();
    }
    std::thread::scope(|scope| {
        // Dropped when the benchmark returns, or panics.
        let (_ends, ended) = channel::<()>();
        scope.spawn(move || {
            let mut seconds = 0;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                seconds += 1;
                let _ = write!(stderr(), "\rmeasuring for {seconds} s");
            }
            // Clears the line, so that the table begins in an empty one.
            let _ = write!(stderr(), "\r\x1b[K");
        });
        benchmark()
    })
}
