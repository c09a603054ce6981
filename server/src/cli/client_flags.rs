//! The flags of `serve` about clients.

use super::security::is_loopback;
use crate::limits::parse_bytes;
use crate::resp::MAX_BULK;
use crate::{ClientOptions, Limits};
use clap::Args;
use leasehold_tls::TlsFiles;
use std::path::PathBuf;
use std::time::Duration;

/// The longest time of --client-timeout-s.
const MAX_TIMEOUT_S: u64 = 24 * 60 * 60;

/// The flags about clients.
#[derive(Args, Debug)]
pub(super) struct ClientFlags {
    /// The file of the users who may log in, a line for each: NAME HASH ROLE. `leasehold hash-password` makes a hash.
    /// Without it every client may execute every command.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// The certificate of the client port, followed by those between it and its authority, in PEM form. Connections of
    /// clients are then encrypted with TLS.
    #[arg(long, value_name = "FILE")]
    client_tls_cert: Option<PathBuf>,
    /// The private key of --client-tls-cert, in PEM form.
    #[arg(long, value_name = "FILE")]
    client_tls_key: Option<PathBuf>,
    /// Demand of each client a certificate that this authority has signed, in PEM form.
    #[arg(long, value_name = "FILE")]
    client_tls_ca: Option<PathBuf>,
    /// Act as a node of a Redis Cluster: if another node leads, answer commands about keys with MOVED and its address. Only
    /// clients of Redis Cluster follow that. Without it, every node executes every command.
    #[arg(long)]
    redirect: bool,
    /// The most clients that may be connected at once from one address, or from one network of 64 bits of IPv6; 0 for no
    /// limit.
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse_number)]
    max_clients_per_address: usize,
    /// Close a connection whose client takes too little of its replies, or does not go on with a long request, for this
    /// many seconds, or has not logged in by then.
    #[arg(long, value_name = "S", default_value = "30", value_parser = parse_timeout)]
    client_timeout_s: u64,
    /// The longest key, value or other argument of a client. A whole request may have three times as many bytes.
    #[arg(long, value_name = "BYTES", default_value = "16mb", value_parser = parse_argument)]
    max_argument: usize,
    /// The bytes of requests that are read from a client while it takes no replies.
    #[arg(long, value_name = "BYTES", default_value = "64mb", value_parser = parse_pipeline)]
    max_pipeline: usize,
    /// The memory for the longer requests of all clients, and as much for their longer replies.
    #[arg(long, value_name = "BYTES", default_value = "256mb", value_parser = parse_client_memory)]
    client_memory: usize,
}

/// An error in the flags about clients.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadClientFlags {
    #[error("--client-tls-cert and --client-tls-key belong together; give both")]
    HalfTls,
    #[error("--client-tls-ca needs the certificate of the node too; give --client-tls-cert and --client-tls-key")]
    OnlyAuthority,
    #[error(
        "--client-listen {0} can be reached from other machines, and any of them could read and change all data: give \
         --users, or --client-tls-cert, --client-tls-key and --client-tls-ca, or add --insecure if only trusted machines \
         can reach it"
    )]
    Open(String),
}

impl ClientFlags {
    /// Sets the limits that these flags are about.
    pub(super) fn limit(&self, limits: &mut Limits) {
        limits.max_clients_per_address = (self.max_clients_per_address > 0).then_some(self.max_clients_per_address);
        limits.client_timeout = Duration::from_secs(self.client_timeout_s);
        limits.max_argument = self.max_argument;
        limits.max_pipeline = self.max_pipeline;
        limits.client_memory = self.client_memory;
    }

    /// Returns the options of a node, and checks that strangers have no rights on the address where it listens for clients.
    pub(super) fn options(self, listen: &str, insecure: bool) -> Result<ClientOptions, BadClientFlags> {
        let tls = match (self.client_tls_cert, self.client_tls_key) {
            (None, None) if self.client_tls_ca.is_some() => return Err(BadClientFlags::OnlyAuthority),
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let files = TlsFiles::new(certificate, key);
                Some(match self.client_tls_ca {
                    None => files,
                    Some(authority) => files.with_authority(authority),
                })
            }
            _ => return Err(BadClientFlags::HalfTls),
        };
        let options = ClientOptions { users: self.users, tls, redirect: self.redirect };
        let demands_certificates = options.tls.as_ref().is_some_and(|files| files.authority.is_some());
        if options.users.is_none() && !demands_certificates && !is_loopback(listen) {
            if !insecure {
                return Err(BadClientFlags::Open(listen.to_owned()));
            }
            tracing::warn!("--insecure: every machine that can reach {listen} can read and change all data");
        }
        Ok(options)
    }
}

fn parse_number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "not a whole number; write for example 100, or 0 for no limit".to_owned())
}

fn parse_timeout(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=MAX_TIMEOUT_S).contains(seconds));
    seconds.ok_or_else(|| format!("not a whole number of seconds from 1 to {MAX_TIMEOUT_S}"))
}

fn parse_argument(text: &str) -> Result<usize, String> {
    parse_bytes_from(text, 1 << 10, MAX_BULK, "1kb to 16mb")
}

fn parse_pipeline(text: &str) -> Result<usize, String> {
    parse_bytes_from(text, 64 << 10, 1 << 30, "64kb to 1gb")
}

fn parse_client_memory(text: &str) -> Result<usize, String> {
    parse_bytes_from(text, 16 << 20, usize::MAX, "16mb on")
}

fn parse_bytes_from(text: &str, min: usize, max: usize, range: &str) -> Result<usize, String> {
    let bytes = usize::try_from(parse_bytes(text)?).unwrap_or(usize::MAX);
    if (min..=max).contains(&bytes) { Ok(bytes) } else { Err(format!("not a number of bytes from {range}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: ClientFlags,
    }

    fn options(flags: &[&str], listen: &str, insecure: bool) -> Result<ClientOptions, BadClientFlags> {
        let line = Line::try_parse_from([&["serve"], flags].concat()).expect("flags that can be parsed");
        line.flags.options(listen, insecure)
    }

    #[test]
    fn a_port_that_strangers_reach_needs_users_certificates_or_a_statement() {
        let tls = ["--client-tls-cert", "c", "--client-tls-key", "k"];
        let mutual = [&tls[..], &["--client-tls-ca", "a"]].concat();
        for open in ["0.0.0.0:6379", "[::]:6379", "10.0.0.1:6379", "[::ffff:10.0.0.1]:6379"] {
            for flags in [&[][..], &tls] {
                let error = options(flags, open, false).expect_err("open").to_string();
                assert!(error.starts_with(&format!("--client-listen {open} can be reached")), "{error}");
                assert!(error.contains("--users") && error.contains("--insecure"), "{error}");
                assert!(options(flags, open, true).is_ok());
            }
            for flags in [&["--users", "u"][..], &mutual] {
                assert!(options(flags, open, false).is_ok(), "{flags:?}");
            }
        }
        for local in ["127.0.0.1:6379", "127.9.9.9:0", "[::1]:6379", "[::ffff:127.0.0.1]:6379", "localhost:6379"] {
            assert!(options(&[], local, false).is_ok(), "{local}");
        }
    }

    #[test]
    fn limits_are_the_defaults_unless_they_are_given() {
        let limits = |flags: &[&str]| {
            let line = Line::try_parse_from([&["serve"], flags].concat()).map_err(|error| error.to_string())?;
            let mut limits = Limits::default();
            line.flags.limit(&mut limits);
            Ok::<_, String>(limits)
        };
        assert_eq!(limits(&[]), Ok(Limits::default()));
        let given =
            limits(&["--max-clients-per-address=3", "--client-timeout-s=5", "--max-argument=1mb"]).expect("good");
        assert_eq!((given.max_clients_per_address, given.client_timeout), (Some(3), Duration::from_secs(5)));
        assert_eq!(given.max_argument, 1 << 20);
        let given = limits(&["--max-pipeline=1mb", "--client-memory=1gb"]).expect("good");
        assert_eq!((given.max_pipeline, given.client_memory), (1 << 20, 1 << 30));
        for (flag, said) in [
            ("--max-clients-per-address=-1", "not a whole number"),
            ("--client-timeout-s=0", "not a whole number of seconds from 1 to 86400"),
            ("--max-argument=17mb", "not a number of bytes from 1kb to 16mb"),
            ("--max-argument=x", "not a number of bytes; write for example"),
            ("--max-pipeline=1kb", "not a number of bytes from 64kb to 1gb"),
            ("--client-memory=1mb", "not a number of bytes from 16mb on"),
        ] {
            let error = limits(&[flag]).expect_err("a bad flag");
            assert!(error.contains(said), "{flag}: {error}");
        }
    }
}
