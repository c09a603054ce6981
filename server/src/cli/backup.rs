//! `leasehold backup`.

use super::exit::{FAILED, fail};
use crate::backup::{BackupError, BackupReader};
use clap::Args;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The time that a node may take to answer, or to continue.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The arguments of `backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArguments {
    /// The address of any node for clients: HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    from: String,
    /// The file to write, or - for the standard output. An existing file is replaced once the backup is complete.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot connect to {0}: {1}; give the address at which a node serves clients")]
    Connect(String, io::Error),
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

fn take(BackupArguments { from, to }: BackupArguments) -> Result<String, Failure> {
    let connect = || {
        let mut stream = TcpStream::connect(&from)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.write_all(b"LEASEHOLD.BACKUP\r\n")?;
        let mut reader = BufReader::with_capacity(1 << 20, stream);
        let refused = reader.fill_buf()?.first() == Some(&b'-');
        Ok((reader, refused))
    };
    let (mut stream, refused) = connect().map_err(|error| Failure::Connect(from.clone(), error))?;
    if refused {
        let mut reason = String::new();
        let _ = stream.read_line(&mut reason);
        return Err(Failure::Refused(from, reason.trim_start_matches('-').trim_end().to_owned()));
    }
    let bulks = Bulks { stream, left: 0 };
    if to == Path::new("-") {
        let (_, text) = copy(bulks, BufWriter::new(io::stdout().lock()))?;
        return Ok(text);
    }
    // Another name until it is complete, so that a cut backup is never taken for one.
    let unfinished = unfinished_name(&to);
    let written = |source| Failure::Write { path: to.clone(), source };
    let file = File::create(&unfinished).map_err(written)?;
    let (file, text) = copy(bulks, BufWriter::new(file)).inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
    let file = file.into_inner().map_err(|error| written(error.into_error()))?;
    file.sync_all().and_then(|()| fs::rename(&unfinished, &to)).map_err(written)?;
    Ok(text)
}

/// Returns the path of a file or folder next to this one, for what is not complete yet.
fn unfinished_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// Copies a backup and checks it on the way.
fn copy<W: Write>(from: impl Read, to: W) -> Result<(W, String), Failure> {
    let mut reader = BackupReader::new(Tee { from, to })?;
    while reader.next_chunk()?.is_some() {}
    let text = format!(
        "{} records of cluster {:?}, with every write through index {}",
        reader.records(),
        reader.header().cluster,
        reader.header().index
    );
    let Tee { mut to, .. } = reader.into_inner();
    to.flush().map_err(BackupError::Io)?;
    Ok((to, text))
}

/// Passes on everything that is read.
struct Tee<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.to.write_all(&buffer[..length])?;
        Ok(length)
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
