//! Clients that do what no client should, against real processes: others are served meanwhile, and memory stays bounded.

#![cfg(target_os = "linux")]

#[path = "support/ports.rs"]
mod ports;

use ports::free_port;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// A node that is killed when the test ends.
struct Node {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    /// Starts a cluster of one node and waits until it replies to these lines as expected.
    fn start_until(runtime: &str, flags: &[&str], lines: &str, expected: &str) -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, peer) = (free_port(), free_port());
        let process = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["serve", "--id", "1", "--hold-ms", "300", "--heartbeat-ms", "30", "--runtime", runtime])
            .args(["--peers", &format!("1=127.0.0.1:{peer}"), "--peer-listen", &format!("127.0.0.1:{peer}")])
            .args(["--client-listen", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(folder.path().join("data"))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let node = Node { process, port, _folder: folder };
        while !node.exchange(lines).starts_with(expected) {
            std::thread::sleep(Duration::from_millis(20));
        }
        node
    }

    fn start(runtime: &str, flags: &[&str]) -> Node {
        Node::start_until(runtime, flags, "DBSIZE\r\nQUIT\r\n", ":")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the node listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
        stream
    }

    /// Sends lines on a new connection and returns all replies.
    fn exchange(&self, lines: &str) -> String {
        let mut answer = Vec::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
            // A node that starts is tried again.
            let _ = stream.write_all(lines.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn info(&self, field: &str) -> usize {
        let info = self.exchange("INFO\r\nQUIT\r\n");
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {field} in {info}"))
    }

    /// Returns the memory that the process has in use.
    fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }

    /// Checks that other clients are served.
    fn serves(&self) {
        assert_eq!(self.exchange("SET a b\r\nGET a\r\nQUIT\r\n"), "+OK\r\n$1\r\nb\r\n+OK\r\n");
    }
}

/// Declares each test once for each runtime.
macro_rules! on_every_runtime {
    ($($test:ident),* $(,)?) => {
        mod tokio { $(#[test] fn $test() { super::$test("tokio"); })* }
        mod smol { $(#[test] fn $test() { super::$test("smol"); })* }
    };
}

on_every_runtime!(
    random_bytes_close_at_most_their_own_connection,
    claims_of_gigabytes_take_no_memory,
    thousands_of_half_open_connections_take_little_memory,
    clients_that_never_read_and_clients_that_flood_take_bounded_memory,
);

/// Bytes that look random, and sometimes like requests.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let likely = b"*$\r\n0123456789-+:SETGETMULTI \"'";
        let plain = self.next().is_multiple_of(2);
        let byte = |number: u64| if plain { number as u8 } else { likely[number as usize % likely.len()] };
        (0..length).map(|_| byte(self.next() >> 8)).collect()
    }
}

fn random_bytes_close_at_most_their_own_connection(runtime: &str) {
    let mut node = Node::start(runtime, &[]);
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for round in 0..300 {
        let mut stream = node.connect();
        let length = 1 + noise.next() as usize % 4000;
        // The node may have closed the connection by now.
        let _ = stream.write_all(&noise.bytes(length));
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        if round % 50 == 0 {
            node.serves();
        }
    }
    node.serves();
    assert_eq!(node.process.try_wait().expect("a process"), None);
    while node.info("connected_clients") > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn claims_of_gigabytes_take_no_memory(runtime: &str) {
    let node = Node::start(runtime, &[]);
    let before = node.resident_bytes();
    for claim in ["*1\r\n$4294967296\r\n", "*4294967296\r\n", "*2\r\n$99999999999999999999\r\n", "*1\r\n$536870913\r\n"]
    {
        let answer = node.exchange(claim);
        assert!(answer.starts_with("-ERR Protocol error: invalid "), "{claim:?}: {answer}");
    }
    // These are within the limits: memory is taken as the bytes arrive, and not for what is announced.
    let claims: Vec<_> =
        ["*1048576\r\n$16777216\r\nabc", "*1\r\n$16777216\r\nabc", "*2\r\n$3\r\nGET\r\n$536870912\r\nabc"]
            .iter()
            .cycle()
            .take(150)
            .map(|claim| {
                let mut stream = node.connect();
                stream.write_all(claim.as_bytes()).expect("the request is sent");
                stream
            })
            .collect();
    node.serves();
    while node.info("connected_clients") < claims.len() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (grown, held) = (node.resident_bytes().saturating_sub(before), node.info("mem_client_requests"));
    assert!(grown < 100 * MIB, "{} MiB for {} claims", grown / MIB, claims.len());
    // One of them at a time may have more than there is.
    assert!(held <= (256 + 16 + 1) * MIB, "{held}");
}

fn thousands_of_half_open_connections_take_little_memory(runtime: &str) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the limit may be raised");
    // Half of what this process may open, because another test may run in it, and two thousand at most.
    let half = |limit: u64| usize::try_from(limit / 2).unwrap_or(usize::MAX);
    let count = maximum.or(current).map_or(2000, |limit| half(limit).saturating_sub(200).min(2000));
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    // The SHA-256 hash of `secret`.
    let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    fs::write(&users, format!("default {hash} admin\n")).expect("a file");
    let node = Node::start(runtime, &["--max-clients", "5000"]);
    let before = node.resident_bytes();
    let idle: Vec<_> = (0..count)
        .map(|number| {
            let mut stream = node.connect();
            // Some send nothing, some the beginning of a request.
            if number % 2 == 0 {
                stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\n").expect("it is sent");
            }
            stream
        })
        .collect();
    while node.info("connected_clients") < idle.len() {
        std::thread::sleep(Duration::from_millis(20));
    }
    node.serves();
    let grown = node.resident_bytes().saturating_sub(before);
    println!("{} KiB for each of {} connections", (grown >> 10) / idle.len(), idle.len());
    assert!(grown < idle.len() * (64 << 10), "{grown} bytes for {} connections", idle.len());
    drop(idle);
    while node.info("connected_clients") > 1 {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Where clients must log in, those that do not are closed by themselves.
    let flags = ["--client-timeout-s", "1", "--users", users.to_str().expect("text")];
    let closed = Node::start_until(runtime, &flags, "AUTH secret\r\nQUIT\r\n", "+OK");
    let mut idle: Vec<_> = (0..200).map(|_| closed.connect()).collect();
    for stream in &mut idle {
        assert_eq!(stream.read_to_end(&mut Vec::new()).expect("it is closed"), 0);
    }
}

fn clients_that_never_read_and_clients_that_flood_take_bounded_memory(runtime: &str) {
    let node = Node::start(runtime, &["--client-timeout-s", "3", "--client-memory", "32mb", "--max-pipeline", "1mb"]);
    let mut value = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n".to_vec();
    value.resize(value.len() + MIB, b'v');
    value.extend(b"\r\n");
    let mut writer = node.connect();
    writer.write_all(&value).and_then(|()| writer.read_exact(&mut [0; 5])).expect("it is stored");
    let flood = b"GET k\r\n".repeat(1000);
    let mut greedy: Vec<_> = (0..40).map(|_| node.connect()).collect();
    for stream in &mut greedy {
        stream.set_nonblocking(true).expect("a socket of this process");
    }
    let mut sent = vec![0; greedy.len()];
    let mut most = 0;
    // They ask for gigabytes, until each of them is closed.
    while node.info("timed_out_connections") < greedy.len() {
        for (stream, sent) in greedy.iter_mut().zip(&mut sent) {
            if let Ok(more) = stream.write(&flood[*sent..]) {
                *sent = (*sent + more) % flood.len();
            }
        }
        node.serves();
        most = most.max(node.resident_bytes());
    }
    assert!(most < 300 * MIB, "{} MiB", most / MIB);
}
