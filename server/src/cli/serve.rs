//! `leasehold serve`.

use super::client_flags::{BadClientFlags, ClientFlags};
use super::exit::{BAD_FLAGS, FAILED, REMOVED, fail};
use super::security::{self, BadSecurity, SecurityArguments};
use crate::limits::parse_bytes;
use crate::logging::LogFormat;
use crate::runtime_choice::RuntimeChoice;
use crate::slots::parse_groups;
use crate::timeout::within;
use crate::{Limits, Node, NodeOptions, descriptors};
use async_channel::Receiver;
use clap::{Args, ValueEnum};
use futures::future::{Either, select};
use leasehold_core::{Config, ConfigError, NodeId, Voters, VotersError};
use leasehold_node::ReadMode;
use leasehold_node::identity::{Addresses, MAX_ADDRESS_BYTES};
use leasehold_runtime::Runtime;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time that stopping may take before the process exits without it. Everything acknowledged is on disk anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// The time for which a node that was removed goes on before it stops.
const REMOVED_PAUSE: Duration = Duration::from_secs(1);
/// The most threads: more than any machine needs, and few enough to start.
const MAX_THREADS: usize = 1024;
/// The most clients that can be asked for.
const MAX_MAX_CLIENTS: usize = 1_000_000;
/// The longest hold. For so long there is no leader after a failure, and after a restart of all nodes.
const MAX_HOLD: Duration = Duration::from_secs(60);
/// The longest name of a cluster.
const MAX_CLUSTER_BYTES: usize = 64;

/// The arguments of `serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// A file in TOML form with settings: the keys are the names of these flags. Flags override variables of the
    /// environment, such as LEASEHOLD_HOLD_MS, and these override the file.
    #[arg(long = "config", value_name = "FILE")]
    _config: Option<PathBuf>,
    /// This node's number. A number that was once used in a cluster is never used again for another data folder.
    #[arg(long, value_parser = parse_node)]
    id: NodeId,
    /// To found a cluster: all its nodes, this one included, each with the address at which the others reach it:
    /// 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT. To join one: some of its members, without this node, which then waits for
    /// `leasehold ctl add`. Later: where to look for the members first.
    #[arg(long)]
    peers: String,
    /// To found a cluster or to join one: the number of groups among which the keys are divided, the same on every node.
    /// Each has a leader of its own. The number is recorded and never changes, so it may be omitted later. By default 1.
    #[arg(long, value_name = "N", value_parser = parse_groups)]
    groups: Option<NonZeroU16>,
    /// Do not hand groups over to other nodes so that each leads about as many of them.
    #[arg(long)]
    keep_leaders: bool,
    /// Always dial the nodes in --peers at the addresses there, even if they announce others: for nodes that reach each
    /// other through proxies.
    #[arg(long)]
    pin_peers: bool,
    /// The address at which the other nodes reach this one: HOST:PORT. By default its entry in --peers, or --peer-listen.
    #[arg(long, value_name = "ADDR")]
    announce: Option<String>,
    /// The address at which clients reach this node: HOST:PORT. By default --client-listen; if that is a wildcard such as
    /// 0.0.0.0, the host of --announce.
    #[arg(long, value_name = "ADDR")]
    announce_client: Option<String>,
    /// The address on which this node listens for other nodes: HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    peer_listen: String,
    /// The address on which this node listens for clients: HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    client_listen: String,
    /// The address on which this node serves a status page over HTTP, and its metrics at /metrics: HOST:PORT. Anyone who
    /// reaches it may read them. By default they are not served.
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<String>,
    /// The folder for this node's data. Created if missing.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The cluster's name, the same on every node. Nodes of clusters with different names do not connect.
    #[arg(long, value_name = "NAME", default_value = "leasehold")]
    cluster: String,
    /// The asynchronous runtime.
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Tokio)]
    runtime: RuntimeChoice,
    /// The form of the log's lines on the standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// Threads for clients, peers and the replica. By default one fewer than the number of processors, and at least
    /// one, because the disk's thread and the kernel need processor time too.
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<NonZeroUsize>,
    /// The time for which nodes refuse to elect another leader after acknowledging one. The lease is a little shorter.
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = parse_milliseconds)]
    hold_ms: u64,
    /// The time for which a leader answers reads by itself after its quorum was asked. By default the longest that the
    /// hold covers. It is set apart from the hold only while a rolling restart changes both.
    #[arg(long, value_name = "MS", value_parser = parse_milliseconds)]
    lease_ms: Option<u64>,
    /// The largest error of the rate of any node's clock, in parts per million.
    #[arg(long, value_name = "PPM", default_value = "1000", value_parser = parse_drift)]
    drift_ppm: u32,
    /// The interval at which the leader renews its lease.
    #[arg(long, value_name = "MS", default_value = "100", value_parser = parse_milliseconds)]
    heartbeat_ms: u64,
    /// The way in which reads are made linearizable.
    #[arg(long, value_enum, default_value_t = Reads::Lease)]
    reads: Reads,
    /// Answer reads from this node's own state while another node leads, without a message, by subleases that the leader
    /// grants. Each write then waits until this node has it, and if this node fails, for a lease at most. For data that is
    /// read everywhere and written rarely. Every member must run a release that knows subleases. With --redirect, it does
    /// so for clients that have sent READONLY.
    #[arg(long)]
    local_reads: bool,
    /// The most clients that may be connected at once. A low limit of open files lowers it.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = parse_clients)]
    max_clients: usize,
    /// Close a connection on which no command arrives for this many seconds; 0 to keep it.
    #[arg(long, value_name = "S", default_value = "0", value_parser = parse_seconds)]
    timeout_s: u64,
    /// Refuse writes that need memory while keys and values take more than this, for example 4gb; 0 for no limit.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_bytes)]
    max_memory: u64,
    /// Refuse writes while less than this is free on the disk of the data folder, for example 1gb. By default 256mb, or a
    /// tenth of a smaller file system.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    min_free_space: Option<u64>,
    /// Record the inputs of this node's lease, and their effects, in a new file. `leasehold trace` replays it. With several
    /// groups there is a file for each: FILE.0, FILE.1 and so on.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Take the log for whole although its end may have been cut off. What was cut off is lost. Needed only if no other
    /// node has the data: if this is the only voter, or if most voters were cut.
    #[arg(long)]
    accept_data_loss: bool,
    #[command(flatten)]
    clients: ClientFlags,
    /// States that this node has not run since this time, in Unix seconds. A node that restarts neither votes nor
    /// campaigns for the longest hold it ever ran with; this time counts towards it. If the statement is wrong, reads
    /// can be stale.
    #[arg(long, value_name = "SECONDS")]
    stopped_since: Option<u64>,
    #[command(flatten)]
    security: SecurityArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reads {
    /// With the leader's lease, or with a quorum round while it has none.
    Lease,
    /// Always with a quorum round, which does not depend on clocks.
    Quorum,
}

/// An error in the flags.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadFlags {
    #[error(
        "--peers {0:?} is not of the form NUMBER=HOST:PORT; write for example --peers 1=10.0.0.1:7001,2=10.0.0.2:7001"
    )]
    Peer(String),
    #[error("--peers names node {0} twice; give each node its own number")]
    DuplicatePeer(NodeId),
    #[error("--peers cannot found a cluster: {0}")]
    Voters(#[from] VotersError),
    #[error("--id {0} is not in --peers; list every node of the restored cluster there, including this one")]
    NotAPeer(NodeId),
    #[error(
        "--announce is missing: the other nodes cannot reach this one at {0}; write its own address, for example \
         --announce 10.0.0.4:7001"
    )]
    Announce(String),
    #[error("{flag} {value:?} is not of the form HOST:PORT; write for example {flag} 127.0.0.1:7001")]
    Address { flag: &'static str, value: String },
    #[error("--cluster must be a name of 1 to {MAX_CLUSTER_BYTES} bytes")]
    Cluster,
    #[error("--stopped-since is in the future; give the time at which this node stopped, in Unix seconds")]
    StoppedSince,
    #[error(
        "--hold-ms {0} is longer than {MAX_HOLD:?}: there would be no leader for so long after each failure; choose a shorter one, \
         such as 1000"
    )]
    Hold(u64),
    #[error("--local-reads answers reads by subleases, and --reads quorum forbids that; omit one of them")]
    LocalReads,
    #[error(transparent)]
    Clients(#[from] BadClientFlags),
    #[error("{0} (see --hold-ms, --lease-ms, --drift-ppm and --heartbeat-ms)")]
    Timing(#[from] ConfigError),
    #[error(transparent)]
    Security(#[from] BadSecurity),
}

impl ServeArguments {
    fn options(self) -> Result<NodeOptions, BadFlags> {
        let peers = parse_peers(&self.peers)?;
        let listens = [("--peer-listen", &self.peer_listen), ("--client-listen", &self.client_listen)];
        let announced = [
            ("--announce", &self.announce),
            ("--announce-client", &self.announce_client),
            ("--metrics-listen", &self.metrics_listen),
        ];
        let announced = announced.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        for (flag, value) in listens.into_iter().chain(announced) {
            if !is_address(value) || value.len() > MAX_ADDRESS_BYTES {
                return Err(BadFlags::Address { flag, value: value.clone() });
            }
        }
        // The others would dial it, and reach nothing or themselves.
        let own = peers.get(&self.id).unwrap_or(&self.peer_listen);
        if self.announce.is_none() && is_wildcard(own) {
            return Err(BadFlags::Announce(own.clone()));
        }
        check_cluster(&self.cluster)?;
        let stopped_for = match self.stopped_since.map(|since| UNIX_EPOCH + Duration::from_secs(since)) {
            None => None,
            Some(since) => Some(wall_clock().duration_since(since).map_err(|_| BadFlags::StoppedSince)?),
        };
        if Duration::from_millis(self.hold_ms) > MAX_HOLD {
            return Err(BadFlags::Hold(self.hold_ms));
        }
        if self.local_reads && self.reads == Reads::Quorum {
            return Err(BadFlags::LocalReads);
        }
        let timing = leasehold_core::Options::new(Duration::from_millis(self.hold_ms), self.drift_ppm);
        let timing = timing.with_heartbeat(Duration::from_millis(self.heartbeat_ms));
        let lease = self.lease_ms.map(Duration::from_millis);
        let timing = Config::new(lease.map_or(timing, |lease| timing.with_lease(lease)))?;
        let mut limits = Limits {
            max_clients: self.max_clients,
            idle_timeout: (self.timeout_s > 0).then(|| Duration::from_secs(self.timeout_s)),
            max_memory: (self.max_memory > 0).then_some(self.max_memory),
            min_free_space: self.min_free_space,
            ..Limits::default()
        };
        let peer_security = self.security.peer_security(self.id, &self.cluster, &self.peer_listen)?;
        self.clients.limit(&mut limits);
        let clients = self.clients.options(&self.client_listen, self.security.insecure)?;
        Ok(NodeOptions {
            node: self.id,
            cluster: self.cluster,
            peers,
            groups: self.groups,
            spreads_leaders: !self.keep_leaders,
            pin_peers: self.pin_peers,
            announce: Addresses {
                peers: self.announce.unwrap_or_default(),
                clients: self.announce_client.unwrap_or_default(),
            },
            peer_listen: self.peer_listen,
            client_listen: self.client_listen,
            metrics_listen: self.metrics_listen,
            data_dir: self.data_dir,
            timing,
            limits,
            record: self.record,
            accept_data_loss: self.accept_data_loss,
            clients,
            stopped_for,
            peer_security,
            reads: match self.reads {
                Reads::Lease => ReadMode::Lease,
                Reads::Quorum => ReadMode::Quorum,
            },
            local_reads: self.local_reads,
        })
    }
}

fn parse_node(text: &str) -> Result<NodeId, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "not a node's number; write one of the numbers in --peers, such as 1".to_owned())
}

fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= MAX_THREADS);
    threads.ok_or_else(|| format!("not a number of threads from 1 to {MAX_THREADS}; omit it to use all processors"))
}

fn parse_clients(text: &str) -> Result<usize, String> {
    let clients = text.parse().ok().filter(|clients| (1..=MAX_MAX_CLIENTS).contains(clients));
    clients.ok_or_else(|| format!("not a number of clients from 1 to {MAX_MAX_CLIENTS}"))
}

fn parse_milliseconds(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "not a whole number of milliseconds; write for example 1000".to_owned())
}

fn parse_seconds(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "not a whole number of seconds; write for example 300, or 0 for never".to_owned())
}

fn parse_drift(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "not a whole number of parts per million; write for example 1000".to_owned())
}

/// Parses the nodes of a cluster and their addresses.
pub(super) fn parse_peers(text: &str) -> Result<BTreeMap<NodeId, String>, BadFlags> {
    let mut peers = BTreeMap::new();
    for peer in text.split(',') {
        let parsed = peer.split_once('=').and_then(|(number, address)| {
            let number: NodeId = number.trim().parse().ok()?;
            (is_address(address) && !address.ends_with(":0")).then(|| (number, address.to_owned()))
        });
        let (number, address) = parsed.ok_or_else(|| BadFlags::Peer(peer.to_owned()))?;
        if peers.insert(number, address).is_some() {
            return Err(BadFlags::DuplicatePeer(number));
        }
    }
    Voters::simple(&peers.keys().copied().collect::<Vec<_>>())?;
    Ok(peers)
}

/// Checks the name of a cluster.
pub(super) fn check_cluster(name: &str) -> Result<(), BadFlags> {
    if (1..=MAX_CLUSTER_BYTES).contains(&name.len()) { Ok(()) } else { Err(BadFlags::Cluster) }
}

/// Returns whether a text is `host:port`, with an IPv6 host in brackets.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_is_one = bare.is_some_and(|host| !host.is_empty()) || (!host.is_empty() && !host.contains(':'));
        host_is_one && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok()
    })
}

/// Returns true if an address to listen on stands for every address of this machine.
fn is_wildcard(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, _)| host == "0.0.0.0" || host == "[::]")
}

pub(super) fn run(arguments: ServeArguments) -> ExitCode {
    let runtime = arguments.runtime;
    let threads = arguments.threads.unwrap_or_else(|| {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        NonZeroUsize::new(processors - 1).unwrap_or(NonZeroUsize::MIN)
    });
    let options = match arguments.options() {
        Err(bad) => return fail(BAD_FLAGS, bad),
        Ok(options) => options,
    };
    if options.peers.len() == 2 {
        tracing::warn!("a cluster of two nodes stops when either of them fails; use one, three or five nodes");
    }
    descriptors::raise_limit();
    match runtime {
        RuntimeChoice::Tokio => serve::<TokioRuntime>(options, threads),
        RuntimeChoice::Smol => serve::<SmolRuntime>(options, threads),
    }
}

fn serve<R: Runtime>(options: NodeOptions, threads: NonZeroUsize) -> ExitCode {
    let runtime = match R::start("leasehold", threads.get()) {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, format_args!("cannot start the {} runtime: {error}", R::NAME)),
    };
    // Before the node accepts connections, so that no signal is lost.
    let peer_security = options.peer_security.clone();
    let signals = match signals() {
        Ok(signals) => signals,
        Err(error) => return fail(FAILED, format_args!("cannot listen for signals: {error}")),
    };
    runtime.block_on(async {
        let banner = format!("leasehold node {} of cluster {:?}", options.node, options.cluster);
        let folder = options.data_dir.display().to_string();
        let tls = if options.clients.tls.is_some() { " --tls --cacert AUTHORITY" } else { "" };
        let node = match Node::start(&runtime, options).await {
            Ok(node) => node,
            Err(error) => return fail(FAILED, error),
        };
        let address = node.client_address();
        // The other end of a pipe may be closed.
        let mut out = io::stdout();
        let _ = writeln!(out, "{banner} serves clients at {address} with its data in {folder}");
        let _ = writeln!(out, "try: redis-cli{tls} -h {} -p {}", address.ip(), address.port());
        if let Some(address) = node.metrics_address() {
            let _ = writeln!(out, "status page: http://{address}/");
        }
        let (stop, removed, stopped) = (pin!(signals.stop.recv()), pin!(node.removed()), pin!(node.stopped()));
        let mut ended = select(stop, select(removed, stopped));
        let ended = loop {
            match select(&mut ended, pin!(signals.reload.recv())).await {
                Either::Left((ended, _)) => break ended,
                Either::Right(_) => {
                    security::reload(&peer_security);
                    node.reload();
                }
            }
        };
        match ended {
            Either::Left(_) => {
                tracing::info!("stopping: commands that are being executed are finished first");
                if within(&runtime, STOP_TIMEOUT, node.stop()).await.is_none() {
                    tracing::warn!(
                        "not everything stopped within {STOP_TIMEOUT:?}; everything acknowledged is on disk"
                    );
                }
                ExitCode::SUCCESS
            }
            Either::Right((Either::Left((reason, _)), _)) => {
                // The last messages of a leader that was removed are still to be sent.
                runtime.sleep(REMOVED_PAUSE).await;
                within(&runtime, STOP_TIMEOUT, node.stop()).await;
                let removed = "this node was removed from its cluster, so it stops for good";
                fail(REMOVED, format_args!("{removed} ({reason}); its data folder is of no further use"))
            }
            Either::Right((Either::Right(_), _)) => fail(
                FAILED,
                "the node stopped: its data folder could not be written, or the log needs a newer release; do what the \
                 log above says and start the node again",
            ),
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "the operator states a time of the wall clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// The signals that the process has received.
struct SignalReceivers {
    /// Receives a message for the first signal to stop. The second one ends the process at once.
    stop: Receiver<()>,
    /// Receives a message if files are to be read again.
    reload: Receiver<()>,
}

fn signals() -> io::Result<SignalReceivers> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let ((stop, stop_receiver), (reload, reload_receiver)) = (async_channel::bounded(1), async_channel::bounded(1));
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // One that is pending covers this one too.
                let _ = reload.try_send(());
            } else if stop.try_send(()).is_err() {
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(SignalReceivers { stop: stop_receiver, reload: reload_receiver })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArguments,
    }

    fn line(flags: &[&str]) -> Result<Line, clap::Error> {
        let mut arguments = vec!["serve", "--data-dir", "data"];
        let given = |flag: &str| flags.iter().any(|other| other.split('=').next() == Some(flag));
        for (flag, value) in [
            ("--id", "1"),
            ("--peers", "1=localhost:7001,2=10.0.0.2:7001,3=[::1]:7001"),
            ("--peer-listen", "127.0.0.1:7001"),
            ("--client-listen", "127.0.0.1:0"),
        ] {
            if !given(flag) {
                arguments.extend([flag, value]);
            }
        }
        arguments.extend(flags);
        Line::try_parse_from(arguments)
    }

    fn options(flags: &[&str]) -> Result<NodeOptions, BadFlags> {
        line(flags).expect("flags that can be parsed").serve.options()
    }

    #[test]
    fn the_defaults_are_valid() {
        let options = options(&[]).expect("good flags");
        assert_eq!(options.peers[&3], "[::1]:7001");
        assert_eq!((options.node, options.reads), (1, ReadMode::Lease));
        assert_eq!(options.timing.hold(), Duration::from_secs(1));
    }

    #[test]
    fn each_error_names_the_flag_and_the_correction() {
        for (flags, said) in [
            (&["--hold-ms", "0"][..], "the hold is zero"),
            (&["--hold-ms", "60001"], "--hold-ms 60001 is longer than 60s"),
            (&["--heartbeat-ms", "900"], "is too long to renew the lease"),
            (&["--drift-ppm", "200000"], "too large for leases"),
            (&["--id", "4", "--peer-listen", "[::]:7001"], "--announce is missing"),
            (&["--announce", "7001"], "--announce \"7001\" is not of the form HOST:PORT"),
            (&["--peers", "1=a:1,1=b:1"], "names node 1 twice"),
            (&["--peers", "1=a:1,2=b"], "--peers \"2=b\" is not of the form"),
            (&["--peers", "1=a:0"], "is not of the form"),
            (&["--peers", "1=a:70000"], "is not of the form"),
            (&["--peers", "one=a:1"], "is not of the form"),
            (&["--peers", "1=::1:7001"], "is not of the form"),
            (&["--peers", ""], "is not of the form"),
            (&["--peers", "0=a:1,1=b:1"], "--peers cannot found a cluster"),
            (&["--metrics-listen", "9100"], "--metrics-listen \"9100\" is not of the form HOST:PORT"),
            (&["--client-listen", "7001"], "--client-listen \"7001\" is not of the form HOST:PORT"),
            (&["--client-tls-cert", "c"], "--client-tls-cert and --client-tls-key belong together"),
            (&["--client-tls-key", "k"], "--client-tls-cert and --client-tls-key belong together"),
            (&["--client-tls-ca", "a"], "--client-tls-ca needs the certificate of the node too"),
            (&["--cluster", ""], "--cluster must be a name"),
            (&["--stopped-since", "99999999999"], "--stopped-since is in the future"),
            (&["--peer-listen", "0.0.0.0:7001"], "or add --insecure if only trusted machines can reach it"),
        ] {
            let error = options(flags).expect_err("bad flags").to_string();
            assert!(error.contains(said), "{flags:?}: {error}");
            assert!(!error.contains('\n'));
        }
        let many: Vec<String> = (1..=16).map(|number| format!("{number}=host:{number}")).collect();
        assert!(matches!(options(&["--peers", &many.join(",")]), Err(BadFlags::Voters(_))));
    }

    #[test]
    fn a_value_that_cannot_be_parsed_is_named_with_its_form() {
        for (flag, value, said) in [
            ("--id", "one", "not a node's number"),
            ("--id", "0", "not a node's number"),
            ("--threads", "100000", "not a number of threads from 1 to 1024"),
            ("--threads", "0", "not a number of threads"),
            ("--groups", "0", "not a number of groups from 1 to 1024"),
            ("--groups", "1025", "not a number of groups"),
            ("--hold-ms", "1s", "not a whole number of milliseconds"),
            ("--lease-ms", "-1", "not a whole number of milliseconds"),
            ("--heartbeat-ms", "x", "not a whole number of milliseconds"),
            ("--drift-ppm", "0.1", "not a whole number of parts per million"),
            ("--max-clients", "0", "not a number of clients from 1 to 1000000"),
            ("--timeout-s", "5m", "not a whole number of seconds"),
            ("--max-memory", "1tb", "not a number of bytes"),
            ("--min-free-space", "10%", "not a number of bytes"),
        ] {
            let error = line(&[&format!("{flag}={value}")]).err().expect("a wrong value").to_string();
            assert!(error.contains(flag) && error.contains(said), "{flag} {value}: {error}");
        }
    }

    #[test]
    fn limits_have_the_suffixes_of_redis() {
        let limits = options(&["--max-memory", "100mb", "--timeout-s", "300", "--max-clients", "7"]).unwrap().limits;
        assert_eq!(limits.max_memory, Some(100 << 20));
        assert_eq!((limits.idle_timeout, limits.max_clients), (Some(Duration::from_secs(300)), 7));
        assert_eq!(options(&[]).unwrap().limits, Limits::default());
    }

    #[test]
    fn a_secret_file_is_read_and_a_bad_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let flags = ["--peer-secret-file", path.to_str().expect("text")];
        let error = options(&flags).expect_err("no file").to_string();
        assert!(error.starts_with("--peer-secret-file: cannot read") && error.contains("No such file"), "{error}");
        std::fs::write(&path, "short\n").expect("a file");
        let error = options(&flags).expect_err("too short").to_string();
        assert!(error.contains("has 5 bytes and needs 16 to 65536: make one with openssl"), "{error}");
        std::fs::write(&path, "long enough for it").expect("a file");
        assert!(options(&flags).expect("a good secret").peer_security.secret.is_some());
        assert!(options(&[]).expect("good flags").peer_security.secret.is_none());
    }

    /// The passes of a rolling change of the hold, as docs/configuration.md describes them.
    #[test]
    fn nodes_accept_each_other_throughout_a_rolling_change_of_the_hold() {
        let timing = |flags: &[&str]| options(flags).expect("good flags").timing;
        let short = timing(&["--hold-ms", "1000"]);
        let between = timing(&["--hold-ms", "2000", "--lease-ms", "998"]);
        let long = timing(&["--hold-ms", "2000"]);
        // Lengthening goes one way and shortening the other, and each pass mixes two of them.
        for (one, other) in [(short, between), (between, long)] {
            for (a, b) in [(one, other), (other, one), (one, one), (other, other)] {
                assert_eq!(a.accept_peer(b.timing()), Ok(()), "{a:?} and {b:?}");
            }
        }
        assert!(long.accept_peer(short.timing()).is_err(), "one pass is not enough");
    }
}
