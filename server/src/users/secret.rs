//! What a file of users keeps of a password.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, Params};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The most memory, passes and lanes of an Argon2 hash: one check must neither fill the memory nor take minutes.
const MAX_MEMORY_KIB: u32 = 256 << 10;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 64;
/// The length of the salt of a new hash.
const SALT_BYTES: usize = 16;

/// A hash of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    /// Slow to check, so that passwords that people choose cannot be guessed from it.
    Argon2(Argon2Hash),
    /// Fast to check. For long random passwords.
    Sha256([u8; 32]),
}

/// An Argon2id hash with its parameters and its salt, as a PHC string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argon2Hash {
    pub(super) text: String,
    /// The memory times the passes: the time that a check takes grows with it.
    pub(super) cost: u64,
}

impl Secret {
    /// Parses a hash.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Secret, String> {
        if let Some(hex) = text.strip_prefix("sha256:") {
            return parse_hex(hex)
                .map(Secret::Sha256)
                .ok_or_else(|| "the SHA-256 hash is not 64 hexadecimal digits; make it with sha256sum".to_owned());
        }
        if text.starts_with("$argon2id$") {
            return parse_argon2(text).map(Secret::Argon2);
        }
        Err("the hash is neither $argon2id$... nor sha256:...; make it with `leasehold hash-password`".to_owned())
    }
}

impl Argon2Hash {
    /// Returns whether this is the hash of a password. It takes time and memory on purpose.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        // The comparison takes the same time for every hash.
        PasswordHash::new(&self.text).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
    }
}

/// Returns whether a SHA-256 hash is that of a password.
pub(super) fn verify_sha256(hash: &[u8; 32], password: &[u8]) -> bool {
    Sha256::digest(password).ct_eq(hash).into()
}

fn parse_argon2(text: &str) -> Result<Argon2Hash, String> {
    let malformed = || "the Argon2 hash is not a PHC string; make it with `leasehold hash-password`".to_owned();
    let hash = PasswordHash::new(text).map_err(|_| malformed())?;
    let params = Params::try_from(&hash).map_err(|_| malformed())?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(malformed());
    }
    if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES || params.p_cost() > MAX_LANES {
        return Err(format!(
            "the Argon2 hash exceeds m={MAX_MEMORY_KIB}, t={MAX_PASSES} or p={MAX_LANES}; make one that is cheaper to \
             check with `leasehold hash-password`"
        ));
    }
    Ok(Argon2Hash { text: text.to_owned(), cost: u64::from(params.m_cost()) * u64::from(params.t_cost()) })
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Returns the Argon2id hash of a password, with a new salt.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn hash_with_argon2(password: &[u8]) -> Result<String, getrandom::Error> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt)?;
    let hash = Argon2::default().hash_password_with_salt(password, &salt);
    Ok(hash.expect("the parameters and the length of the salt are valid").to_string())
}

/// Returns the SHA-256 hash of a password, as a file of users has it.
pub(crate) fn hash_with_sha256(password: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    Sha256::digest(password).iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_hash_is_that_of_its_password_only_and_has_its_own_salt() {
        let (one, other) = (hash_with_argon2(b"secret").expect("random"), hash_with_argon2(b"secret").expect("random"));
        assert_ne!(one, other);
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        let Ok(Secret::Argon2(hash)) = Secret::parse(&one) else { panic!("{one}") };
        assert!(hash.verify(b"secret") && !hash.verify(b"Secret") && !hash.verify(b""));
    }

    #[test]
    fn a_sha256_hash_is_that_of_sha256sum() {
        let text = hash_with_sha256(b"secret");
        assert_eq!(text, "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
        let Ok(Secret::Sha256(hash)) = Secret::parse(&text) else { panic!("{text}") };
        assert!(verify_sha256(&hash, b"secret") && !verify_sha256(&hash, b"secret "));
        assert_eq!(Secret::parse(&text.to_uppercase().replace("SHA256", "sha256")), Ok(Secret::Sha256(hash)));
    }

    /// The hash is from the tests of the reference implementation.
    #[test]
    fn the_hash_of_another_program_is_understood() {
        let text = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let Ok(Secret::Argon2(hash)) = Secret::parse(text) else { panic!("{text}") };
        assert_eq!(hash.cost, 2 * 256);
        assert!(hash.verify(b"password") && !hash.verify(b"passwort"));
    }

    #[test]
    fn a_hash_that_cannot_be_checked_is_refused_with_the_correction() {
        for (text, said) in [
            ("secret", "neither $argon2id$... nor sha256:..."),
            ("$2b$12$abc", "neither $argon2id$... nor sha256:..."),
            ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "neither $argon2id$"),
            ("sha256:12", "not 64 hexadecimal digits"),
            (&format!("sha256:{}", "g".repeat(64)), "not 64 hexadecimal digits"),
            (&format!("sha256:+{}", "1".repeat(63)), "not 64 hexadecimal digits"),
            (&format!("sha256:{}", "1".repeat(65)), "not 64 hexadecimal digits"),
            ("$argon2id$", "not a PHC string"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", "not a PHC string"),
            ("$argon2id$v=19$m=1048576,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "exceeds m=262144"),
            ("$argon2id$v=19$m=1024,t=65,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "exceeds m=262144, t=64"),
        ] {
            let error = Secret::parse(text).expect_err("a wrong hash");
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
