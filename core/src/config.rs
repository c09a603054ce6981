//! The three numbers that must fit together: hold, lease and drift.

use crate::time::nanos;
use core::fmt;
use core::time::Duration;

/// One million: drift is given in parts of this.
const MILLION: u64 = 1_000_000;

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
    /// * `hold` (`H`): how long a grantor refuses to help elect another leader after it acknowledged a round.
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

/// Hold, lease, drift and heartbeat that fit together; built once, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    hold: Duration,
    lease: Duration,
    drift_ppm: u32,
    heartbeat: Duration,
}

/// What one node tells another of its timing, so that each can check that the other's hold covers its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseTiming {
    /// The peer's hold, in nanoseconds.
    pub hold_nanos: u64,
    /// The peer's lease, in nanoseconds.
    pub lease_nanos: u64,
    /// The drift the peer assumes, in parts per million.
    pub drift_ppm: u32,
}

/// Why a set of options is not a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The hold is zero.
    ZeroHold,
    /// The hold does not fit in 64 bits of nanoseconds with room to add instants, about 146 years.
    HoldTooLong,
    /// The lease is zero, or the hold is so short that the longest safe lease is.
    ZeroLease,
    /// The lease is longer than the hold covers at this drift.
    LeaseNotCovered {
        /// The lease asked for.
        lease: Duration,
        /// The longest lease that the hold covers.
        longest: Duration,
    },
    /// The drift is a tenth of a second per second or more: no clock that bad should hold leases.
    DriftTooLarge {
        /// The drift asked for, in parts per million.
        drift_ppm: u32,
    },
    /// The heartbeat is zero.
    ZeroHeartbeat,
    /// The heartbeat leaves no time to renew: it must be at most half the lease.
    HeartbeatTooLong {
        /// The heartbeat asked for.
        heartbeat: Duration,
        /// The longest heartbeat that this lease allows.
        longest: Duration,
    },
}

/// A peer whose hold does not cover our lease: an acknowledgement from it would prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotCovered {
    /// Our lease.
    pub lease: Duration,
    /// The peer's hold.
    pub hold: Duration,
    /// The drift used: the larger of both sides'.
    pub drift_ppm: u32,
    /// The longest lease that the peer's hold would cover.
    pub longest: Duration,
}

/// The longest lease that a hold covers: `H * (1 - rho) / (1 + rho)`, in integers, rounded down.
fn longest_lease(hold: u64, drift_ppm: u32) -> u64 {
    let rho = u128::from(drift_ppm).min(u128::from(MILLION));
    let million = u128::from(MILLION);
    let longest = u128::from(hold) * (million - rho) / (million + rho);
    u64::try_from(longest).expect("a lease is no longer than its hold")
}

impl Config {
    /// Checks that the options fit together.
    ///
    /// # Errors
    /// Each [`ConfigError`] says which value is wrong and what would be right. Nothing is ever clamped.
    pub fn new(options: Options) -> Result<Config, ConfigError> {
        let Options { hold, lease, drift_ppm, heartbeat } = options;
        if hold.is_zero() {
            return Err(ConfigError::ZeroHold);
        }
        if hold.as_nanos() > u128::from(u64::MAX / 4) {
            return Err(ConfigError::HoldTooLong);
        }
        if u64::from(drift_ppm) >= MILLION / 10 {
            return Err(ConfigError::DriftTooLarge { drift_ppm });
        }
        let longest = Duration::from_nanos(longest_lease(nanos(hold), drift_ppm));
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

    /// How long an acknowledging grantor refuses to help elect anyone else (`H`).
    pub const fn hold(&self) -> Duration {
        self.hold
    }

    /// How long after its anchor a lease lasts (`D`).
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// How often the holder opens a round by itself.
    pub const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// What this node tells its peers.
    pub fn timing(&self) -> LeaseTiming {
        LeaseTiming { hold_nanos: nanos(self.hold), lease_nanos: nanos(self.lease), drift_ppm: self.drift_ppm }
    }

    /// Whether an acknowledgement from a peer with these terms is long enough for our lease, under the larger drift.
    ///
    /// # Errors
    /// [`NotCovered`] with the figures, when it is not. Refuse the peer: a rolling restart changes holds up first and
    /// leases after, or leases down first and holds after.
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
            ConfigError::ZeroHold => {
                f.write_str("the hold is zero; give grantors a positive time to keep their promise")
            }
            ConfigError::HoldTooLong => f.write_str("the hold is longer than 146 years; give a shorter one"),
            ConfigError::ZeroLease => f.write_str("the lease is zero; lengthen the lease or the hold it is taken from"),
            ConfigError::LeaseNotCovered { lease, longest } => {
                write!(
                    f,
                    "the lease {lease:?} outlives the hold; shorten it to at most {longest:?} or lengthen the hold"
                )
            }
            ConfigError::DriftTooLarge { drift_ppm } => {
                write!(f, "a drift of {drift_ppm} ppm is too large for leases; it must be below 100000 ppm")
            }
            ConfigError::ZeroHeartbeat => f.write_str("the heartbeat is zero; give it a positive interval"),
            ConfigError::HeartbeatTooLong { heartbeat, longest } => write!(
                f,
                "the heartbeat {heartbeat:?} cannot keep the lease warm; shorten it to at most {longest:?} or lengthen the hold"
            ),
        }
    }
}

impl fmt::Display for NotCovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer's hold of {:?} covers a lease of at most {:?} at {} ppm, but ours is {:?}; lengthen its hold first",
            self.hold, self.longest, self.drift_ppm, self.lease
        )
    }
}

impl core::error::Error for ConfigError {}
impl core::error::Error for NotCovered {}
