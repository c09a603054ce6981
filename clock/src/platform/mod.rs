//! The counters of each platform.

#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(target_os = "freebsd")]
mod freebsd;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
mod posix;
#[cfg(windows)]
mod windows;
// Also compiled for tests on every platform, so that the fallback is tested where it is not used.
#[cfg(any(
    test,
    not(any(target_vendor = "apple", target_os = "freebsd", target_os = "linux", target_os = "android", windows))
))]
mod fallback;

#[cfg(target_vendor = "apple")]
pub(crate) use apple::{Counters, SOURCE};
#[cfg(not(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "linux",
    target_os = "android",
    windows
)))]
pub(crate) use fallback::{Counters, SOURCE};
#[cfg(target_os = "freebsd")]
pub(crate) use freebsd::{Counters, SOURCE};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{Counters, SOURCE};
#[cfg(windows)]
pub(crate) use windows::{Counters, SOURCE};
