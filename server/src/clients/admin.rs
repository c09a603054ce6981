//! `LEASEHOLD`: the commands with which a running cluster is administered. `leasehold ctl` sends them.

use super::session::Session;
use super::shared::Clients;
use super::status::describe;
use crate::command::shown;
use crate::logging;
use crate::timeout::within;
use bytes::Bytes;
use leasehold_core::NodeId;
use leasehold_node::identity::{Introduction, MAX_ADDRESS_BYTES, Numbers};
use leasehold_node::members::{Aim, ChangeError, MemberChange};
use leasehold_node::{REQUEST_TIMEOUT, Role, TransferError};
use leasehold_runtime::Runtime;
use std::time::Duration;

/// The time that a change of the members, or a transfer of leadership, may take, once it waits for no reader.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that a node has for answering a probe: as long as the links give it, and a little more.
const PROBE_TIMEOUT: Duration = Duration::from_secs(6);

/// The subcommands, each with its arguments and its purpose.
const HELP: [&str; 10] = [
    "LEASEHOLD STATUS -- describes this node and its cluster, in JSON.",
    "LEASEHOLD ADD id host:port [LEARNER] -- adds the node that waits at this address for peers. It votes once it has \
     caught up; a LEARNER never does.",
    "LEASEHOLD PROMOTE id -- lets a learner vote once it has caught up.",
    "LEASEHOLD REMOVE id -- removes a member. A leader hands leadership over first.",
    "LEASEHOLD REPLACE old new host:port -- adds a node that takes the place of another voter once it has caught up.",
    "LEASEHOLD TRANSFER [group] id -- hands leadership to this voter. With several groups, name the group by its number.",
    "LEASEHOLD LOCALREADS ON | OFF -- has this node answer reads by subleases, or not, until it is restarted.",
    "LEASEHOLD LOGLEVEL filter -- changes what this node logs, in the form of RUST_LOG.",
    "LEASEHOLD HELP -- returns these lines.",
    "Changes are made by the leader; another node names it (-NOTLEADER).",
];

/// A subcommand.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Administer {
    Status,
    Add { node: NodeId, address: String, aim: Aim },
    Promote(NodeId),
    Remove(NodeId),
    Transfer { group: Option<u16>, to: NodeId },
    LocalReads(bool),
    LogLevel(String),
    Help,
}

impl Administer {
    /// Parses the arguments, the subcommand first.
    fn parse(arguments: &[Bytes]) -> Result<Administer, String> {
        let Some(name) = arguments.first() else { return Err(unknown(b"")) };
        match (name.to_ascii_uppercase().as_slice(), &arguments[1..]) {
            (b"STATUS", []) => Ok(Administer::Status),
            (b"HELP", []) => Ok(Administer::Help),
            (b"ADD", [node, address]) => {
                Ok(Administer::Add { node: number(node)?, address: peer(address)?, aim: Aim::Voter })
            }
            (b"ADD", [node, address, learner]) if learner.eq_ignore_ascii_case(b"learner") => {
                Ok(Administer::Add { node: number(node)?, address: peer(address)?, aim: Aim::Learner })
            }
            (b"REPLACE", [old, new, address]) => {
                Ok(Administer::Add { node: number(new)?, address: peer(address)?, aim: Aim::Replaces(number(old)?) })
            }
            (b"PROMOTE", [node]) => Ok(Administer::Promote(number(node)?)),
            (b"REMOVE", [node]) => Ok(Administer::Remove(number(node)?)),
            (b"TRANSFER", [node]) => Ok(Administer::Transfer { group: None, to: number(node)? }),
            (b"TRANSFER", [group, node]) => {
                Ok(Administer::Transfer { group: Some(parse_group(group)?), to: number(node)? })
            }
            (b"LOCALREADS", [on]) if on.eq_ignore_ascii_case(b"on") => Ok(Administer::LocalReads(true)),
            (b"LOCALREADS", [off]) if off.eq_ignore_ascii_case(b"off") => Ok(Administer::LocalReads(false)),
            (b"LOGLEVEL", [filter]) => Ok(Administer::LogLevel(String::from_utf8_lossy(filter).into_owned())),
            _ => Err(unknown(name)),
        }
    }
}

/// Returns the numbers of groups.
fn numbered(groups: u16) -> String {
    format!("the groups are 0 to {}", groups - 1)
}

fn unknown(name: &[u8]) -> String {
    format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'; LEASEHOLD HELP lists the subcommands",
        shown(name)
    )
}

fn number(text: &[u8]) -> Result<NodeId, String> {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("ERR {:?} is not a node's number; write for example 4", shown(text)))
}

fn parse_group(text: &[u8]) -> Result<u16, String> {
    let group = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    group.ok_or_else(|| format!("ERR {:?} is not a group's number; write for example 0", shown(text)))
}

fn peer(text: &[u8]) -> Result<String, String> {
    let address = str::from_utf8(text).ok().filter(|text| {
        let parts = text.rsplit_once(':');
        let plain = !text.contains(|letter: char| letter.is_whitespace() || letter.is_control());
        plain && parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    });
    address.filter(|address| address.len() <= MAX_ADDRESS_BYTES).map(str::to_owned).ok_or_else(|| {
        format!("ERR {:?} is not of the form HOST:PORT; give the address for peers, such as 10.0.0.4:7101", shown(text))
    })
}

impl<R: Runtime> Session<'_, R> {
    /// Executes `LEASEHOLD` and its subcommand. The rights of the client were checked when the command was taken.
    pub(super) async fn administer(&mut self, arguments: &[Bytes]) {
        let clients = self.clients;
        let outcome = match Administer::parse(arguments) {
            Err(error) => Err(error),
            Ok(Administer::Status) => {
                let status = describe(clients);
                return match serde_json::to_string(&status) {
                    Ok(text) => self.out.bulk(text),
                    Err(error) => self.out.error(&format!("ERR the status cannot be encoded: {error}")),
                };
            }
            Ok(Administer::Help) => {
                self.out.array(HELP.len());
                return HELP.iter().for_each(|line| self.out.bulk(line));
            }
            Ok(Administer::LogLevel(filter)) => logging::set_filter(&filter).map_err(|error| format!("ERR {error}")),
            Ok(Administer::LocalReads(enabled)) => clients.set_local_reads(enabled).await,
            Ok(change) => {
                let limit = CHANGE_TIMEOUT + clients.wait_for_readers();
                match within(clients.runtime(), limit, clients.carry_out_alone(change)).await {
                    Some(outcome) => outcome,
                    None => Err(format!(
                        "UNCERTAIN the change was not made within {} s, and may still be made; look at the status \
                         before you repeat it",
                        limit.as_secs()
                    )),
                }
            }
        };
        match outcome {
            Ok(()) => self.out.status("OK"),
            Err(error) => self.out.error(&error),
        }
    }
}

impl<R: Runtime> Clients<R> {
    /// Warns if a sublease of this node may last longer than a write that waits for the node.
    pub(crate) fn warn_of_long_subleases(&self) {
        let lease = self.facts.timing.lease();
        if lease >= REQUEST_TIMEOUT {
            tracing::warn!(
                "this node reads locally with a lease of {lease:?}, and a write ends after {REQUEST_TIMEOUT:?}: if this \
                 node fails, writes are answered with UNCERTAIN until the lease has ended; choose a shorter --hold-ms"
            );
        }
    }

    /// Has this node ask its leaders for subleases, or return those that it has.
    async fn set_local_reads(&self, enabled: bool) -> Result<(), String> {
        if enabled && self.facts.quorum_reads {
            return Err(
                "ERR this node runs with --reads quorum, so it does not answer reads by subleases; restart it \
                        without that"
                    .to_owned(),
            );
        }
        tracing::info!(enabled, "a client changes whether this node answers reads by subleases");
        if enabled {
            self.warn_of_long_subleases();
        }
        self.executor.handle().set_local_reads(enabled).await;
        Ok(())
    }

    /// Makes a change, if this node leads and makes no other one. So a client cannot have it dial many addresses at once.
    async fn carry_out_alone(&self, change: Administer) -> Result<(), String> {
        let Some(_alone) = self.changing.try_lock() else {
            return Err("BUSY this node is making another change; try again in a second".to_owned());
        };
        self.carry_out(change).await
    }

    async fn carry_out(&self, change: Administer) -> Result<(), String> {
        let slots = self.facts.slots;
        if let Administer::Transfer { group, to } = change {
            let group = match group {
                Some(group) if slots.groups().contains(&group) => group,
                Some(group) => return Err(format!("ERR there is no group {group}; {}", numbered(slots.groups().end))),
                None if slots.is_single() => 0,
                None => return Err(format!("ERR name the group before the node; {}", numbered(slots.groups().end))),
            };
            tracing::info!(group, node = to, "a client transfers leadership");
            return self.transfer(group, to).await;
        }
        if self.status().role != Role::Leader {
            return Err(self.not_leader(0));
        }
        let change = match change {
            Administer::Add { node, address, aim } => {
                if let Aim::Replaces(old) = aim {
                    self.check_replaceable(old)?;
                }
                let theirs = self.probe(node, &address).await?;
                tracing::info!(node, %address, ?aim, "a client adds a member");
                MemberChange::Add { node, contact: theirs.contact(), aim }
            }
            Administer::Promote(node) => {
                tracing::info!(node, "a client promotes a learner");
                MemberChange::Promote { node }
            }
            Administer::Remove(node) => {
                tracing::info!(node, "a client removes a member");
                MemberChange::Remove { node }
            }
            Administer::Transfer { .. }
            | Administer::Status
            | Administer::LocalReads(_)
            | Administer::LogLevel(_)
            | Administer::Help => {
                return Ok(());
            }
        };
        self.executor.handle().change_members(change).await.map_err(|error| match error {
            ChangeError::NotLeader => self.not_leader(0),
            ChangeError::Busy => format!("BUSY {error}"),
            ChangeError::HandingOver(_) => format!("TRYAGAIN {error}"),
            ChangeError::Uncertain => format!("UNCERTAIN {error}"),
            error => format!("ERR {error}"),
        })
    }

    /// Returns the reply of a node that does not lead a group.
    fn not_leader(&self, group: u16) -> String {
        let leader = self.group(group).handle().status().leader.filter(|leader| *leader != self.node());
        let Some(leader) = leader else {
            return "TRYAGAIN no leader is known; try again in a second, and look at the status".to_owned();
        };
        let contact = self.executor.registrar().registry().contacts().remove(&leader);
        match contact.map(|contact| contact.addresses.clients).filter(|address| !address.is_empty()) {
            Some(address) => format!("NOTLEADER node {leader} leads, at {address} for clients"),
            None => format!("NOTLEADER node {leader} leads, and its address for clients is not known here"),
        }
    }

    fn check_replaceable(&self, old: NodeId) -> Result<(), String> {
        let members = self.executor.handle().members();
        let membership = &members.membership;
        if membership.learners.contains(&old) {
            return Err(format!(
                "ERR node {old} is a learner and has no vote to take over; remove it, and add the new node as a learner"
            ));
        }
        if !membership.names(old) {
            let known = Numbers::new(membership.members());
            return Err(format!("ERR {}", ChangeError::NotMember(old, known)));
        }
        Ok(())
    }

    /// Asks a node for its introduction, and checks that it waits to be added to this cluster.
    async fn probe(&self, node: NodeId, address: &str) -> Result<Introduction, String> {
        let (members, registry) = (self.executor.handle().members(), self.executor.registrar().registry());
        let (membership, highest) = (&members.membership, members.membership.highest());
        if membership.names(node) {
            return Err(format!("ERR node {node} is a member already"));
        }
        if node <= highest {
            return Err(format!("ERR {}", ChangeError::NumberUsed { node, highest }));
        }
        let probed = within(self.runtime(), PROBE_TIMEOUT, self.transport.probe(node, address)).await;
        let theirs = match probed {
            Some(probed) => probed.map_err(|error| error.to_string()),
            None => Err("does not answer".to_owned()),
        };
        let groups = if self.facts.slots.is_single() { "" } else { " and --groups" };
        let theirs = theirs.map_err(|error| {
            format!(
                "ERR node {node} at {address} {error}; start it there with --id {node}, an empty --data-dir, the same \
                 --cluster{groups}, and in --peers some members of this cluster but not itself"
            )
        })?;
        if theirs.joins() {
            return Ok(theirs);
        }
        let is_other = theirs.cluster != registry.cluster;
        Err(match theirs.cluster {
            0 => format!(
                "ERR node {node} at {address} waits to found a cluster of its own with the nodes {}; start it on an empty \
                 --data-dir, with some members of this cluster in --peers but not itself",
                Numbers::new(theirs.founders.keys().copied())
            ),
            other if is_other => format!(
                "ERR node {node} at {address} belongs to another cluster already (its id is {other:016x}, this one's \
                 {:016x}); start it on an empty --data-dir",
                registry.cluster
            ),
            _ => format!(
                "ERR node {node} at {address} has the data folder of a former member of this cluster; start a new node on \
                 an empty --data-dir, with a number above {highest}"
            ),
        })
    }

    /// Hands leadership of a group to a voter, if this node leads, and waits until it has taken over.
    pub(super) async fn transfer(&self, group: u16, to: NodeId) -> Result<(), String> {
        let handle = self.group(group).handle();
        if handle.status().role != Role::Leader {
            return Err(self.not_leader(group));
        }
        if to == self.node() {
            return Ok(());
        }
        match handle.transfer(to).await {
            Ok(()) => {}
            Err(TransferError::NotLeader) => return Err(self.not_leader(group)),
            Err(error) => return Err(format!("ERR leadership is not transferred to node {to}: {error}")),
        }
        let before = handle.status().term;
        // It ends by success, or after an election timeout.
        let ended = handle.wait_status(|status| status.stopped || (status.term != before && status.leader.is_some()));
        // It begins once readers have returned their subleases, or these have ended.
        let limit = self.facts.timing.hold() * 3;
        match within(self.runtime(), limit, ended).await.map(|status| status.leader) {
            Some(Some(leader)) if leader == to => Ok(()),
            Some(Some(leader)) => Err(format!("ERR node {leader} leads now, and not node {to}; try again")),
            _ => Err(format!("TRYAGAIN node {to} did not take over in time; try again, and look at the status")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Administer, String> {
        let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        Administer::parse(&words)
    }

    #[test]
    fn subcommands_are_parsed_in_any_case() {
        let address = "10.0.0.4:7101".to_owned();
        let add = |aim| Ok(Administer::Add { node: 4, address: address.clone(), aim });
        assert_eq!(parse("add 4 10.0.0.4:7101"), add(Aim::Voter));
        assert_eq!(parse("ADD 4 10.0.0.4:7101 learner"), add(Aim::Learner));
        assert_eq!(parse("Replace 3 4 10.0.0.4:7101"), add(Aim::Replaces(3)));
        assert_eq!(parse("REMOVE 3"), Ok(Administer::Remove(3)));
        assert_eq!(parse("LOCALREADS on"), Ok(Administer::LocalReads(true)));
        assert_eq!(parse("localreads OFF"), Ok(Administer::LocalReads(false)));
        assert_eq!(parse("LOGLEVEL warn,raft=info"), Ok(Administer::LogLevel("warn,raft=info".to_owned())));
        assert_eq!(parse("status"), Ok(Administer::Status));
    }

    #[test]
    fn wrong_arguments_get_an_error_that_says_what_to_write() {
        for (line, said) in [
            ("NOSUCH", "LEASEHOLD HELP"),
            ("ADD 4", "LEASEHOLD HELP"),
            ("ADD 4 10.0.0.4:7101 voter", "LEASEHOLD HELP"),
            ("ADD four 10.0.0.4:7101", "\"four\" is not a node's number"),
            ("ADD 0 10.0.0.4:7101", "\"0\" is not a node's number"),
            ("ADD 4 10.0.0.4", "not of the form HOST:PORT"),
            ("ADD 4 10.0.0.4:0", "not of the form HOST:PORT"),
            ("ADD 4 :7101", "not of the form HOST:PORT"),
            ("REPLACE 3 4", "LEASEHOLD HELP"),
            ("LOCALREADS yes", "LEASEHOLD HELP"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.starts_with("ERR ") && error.contains(said), "{line}: {error}");
        }
    }
}
