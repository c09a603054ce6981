//! TLS over real loopback sockets, on both runtimes.

use futures::future::join;
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use futures_rustls::TlsConnector;
use leasehold_certificates::{Authority, Fault, Files};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use leasehold_tls::{MutualTls, ReloadingServer, Stream, TlsClient, TlsError, TlsFiles, explain};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

fn files(files: &Files, authority: &Authority) -> TlsFiles {
    TlsFiles::new(&files.certificate, &files.key).with_authority(authority.file())
}

fn open(authority: &Authority, name: &str) -> MutualTls {
    MutualTls::open(files(&authority.certify(&[name]), authority), name).expect("good files")
}

/// Returns both ends of a new connection.
async fn sockets<R: Runtime>(runtime: &R) -> (R::Stream, R::Stream) {
    let listener = runtime.listen("127.0.0.1:0").await.expect("a free port");
    let address = runtime.local_address(&listener).expect("an address").to_string();
    let (dialed, accepted) = join(runtime.connect(&address), runtime.accept(&listener)).await;
    (dialed.expect("a connection"), accepted.expect("a connection").0)
}

/// Lets node 1 dial node 2, which answers with one byte. Returns the outcome of each side.
async fn shake<R: Runtime>(runtime: &R, one: &MutualTls, two: &MutualTls) -> [Result<Stream<R::Stream>, String>; 2] {
    let (dialed, accepted) = sockets(runtime).await;
    let dial = async {
        let mut stream = one.connect("node-2.a.leasehold", dialed).await?;
        // A refusal of the dialer's certificate arrives after its own handshake.
        stream.read_exact(&mut [0]).await?;
        Ok(stream)
    };
    let accept = async {
        let mut stream = two.accept(accepted).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        Ok(stream)
    };
    let (dialed, accepted) = join(dial, accept).await;
    [dialed, accepted].map(|side| side.map_err(|error: io::Error| explain(&error).unwrap_or(error.to_string())))
}

fn on_both_runtimes<F: AsyncFn(&SmolRuntime), G: AsyncFn(&TokioRuntime)>(smol: F, tokio: G) {
    let runtime = SmolRuntime::start("test", 1).expect("threads");
    runtime.block_on(smol(&runtime));
    let runtime = TokioRuntime::start("test", 1).expect("threads");
    runtime.block_on(tokio(&runtime));
}

async fn two_nodes_exchange_bytes<R: Runtime>(runtime: &R) {
    let authority = Authority::new();
    let [one, two] = ["node-1.a.leasehold", "node-2.a.leasehold"].map(|name| open(&authority, name));
    let [dialed, accepted] = shake(runtime, &one, &two).await.map(|side| side.expect("they accept each other"));
    assert!(dialed.is_encrypted() && accepted.is_encrypted());
    assert_eq!(accepted.check_certificate("node-1.a.leasehold"), Ok(()));
    let error = accepted.check_certificate("node-3.a.leasehold").expect_err("another node");
    assert_eq!(
        error,
        "presents a certificate that is not for \"node-3.a.leasehold\" but for \"node-1.a.leasehold\": give \
         each node the certificate with its own name"
    );
    // A large exchange in both directions at once needs more than one record and more than the buffers hold.
    let exchange = |mut stream: Stream<R::Stream>, fill: u8| async move {
        let (mut read, mut write) = (&mut stream).split();
        let mut received = vec![0; 3 << 20];
        let send = async {
            write.write_all(&vec![fill; 3 << 20]).await.expect("sent");
            write.flush().await.expect("sent");
        };
        join(send, async { read.read_exact(&mut received).await.expect("received") }).await;
        received
    };
    let (first, second) = join(exchange(dialed, 1), exchange(accepted, 2)).await;
    assert!(first.iter().all(|byte| *byte == 2) && second.iter().all(|byte| *byte == 1), "the bytes changed");
}

#[test]
fn two_nodes_of_one_authority_exchange_bytes() {
    on_both_runtimes(
        async |runtime| two_nodes_exchange_bytes(runtime).await,
        async |runtime| two_nodes_exchange_bytes(runtime).await,
    );
}

/// Runs a handshake that fails, and returns each side's reason.
fn failure(one: &MutualTls, two: &MutualTls) -> [String; 2] {
    let runtime = SmolRuntime::start("test", 1).expect("threads");
    runtime.block_on(shake(&runtime, one, two)).map(|side| side.expect_err("it fails"))
}

#[test]
fn each_side_names_the_fault_of_a_certificate() {
    let authority = Authority::new();
    let names = ["node-1.a.leasehold", "node-2.a.leasehold"];
    let [one, two] = names.map(|name| open(&authority, name));
    let faulty = |name, fault| {
        MutualTls::open_unchecked(files(&authority.certify_with(&[name], fault), &authority)).expect("files that load")
    };
    let expired = "presents a certificate that has expired: renew it";
    let refused = "refuses this node's certificate, because it has expired: renew it";
    assert_eq!(failure(&faulty(names[0], Fault::Expired), &two), [refused, expired]);
    assert_eq!(failure(&one, &faulty(names[1], Fault::Expired)), [expired, refused]);
    let [dialer, _] = failure(&one, &faulty(names[1], Fault::NotYetValid));
    assert_eq!(dialer, "presents a certificate that is not valid yet: check the clocks of both machines");
    let [_, acceptor] = failure(&faulty(names[0], Fault::ServerOnly), &two);
    assert_eq!(
        acceptor,
        "presents a certificate that lacks an extended key usage: nodes need serverAuth and clientAuth"
    );

    let foreign = Authority::new();
    let signed = "presents a certificate that the configured authority did not sign: let one authority sign the \
                  certificates of all nodes";
    let [dialer, acceptor] = failure(&one, &open(&foreign, names[1]));
    assert_eq!(dialer, signed);
    assert!(acceptor.starts_with("refuses this node's certificate, because another authority signed it"), "{acceptor}");
    // A dialer that accepts this authority, but is not signed by it.
    let own = foreign.certify(&[names[0]]);
    let stranger = MutualTls::open_unchecked(files(&own, &authority)).expect("files that load");
    let [dialer, acceptor] = failure(&stranger, &two);
    assert_eq!(acceptor, signed);
    assert!(dialer.starts_with("refuses this node's certificate, because another authority signed it"), "{dialer}");

    let [dialer, _] = failure(&one, &faulty("node-3.a.leasehold", Fault::None));
    assert!(dialer.contains("is not for \"node-2.a.leasehold\" but for \"node-3.a.leasehold\""), "{dialer}");
}

#[test]
fn a_client_without_a_certificate_or_without_tls_is_refused_with_the_reason() {
    let authority = Authority::new();
    let two = open(&authority, "node-2.a.leasehold");
    let runtime = SmolRuntime::start("test", 1).expect("threads");
    runtime.block_on(async {
        let client = TlsClient::open(&authority.file()).expect("an authority");
        let (dialed, accepted) = sockets(&runtime).await;
        let dial = async {
            let mut stream = client.connect("node-2.a.leasehold", dialed).await?;
            stream.read_exact(&mut [0]).await
        };
        let (dialed, accepted) = join(dial, two.accept(accepted)).await;
        let reasons =
            [dialed.expect_err("refused"), accepted.expect_err("no certificate")].map(|error| explain(&error));
        let [dialer, acceptor] = reasons.map(|reason| reason.expect("an error of TLS"));
        assert!(dialer.starts_with("demands a certificate and got none"), "{dialer}");
        assert!(acceptor.starts_with("presents no certificate"), "{acceptor}");

        let (mut dialed, accepted) = sockets(&runtime).await;
        dialed.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
        let error = explain(&two.accept(accepted).await.expect_err("no TLS")).expect("an error of TLS");
        assert_eq!(error, "does not speak TLS: use TLS on both sides or on neither");

        let (dialed, accepted) = sockets(&runtime).await;
        drop(dialed);
        assert_eq!(explain(&two.accept(accepted).await.expect_err("no connection")), None);
    });
}

#[test]
fn a_reload_affects_later_connections_and_a_bad_file_changes_nothing() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let runtime = SmolRuntime::start("test", 1).expect("threads");
    runtime.block_on(async {
        let [one, two] = ["node-1.a.leasehold", "node-2.a.leasehold"].map(|name| open(&authority, name));
        let [mut dialed, mut accepted] = shake(&runtime, &one, &two).await.map(|side| side.expect("good files"));

        let files = authority.certify(&["node-2.a.leasehold"]);
        two.reload().expect("a renewed certificate");
        let _ = shake(&runtime, &one, &two).await.map(|side| side.expect("the new certificate is good"));

        fs::write(&files.key, "no key").expect("a file");
        assert!(matches!(two.reload(), Err(TlsError::NoKey { .. })));
        let _ = authority.certify_with(&["node-2.a.leasehold"], Fault::Expired);
        let error = two.reload().expect_err("expired").to_string();
        assert!(error.ends_with("node-2.a.leasehold.certificate.pem has expired: renew it"), "{error}");
        let _ = shake(&runtime, &one, &two).await.map(|side| side.expect("the former files are still used"));

        // The authority is replaced: other certificates are refused from now on.
        let _ = authority.certify(&["node-2.a.leasehold"]);
        let moved = foreign.certify(&["node-2.a.leasehold"]);
        fs::copy(&moved.certificate, &files.certificate).expect("a copy");
        fs::copy(&moved.key, &files.key).expect("a copy");
        fs::copy(foreign.file(), authority.file()).expect("a copy");
        two.reload().expect("files that fit together");
        assert!(shake(&runtime, &one, &two).await.iter().all(Result::is_err));

        accepted.write_all(b"y").await.expect("the first connection remains");
        accepted.flush().await.expect("the first connection remains");
        let mut byte = [0];
        dialed.read_exact(&mut byte).await.expect("the first connection remains");
        assert_eq!(byte, *b"y");
    });
}

#[test]
fn clients_need_a_certificate_only_if_the_server_has_an_authority() {
    let authority = Authority::new();
    let server = authority.certify(&["127.0.0.1", "localhost"]);
    let runtime = TokioRuntime::start("test", 1).expect("threads");
    runtime.block_on(async {
        let client = TlsClient::open(&authority.file()).expect("an authority");
        for (files, accepts) in [
            (TlsFiles::new(&server.certificate, &server.key), true),
            (TlsFiles::new(&server.certificate, &server.key).with_authority(authority.file()), false),
        ] {
            let server = ReloadingServer::open(files).expect("good files");
            server.reload().expect("the same files");
            for name in ["127.0.0.1", "localhost"] {
                let (dialed, accepted) = sockets(&runtime).await;
                let (dialed, accepted) = join(client.connect(name, dialed), server.accept(accepted)).await;
                assert!(dialed.is_ok() && accepted.is_ok() == accepts, "{name}: {accepted:?}");
            }
        }
        let server = ReloadingServer::open(TlsFiles::new(&server.certificate, &server.key)).expect("good files");
        let (dialed, accepted) = sockets(&runtime).await;
        let (dialed, _) = join(client.connect("example.org", dialed), server.accept(accepted)).await;
        let reason = explain(&dialed.expect_err("another name")).expect("an error of TLS");
        assert!(reason.contains("is not for \"example.org\" but for \"127.0.0.1\""), "{reason}");
    });
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let (one, two) = (authority.certify(&["node-1.a.leasehold"]), authority.certify(&["node-2.a.leasehold"]));
    let error = |files: TlsFiles, name: &str| MutualTls::open(files, name).expect_err("bad files").to_string();
    let good = files(&one, &authority);
    let given = |certificate: &Path, key: &Path| TlsFiles::new(certificate, key).with_authority(authority.file());
    let missing = Path::new("missing.pem");
    let no_file = || "cannot read missing.pem: No such file".to_owned();
    for (changed, said) in [
        (given(missing, &one.key), no_file()),
        (given(&one.certificate, missing), no_file()),
        (good.clone().with_authority(missing), no_file()),
        (given(&one.key, &one.key), format!("{} has no valid certificate", one.key.display())),
        (given(&one.certificate, &one.certificate), format!("{} has no valid private key", one.certificate.display())),
        (given(&one.certificate, &two.key), format!("the key in {} does not belong to", two.key.display())),
        (TlsFiles::new(&one.certificate, &one.key), "needs the certificate of the authority".to_owned()),
        (good.clone().with_authority(foreign.file()), "the configured authority did not sign".to_owned()),
    ] {
        let error = error(changed, "node-1.a.leasehold");
        assert!(error.contains(&said) && !error.contains('\n'), "{said:?}: {error}");
    }
    let other = error(good.clone(), "node-2.a.leasehold");
    assert!(other.contains("is not for \"node-2.a.leasehold\" but for \"node-1.a.leasehold\""), "{other}");
    let name = error(good, "node-1.my cluster.leasehold");
    assert!(name.contains("\"node-1.my cluster.leasehold\" cannot be the name in a certificate"), "{name}");
}

async fn nodes_speak_no_older_version<R: Runtime>(runtime: &R) {
    let authority = Authority::new();
    let node = open(&authority, "node-2.a.leasehold");
    let certified = authority.certify(&["node-1.a.leasehold"]);
    let chain = CertificateDer::pem_file_iter(&certified.certificate).expect("a file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).expect("a certificate")).expect("an authority");
    for (version, is_accepted) in [(&rustls::version::TLS12, false), (&rustls::version::TLS13, true)] {
        let key = PrivateKeyDer::from_pem_file(&certified.key).expect("a key");
        let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key)
            .expect("a good certificate");
        let (dialed, accepted) = sockets(runtime).await;
        let name = ServerName::try_from("node-2.a.leasehold").expect("a name");
        let dial = TlsConnector::from(Arc::new(client)).connect(name, dialed);
        let (_, accepted) = join(dial, node.accept(accepted)).await;
        assert_eq!(accepted.is_ok(), is_accepted, "{version:?}");
    }
}

#[test]
fn nodes_speak_tls_1_3_only() {
    on_both_runtimes(nodes_speak_no_older_version, nodes_speak_no_older_version);
}
