//! Passwords that were right, so that they need not be checked slowly again.

use sha2::{Digest as _, Sha256};
use std::collections::{HashSet, VecDeque};

/// The most passwords. The oldest one is forgotten first.
const MAX_VERIFIED: usize = 1024;

/// Digests of users with their hashes and passwords, under a key that only this process has. It never writes them.
#[derive(Debug)]
pub(super) struct Verified {
    key: [u8; 32],
    digests: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Verified {
    pub(super) fn new() -> Result<Verified, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Verified { key, digests: HashSet::new(), order: VecDeque::new() })
    }

    /// Returns whether a password was right for this user and hash.
    pub(super) fn contains(&self, name: &str, hash: &str, password: &[u8]) -> bool {
        self.digests.contains(&self.digest(name, hash, password))
    }

    pub(super) fn insert(&mut self, name: &str, hash: &str, password: &[u8]) {
        let digest = self.digest(name, hash, password);
        if !self.digests.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > MAX_VERIFIED
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }

    /// Names and hashes have no spaces, so no two users and passwords have the same text.
    fn digest(&self, name: &str, hash: &str, password: &[u8]) -> [u8; 32] {
        let parts = [&self.key[..], name.as_bytes(), b" ", hash.as_bytes(), b" ", password];
        parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part)).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_for_its_user_and_hash_only() {
        let mut verified = Verified::new().expect("random");
        verified.insert("a", "hash", b"secret");
        assert!(verified.contains("a", "hash", b"secret"));
        for (name, hash, password) in [("b", "hash", "secret"), ("a", "other", "secret"), ("a", "hash", "secret2")] {
            assert!(!verified.contains(name, hash, password.as_bytes()));
        }
        let other = Verified::new().expect("random");
        assert_ne!(other.digest("a", "hash", b"secret"), verified.digest("a", "hash", b"secret"), "the key is random");
    }

    #[test]
    fn the_oldest_password_is_forgotten_first() {
        let mut verified = Verified::new().expect("random");
        for number in 0..=MAX_VERIFIED {
            verified.insert("a", "hash", number.to_string().as_bytes());
            verified.insert("a", "hash", number.to_string().as_bytes());
        }
        assert!(!verified.contains("a", "hash", b"0") && verified.contains("a", "hash", b"1"));
        assert_eq!((verified.digests.len(), verified.order.len()), (MAX_VERIFIED, MAX_VERIFIED));
    }
}
