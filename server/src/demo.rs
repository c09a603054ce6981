//! `leasehold demo`: a whole cluster in one process, to try it or to load it.
//!
//! The nodes share only the process: each has its own runtime, listeners and data folder, and all connections are real
//! sockets. Killing a node stops its runtime at once.

pub mod history;
pub mod load;

mod client;
mod cluster;
mod places;
mod screen;
mod summary;

use crate::runtime_choice::RuntimeChoice;
use crate::slots::parse_groups;
use client::RespClient;
use cluster::{Cluster, ClusterError, Kill, Leadership, Totals};
use leasehold_core::NodeId;
use leasehold_runtime_smol::SmolRuntime;
use leasehold_runtime_tokio::TokioRuntime;
use load::{Connect, Failure, Load, Store};
use places::{Folder, HOST, Place, PlaceError};
use screen::Screen;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use summary::{Failover, Summary};

/// The number of clients of the load per node.
const CLIENTS_PER_NODE: usize = 4;
/// The time that the first election may take.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The intervals at which the demo polls its cluster: usually, and while it measures a failover.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const FAILOVER_POLL_INTERVAL: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The arguments of `demo`.
#[derive(clap::Args, Debug)]
pub struct DemoArguments {
    /// The number of nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=15))]
    nodes: u16,
    /// The asynchronous runtime.
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Tokio)]
    runtime: RuntimeChoice,
    /// The folder for the nodes' data, which is kept. By default a temporary folder, which is removed at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The first node's port for clients. The next node's port is one higher, a node's port for peers is 100 higher, and
    /// that for its metrics 200 higher. By default 7001; ports in use are replaced by free ones.
    #[arg(long, value_name = "P")]
    base_port: Option<u16>,
    /// Loads the cluster for this long, kills the leader half way, and prints a summary. The exit code is 1 if a read
    /// was stale or a write was lost.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Lets the nodes act as those of a Redis Cluster, which send clients to the leader: see `leasehold serve --redirect`.
    #[arg(long)]
    redirect: bool,
    /// The number of groups among which the keys are divided: see `leasehold serve --groups`. By default 1, or what the kept
    /// folders have.
    #[arg(long, value_name = "N", value_parser = parse_groups)]
    groups: Option<NonZeroU16>,
    /// Lets every node answer reads from its own state by subleases: see `leasehold serve --local-reads`.
    #[arg(long)]
    local_reads: bool,
    /// Prints the summary as one JSON object, and everything else to standard error.
    #[arg(long, requires = "seconds")]
    json: bool,
}

/// The reason why the demo failed.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error("cannot start the clients: {0}")]
    Clients(io::Error),
    #[error("no leader was elected within {} s; is the machine overloaded?", ELECTION_TIMEOUT.as_secs())]
    NoLeader,
    #[error("node {0} stopped: its data folder could not be written; is the disk full?")]
    NodeFailed(NodeId),
    #[error("the surviving nodes did not reply, so acknowledged writes could not be verified")]
    Unverified,
}

/// Runs the demo and returns the process's exit code.
pub fn run(arguments: DemoArguments) -> ExitCode {
    let outcome = match arguments.runtime {
        RuntimeChoice::Tokio => demo::<TokioRuntime>(arguments),
        RuntimeChoice::Smol => demo::<SmolRuntime>(arguments),
    };
    match outcome {
        Ok(sound) => ExitCode::from(u8::from(!sound)),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the cluster kept its guarantees.
fn demo<R: Kill>(arguments: DemoArguments) -> Result<bool, DemoError> {
    let DemoArguments { nodes, runtime: _, data_dir, base_port, seconds, redirect, local_reads, groups, json } =
        arguments;
    let interrupted = interrupts().map_err(DemoError::Signals)?;
    let mut screen = Screen::new(json);
    let folder = Folder::choose(nodes, data_dir)?;
    let places = places::choose_ports(nodes, base_port)?;
    screen.line(format_args!(
        "leasehold demo: {nodes} {} on {}, data in {} ({})",
        if nodes == 1 { "node" } else { "nodes" },
        R::NAME,
        folder.path().display(),
        folder.fate()
    ));
    for Place { node, client_port, peer_port, metrics_port } in &places {
        screen.line(format_args!(
            "    n{node}   clients {HOST}:{client_port}   peers {HOST}:{peer_port}   http://{HOST}:{metrics_port}/"
        ));
    }
    let started = now();
    let cluster = Cluster::<R>::start(folder.path(), &places, redirect, local_reads, groups)?;
    let mut show = Show {
        screen,
        cluster,
        redirect,
        started,
        shown: started,
        counted: Totals::default(),
        leader: None,
        interrupted,
    };
    let sound = match show.await_leader(&places)? {
        false => true,
        true => match seconds {
            None => show.watch(None).map(|_| true)?,
            Some(seconds) => {
                let summary = show.load(&places, Duration::from_secs(seconds))?;
                if json {
                    println!("{:#}", summary.json());
                } else {
                    summary.show(&mut show.screen);
                }
                summary.is_sound()
            }
        },
    };
    show.cluster.stop();
    show.screen.line(match (&folder, sound) {
        (_, false) => "The cluster violated its guarantees.",
        (Folder::Kept(_), true) => "The nodes have stopped; their data is kept.",
        (Folder::Temporary(_), true) => "The nodes have stopped; their data is removed.",
    });
    Ok(sound)
}

/// Returns a flag that the first Ctrl-C sets. The second Ctrl-C ends the process at once.
fn interrupts() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, interrupted.clone())?;
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    Ok(interrupted)
}

/// The cluster and the state of the output.
struct Show<R: Kill> {
    screen: Screen,
    cluster: Cluster<R>,
    redirect: bool,
    started: Instant,
    /// The time of the last line, and the totals at that time.
    shown: Instant,
    counted: Totals,
    /// The leader when it was last polled.
    leader: Option<NodeId>,
    interrupted: Arc<AtomicBool>,
}

impl<R: Kill> Show<R> {
    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Waits for the first leader and prints it. Returns `false` if interrupted.
    fn await_leader(&mut self, places: &[Place]) -> Result<bool, DemoError> {
        while !self.is_interrupted() {
            let leadership = self.cluster.leadership();
            let holder = leadership.holder().and_then(|leader| places.iter().find(|place| place.node == leader));
            if let Some(leader) = holder {
                let elected_after = self.started.elapsed();
                self.screen.introduce(places, *leader, self.redirect, leadership.term, elected_after);
                self.leader = Some(leader.node);
                self.started = now();
                self.shown = self.started;
                return Ok(true);
            }
            if self.started.elapsed() > ELECTION_TIMEOUT {
                return Err(DemoError::NoLeader);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(false)
    }

    /// Prints a line per second until interrupted. With `lasting`, does so for that long and kills the leader half way.
    fn watch(&mut self, lasting: Option<Duration>) -> Result<Option<Failover>, DemoError> {
        let mut kill_at = lasting.map(|lasting| lasting / 2).filter(|_| self.cluster.survivors().len() >= 3);
        let mut failover: Option<(Failover, Instant)> = None;
        if lasting.is_some() && kill_at.is_none() {
            self.screen
                .line("With fewer than three nodes no leader is killed, because the others would have no quorum.");
        }
        while !self.is_interrupted() {
            let leadership = self.cluster.leadership();
            if let Some(node) = self.cluster.failed() {
                return Err(DemoError::NodeFailed(node));
            }
            if let Some(leader) = leadership.holder()
                && kill_at.take_if(|at| self.started.elapsed() >= *at).is_some()
            {
                let at = now();
                self.cluster.kill(leader);
                failover = Some((Failover { killed: leader, successor: None }, at));
                self.screen.event(self.started.elapsed(), format_args!("the leader n{leader} is killed"));
                continue;
            }
            if self.shown.elapsed() >= SECOND {
                self.show_status(leadership);
            }
            if lasting.is_some_and(|lasting| self.started.elapsed() >= lasting) {
                break;
            }
            std::thread::sleep(if self.time_failover(&mut failover, leadership) {
                FAILOVER_POLL_INTERVAL
            } else {
                POLL_INTERVAL
            });
        }
        // The load may end before the election does.
        let ended = now();
        while self.time_failover(&mut failover, self.cluster.leadership())
            && !self.is_interrupted()
            && ended.elapsed() < ELECTION_TIMEOUT
        {
            std::thread::sleep(FAILOVER_POLL_INTERVAL);
        }
        Ok(failover.map(|(failover, _)| failover))
    }

    /// Notes the time when another node first holds a valid lease. Returns whether that is still awaited.
    fn time_failover(&self, failover: &mut Option<(Failover, Instant)>, leadership: Leadership) -> bool {
        let Some((Failover { successor: successor @ None, .. }, killed)) = failover else { return false };
        *successor = leadership.holder().map(|leader| (leader, killed.elapsed()));
        successor.is_none()
    }

    fn show_status(&mut self, leadership: Leadership) {
        let totals = self.cluster.totals();
        let leader = leadership.leader.map(|(node, _)| node);
        let note = match (self.leader, leader) {
            (before, now) if before == now => "",
            (_, Some(_)) => "new leader",
            (_, None) => "leader lost",
        };
        let at = self.started.elapsed();
        self.screen.status(at, leadership, totals.since(self.counted), self.shown.elapsed().as_secs_f64(), note);
        self.leader = leader;
        self.counted = totals;
        // The lines stay a second apart, however long each took.
        self.shown += SECOND;
    }

    /// Loads the cluster, kills the leader half way, and verifies the acknowledged writes on the surviving nodes.
    fn load(&mut self, places: &[Place], lasting: Duration) -> Result<Summary, DemoError> {
        let addresses: Vec<SocketAddr> =
            places.iter().map(|place| SocketAddr::from(([127, 0, 0, 1], place.client_port))).collect();
        let connect: Arc<Connect> = {
            let addresses = addresses.clone();
            Arc::new(move |node| Ok(Box::new(RespClient::connect(addresses[node])?) as Box<dyn Store>))
        };
        let clients = CLIENTS_PER_NODE * places.len();
        // A kept folder contains the keys of the previous load.
        let prefix = format!("demo:{:08x}", RandomState::new().build_hasher().finish() as u32);
        let load = Load::start(prefix, places.len(), clients, connect.clone()).map_err(DemoError::Clients)?;
        let started = self.started;
        let failover = self.watch(Some(lasting))?;
        let lasted = started.elapsed();
        let (tally, keys) = load.finish();
        let (totals, shares) = (self.cluster.totals(), self.cluster.shares());
        let mut lost_writes = 0;
        for node in self.cluster.survivors() {
            let position = places.iter().position(|place| place.node == node).ok_or(DemoError::Unverified)?;
            let mut store = connect(position).map_err(|_| DemoError::Unverified)?;
            let lost = keys.count_lost(&mut *store).map_err(|_: Failure| DemoError::Unverified)?;
            lost_writes = lost_writes.max(lost);
        }
        Ok(Summary {
            nodes: places.len() as u16,
            runtime: R::NAME,
            clients,
            lasted,
            tally,
            totals,
            shares,
            failover,
            lost_writes,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures time for the output; nothing depends on it")]
fn now() -> Instant {
    Instant::now()
}
