//! The limits of a node: clients, memory and disk space.

use crate::resp::MAX_BULK;
use std::time::Duration;

/// The most clients that may be connected at once, unless the options say otherwise.
pub const MAX_CLIENTS: usize = 10_000;

/// The bytes of the longer requests, and those of the longer replies, that all clients together hold in memory, unless the
/// options say otherwise.
const CLIENT_MEMORY_BYTES: usize = 256 << 20;
/// The bytes of requests that are read while a client takes no replies, unless the options say otherwise.
const PIPELINE_BYTES: usize = 64 << 20;

/// The limits of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most clients that may be connected at once. A low limit of open files lowers it.
    pub max_clients: usize,
    /// The most clients that may be connected at once from one address, or from one network of 64 bits of IPv6.
    pub max_clients_per_address: Option<usize>,
    /// The time after which a connection without commands is closed.
    pub idle_timeout: Option<Duration>,
    /// The time in which a client must take 256 KiB of its replies, or all that is left of them, or go on with a large
    /// request.
    pub client_timeout: Duration,
    /// The longest argument of a client's request, in bytes: at most 16 MiB. A whole request may have three times as many.
    pub max_argument: usize,
    /// The bytes of requests that are read from a client while it takes no replies.
    pub max_pipeline: usize,
    /// The bytes of requests, and those of replies, that all clients together hold in memory beyond what each of them may
    /// hold anyway.
    pub client_memory: usize,
    /// The bytes of keys and values beyond which writes that need memory are refused.
    pub max_memory: Option<u64>,
    /// The bytes that must be free on the disk of the data folder, or writes are refused. By default 256 MiB, or a tenth
    /// of a smaller file system.
    pub min_free_space: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_clients: MAX_CLIENTS,
            max_clients_per_address: None,
            idle_timeout: None,
            client_timeout: Duration::from_secs(30),
            max_argument: MAX_BULK,
            max_pipeline: PIPELINE_BYTES,
            client_memory: CLIENT_MEMORY_BYTES,
            max_memory: None,
            min_free_space: None,
        }
    }
}

/// Parses a number of bytes as Redis does: `1gb` is 2^30 bytes, `1g` is 10^9.
///
/// # Errors
/// The form that is expected.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.to_ascii_lowercase();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1000 * 1000,
        "mb" => 1 << 20,
        "g" => 1000 * 1000 * 1000,
        "gb" => 1 << 30,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|_| unit > 0);
    bytes.ok_or_else(|| "not a number of bytes; write for example 100mb or 4gb".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_have_the_suffixes_of_redis() {
        for (text, bytes) in [("0", 0), ("7b", 7), ("1k", 1000), ("1KB", 1024), ("100mb", 100 << 20), ("2Gb", 2 << 30)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "mb", "1tb", "-1", "1.5gb", "99999999999999gb", " 1"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
