//! Starts of real processes: from a configuration file, and wrong ones, each of which says what to do.

#[path = "support/ports.rs"]
mod ports;

use ports::free_port;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that is killed when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn leasehold() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn a_configuration_file_alone_starts_a_node_and_a_signal_reloads_its_users() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (client, peer) = (free_port(), free_port());
    // The SHA-256 hash of `secret`.
    let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    fs::write(path("users"), format!("default {hash} admin\n")).expect("a file");
    let file = format!(
        "id = 1\npeers = \"1=127.0.0.1:{peer}\"\npeer-listen = \"127.0.0.1:{peer}\"\nhold-ms = 300\nheartbeat-ms = 30\n\
         client-listen = \"127.0.0.1:{client}\"\ndata-dir = {:?}\nusers = {:?}\nmax-clients = 7\n",
        path("data"),
        path("users")
    );
    fs::write(path("leasehold.toml"), file).expect("a file");
    let mut process = leasehold();
    process.arg("serve").arg("--config").arg(path("leasehold.toml")).env("LEASEHOLD_MAX_CLIENTS", "8");
    let mut process = Process(process.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a process"));
    let mut banner = String::new();
    BufReader::new(process.0.stdout.take().expect("piped")).read_line(&mut banner).expect("it starts");
    assert!(banner.contains("serves clients"), "{banner}");
    let exchange = |request: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", client)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout is set");
        stream.write_all(request.as_bytes()).expect("the request is sent");
        let mut answer = String::new();
        // A user who was removed meanwhile is disconnected without an answer.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let info = exchange("AUTH secret\r\nINFO clients\r\nQUIT\r\n");
    assert!(info.contains("maxclients:8\r\n"), "the environment overrides the file: {info}");
    fs::write(path("users"), format!("other {hash} admin\n")).expect("a file");
    let signalled = Command::new("kill").args(["-HUP", &process.0.id().to_string()]).status().expect("a process");
    assert!(signalled.success());
    while !exchange("AUTH secret\r\nQUIT\r\n").starts_with("-WRONGPASS ") {}
    assert_eq!(exchange("AUTH other secret\r\nPING\r\nQUIT\r\n"), "+OK\r\n+PONG\r\n+OK\r\n");
    assert_eq!(process.0.try_wait().expect("a process"), None);
}

#[test]
fn each_line_of_a_log_in_json_is_an_object_and_one_says_that_reads_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = format!("127.0.0.1:{}", free_port());
    let mut process = leasehold();
    process.args(["serve", "--id", "1", "--log-format", "json", "--hold-ms", "300", "--heartbeat-ms", "30"]);
    process.args(["--peers", &format!("1={peer}"), "--peer-listen", &peer, "--client-listen", "127.0.0.1:0"]);
    process.arg("--data-dir").arg(folder.path().join("data")).env("RUST_LOG", "info");
    let mut process = Process(process.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a process"));
    for line in BufReader::new(process.0.stderr.take().expect("piped")).lines() {
        let line = line.expect("text");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let field = |name: &str| object[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}"));
        assert!(!field("timestamp").is_empty() && !field("target").is_empty() && !field("level").is_empty());
        let message = field("message");
        if message.starts_with("this node leads in term ") && message.ends_with(" and may answer reads") {
            return;
        }
    }
    panic!("the node ended before it led");
}

/// Runs a command that fails and returns its exit code and its last line of errors.
fn fails(flags: &[&str]) -> (Option<i32>, String) {
    let output = leasehold().args(flags).env("RUST_LOG", "off").output().expect("a process");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn a_wrong_start_says_in_one_line_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("users"), "default password admin\n").expect("a file");
    fs::write(path("file"), "hold-ms = 1\nhold_ms = 2\n").expect("a file");
    let (data, peer) = (path("data"), format!("127.0.0.1:{}", free_port()));
    let peers = format!("1={peer}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("a bound port").to_string();
    let serve = |flags: &[(&str, &str)]| {
        let defaults = [
            ("--id", "1"),
            ("--peers", &peers[..]),
            ("--peer-listen", &peer),
            ("--client-listen", "127.0.0.1:0"),
            ("--data-dir", &data),
        ];
        let mut line = vec!["serve"];
        for (flag, value) in defaults.iter().filter(|(flag, _)| !flags.iter().any(|(other, _)| flag == other)) {
            line.extend([flag, value]);
        }
        flags.iter().for_each(|(flag, value)| line.extend([flag, value].into_iter().filter(|word| !word.is_empty())));
        fails(&line)
    };
    for (flags, code, said) in [
        (&[("--client-listen", "store.invalid:6379")][..], 1, "cannot resolve the host; check its spelling"),
        (&[("--peer-listen", "store.invalid:7101")], 1, "cannot resolve the host; check its spelling"),
        (&[("--client-listen", "192.0.2.1:6379"), ("--insecure", "")], 1, "choose an address of this machine"),
        (&[("--client-listen", &taken)], 1, "choose another port, or stop the process that uses this one"),
        (&[("--peer-listen", "0.0.0.0:0")], 2, "--peer-listen 0.0.0.0:0 can be reached from other machines"),
        (&[("--client-listen", "0.0.0.0:0")], 2, "--client-listen 0.0.0.0:0 can be reached from other machines"),
        (&[("--users", "/nowhere/at/all")], 1, "cannot read the users in /nowhere/at/all"),
        (&[("--users", &path("users"))], 1, "users line 1: the hash is neither"),
        (&[("--client-tls-cert", "/nowhere"), ("--client-tls-key", "/nowhere")], 1, "with TLS: cannot read /nowhere"),
        (&[("--config", &path("file"))], 2, "file line 2: unknown key \"hold_ms\"; the nearest one is \"hold-ms\""),
        (&[("--threads", "100000")], 2, "not a number of threads from 1 to 1024"),
        (&[("--id", "one")], 2, "not a node's number"),
        (&[("--hold-ms", "86400000")], 2, "--hold-ms 86400000 is longer than 60s"),
    ] {
        let (exit, error) = serve(flags);
        assert_eq!(exit, Some(code), "{flags:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(said), "{flags:?}: {error}");
        // The parser of the command line adds a hint at its help.
        let lines = error.lines().filter(|line| !line.is_empty() && !line.starts_with("For more information"));
        assert_eq!(lines.count(), 1, "{flags:?}: {error}");
    }
}
