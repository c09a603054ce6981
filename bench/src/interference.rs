//! GETs of one client while others repeat `KEYS *` over a large keyspace.

use crate::cluster::Cluster;
use crate::redis::{self, Keeps, Redis};
use crate::report::{Report, Row, Target};
use crate::stopwatch::Stopwatch;
use hdrhistogram::Histogram;
use leasehold_testing::dice::Dice;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Keys written by one `MSET` while loading.
const LOAD_KEYS: usize = 1000;
/// The length of a key, and of its element in a reply.
const KEY_BYTES: usize = 16;
const ELEMENT_BYTES: usize = "$16\r\n".len() + KEY_BYTES + "\r\n".len();
/// The time between the start of the load and the first GET that counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// No reply may take longer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// The aim: the 99.9th percentile of a GET, in milliseconds, and the share of reads that a lease answers.
const MAX_P999_MILLIS: f64 = 20.0;
const MIN_LEASE_SHARE: f64 = 0.999;

/// The size of the experiment.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Size {
    /// Keys in the store.
    #[arg(long, default_value_t = 700_000)]
    keys: usize,
    /// Clients that repeat `KEYS *`.
    #[arg(long, default_value_t = 6)]
    scanners: usize,
    /// The time for which GETs are measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// The measurements of one server.
struct Measured {
    /// Nanoseconds of each GET.
    gets: Histogram<u64>,
    /// Replies to `KEYS`.
    scans: u64,
    seconds: f64,
}

pub(crate) fn run(size: Size, quick: bool) -> Result<Report, String> {
    let size = if quick { Size { seconds: size.seconds.min(5), ..size } } else { size };
    let peer = match Redis::start(Keeps::Nothing)? {
        Some(redis) => Some(measure(redis.port, size)?),
        None => None,
    };
    let cluster = Cluster::start(&[])?;
    let port = cluster.leader_port()?;
    load(port, size.keys)?;
    let before = cluster.counts()?;
    let ours = interfere(port, size)?;
    let after = cluster.counts()?;
    let (by_lease, otherwise) = (after.by_lease - before.by_lease, after.otherwise - before.otherwise);
    let share = by_lease as f64 / (by_lease + otherwise).max(1) as f64;
    let elections = after.term - before.term;

    let mut rows = Vec::new();
    for (name, quantile) in [("GET p50", 0.5), ("GET p99", 0.99), ("GET p99.9", 0.999), ("GET max", 1.0)] {
        rows.push(compare(name, "ms", &ours, peer.as_ref(), |measured| millis(&measured.gets, quantile)));
    }
    rows.push(compare("GET", "a second", &ours, peer.as_ref(), |measured| {
        measured.gets.len() as f64 / measured.seconds
    }));
    rows.push(compare("KEYS *", "a second", &ours, peer.as_ref(), |measured| measured.scans as f64 / measured.seconds));
    let p999 = millis(&ours.gets, 0.999);
    rows.push(within("GET p99.9 / limit", "ms", p999, MAX_P999_MILLIS, Target::AtMost(1.0)));
    rows.push(within("reads by lease / limit", "share", share, MIN_LEASE_SHARE, Target::AtLeast(1.0)));
    rows.push(Row::alone("elections", elections as f64, "terms"));
    let mut notes = vec![format!(
        "{} keys; one client sends GETs, each after the reply to the last, while {} clients repeat KEYS *. \
         redis-server executes one command at a time. Clients and servers share this machine's cores; the servers run \
         one after the other.",
        size.keys, size.scanners
    )];
    if elections > 0 {
        notes.push("The leader was lost: MISSED.".to_owned());
    }
    if peer.is_none() {
        notes.push(redis::ABSENT.to_owned());
    }
    Ok(Report {
        title: format!("GETs of one client while {} repeat KEYS *, {} s", size.scanners, size.seconds),
        ours: "leasehold",
        peer: "peer",
        rows,
        notes,
    })
}

fn compare(
    name: &str,
    unit: &'static str,
    ours: &Measured,
    peer: Option<&Measured>,
    figure: impl Fn(&Measured) -> f64,
) -> Row {
    Row { peer: peer.map(&figure), ..Row::alone(name, figure(ours), unit) }
}

fn within(name: &str, unit: &'static str, ours: f64, limit: f64, target: Target) -> Row {
    Row { peer: Some(limit), target: Some(target), ..Row::alone(name, ours, unit) }
}

fn millis(nanos: &Histogram<u64>, quantile: f64) -> f64 {
    nanos.value_at_quantile(quantile) as f64 / 1e6
}

fn measure(port: u16, size: Size) -> Result<Measured, String> {
    load(port, size.keys)?;
    interfere(port, size)
}

/// Writes the keys.
fn load(port: u16, keys: usize) -> Result<(), String> {
    let mut client = Client::connect(port)?;
    for from in (0..keys).step_by(LOAD_KEYS) {
        let names: Vec<String> = (from..keys.min(from + LOAD_KEYS)).map(key).collect();
        let words = names.iter().flat_map(|name| [name.as_str(), "xxx"]);
        client.send(["MSET"].into_iter().chain(words))?;
        let reply = client.line()?;
        if reply != "+OK" {
            return Err(format!("MSET was refused: {reply}"));
        }
    }
    Ok(())
}

/// Measures GETs while others scan.
fn interfere(port: u16, size: Size) -> Result<Measured, String> {
    let (scanning, done) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let scanners: Vec<_> =
            (0..size.scanners).map(|_| scope.spawn(|| scan(port, size.keys, &scanning, &done))).collect();
        let measured = get(port, size);
        done.store(true, Ordering::Relaxed);
        let mut scans = 0;
        for scanner in scanners {
            scans += scanner.join().map_err(|_| "a scanner panicked")??;
        }
        let (gets, elapsed) = measured?;
        Ok(Measured { gets, scans, seconds: elapsed.as_secs_f64() })
    })
}

/// Repeats `KEYS *` until the end; counts the replies that end before it.
fn scan(port: u16, keys: usize, scanning: &AtomicBool, done: &AtomicBool) -> Result<u64, String> {
    let mut client = Client::connect(port)?;
    let mut scans = 0;
    while scanning.load(Ordering::Relaxed) && !done.load(Ordering::Relaxed) {
        client.send(["KEYS", "*"])?;
        let head = client.line()?;
        if head != format!("*{keys}") {
            scanning.store(false, Ordering::Relaxed);
            return Err(format!("KEYS * returned {head} instead of *{keys}"));
        }
        client.skip(keys * ELEMENT_BYTES)?;
        scans += 1;
    }
    Ok(scans)
}

/// Sends one GET after the other. Returns their latencies and the time they took together.
fn get(port: u16, size: Size) -> Result<(Histogram<u64>, Duration), String> {
    let mut client = Client::connect(port)?;
    let mut gets = Histogram::new_with_bounds(1, 100_000_000_000, 3).map_err(|error| error.to_string())?;
    let mut dice = Dice::new(1, 0);
    std::thread::sleep(WARM_UP);
    let watch = Stopwatch::start();
    while watch.elapsed() < Duration::from_secs(size.seconds) {
        let key = key(dice.index(size.keys));
        let one = Stopwatch::start();
        client.send(["GET", &key])?;
        let head = client.line()?;
        if head != "$3" {
            return Err(format!("GET {key} returned {head}"));
        }
        client.skip("xxx\r\n".len())?;
        gets.saturating_record(one.elapsed().as_nanos() as u64);
    }
    Ok((gets, watch.elapsed()))
}

fn key(number: usize) -> String {
    format!("key:{number:012}")
}

/// A blocking connection.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The part of the buffer that was received and not consumed.
    from: usize,
    to: usize,
}

impl Client {
    fn connect(port: u16) -> Result<Client, String> {
        let connect = || {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: std::io::Error| format!("cannot connect: {error}"))?;
        Ok(Client { stream, buffer: vec![0; 256 << 10], from: 0, to: 0 })
    }

    fn send<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let (mut count, mut body) = (0, String::new());
        for word in words {
            count += 1;
            body.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let request = format!("*{count}\r\n{body}");
        self.stream.write_all(request.as_bytes()).map_err(|error| format!("cannot send: {error}"))
    }

    fn receive(&mut self) -> Result<(), String> {
        self.from = 0;
        self.to = self.stream.read(&mut self.buffer).map_err(|error| format!("no reply: {error}"))?;
        if self.to == 0 { Err("the server closed the connection".to_owned()) } else { Ok(()) }
    }

    /// Returns the next line, without its end.
    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            if self.from == self.to {
                self.receive()?;
            }
            line.push(char::from(self.buffer[self.from]));
            self.from += 1;
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    /// Consumes this many bytes.
    fn skip(&mut self, mut bytes: usize) -> Result<(), String> {
        while bytes > 0 {
            if self.from == self.to {
                self.receive()?;
            }
            let skipped = bytes.min(self.to - self.from);
            self.from += skipped;
            bytes -= skipped;
        }
        Ok(())
    }
}
