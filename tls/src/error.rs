//! Errors of files and of connections, in words that say what to do.

use rustls::{AlertDescription, CertificateError, Error};
use std::io;
use std::path::PathBuf;

/// The most names of a foreign certificate that an error repeats.
const MAX_NAMES: usize = 3;

/// The reason why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file has no certificate, or a damaged one.
    #[error("{} has no valid certificate in PEM form, which begins with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file has no private key, or a damaged one.
    #[error(
        "{} has no valid private key in PEM form without a password, which begins with -----BEGIN PRIVATE KEY-----",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is not that of the certificate.
    #[error(
        "the key in {} does not belong to the first certificate in {}: give the files that were made together",
        key.display(),
        certificate.display()
    )]
    OtherKey {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// A file cannot be used for another reason.
    #[error("{} cannot be used for TLS: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The certificate of this node would be refused by its peers.
    #[error("the certificate in {} {reason}", path.display())]
    OwnCertificate {
        /// The file.
        path: PathBuf,
        /// The reason, which follows the file's name.
        reason: String,
    },
    /// The files name no authority.
    #[error("TLS between nodes needs the certificate of the authority that signs those of all nodes")]
    NoAuthority,
    /// A text is no name for a certificate.
    #[error("{name:?} cannot be the name in a certificate: use letters, digits and hyphens, at most 63 between dots")]
    Name {
        /// The text.
        name: String,
    },
}

/// Returns the reason why TLS failed, in one line that follows the name of the other side, if this is an error of TLS and
/// not of the connection.
pub fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(error) => format!("presents a certificate that {}", fault(error)),
        Error::NoCertificatesPresented => {
            "presents no certificate: give it a certificate, its key and the authority's \
                                           certificate"
                .to_owned()
        }
        Error::AlertReceived(alert) => match alert {
            // The second is the answer if two authorities have the same name.
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "refuses this node's certificate, because another authority signed it: let \
                                            one authority sign the certificates of all nodes"
                    .to_owned()
            }
            AlertDescription::CertificateExpired => {
                "refuses this node's certificate, because it has expired: renew it".to_owned()
            }
            AlertDescription::CertificateRequired => {
                "demands a certificate and got none: give this node a certificate, \
                                                      its key and the authority's certificate"
                    .to_owned()
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied => {
                format!("refuses this node's certificate ({alert:?}): its log has the reason")
            }
            _ => format!("ended TLS ({alert:?}): its log has the reason"),
        },
        Error::InvalidMessage(_) => "does not speak TLS: use TLS on both sides or on neither".to_owned(),
        Error::PeerIncompatible(_) => format!("uses TLS without a common version or cipher: {error}"),
        _ => format!("failed TLS: {error}").replace(char::is_control, " "),
    })
}

/// Returns the fault of a certificate, in words that follow "a certificate that".
pub(crate) fn fault(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the configured authority did not sign: let one authority sign the certificates of all nodes".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired: renew it".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: check the clocks of both machines".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // Names of a foreign certificate appear escaped, so that they cannot forge other lines.
            let names: Vec<String> = presented.iter().take(MAX_NAMES).map(|name| format!("{:?}", bare(name))).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            let expected = expected.to_str();
            format!("is not for {expected:?} but for {names}: give each node the certificate with its own name")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "lacks an extended key usage: nodes need serverAuth and clientAuth".to_owned()
        }
        _ => format!("cannot be used: {error:?}").replace(char::is_control, " "),
    }
}

/// Removes what rustls writes around a name.
fn bare(name: &str) -> &str {
    let inner = |(before, after)| name.strip_prefix(before)?.strip_suffix(after);
    [("DnsName(\"", "\")"), ("IpAddress(", ")")].into_iter().find_map(inner).unwrap_or(name)
}
