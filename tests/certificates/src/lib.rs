//! Certificates for tests of TLS. An [`Authority`] signs certificates, also with chosen faults, and keeps them as files in
//! a temporary folder.
//!
//! This crate contains no tests, and it depends on no other crate of the workspace.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An authority, and the folder of the certificates that it signed.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate in PEM form.
    pub certificate: PathBuf,
    /// Its key in PEM form.
    pub key: PathBuf,
}

/// A fault of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has none.
    None,
    /// It expired in 2020.
    Expired,
    /// It is valid from 3000 on.
    NotYetValid,
    /// It is for servers only.
    ServerOnly,
}

impl Authority {
    /// Creates an authority.
    ///
    /// # Panics
    /// If the system refuses randomness or a file.
    pub fn new() -> Authority {
        let key = KeyPair::generate().expect("randomness");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = params.self_signed(&key).expect("a signature");
        fs::write(folder.path().join("authority.pem"), certificate.pem()).expect("a file");
        Authority { issuer: Issuer::new(params, key), folder }
    }

    /// Returns the file with the authority's certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Returns the folder of its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Signs a certificate for DNS names or IP addresses. The files have the first name, and replace earlier ones with it.
    pub fn certify(&self, names: &[&str]) -> Files {
        self.certify_with(names, Fault::None)
    }

    /// Signs a certificate with a fault.
    ///
    /// # Panics
    /// If there is no name, or the system refuses randomness or a file.
    pub fn certify_with(&self, names: &[&str], fault: Fault) -> Files {
        let texts: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(texts).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        match fault {
            Fault::None => {}
            Fault::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Fault::NotYetValid => params.not_before = date_time_ymd(3000, 1, 1),
            Fault::ServerOnly => params.extended_key_usages.truncate(1),
        }
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signature");
        let file = |kind: &str| self.folder.path().join(format!("{}.{kind}.pem", names[0]));
        let files = Files { certificate: file("certificate"), key: file("key") };
        fs::write(&files.certificate, certificate.pem()).expect("a file");
        fs::write(&files.key, key.serialize_pem()).expect("a file");
        files
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}
