//! The secret that all nodes of a cluster share, and the proofs that a node knows it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The shortest secret.
const MIN_SECRET_BYTES: usize = 16;
/// The longest secret: longer files are a mistake.
const MAX_SECRET_BYTES: usize = 64 << 10;
/// Separates this use of a secret from any other. It must never change.
const KEY_CONTEXT: &str = "leasehold 2026-11-26 14:00:00 secret of peers";
/// The bytes of a proof.
pub(crate) const PROOF_BYTES: usize = blake3::OUT_LEN;

/// The side that makes a proof. A proof of one side is of no use on the other, so that it cannot be reflected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Dialer = 1,
    Acceptor = 2,
}

/// The reason why a file holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The secret is too short or too long.
    #[error(
        "the secret in {} has {length} bytes and needs {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}: make one with openssl \
         rand -base64 32",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// The bytes that were read, without a newline at the end.
        length: usize,
    },
}

/// A secret that all nodes of a cluster share.
#[derive(Clone)]
pub struct PeerSecret {
    key: [u8; blake3::KEY_LEN],
}

impl PeerSecret {
    /// Reads a secret from a file of at least 16 bytes. One newline at its end is not part of the secret.
    ///
    /// # Errors
    /// [`SecretError`]: the file cannot be read, or holds no secret.
    pub fn read(path: &Path) -> Result<PeerSecret, SecretError> {
        let mut bytes = Vec::new();
        let opened = File::open(path).and_then(|file| {
            warn_if_readable(&file, path);
            file.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)
        });
        opened.map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
        let secret = bytes.strip_suffix(b"\n").map_or(&*bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&secret.len()) {
            return Err(SecretError::Length { path: path.to_owned(), length: secret.len() });
        }
        Ok(PeerSecret::new(secret))
    }

    /// Makes a secret of bytes, of which an attacker must not be able to guess all.
    pub fn new(secret: &[u8]) -> PeerSecret {
        PeerSecret { key: blake3::derive_key(KEY_CONTEXT, secret) }
    }

    /// Returns the proof for the messages before it and the beginning of its own. Messages delimit themselves, so no
    /// others have the same bytes.
    pub(crate) fn prove(&self, role: Role, said: &[Vec<u8>], own: &[u8]) -> [u8; PROOF_BYTES] {
        *self.hash(role, said, own).as_bytes()
    }

    /// Returns true if `proof` is the other side's. The comparison takes constant time.
    pub(crate) fn verify(&self, role: Role, said: &[Vec<u8>], own: &[u8], proof: [u8; PROOF_BYTES]) -> bool {
        // `blake3::Hash` compares in constant time.
        self.hash(role, said, own) == blake3::Hash::from_bytes(proof)
    }

    fn hash(&self, role: Role, said: &[Vec<u8>], own: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[role as u8]);
        for message in said {
            hasher.update(message);
        }
        hasher.update(own);
        hasher.finalize()
    }
}

impl fmt::Debug for PeerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerSecret")
    }
}

#[cfg(unix)]
fn warn_if_readable(file: &File, path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let readable = file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if readable {
        tracing::warn!("{0} can be read by other users of this machine; chmod 600 {0}", path.display());
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &File, _: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_at_least_16_bytes_and_one_newline_at_its_end_does_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).expect("a file");
            PeerSecret::read(&path).map(|secret| secret.key)
        };
        let key = PeerSecret::new(b"0123456789abcdef").key;
        for content in [&b"0123456789abcdef"[..], b"0123456789abcdef\n", b"0123456789abcdef\r\n"] {
            assert_eq!(read(content).expect("long enough"), key);
        }
        assert_ne!(read(b"0123456789abcdef\n\n").expect("long enough"), key);
        for (content, length) in [(&b"0123456789abcde\n"[..], 15), (b"", 0)] {
            let error = read(content).expect_err("too short").to_string();
            assert!(error.contains(&format!("has {length} bytes and needs 16 to 65536")), "{error}");
        }
        assert!(matches!(read(&[b'x'; MAX_SECRET_BYTES + 2]), Err(SecretError::Length { .. })));
        assert!(matches!(PeerSecret::read(&folder.path().join("none")), Err(SecretError::Read { .. })));
    }

    #[test]
    fn a_proof_is_good_for_one_role_one_secret_and_what_was_said() {
        let secret = PeerSecret::new(b"0123456789abcdef");
        let said = [b"a".to_vec(), b"b".to_vec()];
        let proof = secret.prove(Role::Dialer, &said, b"c");
        assert!(secret.verify(Role::Dialer, &said, b"c", proof));
        assert!(!secret.verify(Role::Acceptor, &said, b"c", proof));
        assert!(!secret.verify(Role::Dialer, &said, b"d", proof));
        assert!(!secret.verify(Role::Dialer, &said[..1], b"c", proof));
        assert!(!PeerSecret::new(b"0123456789abcdeF").verify(Role::Dialer, &said, b"c", proof));
        assert_eq!(format!("{secret:?}"), "PeerSecret");
    }
}
