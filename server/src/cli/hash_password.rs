//! `leasehold hash-password`.

use super::exit::{FAILED, fail};
use crate::users::{MAX_PASSWORD_BYTES, hash_with_argon2, hash_with_sha256};
use clap::Args;
use std::io::{self, IsTerminal as _, Read};
use std::process::ExitCode;

/// The arguments of `hash-password`.
#[derive(Args, Debug)]
pub(crate) struct HashPasswordArguments {
    /// Print a SHA-256 hash, which is fast to check. Only for long random passwords: others can be guessed from it.
    #[arg(long)]
    sha256: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot read the password: {0}; write it to the standard input")]
    Read(io::Error),
    #[error("the password is empty; write it to the standard input")]
    Empty,
    #[error("the password exceeds {MAX_PASSWORD_BYTES} bytes; choose a shorter one")]
    Long,
    #[error("the two passwords differ; type the same one twice")]
    Different,
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Prints the hash of the password on the standard input.
pub(super) fn run(arguments: HashPasswordArguments) -> ExitCode {
    let hash = read().and_then(|password| match arguments.sha256 {
        true => Ok(hash_with_sha256(&password)),
        false => hash_with_argon2(&password).map_err(Failure::Random),
    });
    match hash {
        Ok(hash) => {
            println!("{hash}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILED, error),
    }
}

fn read() -> Result<Vec<u8>, Failure> {
    if !io::stdin().is_terminal() {
        return read_from(io::stdin().lock());
    }
    let password = rpassword::prompt_password("Password: ").map_err(Failure::Read)?;
    let again = rpassword::prompt_password("Again: ").map_err(Failure::Read)?;
    if password != again {
        return Err(Failure::Different);
    }
    read_from(password.as_bytes())
}

/// Reads a password without the end of its line.
fn read_from(input: impl Read) -> Result<Vec<u8>, Failure> {
    let mut password = Vec::new();
    // Two more bytes, for the end of the line.
    input.take(MAX_PASSWORD_BYTES as u64 + 3).read_to_end(&mut password).map_err(Failure::Read)?;
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    match password.len() {
        0 => Err(Failure::Empty),
        length if length > MAX_PASSWORD_BYTES => Err(Failure::Long),
        _ => Ok(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_line_is_not_part_of_a_password() {
        for (input, password) in [("a b \r\n", "a b "), ("a\n\n", "a\n"), ("a\r", "a\r"), ("\u{e9}", "\u{e9}")] {
            assert_eq!(read_from(input.as_bytes()).expect("a password"), password.as_bytes(), "{input:?}");
        }
        assert!(matches!(read_from(&b"\r\n"[..]), Err(Failure::Empty)));
        let longest = vec![b'a'; MAX_PASSWORD_BYTES];
        assert_eq!(read_from(&[&longest[..], b"\r\n"].concat()[..]).expect("a password"), longest);
        assert!(matches!(read_from(&[&longest[..], b"a"].concat()[..]), Err(Failure::Long)));
    }
}
