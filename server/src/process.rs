//! The resources that this process uses, where the system reports them.

use std::fs;
use std::time::Duration;

/// The processor time of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessorTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) children_user: Duration,
    pub(crate) children_system: Duration,
}

/// Returns the processor time that this process has used.
pub(crate) fn processor_time() -> Option<ProcessorTime> {
    parse_times(&fs::read_to_string("/proc/self/stat").ok()?, ticks_per_second()?)
}

/// Returns the bytes of this process that are in memory now.
pub(crate) fn resident_bytes() -> Option<u64> {
    field_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS")
}

/// Returns the most bytes of this process that were in memory at once.
pub(crate) fn most_resident_bytes() -> Option<u64> {
    field_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// Returns the bytes of memory that this machine has.
pub(crate) fn total_bytes() -> Option<u64> {
    field_bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")
}

#[cfg(target_os = "linux")]
fn ticks_per_second() -> Option<u64> {
    Some(rustix::param::clock_ticks_per_second())
}

#[cfg(not(target_os = "linux"))]
fn ticks_per_second() -> Option<u64> {
    None
}

/// Parses the times of `/proc/self/stat`: the fields after the name of the program, which may contain anything.
fn parse_times(stat: &str, ticks_per_second: u64) -> Option<ProcessorTime> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(|field| {
        let ticks: u64 = field.parse().ok()?;
        Some(Duration::from_millis(ticks.saturating_mul(1000) / ticks_per_second.max(1)))
    });
    let mut next = || times.next().flatten();
    Some(ProcessorTime { user: next()?, system: next()?, children_user: next()?, children_system: next()? })
}

/// Parses a line such as `VmRSS:  1234 kB`.
fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_from_what_the_system_prints() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 3 4 20 0 5 0";
        let ms = Duration::from_millis;
        let times = ProcessorTime { user: ms(1500), system: ms(250), children_user: ms(30), children_system: ms(40) };
        assert_eq!(parse_times(stat, 100), Some(times));
        assert_eq!(parse_times("7 (x", 100), None);
        assert_eq!(field_bytes("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n", "VmRSS"), Some(12 << 10));
        assert_eq!(field_bytes("VmRSS:\t many\n", "VmRSS"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_times_and_sizes() {
        assert!(processor_time().is_some());
        assert!(resident_bytes().is_some_and(|bytes| most_resident_bytes().is_some_and(|most| most >= bytes)));
        assert!(total_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
