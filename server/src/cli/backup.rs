//! `leasehold backup`.

use super::connection::{Connection, ConnectionError, ConnectionFlags};
use super::exit::{FAILED, fail};
use crate::backup::{BackupError, BackupReader};
use clap::Args;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufWriter, IntoInnerError, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The arguments of `backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArguments {
    /// The address of any node for clients: HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    from: String,
    /// The file to write, or - for the standard output. An existing file is replaced once the backup is complete.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    connection: ConnectionFlags,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("{0} refused the backup: {1}")]
    Refused(String, String),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Backup(#[from] BackupError),
}

/// Takes a backup from a running node.
pub(super) fn run(arguments: BackupArguments) -> ExitCode {
    match take(arguments) {
        Ok(text) => {
            eprintln!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILED, error),
    }
}

fn take(BackupArguments { from, to, connection: flags }: BackupArguments) -> Result<String, Failure> {
    let mut connection = Connection::open(&from, &flags)?;
    let ask = |connection: &mut Connection| {
        connection.send(&[b"LEASEHOLD.BACKUP"])?;
        Ok(connection.received().fill_buf()?.first().copied())
    };
    let first = ask(&mut connection).map_err(|error| ConnectionError::Connect(from.clone(), error))?;
    if first.is_some_and(|first| !b"$-".contains(&first)) {
        return Err(ConnectionError::OtherProtocol(from).into());
    }
    if first == Some(b'-') {
        let mut reason = String::new();
        let _ = connection.received().read_line(&mut reason);
        return Err(Failure::Refused(from, reason.trim_start_matches('-').trim_end().to_owned()));
    }
    let bulks = Bulks { stream: connection.received(), left: 0 };
    if to == Path::new("-") {
        let (_, text) = copy(bulks, BufWriter::new(io::stdout().lock()), Path::new("to the standard output"))?;
        return Ok(text);
    }
    let to = to.components().as_path();
    // Another name until it is complete, so that a cut backup is never taken for one.
    let unfinished = unfinished_name(to);
    let failed = |path: &Path, source| Failure::Write { path: path.to_owned(), source };
    // Not the file of another process that takes a backup to the same place.
    let file = create_private(&unfinished).map_err(|source| failed(&unfinished, source))?;
    let complete = || {
        let (file, text) = copy(bulks, BufWriter::new(file), to)?;
        let synced = file.into_inner().map_err(IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.and_then(|()| fs::rename(&unfinished, to)).map_err(|source| failed(to, source))?;
        Ok(text)
    };
    let text = complete().inspect_err(|_: &Failure| drop(fs::remove_file(&unfinished)))?;
    sync_folder_of(to).map_err(|source| failed(to, source))?;
    Ok(text)
}

/// Returns the path of a file next to this one, for what this process has not completed yet.
fn unfinished_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.unfinished", std::process::id()));
    PathBuf::from(name)
}

/// Creates a file that other users of the machine cannot read.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the name of a file durable.
#[cfg(unix)]
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Does nothing: other systems cannot open a folder, and a name becomes durable with its file.
#[cfg(not(unix))]
fn sync_folder_of(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Copies a backup to `path` and checks it on the way.
fn copy<W: Write>(from: impl Read, to: W, path: &Path) -> Result<(W, String), Failure> {
    let mut tee = Tee { from, to, failed: None };
    let checked = check(&mut tee);
    if let Some(source) = tee.failed {
        return Err(Failure::Write { path: path.to_owned(), source });
    }
    let text = checked?;
    tee.to.flush().map_err(|source| Failure::Write { path: path.to_owned(), source })?;
    Ok((tee.to, text))
}

/// Reads a whole backup, and describes it.
fn check(from: impl Read) -> Result<String, BackupError> {
    let mut reader = BackupReader::new(from)?;
    while reader.next_chunk()?.is_some() {}
    Ok(reader.to_string())
}

/// Passes on everything that is read.
struct Tee<R, W> {
    from: R,
    to: W,
    /// The reason why it cannot be passed on.
    failed: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        match self.to.write_all(&buffer[..length]) {
            Ok(()) => Ok(length),
            Err(error) => {
                self.failed = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

/// The content of consecutive bulk strings.
struct Bulks<R> {
    stream: R,
    left: u64,
}

impl<R: BufRead> Read for Bulks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Ok(0);
            }
            match line.trim_end() {
                "" => {}
                "$0" => return Ok(0),
                head => {
                    let length = head.strip_prefix('$').and_then(|length| length.parse().ok());
                    self.left = length.ok_or(io::ErrorKind::InvalidData)?;
                }
            }
        }
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let length = self.stream.read(&mut buffer[..length])?;
        self.left -= length as u64;
        Ok(length)
    }
}
