//! The flags that close a node's ports to strangers.

use clap::Args;
use leasehold_core::NodeId;
use leasehold_tls::{MutualTls, TlsError, TlsFiles};
use leasehold_transport_tcp::{PeerSecret, PeerSecurity, SecretError, certificate_name};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;

/// The flags by which nodes recognize each other.
#[derive(Args, Debug, Default)]
pub(super) struct SecurityArguments {
    /// This node's certificate in PEM form, for the name node-ID.CLUSTER.leasehold. Nodes then connect with TLS, and each
    /// presents a certificate.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The certificate of the authority that signs the certificates of all nodes.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// A file with a secret that is the same on every node, at least 16 bytes. Nodes without it cannot connect.
    #[arg(long, value_name = "FILE")]
    peer_secret_file: Option<PathBuf>,
    /// Listens on addresses that other machines can reach, although strangers could connect: for networks that contain
    /// only trusted machines.
    #[arg(long)]
    pub(super) insecure: bool,
}

/// The reason why these flags cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadSecurity {
    #[error("--peer-secret-file: {0}")]
    Secret(#[from] SecretError),
    #[error("--tls-cert, --tls-key and --tls-ca: {0}")]
    Tls(#[from] TlsError),
    #[error(
        "--peer-listen {0} can be reached from other machines, and any of them could act as a node: give all nodes \
         --tls-cert, --tls-key and --tls-ca, or --peer-secret-file, or add --insecure if only trusted machines can \
         reach it"
    )]
    Open(String),
}

impl SecurityArguments {
    /// Reads the files for a node, and checks that strangers cannot act as its peers on the address where it listens.
    pub(super) fn peer_security(&self, node: NodeId, cluster: &str, listen: &str) -> Result<PeerSecurity, BadSecurity> {
        let mut security = PeerSecurity::default();
        security.secret = self.peer_secret_file.as_deref().map(PeerSecret::read).transpose()?;
        if let (Some(certificate), Some(key), Some(authority)) = (&self.tls_cert, &self.tls_key, &self.tls_ca) {
            let files = TlsFiles::new(certificate, key).with_authority(authority);
            security.tls = Some(Arc::new(MutualTls::open(files, certificate_name(node, cluster))?));
        }
        if security.secret.is_none() && security.tls.is_none() && !is_loopback(listen) {
            if !self.insecure {
                return Err(BadSecurity::Open(listen.to_owned()));
            }
            tracing::warn!(
                "--insecure: every machine that can reach {listen} can act as a node, and so read, change and lose all data"
            );
        }
        Ok(security)
    }
}

/// Reads the files of certificates again. Bad ones are logged, and the former ones stay in use.
pub(super) fn reload(security: &PeerSecurity) {
    match security.tls.as_ref().map(|tls| tls.reload()) {
        None => tracing::info!("there are no certificates of nodes to reload"),
        Some(Ok(())) => tracing::info!("the certificates of nodes are reloaded, for connections from now on"),
        Some(Err(error)) => {
            tracing::error!("the certificates of nodes are not reloaded, and the former ones stay in use: {error}");
        }
    }
}

/// Returns true if only this machine can connect to an address, `host:port`, or if its name is not found: listening
/// reports that better.
pub(super) fn is_loopback(address: &str) -> bool {
    let found = address.to_socket_addrs();
    found.is_err() || found.is_ok_and(|mut found| found.all(|found| is_local(found.ip())))
}

fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_those_of_this_machine_alone() {
        for local in ["127.0.0.1:7101", "127.9.9.9:0", "[::1]:7101", "[::ffff:127.0.0.1]:7101", "localhost:7101"] {
            assert!(is_loopback(local), "{local}");
        }
        for open in ["0.0.0.0:7101", "[::]:7101", "10.0.0.1:7101", "[::ffff:10.0.0.1]:7101"] {
            assert!(!is_loopback(open), "{open}");
        }
    }

    #[test]
    fn an_open_port_for_peers_needs_certificates_a_secret_or_a_statement() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "a secret of the test").expect("a file");
        let open = "0.0.0.0:7101";
        let with = |arguments: SecurityArguments, listen| arguments.peer_security(1, "a", listen);
        let error = with(SecurityArguments::default(), open).expect_err("open").to_string();
        assert!(
            error.starts_with("--peer-listen 0.0.0.0:7101 can be reached") && error.contains("--insecure"),
            "{error}"
        );
        with(SecurityArguments::default(), "127.0.0.1:7101").expect("it is closed");
        with(SecurityArguments { insecure: true, ..Default::default() }, open).expect("it is stated");
        let arguments = SecurityArguments { peer_secret_file: Some(secret), ..Default::default() };
        with(arguments, open).expect("it has a secret");
    }

    #[test]
    fn a_certificate_must_be_that_of_this_node() {
        let authority = leasehold_certificates::Authority::new();
        let files = authority.certify(&["node-2.a.leasehold"]);
        let arguments = SecurityArguments {
            tls_cert: Some(files.certificate),
            tls_key: Some(files.key),
            tls_ca: Some(authority.file()),
            ..Default::default()
        };
        arguments.peer_security(2, "a", "0.0.0.0:7101").expect("its own certificate");
        let error = arguments.peer_security(1, "a", "0.0.0.0:7101").expect_err("another node's").to_string();
        assert!(error.starts_with("--tls-cert, --tls-key and --tls-ca: the certificate in"), "{error}");
        assert!(error.contains("is not for \"node-1.a.leasehold\" but for \"node-2.a.leasehold\""), "{error}");
        let error = arguments.peer_security(2, "my cluster", "0.0.0.0:7101").expect_err("no name").to_string();
        assert!(error.contains("\"node-2.my cluster.leasehold\" cannot be the name in a certificate"), "{error}");
    }
}
