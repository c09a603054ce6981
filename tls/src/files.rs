//! PEM files, and the configurations made of them.

use crate::error::{TlsError, fault};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of one side: a certificate with its key, and the authority that signs the other side's certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate, followed by those between it and the authority, in PEM form.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM form without a password.
    pub key: PathBuf,
    /// The certificate of the authority, in PEM form. There may be several, for example while the authority is
    /// replaced. A server with one demands certificates of its clients.
    pub authority: Option<PathBuf>,
}

impl TlsFiles {
    /// Returns files without an authority.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> TlsFiles {
        TlsFiles { certificate: certificate.into(), key: key.into(), authority: None }
    }

    /// Returns the same files with an authority.
    #[must_use]
    pub fn with_authority(mut self, authority: impl Into<PathBuf>) -> TlsFiles {
        self.authority = Some(authority.into());
        self
    }

    pub(crate) fn load(&self) -> Result<Loaded, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| match error {
            pem::Error::Io(source) => TlsError::Read { path: self.key.clone(), source },
            _ => TlsError::NoKey { path: self.key.clone() },
        })?;
        warn_if_readable(&self.key);
        let authority = self.authority.as_deref().map(authorities).transpose()?;
        Ok(Loaded { files: self.clone(), chain, key, authority })
    }
}

/// Warns about a private key that everyone on the machine can read. A group may have the right to.
#[cfg(unix)]
fn warn_if_readable(key: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if std::fs::metadata(key).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0) {
        tracing::warn!("{0} can be read by other users of this machine; chmod 600 {0}", key.display());
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Path) {}

/// The contents of [`TlsFiles`].
pub(crate) struct Loaded {
    files: TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: Option<Arc<RootCertStore>>,
}

impl Loaded {
    /// Returns the configuration of a server that speaks these versions. With an authority it demands certificates.
    pub(crate) fn server(&self, versions: &[&'static SupportedProtocolVersion]) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| self.unusable(&error))?;
        let builder = match &self.authority {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| self.unusable_authority(&error))?)
            }
        };
        let config = builder.with_single_cert(self.chain.clone(), self.key.clone_key());
        let mut config = config.map_err(|error| self.unusable(&error))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Returns the configuration of a client that presents the certificate.
    pub(crate) fn client(&self) -> Result<ClientConfig, TlsError> {
        let roots = self.authority.clone().ok_or(TlsError::NoAuthority)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| self.unusable(&error))?;
        let config = builder.with_root_certificates(roots);
        let config = config.with_client_auth_cert(self.chain.clone(), self.key.clone_key());
        let mut config = config.map_err(|error| self.unusable(&error))?;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Checks that others accept the certificate for this name now.
    pub(crate) fn check_name(&self, name: &ServerName<'_>) -> Result<(), TlsError> {
        let roots = self.authority.clone().ok_or(TlsError::NoAuthority)?;
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        let verifier = verifier.map_err(|error| self.unusable_authority(&error))?;
        let own = |reason| TlsError::OwnCertificate { path: self.files.certificate.clone(), reason };
        let (first, between) = self.chain.split_first().ok_or_else(|| own("is missing".to_owned()))?;
        match verifier.verify_server_cert(first, between, name, &[], UnixTime::now()) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(own(fault(&error))),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    fn unusable(&self, error: &Error) -> TlsError {
        if let Error::InconsistentKeys(InconsistentKeys::KeyMismatch) = error {
            return TlsError::OtherKey { key: self.files.key.clone(), certificate: self.files.certificate.clone() };
        }
        TlsError::Unusable { path: self.files.certificate.clone(), reason: error.to_string() }
    }

    fn unusable_authority(&self, error: &dyn std::error::Error) -> TlsError {
        let path = self.files.authority.clone().unwrap_or_default();
        TlsError::Unusable { path, reason: error.to_string() }
    }
}

/// Returns the configuration of a client that presents no certificate.
pub(crate) fn anonymous_client(authority: &Path) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Unusable { path: authority.to_owned(), reason: error.to_string() })?;
    let mut config = builder.with_root_certificates(authorities(authority)?).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::Unusable { path: path.to_owned(), reason: error.to_string() })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::NoCertificate { path: path.to_owned() };
    let read = |error| match error {
        pem::Error::Io(source) => TlsError::Read { path: path.to_owned(), source },
        _ => none(),
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(read)?.collect();
    let found = found.map_err(read)?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}
