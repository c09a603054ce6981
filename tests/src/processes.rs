//! Clusters of real `leasehold serve` processes on loopback, and an independent Redis client for them.
//!
//! The processes end when their test ends, including by a panic. If the test fails, their standard error is printed.

use leasehold::demo::load::{Failure, Store};
use redis::{
    Cmd, Connection, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, cmd,
};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The maximum time for a reply, and for anything else that must happen. A node gives up after 5 s and replies with an
/// error, but a busy machine may let everything wait for seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Flags for a test that needs one leader for its whole length: it keeps its lease although the machine stands still
/// for some seconds.
pub const STEADY: [&str; 4] = ["--hold-ms", "4000", "--heartbeat-ms", "100"];
/// The first port to try. It is below the range of ephemeral ports, so that no outgoing connection of another test
/// occupies the port of a node that is being restarted.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;
/// The distance between the first ports of two programs: more than a test needs.
const PORTS_APART: u32 = 101;

/// Returns the `leasehold` binary of the profile under test, which is built once.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build(&[]))
}

/// Builds the binary with additional flags for cargo, and returns its path, which does not depend on the flags.
pub(crate) fn build(flags: &[&str]) -> PathBuf {
    let own = std::env::current_exe().expect("the path of the running program");
    // Tests are in target/PROFILE/deps, programs in target/PROFILE.
    let is_profile = |folder: &&Path| folder.file_name().is_some_and(|name| name != "deps");
    let profile_dir = own.ancestors().skip(1).find(is_profile).expect("built by cargo");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()).expect("a profile's folder has a name") {
        "debug" => "dev",
        other => other,
    };
    let target_dir = profile_dir.parent().expect("a profile has its folder in target");
    // With the workspace and a test among the targets, dependencies have the features that its tests need: everything is
    // there already if cargo has just built those. A program finds what was built to run the server.
    let is_test = own.parent().is_some_and(|folder| folder != profile_dir);
    let selection: &[&str] = if is_test { &["--workspace", "--test", "starts"] } else { &["--package", "leasehold"] };
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--quiet", "--bin", "leasehold", "--profile", profile])
        .args(selection)
        .args(flags)
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // Cargo sets these for a test. A build script that reads its own would run again, and with it half of the build.
    let is_of_this_test = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_this_test) {
            command.env_remove(name);
        }
    }
    let built = command.status().expect("cargo runs");
    assert!(built.success(), "cargo could not build the leasehold binary");
    profile_dir.join(format!("leasehold{}", std::env::consts::EXE_SUFFIX))
}

/// Returns a free loopback port that no other test of this process receives.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        // Programs that are started one after the other have consecutive ids.
        let offset = (std::process::id().wrapping_mul(PORTS_APART) % u32::from(PORTS)) as u16;
        let port = FIRST_PORT + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The settings that start one node.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The binary.
    pub binary: PathBuf,
    /// Environment variables in addition to those of this process.
    pub environment: BTreeMap<String, String>,
    /// Its number.
    pub id: u64,
    /// The name of the cluster that it joins.
    pub cluster: String,
    /// The address of every node, `host:port`.
    pub peers: BTreeMap<u64, String>,
    /// Its port for clients.
    pub client_port: u16,
    /// Its port for peers.
    pub peer_port: u16,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// The file that receives its standard error.
    pub log: PathBuf,
    /// Additional flags.
    pub flags: Vec<String>,
}

impl Recipe {
    /// Returns the command, with standard error going to the log.
    pub fn command(&self) -> Command {
        let peers: Vec<_> = self.peers.iter().map(|(id, address)| format!("{id}={address}")).collect();
        let mut command = Command::new(&self.binary);
        command
            .arg("serve")
            .args(["--id", &self.id.to_string(), "--peers", &peers.join(","), "--cluster", &self.cluster])
            .args(["--peer-listen", &format!("127.0.0.1:{}", self.peer_port)])
            .args(["--client-listen", &format!("127.0.0.1:{}", self.client_port)])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.flags)
            .env_remove("RUST_LOG")
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.open_log().expect("the log can be written"));
        command
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.log)
    }

    /// Starts the node and waits until it serves clients.
    ///
    /// # Panics
    /// If the process exits instead.
    pub fn start(&self) -> Process {
        let mut child = self.command().spawn().expect("the binary runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut said = String::new();
        while stdout.read_line(&mut said).expect("it speaks text") > 0 && !said.contains("try: redis-cli") {}
        let process = Process { child, _stdout: stdout };
        assert!(said.contains("serves clients"), "node {} did not start: {said}{}", self.id, self.logged());
        process
    }

    /// Runs a node that is expected to exit soon, and returns its exit code and standard error.
    pub fn run(&self) -> (Option<i32>, String) {
        let mut child = Process::spawn(&mut self.command());
        let status =
            child.wait(PATIENCE).unwrap_or_else(|| panic!("node {} did not exit in time:\n{}", self.id, self.logged()));
        (status.code(), self.logged())
    }

    /// Returns its standard error so far.
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A running process, which is killed when dropped.
pub struct Process {
    child: Child,
    /// Kept open while the process runs, so that it does not write to a closed pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    fn spawn(command: &mut Command) -> Process {
        let mut child = command.spawn().expect("the binary runs");
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        Process { child, _stdout: stdout }
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it with SIGTERM and waits until it exits.
    ///
    /// # Panics
    /// If it does not exit.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait(PATIENCE + PATIENCE).expect("the node exits after SIGTERM")
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, named without `SIG`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "process {} could not be sent {name}", self.id());
    }

    /// Returns true if it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it exits, for at most `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        eventually(patience, || self.child.try_wait().expect("it is our child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A cluster of processes.
pub struct Processes {
    /// The recipe of each node.
    pub recipes: BTreeMap<u64, Recipe>,
    running: BTreeMap<u64, Process>,
    folder: TempDir,
}

impl Processes {
    /// Creates the recipes of a cluster without starting it.
    pub fn prepare(size: u64, flags: &[&str]) -> Processes {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports: BTreeMap<u64, (u16, u16)> = (1..=size).map(|id| (id, (free_port(), free_port()))).collect();
        let peers: BTreeMap<u64, String> =
            ports.iter().map(|(id, (_, peer))| (*id, format!("127.0.0.1:{peer}"))).collect();
        let recipe = |(&id, &(client_port, peer_port)): (&u64, &(u16, u16))| {
            let recipe = Recipe {
                binary: binary().to_owned(),
                environment: BTreeMap::new(),
                id,
                cluster: "test".to_owned(),
                peers: peers.clone(),
                client_port,
                peer_port,
                data_dir: folder.path().join(format!("n{id}")),
                log: folder.path().join(format!("n{id}.log")),
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            };
            (id, recipe)
        };
        let recipes = ports.iter().map(recipe).collect();
        Processes { recipes, running: BTreeMap::new(), folder }
    }

    /// Creates the recipe of a node that joins: it knows the nodes that run now, and has the flags of another node.
    ///
    /// # Panics
    /// If no node has a recipe.
    pub fn add_recipe(&mut self, id: u64) {
        let pattern = self.recipes.values().next().expect("a cluster has nodes").clone();
        let peers =
            self.running().into_iter().map(|peer| (peer, format!("127.0.0.1:{}", self.recipes[&peer].peer_port)));
        let recipe = Recipe {
            id,
            peers: peers.filter(|(peer, _)| *peer != id).collect(),
            client_port: free_port(),
            peer_port: free_port(),
            data_dir: self.folder.path().join(format!("n{id}")),
            log: self.folder.path().join(format!("n{id}.log")),
            ..pattern
        };
        self.recipes.insert(id, recipe);
    }

    /// Returns the address on which each node listens for the others.
    pub fn peer_addresses(&self) -> BTreeMap<u64, SocketAddr> {
        let listens = |recipe: &Recipe| SocketAddr::from((Ipv4Addr::LOCALHOST, recipe.peer_port));
        self.recipes.iter().map(|(id, recipe)| (*id, listens(recipe))).collect()
    }

    /// Starts a cluster and waits for a leader.
    pub fn start(size: u64) -> Processes {
        Self::start_with(size, &[])
    }

    /// Starts a cluster with additional flags for every node.
    pub fn start_with(size: u64, flags: &[&str]) -> Processes {
        let mut cluster = Self::prepare(size, flags);
        (1..=size).for_each(|id| cluster.start_node(id));
        cluster.leader();
        cluster
    }

    /// Returns the folder with all files of this cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a node that is not running.
    pub fn start_node(&mut self, id: u64) {
        let process = self.recipes[&id].start();
        self.running.insert(id, process);
    }

    /// Removes and returns the process of a running node.
    ///
    /// # Panics
    /// If it is not running.
    pub fn take(&mut self, id: u64) -> Process {
        self.running.remove(&id).expect("this node runs")
    }

    /// Returns the process of a running node.
    ///
    /// # Panics
    /// If it is not running.
    pub fn process(&self, id: u64) -> &Process {
        self.running.get(&id).expect("this node runs")
    }

    /// Returns the numbers of the running nodes.
    pub fn running(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    /// Returns true if all processes are still running.
    pub fn all_run(&mut self) -> bool {
        self.running.values_mut().all(Process::is_running)
    }

    /// Waits for a leader with a valid lease.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn leader(&self) -> u64 {
        let leads = |id: &u64| {
            let info = lease_info(&mut self.connect(*id));
            info["role"] == "leader" && info["lease_valid"] == "1"
        };
        eventually(PATIENCE, || self.running().into_iter().find(leads)).expect("a leader is elected")
    }

    /// Returns the leader and the followers.
    pub fn roles(&self) -> (u64, Vec<u64>) {
        let leader = self.leader();
        (leader, self.running().into_iter().filter(|id| *id != leader).collect())
    }

    /// Connects to a node, in RESP2.
    pub fn connect(&self, id: u64) -> Connection {
        connect(self.recipes[&id].client_port, 2).expect("the node accepts clients")
    }

    /// Executes a command through a node until it succeeds, and returns the reply. It may be executed several times:
    /// its outcome is unknown if the leader changes meanwhile.
    ///
    /// # Panics
    /// If it does not succeed in time.
    pub fn repeat<T: FromRedisValue>(&self, id: u64, command: &Cmd) -> T {
        let mut last = None;
        let reply =
            eventually(PATIENCE, || command.query(&mut self.connect(id)).map_err(|error| last = Some(error)).ok());
        reply.unwrap_or_else(|| panic!("node {id} does not execute the command: {last:?}"))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.running.clear();
        if std::thread::panicking() {
            for recipe in self.recipes.values() {
                eprintln!("---- standard error of node {}\n{}", recipe.id, recipe.logged());
            }
            return;
        }
        for recipe in self.recipes.values() {
            let logged = recipe.logged();
            assert!(!logged.contains("panicked"), "node {} panicked:\n{logged}", recipe.id);
        }
    }
}

/// Connects a client to a port, in RESP2 or RESP3.
///
/// # Errors
/// Those of the client.
pub fn connect(port: u16, protocol: u8) -> RedisResult<Connection> {
    let info: ConnectionInfo = format!("redis://127.0.0.1:{port}/?protocol=resp{protocol}").parse()?;
    let connection = redis::Client::open(info)?.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// Returns the fields of `INFO lease`, once the node has loaded its data.
///
/// # Panics
/// If the node does not answer, or does not end loading.
pub fn lease_info(connection: &mut Connection) -> BTreeMap<String, String> {
    let mut fields = || -> BTreeMap<String, String> {
        let text: String = cmd("INFO").arg("lease").query(connection).expect("the node answers INFO");
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    eventually(PATIENCE, || Some(fields()).filter(|fields| fields.contains_key("lease_valid")))
        .expect("it loads its data")
}

/// Calls `ask` repeatedly until it returns a value, for at most `patience`.
pub fn eventually<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let started = now();
    loop {
        let answer = ask();
        if answer.is_some() || started.elapsed() > patience {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the current time, for measuring durations.
#[expect(clippy::disallowed_methods, reason = "tests time processes from outside")]
pub fn now() -> Instant {
    Instant::now()
}

/// A [`Store`] for the load, over the Redis client's connection.
pub struct RedisStore(pub Connection);

fn failure(error: &RedisError) -> Failure {
    match (error.kind(), error.code()) {
        (ErrorKind::Server(ServerErrorKind::TryAgain), _) | (_, Some("TRYAGAIN" | "BUSY" | "LOADING")) => {
            Failure::NotExecuted
        }
        (_, Some(_)) => Failure::Uncertain,
        (_, None) => Failure::Disconnected,
    }
}

impl Store for RedisStore {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        cmd("GET").arg(key).query(&mut self.0).map_err(|error| failure(&error))
    }

    fn set(&mut self, key: &str, number: u64) -> Result<(), Failure> {
        cmd("SET").arg(key).arg(number).exec(&mut self.0).map_err(|error| failure(&error))
    }
}
