//! Hold, lease, drift and heartbeat, checked for consistency.

use crate::ids::u64_at;
use crate::time::nanos;
use core::fmt;
use core::time::Duration;

/// The unit of drift: parts per million.
const MILLION: u64 = 1_000_000;
/// The drift must be below this many parts per million.
pub(crate) const MAX_DRIFT_PPM: u32 = 100_000;

/// The values from which [`Config::new`] builds a configuration.
///
/// The hold and the drift have no defaults: both are statements about a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    hold: Duration,
    lease: Option<Duration>,
    drift_ppm: u32,
    heartbeat: Duration,
}

impl Options {
    /// Options with the longest lease that `hold` covers, and a heartbeat of a tenth of `hold`.
    ///
    /// * `hold` (`H`): how long a grantor refuses to help elect another leader after it acknowledges a round.
    /// * `drift_ppm`: the bound on the rate error of every clock, in parts per million.
    pub fn new(hold: Duration, drift_ppm: u32) -> Options {
        Options { hold, lease: None, drift_ppm, heartbeat: hold / 10 }
    }

    /// Sets how long after its anchor a holder may answer locally (`D`).
    #[must_use]
    pub const fn with_lease(self, lease: Duration) -> Options {
        Options { lease: Some(lease), ..self }
    }

    /// Sets the interval at which the holder opens rounds.
    #[must_use]
    pub const fn with_heartbeat(self, heartbeat: Duration) -> Options {
        Options { heartbeat, ..self }
    }
}

/// A consistent hold, lease, drift and heartbeat; immutable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    hold: Duration,
    lease: Duration,
    drift_ppm: u32,
    heartbeat: Duration,
}

/// The timing that nodes exchange in their handshake, so that each can check that the other's hold covers its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LeaseTiming {
    /// The sender's hold, in nanoseconds.
    pub hold_nanos: u64,
    /// The sender's lease, in nanoseconds.
    pub lease_nanos: u64,
    /// The drift that the sender assumes, in parts per million.
    pub drift_ppm: u32,
}

impl LeaseTiming {
    /// The length of the encoding.
    pub const BYTES: usize = 20;

    /// Encodes it: the hold, the lease and the drift, little-endian. The encoding never changes.
    pub fn to_bytes(self) -> [u8; LeaseTiming::BYTES] {
        let mut bytes = [0; LeaseTiming::BYTES];
        bytes[..8].copy_from_slice(&self.hold_nanos.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.lease_nanos.to_le_bytes());
        bytes[16..].copy_from_slice(&self.drift_ppm.to_le_bytes());
        bytes
    }

    /// Decodes it. Any bytes are a timing, though not one that [`Config::accept_peer`] accepts.
    pub fn from_bytes(bytes: [u8; LeaseTiming::BYTES]) -> LeaseTiming {
        let [.., a, b, c, d] = bytes;
        LeaseTiming {
            hold_nanos: u64_at(&bytes, 0),
            lease_nanos: u64_at(&bytes, 8),
            drift_ppm: u32::from_le_bytes([a, b, c, d]),
        }
    }
}

/// An error of [`Config::new`]: the options are inconsistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The hold is zero.
    ZeroHold,
    /// The hold is longer than about 146 years, so that adding it to an instant could overflow.
    HoldTooLong,
    /// The lease is zero, or the hold is so short that the longest safe lease rounds to zero.
    ZeroLease,
    /// The lease is longer than the hold covers at this drift.
    LeaseNotCovered {
        /// The requested lease.
        lease: Duration,
        /// The longest lease that the hold covers.
        longest: Duration,
    },
    /// The drift is 100 000 ppm or more.
    DriftTooLarge {
        /// The requested drift, in parts per million.
        drift_ppm: u32,
    },
    /// The heartbeat is zero.
    ZeroHeartbeat,
    /// The heartbeat is longer than half the lease, which leaves too little time to renew it.
    HeartbeatTooLong {
        /// The requested heartbeat.
        heartbeat: Duration,
        /// The longest heartbeat that this lease allows.
        longest: Duration,
    },
}

/// An error of [`Config::accept_peer`]: the peer's hold does not cover this node's lease, so its acknowledgements prove
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotCovered {
    /// This node's lease.
    pub lease: Duration,
    /// The peer's hold.
    pub hold: Duration,
    /// The drift used: the larger of the two nodes' values.
    pub drift_ppm: u32,
    /// The longest lease that the peer's hold covers.
    pub longest: Duration,
}

/// Returns what a time by one clock surely covers by another: `time * (1 - rho) / (1 + rho)`, rounded down.
pub(crate) fn scale_by_drift(time: Duration, drift_ppm: u32) -> Duration {
    Duration::from_nanos(longest_lease(nanos(time), drift_ppm))
}

/// Returns the longest lease that a hold covers: `H * (1 - rho) / (1 + rho)`, in integers, rounded down.
fn longest_lease(hold: u64, drift_ppm: u32) -> u64 {
    let rho = u128::from(drift_ppm).min(u128::from(MILLION));
    let million = u128::from(MILLION);
    let longest = u128::from(hold) * (million - rho) / (million + rho);
    u64::try_from(longest).expect("a lease is never longer than its hold")
}

impl Config {
    /// Checks that the options are consistent.
    ///
    /// # Errors
    /// [`ConfigError`] names the wrong value and the limit it exceeds. Values are never clamped.
    pub fn new(options: Options) -> Result<Config, ConfigError> {
        let Options { hold, lease, drift_ppm, heartbeat } = options;
        if hold.is_zero() {
            return Err(ConfigError::ZeroHold);
        }
        if hold.as_nanos() > u128::from(u64::MAX / 4) {
            return Err(ConfigError::HoldTooLong);
        }
        if drift_ppm >= MAX_DRIFT_PPM {
            return Err(ConfigError::DriftTooLarge { drift_ppm });
        }
        let longest = scale_by_drift(hold, drift_ppm);
        let lease = lease.unwrap_or(longest);
        if lease.is_zero() {
            return Err(ConfigError::ZeroLease);
        }
        if lease > longest {
            return Err(ConfigError::LeaseNotCovered { lease, longest });
        }
        if heartbeat.is_zero() {
            return Err(ConfigError::ZeroHeartbeat);
        }
        if heartbeat > lease / 2 {
            return Err(ConfigError::HeartbeatTooLong { heartbeat, longest: lease / 2 });
        }
        Ok(Config { hold, lease, drift_ppm, heartbeat })
    }

    /// Returns how long a grantor refuses to help elect another leader after it acknowledges a round (`H`).
    pub const fn hold(&self) -> Duration {
        self.hold
    }

    /// Returns how long a lease lasts after its anchor (`D`).
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns the interval at which the holder opens rounds.
    pub const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Returns the timing to send to peers.
    pub fn timing(&self) -> LeaseTiming {
        LeaseTiming { hold_nanos: nanos(self.hold), lease_nanos: nanos(self.lease), drift_ppm: self.drift_ppm }
    }

    /// Checks that the hold of a peer with this timing covers this node's lease, under the larger of the two drifts.
    ///
    /// # Errors
    /// [`NotCovered`] if it does not: refuse the connection. To change the timing of a cluster by a rolling restart,
    /// lengthen all holds before any lease, or shorten all leases before any hold.
    pub fn accept_peer(&self, peer: LeaseTiming) -> Result<(), NotCovered> {
        let drift_ppm = self.drift_ppm.max(peer.drift_ppm);
        let longest = Duration::from_nanos(longest_lease(peer.hold_nanos, drift_ppm));
        if self.lease <= longest {
            Ok(())
        } else {
            Err(NotCovered { lease: self.lease, hold: Duration::from_nanos(peer.hold_nanos), drift_ppm, longest })
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::ZeroHold => f.write_str("the hold is zero; it must be positive"),
            ConfigError::HoldTooLong => f.write_str("the hold is longer than 146 years; choose a shorter one"),
            ConfigError::ZeroLease => {
                f.write_str("the lease is zero; lengthen the lease, or the hold from which it is derived")
            }
            ConfigError::LeaseNotCovered { lease, longest } => {
                write!(
                    f,
                    "the hold does not cover the lease {lease:?}; shorten the lease to at most {longest:?} or lengthen \
                     the hold"
                )
            }
            ConfigError::DriftTooLarge { drift_ppm } => {
                write!(f, "a drift of {drift_ppm} ppm is too large for leases; it must be below 100000 ppm")
            }
            ConfigError::ZeroHeartbeat => f.write_str("the heartbeat is zero; it must be positive"),
            ConfigError::HeartbeatTooLong { heartbeat, longest } => write!(
                f,
                "the heartbeat {heartbeat:?} is too long to renew the lease; shorten it to at most {longest:?} or \
                 lengthen the hold"
            ),
        }
    }
}

impl fmt::Display for NotCovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer's hold of {:?} covers a lease of at most {:?} at {} ppm, but this node's lease is {:?}; lengthen \
             the peer's hold first",
            self.hold, self.longest, self.drift_ppm, self.lease
        )
    }
}

impl core::error::Error for ConfigError {}
impl core::error::Error for NotCovered {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_of_a_timing_is_fixed() {
        let timing = LeaseTiming { hold_nanos: 1, lease_nanos: 2, drift_ppm: 0x0304 };
        let bytes = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0];
        assert_eq!(timing.to_bytes(), bytes);
        assert_eq!(LeaseTiming::from_bytes(bytes), timing);
    }

    #[test]
    fn default_options_are_consistent_at_any_permitted_drift() {
        for drift_ppm in [0, 1, 500, 99_999] {
            for hold in [Duration::from_nanos(100), Duration::from_millis(1), Duration::from_secs(3600)] {
                let config = Config::new(Options::new(hold, drift_ppm)).unwrap();
                assert_eq!(config.heartbeat(), hold / 10);
                assert_eq!(
                    Config::new(Options::new(hold, drift_ppm).with_lease(config.lease() + Duration::from_nanos(1))),
                    Err(ConfigError::LeaseNotCovered {
                        lease: config.lease() + Duration::from_nanos(1),
                        longest: config.lease()
                    }),
                    "the default lease is the longest that the hold covers"
                );
            }
        }
    }
}
