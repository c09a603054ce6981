//! TLS on the client port, as clients see it.

#[macro_use]
mod support;
#[path = "support/served.rs"]
mod served;

use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use leasehold::{ClientOptions, Limits};
use leasehold_certificates::{Authority, Fault, Files};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_tls::{MutualTls, Stream, TlsClient, TlsFiles};
use served::{Served, command, connect, exchange, info_as};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

on_every_runtime!(
    clients_are_served_over_tls,
    long_values_and_pipelines_pass_in_both_directions,
    a_client_that_does_not_read_is_closed_in_time,
    a_client_that_does_not_speak_tls_is_refused_and_harms_no_other,
    with_an_authority_a_client_must_present_its_certificate,
    a_new_certificate_is_used_after_a_reload_and_a_bad_one_is_not,
    a_client_that_speaks_tls_to_a_plain_port_is_refused_at_once,
    a_backup_is_taken_over_tls_by_an_administrator,
);

fn serve<R: Runtime>(limits: Limits, files: &Files, authority: Option<&Authority>) -> Served<R> {
    let mut clients = ClientOptions::default();
    let tls = TlsFiles::new(&files.certificate, &files.key);
    clients.tls = Some(match authority {
        None => tls,
        Some(authority) => tls.with_authority(authority.file()),
    });
    served::serve(limits, clients)
}

/// A client that blocks.
struct Client {
    runtime: SmolRuntime,
    stream: Stream<<SmolRuntime as Runtime>::Stream>,
}

impl Client {
    fn connect(authority: &Authority, address: SocketAddr) -> io::Result<Client> {
        let tls = TlsClient::open(&authority.file()).expect("an authority");
        let runtime = SmolRuntime::start("client", 1).expect("a runtime");
        let stream = runtime.block_on(async {
            let stream = runtime.connect(&address.to_string()).await?;
            tls.connect("localhost", stream).await
        })?;
        Ok(Client { runtime, stream })
    }

    fn present(files: TlsFiles, address: SocketAddr) -> io::Result<Client> {
        let tls = MutualTls::open_unchecked(files).expect("good files");
        let runtime = SmolRuntime::start("client", 1).expect("a runtime");
        let stream = runtime.block_on(async {
            let stream = runtime.connect(&address.to_string()).await?;
            tls.connect("localhost", stream).await
        })?;
        Ok(Client { runtime, stream })
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.runtime.block_on(async {
            self.stream.write_all(request).await?;
            self.stream.flush().await
        })
    }

    fn receive(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut received = vec![0; bytes];
        self.runtime.block_on(self.stream.read_exact(&mut received))?;
        Ok(received)
    }

    /// Sends bytes and returns all replies until the node closes the connection.
    fn exchange(mut self, request: &[u8]) -> io::Result<String> {
        self.send(request)?;
        let mut answer = Vec::new();
        self.runtime.block_on(self.stream.read_to_end(&mut answer))?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn number(info: &str, field: &str) -> usize {
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {field} in {info}"))
}

fn clients_are_served_over_tls<R: Runtime>() {
    let authority = Authority::new();
    let node = serve::<R>(Limits::default(), &authority.certify(&["localhost"]), None);
    let served = Client::connect(&authority, node.address()).expect("a handshake");
    assert!(served.stream.is_encrypted());
    let answer = served.exchange(b"SET k v\r\nGET k\r\nPING\r\nQUIT\r\n").expect("an answer");
    assert_eq!(answer, "+OK\r\n$1\r\nv\r\n+PONG\r\n+OK\r\n");
    let stranger = Authority::new();
    assert!(Client::connect(&stranger, node.address()).is_err(), "the certificate is that of the node's authority");
}

fn long_values_and_pipelines_pass_in_both_directions<R: Runtime>() {
    let authority = Authority::new();
    let node = serve::<R>(Limits::default(), &authority.certify(&["localhost"]), None);
    let value = vec![b'v'; 3 << 20];
    let mut request = command(&[b"SET", b"k", &value]);
    (0..4).for_each(|_| request.extend(command(&[b"GET", b"k"])));
    request.extend(command(&[b"SET", b"s", b"x"]));
    (0..3000).for_each(|_| request.extend(command(&[b"GET", b"s"])));
    request.extend(b"QUIT\r\n");
    let answer =
        Client::connect(&authority, node.address()).expect("a handshake").exchange(&request).expect("an answer");
    let long = format!("$3145728\r\n{}\r\n", "v".repeat(3 << 20));
    assert!(answer == format!("+OK\r\n{}+OK\r\n{}+OK\r\n", long.repeat(4), "$1\r\nx\r\n".repeat(3000)));
}

fn a_client_that_does_not_read_is_closed_in_time<R: Runtime>() {
    let authority = Authority::new();
    let mut limits = Limits::default();
    limits.client_timeout = Duration::from_millis(500);
    let node = serve::<R>(limits, &authority.certify(&["localhost"]), None);
    let mut idle = Client::connect(&authority, node.address()).expect("a handshake");
    // A long value by a short request: one that does not fit into the buffers of both sockets must go on in time.
    let request = [&b"SETRANGE k 16777215 v\r\n"[..], &b"GET k\r\n".repeat(4)].concat();
    idle.send(&request).expect("the node reads");
    let timed_out = || {
        let info = Client::connect(&authority, node.address())
            .expect("a handshake")
            .exchange(b"INFO\r\nQUIT\r\n")
            .expect("an answer");
        number(&info, "timed_out_connections")
    };
    while timed_out() == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn a_client_that_does_not_speak_tls_is_refused_and_harms_no_other<R: Runtime>() {
    let authority = Authority::new();
    let node = serve::<R>(Limits::default(), &authority.certify(&["localhost"]), None);
    // One that sends nothing stays, until the time for the handshake is over.
    let _silent = connect(node.address());
    for request in [&b"SET k v\r\n"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100], &[0x16, 3, 1, 0xff, 0xff, 1]] {
        let mut plain = connect(node.address());
        plain.write_all(request).expect("the request is sent");
        plain.shutdown(std::net::Shutdown::Write).expect("the request is sent");
        let mut answer = Vec::new();
        // The rest of the request may reset the connection.
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"+OK"), "{answer:?}");
    }
    let client = Client::connect(&authority, node.address()).expect("a handshake");
    let answer = client.exchange(b"DBSIZE\r\nINFO clients\r\nQUIT\r\n").expect("an answer");
    assert!(answer.starts_with(":0\r\n"), "{answer}");
    assert_eq!(number(&answer, "tls_handshakes_failed"), 4);
}

fn with_an_authority_a_client_must_present_its_certificate<R: Runtime>() {
    let authority = Authority::new();
    let node = serve::<R>(Limits::default(), &authority.certify(&["localhost"]), Some(&authority));
    let present = |files: &Files| {
        let files = TlsFiles::new(&files.certificate, &files.key).with_authority(authority.file());
        Client::present(files, node.address())?.exchange(b"PING\r\nQUIT\r\n")
    };
    assert_eq!(present(&authority.certify(&["a client"])).expect("an answer"), "+PONG\r\n+OK\r\n");
    let strangers = Authority::new();
    assert!(present(&strangers.certify(&["a client"])).is_err());
    assert!(present(&authority.certify_with(&["a client of old"], Fault::Expired)).is_err());
    let without = Client::connect(&authority, node.address()).and_then(|client| client.exchange(b"PING\r\nQUIT\r\n"));
    assert!(without.is_err(), "{without:?}");
}

fn a_new_certificate_is_used_after_a_reload_and_a_bad_one_is_not<R: Runtime>() {
    let (authority, next) = (Authority::new(), Authority::new());
    let files = authority.certify(&["localhost"]);
    let node = serve::<R>(Limits::default(), &files, None);
    let mut before = Client::connect(&authority, node.address()).expect("a handshake");
    std::fs::write(&files.certificate, "nonsense").expect("a file");
    node.node.reload();
    assert!(Client::connect(&authority, node.address()).is_ok(), "the good one stays");
    let renewed = next.certify(&["localhost"]);
    std::fs::copy(&renewed.certificate, &files.certificate).expect("a file");
    std::fs::copy(&renewed.key, &files.key).expect("a file");
    node.node.reload();
    assert!(Client::connect(&next, node.address()).is_ok() && Client::connect(&authority, node.address()).is_err());
    // A connection that was made before goes on.
    before.send(b"PING\r\n").expect("the request is sent");
    assert_eq!(before.receive(7).expect("an answer"), b"+PONG\r\n");
}

fn a_client_that_speaks_tls_to_a_plain_port_is_refused_at_once<R: Runtime>() {
    let node = served::serve::<R>(Limits::default(), ClientOptions::default());
    let answer = exchange(node.address(), &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    assert!(answer.starts_with("-ERR Protocol error: this port does not use TLS"), "{answer}");
    assert!(Client::connect(&Authority::new(), node.address()).is_err());
    // A connection is counted until its task has ended.
    while info_as(node.address(), "", "connected_clients") > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn a_backup_is_taken_over_tls_by_an_administrator<R: Runtime>() {
    let authority = Authority::new();
    let files = authority.certify(&["127.0.0.1"]);
    let path = |name: &str| authority.folder().join(name);
    // The SHA-256 hash of `secret`.
    let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    std::fs::write(path("users"), format!("root {hash} admin\ndefault {hash} read-write\n")).expect("a file");
    std::fs::write(path("password"), "secret\n").expect("a file");
    std::fs::write(path("wrong"), "guess\n").expect("a file");
    let mut clients = ClientOptions::default();
    clients.users = Some(path("users"));
    clients.tls = Some(TlsFiles::new(&files.certificate, &files.key));
    let node = served::serve::<R>(Limits::default(), clients);
    let backup = |user: &str, password: &str, tls: bool| {
        let mut backup = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        backup.args(["backup", "--from", &node.address().to_string(), "--user", user, "--to"]).arg(path("backup"));
        backup.arg("--password-file").arg(path(password)).env_remove("LEASEHOLD_PASSWORD");
        if tls {
            backup.arg("--tls-ca").arg(authority.file());
        }
        let output = backup.output().expect("a process");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (taken, said) = backup("root", "password", true);
    assert!(taken && said.contains("0 records of cluster \"test\""), "{said}");
    for (user, password, tls, reason) in [
        ("default", "password", true, "refused the backup: NOPERM "),
        ("root", "wrong", true, "refuses the login: WRONGPASS "),
        ("root", "none", true, "cannot read the password in "),
        ("root", "password", false, "does not answer in the Redis protocol; "),
    ] {
        let (taken, said) = backup(user, password, tls);
        assert!(!taken && said.contains(reason) && said.lines().count() == 1, "{said}");
    }
}
