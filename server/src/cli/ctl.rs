//! `leasehold ctl`: administers a running cluster through the clients' ports of its nodes.

mod balance;
mod changes;
mod connection;
mod screen;
mod survey;
mod watch;

use super::exit::{BAD_FLAGS, FAILED, fail};
use changes::{Change, Changes};
use clap::{Args, Subcommand, ValueEnum};
use connection::{Access, Reply};
use leasehold_core::NodeId;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use survey::{Verdict, survey};

/// The exit code of `status` if there is no leader.
const NO_LEADER: u8 = 2;
/// The time that a node has for a reply to `log-level` or `local-reads`.
const PATIENCE: Duration = Duration::from_secs(5);

/// The arguments of `ctl`.
#[derive(Args, Debug)]
pub(crate) struct CtlArguments {
    /// The addresses of some nodes for clients: HOST:PORT, several with commas. The others are found through them.
    #[arg(long, value_name = "ADDR", env = "LEASEHOLD_NODE", value_delimiter = ',', global = true)]
    node: Vec<String>,
    /// The user as whom to log in.
    #[arg(long, value_name = "NAME", global = true, requires = "password_file")]
    user: Option<String>,
    /// The file with the password of that user, in its first line.
    #[arg(long, value_name = "FILE", global = true, requires = "user")]
    password_file: Option<PathBuf>,
    /// Connect with TLS to nodes whose certificates this authority has signed, in PEM form.
    #[arg(long, value_name = "FILE", global = true)]
    tls_ca: Option<PathBuf>,
    /// Send the password without TLS to other machines: only through a network that contains only trusted machines.
    #[arg(long, global = true)]
    insecure: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the state of the cluster, and what is wrong. Exits with 0 if it is healthy, 1 if something is wrong, and 2
    /// if no leader serves.
    Status {
        /// Show it again every second, and how much each node reads and writes. A terminal shows it in place, in colors
        /// unless NO_COLOR is set; any other output gets the text again and again.
        #[arg(long)]
        watch: bool,
        /// Print one JSON object.
        #[arg(long, conflicts_with = "watch")]
        json: bool,
    },
    /// Lists the members.
    Members {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Adds a node that waits to join. It votes once it has caught up.
    Add {
        /// The new node's number: higher than every number that was ever used.
        #[arg(value_parser = parse_node)]
        id: NodeId,
        /// The address at which it waits for other nodes: HOST:PORT.
        address: String,
        /// It receives every write and never votes.
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Lets a learner vote once it has caught up.
    Promote {
        /// The learner.
        #[arg(value_parser = parse_node)]
        id: NodeId,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Removes a member. A leader hands leadership over first.
    Remove {
        /// The member.
        #[arg(value_parser = parse_node)]
        id: NodeId,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Replaces a voter, running or lost, by a node that waits to join. The new one votes once it has caught up, and the
    /// old one is removed in the same step.
    Replace {
        /// The voter to be removed.
        #[arg(value_parser = parse_node)]
        old: NodeId,
        /// The new node's number: higher than every number that was ever used.
        #[arg(value_parser = parse_node)]
        new: NodeId,
        /// The address at which the new node waits for other nodes: HOST:PORT.
        address: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Hands leadership to a voter. In a cluster of several groups, name the group first.
    Transfer {
        /// The number of the group, if there are several, and that of the voter.
        #[arg(value_name = "[GROUP] ID", num_args = 1..=2, required = true)]
        target: Vec<u64>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Spreads the leaders of the groups over the voters, so that each leads as many, at once and also with --keep-leaders.
    Balance {
        /// Give up after so many seconds.
        #[arg(long, value_name = "S", default_value = "300")]
        timeout_s: u64,
    },
    /// Has a node answer reads from its own state by subleases, or not, until it is restarted: see `leasehold serve
    /// --local-reads`.
    LocalReads {
        /// The node.
        #[arg(value_parser = parse_node)]
        id: NodeId,
        /// On or off.
        switch: Switch,
    },
    /// Changes what the nodes given with --node log, until they are restarted.
    LogLevel {
        /// Levels and targets in the form of RUST_LOG: info, or warn,leasehold_raft=debug.
        filter: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Args, Clone, Copy, Debug)]
struct Waiting {
    /// Return once the change is accepted, and do not wait until it is complete.
    #[arg(long)]
    no_wait: bool,
    /// Give up after so many seconds. A change that was accepted goes on.
    #[arg(long, value_name = "S", default_value = "300")]
    timeout_s: u64,
}

fn parse_node(text: &str) -> Result<NodeId, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "not a node's number; write for example 4".to_owned())
}

/// Administers a cluster.
pub(super) fn run(arguments: CtlArguments) -> ExitCode {
    let CtlArguments { node: nodes, user, password_file, tls_ca, insecure, command } = arguments;
    if nodes.is_empty() {
        return fail(BAD_FLAGS, "--node is missing: give the address of any node for clients, or set LEASEHOLD_NODE");
    }
    let access = match credentials(user, password_file.as_deref()) {
        Ok(credentials) => Access { credentials, authority: tls_ca, insecure },
        Err(error) => return fail(BAD_FLAGS, error),
    };
    let (change, waiting) = match command {
        Command::Balance { timeout_s } => {
            let mut changes = Changes { access: &access, nodes, limit: Duration::from_secs(timeout_s), wait: true };
            return report(changes.balance());
        }
        Command::Status { watch: true, .. } => {
            return match watch::watch(&access, &nodes) {
                Ok(verdict) => exit_code(verdict),
                Err(error) => fail(FAILED, format_args!("cannot listen for signals: {error}")),
            };
        }
        Command::Status { json, .. } => return status(&access, &nodes, json),
        Command::Members { json } => return members(&access, &nodes, json),
        Command::LogLevel { filter } => return log_level(&access, &nodes, &filter),
        Command::LocalReads { id, switch } => return local_reads(&access, &nodes, id, switch),
        Command::Add { id, address, learner, waiting } => (Change::Add { node: id, address, learner }, waiting),
        Command::Replace { old, new, address, waiting } => (Change::Replace { old, new, address }, waiting),
        Command::Promote { id, waiting } => (Change::Promote(id), waiting),
        Command::Remove { id, waiting } => (Change::Remove(id), waiting),
        Command::Transfer { target, waiting } => match transfer(&target) {
            Some(change) => (change, waiting),
            None => return fail(BAD_FLAGS, "transfer takes the number of a voter, or those of a group and of a voter"),
        },
    };
    let limit = Duration::from_secs(waiting.timeout_s);
    let mut changes = Changes { access: &access, nodes, limit, wait: !waiting.no_wait };
    report(changes.make(&change))
}

fn report(result: Result<String, String>) -> ExitCode {
    match result {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILED, error),
    }
}

/// Returns the transfer with these arguments.
fn transfer(target: &[u64]) -> Option<Change> {
    let (group, to) = match *target {
        [to] => (None, to),
        [group, to] => (Some(u16::try_from(group).ok()?), to),
        _ => return None,
    };
    (to > 0).then_some(Change::Transfer { group, to })
}

fn credentials(user: Option<String>, file: Option<&Path>) -> Result<Option<(String, String)>, String> {
    let (Some(user), Some(file)) = (user, file) else { return Ok(None) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("--password-file {} cannot be read: {error}", file.display()))?;
    let password = text.lines().next().unwrap_or_default().to_owned();
    Ok(Some((user, password)))
}

fn exit_code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Healthy => ExitCode::SUCCESS,
        Verdict::Degraded => ExitCode::from(FAILED),
        Verdict::NoLeader | Verdict::Unreachable => ExitCode::from(NO_LEADER),
    }
}

fn status(access: &Access, nodes: &[String], json: bool) -> ExitCode {
    let survey = survey(access, nodes);
    if json {
        println!("{}", screen::json(&survey));
    } else {
        print!("{}", screen::status(&survey));
    }
    exit_code(survey.picture().verdict)
}

fn members(access: &Access, nodes: &[String], json: bool) -> ExitCode {
    let survey = survey(access, nodes);
    let picture = survey.picture();
    if picture.members.is_empty() {
        let reason = picture.problems.first().map_or("no node answers", String::as_str);
        return fail(NO_LEADER, reason);
    }
    if json {
        println!("{}", serde_json::json!(picture.members));
    } else {
        println!("{}", screen::members(&survey, &picture));
    }
    ExitCode::SUCCESS
}

fn local_reads(access: &Access, nodes: &[String], node: NodeId, switch: Switch) -> ExitCode {
    let survey = survey(access, nodes);
    let Some(status) = survey.nodes.get(&node) else {
        let members: Vec<_> = survey.picture().members.iter().map(|member| member.node).collect();
        if !members.is_empty() && !members.contains(&node) {
            return fail(
                FAILED,
                format!("node {node} is no member, so nothing was changed; the members are {members:?}"),
            );
        }
        let failures = survey.failures.iter().map(|(address, reason)| format!("; {address} {reason}"));
        return fail(
            FAILED,
            format!("node {node} does not answer, so nothing was changed{}", failures.collect::<String>()),
        );
    };
    let (argument, done) = match switch {
        Switch::On => {
            ("ON", "answers reads by subleases until it is restarted; start it with --local-reads to keep this")
        }
        Switch::Off => {
            ("OFF", "answers no reads by subleases until it is restarted; start it without --local-reads to keep this")
        }
    };
    let address = &status.addresses.clients;
    let reply = access.connect(address, PATIENCE).and_then(|mut connection| {
        connection.ask(&["LEASEHOLD", "LOCALREADS", argument]).map_err(|error| format!("does not answer: {error}"))
    });
    match reply {
        Ok(Reply::Text(_)) => {
            println!("node {node} {done}");
            ExitCode::SUCCESS
        }
        Ok(Reply::Error(error)) => fail(FAILED, format!("node {node} answered: {error}")),
        Err(error) => fail(FAILED, format!("node {node} at {address} {error}")),
    }
}

fn log_level(access: &Access, nodes: &[String], filter: &str) -> ExitCode {
    let mut failed = None;
    for address in nodes {
        let reply = access.connect(address, PATIENCE).and_then(|mut connection| {
            connection.ask(&["LEASEHOLD", "LOGLEVEL", filter]).map_err(|error| format!("does not answer: {error}"))
        });
        match reply {
            Ok(Reply::Text(_)) => println!("{address} logs {filter} until it is restarted"),
            Ok(Reply::Error(error)) => failed = Some(format!("{address} answered: {error}")),
            Err(error) => failed = Some(format!("{address} {error}")),
        }
    }
    failed.map_or(ExitCode::SUCCESS, |error| fail(FAILED, error))
}
