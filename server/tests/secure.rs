//! Real processes whose nodes recognize each other by certificates and a secret.

#![cfg(unix)]

#[path = "support/ports.rs"]
mod ports;

use leasehold_certificates::{Authority, Files};
use ports::free_port;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A test fails when it waits for longer than this.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const SECRET: &str = "a secret of the test\n";

/// A cluster of three processes, each with a folder of its own for data, certificates and log.
struct Cluster {
    folder: TempDir,
    ports: [[u16; 2]; 3],
    processes: [Option<Child>; 3],
}

impl Cluster {
    fn new(authority: &Authority) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("secret"), SECRET).expect("a file");
        let ports = [(); 3].map(|()| [(); 2].map(|()| free_port()));
        let cluster = Cluster { folder, ports, processes: [const { None }; 3] };
        for id in 1..=3 {
            fs::create_dir(cluster.path(id, "")).expect("a folder");
            cluster.install(id, authority, &authority.file());
        }
        cluster
    }

    fn path(&self, id: usize, name: &str) -> PathBuf {
        self.folder.path().join(id.to_string()).join(name)
    }

    /// Gives a node a certificate of this authority, and the certificates of those that it accepts.
    fn install(&self, id: usize, authority: &Authority, accepts: &Path) {
        let Files { certificate, key } = authority.certify(&[&format!("node-{id}.orchard.leasehold")]);
        fs::copy(certificate, self.path(id, "cert.pem")).expect("a copy");
        fs::copy(key, self.path(id, "key.pem")).expect("a copy");
        fs::copy(accepts, self.path(id, "ca.pem")).expect("a copy");
    }

    fn start(&mut self, id: usize, runtime: &str) {
        let peers: Vec<String> = (1..=3).map(|peer| format!("{peer}=127.0.0.1:{}", self.ports[peer - 1][0])).collect();
        let [peer_port, client_port] = self.ports[id - 1];
        let log = File::options().create(true).append(true).open(self.path(id, "log")).expect("a file");
        let process = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["serve", "--cluster", "orchard", "--runtime", runtime, "--hold-ms", "1000", "--heartbeat-ms", "100"])
            .args(["--id", &id.to_string(), "--peers", &peers.join(",")])
            .args(["--peer-listen", &format!("127.0.0.1:{peer_port}")])
            .args(["--client-listen", &format!("127.0.0.1:{client_port}")])
            .arg("--data-dir")
            .arg(self.path(id, "data"))
            .arg("--tls-cert")
            .arg(self.path(id, "cert.pem"))
            .arg("--tls-key")
            .arg(self.path(id, "key.pem"))
            .arg("--tls-ca")
            .arg(self.path(id, "ca.pem"))
            .arg("--peer-secret-file")
            .arg(self.folder.path().join("secret"))
            .env_remove("RUST_LOG")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        self.processes[id - 1] = Some(process);
    }

    fn signal(&self, id: usize, signal: &str) {
        let process = self.processes[id - 1].as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &process]).status().expect("kill runs").success());
    }

    fn kill(&mut self, id: usize) {
        let mut process = self.processes[id - 1].take().expect("it runs");
        process.kill().expect("it runs");
        process.wait().expect("it ends");
    }

    fn log(&self, id: usize) -> String {
        fs::read_to_string(self.path(id, "log")).expect("a log")
    }

    /// Executes a command of one line on a node, until the answer is `expected`.
    fn until(&self, id: usize, command: &str, expected: &str) {
        let mut last = String::new();
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.ports[id - 1][1]))?;
            stream.set_read_timeout(Some(WAIT_TIMEOUT))?;
            stream.write_all(format!("{command}\r\n").as_bytes())?;
            let mut answer = String::new();
            let mut reader = BufReader::new(stream);
            reader.read_line(&mut answer)?;
            if answer.starts_with('$') {
                answer.clear();
                reader.read_line(&mut answer)?;
            }
            Ok(answer.trim_end().to_owned())
        };
        self.wait(&format!("{command:?} on node {id} to answer {expected:?}"), || {
            last = ask().unwrap_or_else(|error| error.to_string());
            last == expected
        });
    }

    #[expect(clippy::disallowed_methods, reason = "a test ends after a while")]
    fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < WAIT_TIMEOUT, "waited for {what}; the logs:\n{}", self.logs());
            sleep(Duration::from_millis(20));
        }
    }

    fn logs(&self) -> String {
        (1..=3).map(|id| format!("node {id}:\n{}", self.log(id))).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[test]
fn a_cluster_with_certificates_and_a_secret_renews_them_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut cluster = Cluster::new(&old);
    for (id, runtime) in [(1, "tokio"), (2, "smol"), (3, "tokio")] {
        cluster.start(id, runtime);
    }
    cluster.until(1, "SET greeting hello", "+OK");
    // A node that does not serve yet may not be prepared for the signals that follow.
    cluster.until(2, "GET greeting", "hello");
    cluster.until(3, "GET greeting", "hello");

    // A bad file changes nothing.
    fs::write(cluster.path(1, "key.pem"), "no key").expect("a file");
    cluster.signal(1, "HUP");
    cluster.wait("the bad key to be refused", || cluster.log(1).contains("the former ones stay in use"));
    cluster.until(1, "SET greeting again", "+OK");

    // The authority is replaced in three steps: accept both, renew, accept the new one alone.
    let both = cluster.folder.path().join("both.pem");
    let bytes = [old.file(), new.file()].map(|file| fs::read(file).expect("a file")).concat();
    fs::write(&both, bytes).expect("a file");
    for (step, (authority, accepts)) in [(&old, &both), (&new, &both), (&new, &new.file())].into_iter().enumerate() {
        for id in 1..=3 {
            cluster.install(id, authority, accepts);
            cluster.signal(id, "HUP");
            let reloaded = || cluster.log(id).matches("certificates of nodes are reloaded").count() > step;
            cluster.wait("the reload", reloaded);
        }
    }
    cluster.until(1, "SET greeting renewed", "+OK");
    // Each node that starts again connects with the new certificates alone.
    for (id, runtime) in [(1, "smol"), (2, "tokio"), (3, "smol")] {
        cluster.kill(id);
        cluster.start(id, runtime);
        cluster.until(id, "GET greeting", "renewed");
    }
    // One that still has an old certificate is kept out, and says so. The others go on.
    cluster.install(3, &old, &both);
    cluster.kill(3);
    cluster.start(3, "tokio");
    let says = "refuses this node's certificate, because another authority signed it";
    cluster.wait("the old certificate to be refused", || cluster.log(3).contains(says));
    cluster.until(1, "SET greeting without", "+OK");
    for id in 1..=3 {
        assert!(!cluster.log(id).contains("panicked"), "{}", cluster.logs());
    }
}
