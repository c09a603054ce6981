//! Changes of the members: sent to the leader, wherever it is, and followed until they are complete.

use super::connection::{Access, Reply};
use super::survey::{Survey, survey};
use crate::status::{MemberStatus, NodeStatus, Part};
use leasehold_core::NodeId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The time that a node has for its reply: a little longer than it may work on a change that waits for readers first.
const PATIENCE: Duration = Duration::from_secs(25);
/// The pause between two attempts, and between two looks at the progress.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// The entries that a learner may lack and still have caught up.
const MAX_LAG: u64 = 1_024;

/// A change that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add {
        node: NodeId,
        address: String,
        learner: bool,
    },
    Replace {
        old: NodeId,
        new: NodeId,
        address: String,
    },
    Promote(NodeId),
    Remove(NodeId),
    /// `None` for the only group.
    Transfer {
        group: Option<u16>,
        to: NodeId,
    },
}

/// The progress of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has not begun, as far as the leader knows.
    NotBegun,
    /// It has begun; what is still to be done.
    Begun(String),
    /// It is complete.
    Complete,
}

impl Change {
    /// Returns the command for the leader.
    fn command(&self) -> Vec<String> {
        let words: &[&dyn ToString] = match self {
            Change::Add { node, address, learner: false } => &[&"ADD", node, address],
            Change::Add { node, address, learner: true } => &[&"ADD", node, address, &"LEARNER"],
            Change::Replace { old, new, address } => &[&"REPLACE", old, new, address],
            Change::Promote(node) => &[&"PROMOTE", node],
            Change::Remove(node) => &[&"REMOVE", node],
            Change::Transfer { group: None, to } => &[&"TRANSFER", to],
            Change::Transfer { group: Some(group), to } => &[&"TRANSFER", group, to],
        };
        std::iter::once("LEASEHOLD".to_owned()).chain(words.iter().map(|word| word.to_string())).collect()
    }

    /// Returns the progress, as the leader sees it.
    pub(super) fn progress(&self, leader: &NodeStatus) -> Progress {
        let member = |node: NodeId| leader.members.iter().find(|member| member.node == node);
        let votes = |node: NodeId, old: Option<NodeId>| match member(node) {
            None => Progress::NotBegun,
            Some(found) if found.part == Part::Joining => Progress::Begun(joining(leader, found)),
            Some(found) if found.part == Part::Voter => match old.filter(|old| member(*old).is_some()) {
                Some(old) => Progress::Begun(format!("node {old} is being removed")),
                None => match leader.list_behind(found) {
                    Some(behind) => Progress::Begun(format!("node {node} does not vote yet in {behind}")),
                    None => Progress::Complete,
                },
            },
            Some(_) => Progress::NotBegun,
        };
        match self {
            Change::Add { node, learner: false, .. } | Change::Promote(node) => votes(*node, None),
            Change::Replace { old, new, .. } => votes(*new, Some(*old)),
            Change::Add { node, learner: true, .. } => match member(*node) {
                None => Progress::NotBegun,
                Some(found) if has_caught_up(found) && found.groups_behind.is_empty() => Progress::Complete,
                Some(found) => Progress::Begun(joining(leader, found)),
            },
            Change::Remove(node) => match member(*node) {
                None => Progress::Complete,
                Some(found) if found.part == Part::Leaving => Progress::Begun(match leader.list_behind(found) {
                    Some(behind) => format!("node {node} leaves, and is still a member of {behind}"),
                    None => format!("node {node} leaves"),
                }),
                Some(_) => Progress::NotBegun,
            },
            Change::Transfer { group, to } => {
                let of_group = |group: &u16| leader.groups.iter().find(|known| known.group == *group)?.leader;
                // A cluster of one group does not list it.
                let leads = match group {
                    Some(group) if !leader.groups.is_empty() => of_group(group),
                    _ => Some(leader.node),
                };
                if leads == Some(*to) { Progress::Complete } else { Progress::NotBegun }
            }
        }
    }

    /// Returns what to say at the end.
    fn done(&self) -> String {
        match self {
            Change::Add { node, learner: true, .. } => format!("node {node} is a learner and has caught up"),
            Change::Add { node, .. } | Change::Promote(node) => format!("node {node} votes"),
            Change::Replace { old, new, .. } => {
                format!(
                    "node {new} votes in the place of node {old}, which is removed; if node {old} still runs, it stops"
                )
            }
            Change::Remove(node) => {
                format!(
                    "node {node} is removed; if it runs, it stops with exit code 3, and its data folder can be deleted"
                )
            }
            Change::Transfer { group: None, to } => format!("node {to} leads"),
            Change::Transfer { group: Some(group), to } => format!("node {to} leads group {group}"),
        }
    }
}

fn has_caught_up(member: &MemberStatus) -> bool {
    member.heard == Some(true) && member.lag.is_some_and(|lag| lag <= MAX_LAG)
}

fn joining(leader: &NodeStatus, member: &MemberStatus) -> String {
    let MemberStatus { node, .. } = member;
    match (&member.trouble, member.heard, member.lag) {
        (Some(trouble), Some(false), _) => format!("node {node} is added and not heard yet ({trouble})"),
        (None, Some(false), _) => format!("node {node} is added and not heard yet"),
        (_, _, Some(lag)) if lag > MAX_LAG => format!("node {node} catches up: {lag} entries are missing"),
        _ => match leader.list_behind(member) {
            Some(behind) => format!("node {node} receives the state, or is about to vote, in {behind}"),
            None => format!("node {node} receives the state, or is about to vote"),
        },
    }
}

/// The replies in a row that may name another leader. Then there is a pause: two nodes may each name the other.
const MAX_HOPS: usize = 3;

/// An operator's view of a change that takes time.
pub(super) struct Changes<'a> {
    pub(super) access: &'a Access,
    /// The addresses to ask. Those of other members are added as they become known: the given ones may be of a node that
    /// is being removed.
    pub(super) nodes: Vec<String>,
    /// The time after which it is given up.
    pub(super) limit: Duration,
    /// Waits until the change is complete, and not only made.
    pub(super) wait: bool,
}

enum Attempt {
    Accepted,
    /// Another node leads, at this address for clients if it is known.
    Elsewhere(Option<String>),
    /// Not now, for this reason.
    Later(String),
    /// It may have been accepted.
    Unknown(String),
    Refused(String),
}

impl Changes<'_> {
    /// Makes a change. Prints a line for each step, and returns the last one.
    ///
    /// # Errors
    /// The reason, in one line that says what to do.
    pub(super) fn make(&mut self, change: &Change) -> Result<String, String> {
        let started = now();
        let mut said = Said::default();
        self.look();
        self.propose(change, started, &mut said)?;
        if !self.wait {
            return Ok("the change is accepted; `leasehold ctl status` shows its progress".to_owned());
        }
        loop {
            let survey = self.look();
            let missing = match survey.leader().map(|leader| change.progress(leader)) {
                Some(Progress::Complete) => return Ok(change.done()),
                Some(Progress::Begun(missing)) => missing,
                Some(Progress::NotBegun) => "the change is accepted, and not visible yet".to_owned(),
                None => "there is no leader at the moment".to_owned(),
            };
            if started.elapsed() > self.limit {
                return Err(format!(
                    "not complete after {} s: {missing}; it goes on by itself, and `leasehold ctl status` shows it",
                    self.limit.as_secs()
                ));
            }
            said.say(&missing);
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks the members, and remembers their addresses.
    pub(super) fn look(&mut self) -> Survey {
        let survey = survey(self.access, &self.nodes);
        for member in survey.leader().into_iter().flat_map(|leader| &leader.members) {
            let address = &member.addresses.clients;
            if !address.is_empty() && !self.nodes.contains(address) {
                self.nodes.push(address.clone());
            }
        }
        survey
    }

    /// Sends the change to the leader until it is accepted.
    fn propose(&mut self, change: &Change, started: Instant, said: &mut Said) -> Result<(), String> {
        let command = change.command();
        let mut queue: Vec<String> = self.nodes.iter().rev().cloned().collect();
        let (mut uncertain, mut hops) = (false, 0);
        let mut reason = "no node was asked".to_owned();
        loop {
            let Some(address) = queue.pop() else {
                if started.elapsed() > self.limit {
                    return Err(format!("not accepted within {} s: {reason}", self.limit.as_secs()));
                }
                said.say(&reason);
                std::thread::sleep(PAUSE);
                hops = 0;
                let survey = self.look();
                if uncertain && survey.leader().is_some_and(|leader| change.progress(leader) != Progress::NotBegun) {
                    return Ok(());
                }
                queue = self.nodes.iter().rev().cloned().collect();
                // The leader may be none of those that were named.
                queue.extend(survey.leader().map(|leader| leader.addresses.clients.clone()));
                continue;
            };
            match self.attempt(&address, &command) {
                Attempt::Accepted => return Ok(()),
                Attempt::Elsewhere(Some(leader)) if hops < MAX_HOPS => {
                    hops += 1;
                    queue.push(leader);
                }
                Attempt::Elsewhere(_) => reason = format!("{address} does not know where the leader is"),
                Attempt::Later(why) => reason = why,
                Attempt::Unknown(why) => (reason, uncertain) = (why, true),
                // An earlier attempt may have succeeded. A new leader may refuse for that reason, or because it has not heard
                // the others yet.
                Attempt::Refused(why) if uncertain => {
                    match self.look().leader().map(|leader| change.progress(leader)) {
                        None => reason = why,
                        Some(Progress::NotBegun) => return Err(why),
                        Some(_) => return Ok(()),
                    }
                }
                Attempt::Refused(why) => return Err(why),
            }
        }
    }

    fn attempt(&self, address: &str, command: &[String]) -> Attempt {
        let mut connection = match self.access.connect(address, PATIENCE) {
            Ok(connection) => connection,
            Err(error) => return Attempt::Later(format!("{address} {error}")),
        };
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        let error = match connection.ask(&words) {
            Ok(Reply::Text(_)) => return Attempt::Accepted,
            Ok(Reply::Error(error)) => error,
            Err(error) => return Attempt::Unknown(format!("{address} did not reply: {error}")),
        };
        let (code, text) = error.split_once(' ').unwrap_or((&error, ""));
        match code {
            "NOTLEADER" => Attempt::Elsewhere(leader_address(text)),
            "TRYAGAIN" | "CLUSTERDOWN" | "BUSY" | "LOADING" => Attempt::Later(text.to_owned()),
            "UNCERTAIN" => Attempt::Unknown(text.to_owned()),
            "ERR" => Attempt::Refused(text.to_owned()),
            _ => Attempt::Refused(error.clone()),
        }
    }
}

/// Returns the address in the text of `-NOTLEADER`.
fn leader_address(text: &str) -> Option<String> {
    let (_, address) = text.split_once(", at ")?;
    Some(address.split(' ').next()?.to_owned())
}

/// The last line that was printed, so that it is not repeated.
#[derive(Default)]
struct Said(BTreeSet<String>);

impl Said {
    fn say(&mut self, line: &str) {
        // Numbers change all the time.
        let shape: String = line.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        if self.0.insert(shape) {
            println!("  ... {line}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the time that an operator waits has nothing to do with a lease")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::GroupStatus;

    fn member(node: NodeId, part: Part) -> MemberStatus {
        MemberStatus { node, part, heard: Some(true), lag: Some(0), ..MemberStatus::default() }
    }

    fn leader(members: &[(NodeId, Part)]) -> NodeStatus {
        let members = members.iter().map(|(node, part)| member(*node, *part)).collect();
        NodeStatus { node: 1, members, ..NodeStatus::default() }
    }

    #[test]
    fn commands_have_the_form_that_nodes_understand() {
        let address = "10.0.0.4:7101".to_owned();
        let line = |change: Change| change.command().join(" ");
        assert_eq!(
            line(Change::Add { node: 4, address: address.clone(), learner: false }),
            "LEASEHOLD ADD 4 10.0.0.4:7101"
        );
        assert_eq!(
            line(Change::Add { node: 4, address: address.clone(), learner: true }),
            "LEASEHOLD ADD 4 10.0.0.4:7101 LEARNER"
        );
        assert_eq!(line(Change::Replace { old: 3, new: 4, address }), "LEASEHOLD REPLACE 3 4 10.0.0.4:7101");
        assert_eq!(line(Change::Remove(3)), "LEASEHOLD REMOVE 3");
    }

    #[test]
    fn a_change_is_complete_once_the_leader_shows_its_result() {
        let replace = Change::Replace { old: 3, new: 4, address: String::new() };
        let before = leader(&[(1, Part::Voter), (3, Part::Voter)]);
        let during = leader(&[(1, Part::Voter), (3, Part::Voter), (4, Part::Joining)]);
        let joint = leader(&[(1, Part::Voter), (3, Part::Leaving), (4, Part::Voter)]);
        let after = leader(&[(1, Part::Voter), (4, Part::Voter)]);
        assert_eq!(replace.progress(&before), Progress::NotBegun);
        assert!(matches!(replace.progress(&during), Progress::Begun(_)));
        assert!(matches!(replace.progress(&joint), Progress::Begun(_)));
        assert_eq!(replace.progress(&after), Progress::Complete);
        assert_eq!(Change::Remove(3).progress(&before), Progress::NotBegun);
        assert_eq!(Change::Remove(3).progress(&after), Progress::Complete);
        assert_eq!(Change::Promote(4).progress(&after), Progress::Complete);
        let progress = |group, to, leader: &NodeStatus| Change::Transfer { group, to }.progress(leader);
        for group in [None, Some(0)] {
            assert_eq!(progress(group, 1, &after), Progress::Complete);
            assert_eq!(progress(group, 4, &after), Progress::NotBegun);
        }
        let led_by = |leaders: [u64; 2]| {
            let groups = (0..).zip(leaders).map(|(group, leader)| GroupStatus {
                group,
                leader: Some(leader),
                ..GroupStatus::default()
            });
            NodeStatus { groups: groups.collect(), ..after.clone() }
        };
        assert_eq!(progress(Some(1), 4, &led_by([1, 4])), Progress::Complete);
        assert_eq!(progress(Some(1), 4, &led_by([4, 1])), Progress::NotBegun);
    }

    #[test]
    fn a_learner_is_added_once_it_has_caught_up() {
        let add = Change::Add { node: 4, address: String::new(), learner: true };
        let mut seen = leader(&[(1, Part::Voter), (4, Part::Learner)]);
        assert_eq!(add.progress(&seen), Progress::Complete);
        seen.members[1].lag = Some(MAX_LAG + 1);
        assert!(matches!(add.progress(&seen), Progress::Begun(_)));
        assert_eq!(Change::Promote(4).progress(&seen), Progress::NotBegun);
    }

    #[test]
    fn a_change_is_complete_once_every_group_has_made_it() {
        let group = |group, leader| GroupStatus { group, leader, ..GroupStatus::default() };
        let seen = |members: &[(NodeId, Part)], behind: &[(NodeId, &[u16])]| {
            let mut seen = leader(members);
            seen.groups = vec![group(0, Some(1)), group(1, Some(1)), group(2, None)];
            for member in &mut seen.members {
                let behind = behind.iter().find(|(node, _)| *node == member.node);
                member.groups_behind = behind.map(|(_, groups)| groups.to_vec()).unwrap_or_default();
            }
            seen
        };
        let voters = [(1, Part::Voter), (3, Part::Voter), (4, Part::Voter)];
        let waits = |change: &Change, seen: &NodeStatus, expected: &str| match change.progress(seen) {
            Progress::Begun(missing) => assert_eq!(missing, expected),
            other => panic!("{change:?}: {other:?}"),
        };
        let add = |learner| Change::Add { node: 4, address: String::new(), learner };
        let behind: &[(NodeId, &[u16])] = &[(4, &[1, 2])];
        waits(&add(false), &seen(&voters, behind), "node 4 does not vote yet in groups 1, 2 (without a leader: 2)");
        assert_eq!(add(false).progress(&seen(&voters, &[])), Progress::Complete);
        let learner = [(1, Part::Voter), (4, Part::Learner)];
        assert!(matches!(add(true).progress(&seen(&learner, behind)), Progress::Begun(_)));
        assert_eq!(add(true).progress(&seen(&learner, &[])), Progress::Complete);
        let leaves = [(1, Part::Voter), (3, Part::Leaving), (4, Part::Voter)];
        let remove = Change::Remove(3);
        waits(&remove, &seen(&leaves, &[(3, &[1])]), "node 3 leaves, and is still a member of group 1");
        waits(&remove, &seen(&leaves, &[]), "node 3 leaves");
    }

    #[test]
    fn the_leader_is_found_in_the_reply() {
        let reply = "node 2 leads, at 10.0.0.2:6379 for clients";
        assert_eq!(leader_address(reply), Some("10.0.0.2:6379".to_owned()));
        assert_eq!(leader_address("node 2 leads, and its address for clients is not known here"), None);
    }
}
