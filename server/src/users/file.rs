//! The file of users.

use super::role::Role;
use super::secret::{Argon2Hash, Secret};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The longest file.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The longest name of a user.
const MAX_NAME_BYTES: usize = 128;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) secret: Secret,
    pub(super) role: Role,
}

/// The users of a file.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) users: BTreeMap<String, User>,
    /// The hash that takes longest to check.
    pub(super) costliest: Option<Argon2Hash>,
}

/// The reason why a file of users cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// It cannot be read.
    #[error("cannot read the users in {}: {source}; give --users a file that this process can read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line is malformed.
    #[error("{} line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// It names no user.
    #[error("{} names no user; add a line of the form NAME HASH ROLE, or omit --users", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl Table {
    /// Reads a file of users.
    pub(super) fn read(path: &Path) -> Result<Table, UsersError> {
        let failed = |source| UsersError::Read { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(failed)?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(failed(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it exceeds {MAX_FILE_BYTES} bytes"),
            )));
        }
        warn_if_readable_by_others(path, &metadata);
        let text = fs::read_to_string(path).map_err(failed)?;
        let table =
            Table::parse(&text).map_err(|(line, problem)| UsersError::Line { path: path.to_owned(), line, problem })?;
        if table.users.is_empty() {
            return Err(UsersError::Empty { path: path.to_owned() });
        }
        Ok(table)
    }

    /// Parses the lines of a file. An error has the number of its line.
    fn parse(text: &str) -> Result<Table, (usize, String)> {
        let mut table = Table::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, user) = parse_line(line).map_err(|problem| (number, problem))?;
            if let Secret::Argon2(hash) = &user.secret
                && table.costliest.as_ref().is_none_or(|costliest| costliest.cost < hash.cost)
            {
                table.costliest = Some(hash.clone());
            }
            if table.users.insert(name.to_owned(), user).is_some() {
                return Err((number, format!("user {name} has a line already; delete one of the two")));
            }
        }
        Ok(table)
    }
}

fn parse_line(line: &str) -> Result<(&str, User), String> {
    let [name, hash, role] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("not of the form NAME HASH ROLE; separate the three with spaces".to_owned());
    };
    if name.len() > MAX_NAME_BYTES || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("the name of a user is 1 to {MAX_NAME_BYTES} letters, digits and signs of ASCII"));
    }
    let secret = Secret::parse(hash)?;
    let role =
        Role::parse(role).ok_or_else(|| format!("{role:?} is not a role; write read-only, read-write or admin"))?;
    Ok((name, User { secret, role }))
}

#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path, metadata: &fs::Metadata) {
    use std::os::unix::fs::PermissionsExt as _;
    if metadata.permissions().mode() & 0o007 != 0 {
        tracing::warn!(
            "every user of this machine can read or write the hashes of passwords in {}; restrict it: chmod o= {0}",
            path.display()
        );
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_path: &Path, _metadata: &fs::Metadata) {}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
    const COSTLY: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_file_has_users_comments_and_empty_lines() {
        let sha = format!("sha256:{}", "0".repeat(64));
        let text = format!("# users\n\nreader {CHEAP} read-only\r\n  writer\t{COSTLY}   read-write\nroot {sha} admin");
        let table = Table::parse(&text).expect("a good file");
        let roles: Vec<_> = table.users.iter().map(|(name, user)| (&name[..], user.role)).collect();
        assert_eq!(roles, [("reader", Role::ReadOnly), ("root", Role::Admin), ("writer", Role::ReadWrite)]);
        assert_eq!(table.costliest.expect("two Argon2 hashes").text, COSTLY);
    }

    #[test]
    fn an_error_names_its_line_and_the_correction() {
        for (lines, line, said) in [
            (format!("a {CHEAP}"), 1, "not of the form NAME HASH ROLE"),
            (format!("\na {CHEAP} admin extra"), 2, "not of the form NAME HASH ROLE"),
            (format!("a {CHEAP} root"), 1, "\"root\" is not a role; write read-only, read-write or admin"),
            (format!("# x\na {CHEAP} admin\na {CHEAP} admin"), 3, "user a has a line already"),
            ("a secret admin".to_owned(), 1, "make it with `leasehold hash-password`"),
            (format!("\u{e9} {CHEAP} admin"), 1, "the name of a user is"),
            (format!("{} {CHEAP} admin", "a".repeat(129)), 1, "the name of a user is"),
        ] {
            let (at, error) = Table::parse(&lines).expect_err("a bad file");
            assert_eq!(at, line, "{lines}");
            assert!(error.contains(said), "{lines}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        let error = || Table::read(&path).expect_err("a bad file").to_string();
        assert!(error().starts_with(&format!("cannot read the users in {}", path.display())), "{}", error());
        fs::write(&path, "# nothing\n").expect("a file");
        assert!(error().contains("names no user"), "{}", error());
        fs::write(&path, "a b\n").expect("a file");
        assert!(error().starts_with(&format!("{} line 1: not of the form", path.display())), "{}", error());
    }
}
