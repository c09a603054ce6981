//! What a node notices about itself over time: the reason why a lease was lost, members that fall further behind, a change
//! of the members that does not end, and messages that are refused. It decides nothing, and only logs and reports.

use leasehold_core::{Index, NodeId};
use leasehold_node::identity::Numbers;
use leasehold_node::members::{Aim, Members};
use leasehold_node::{Role, Status};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The entries that a member may lack without being reported: about what is in flight under load.
pub(crate) const MAX_LAG: u64 = 1_024;
/// The time between the two lags that are compared.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// The time after which a change of the members is reported as stuck.
const MAX_JOINT_TIME: Duration = Duration::from_secs(10);
/// The time after which a learner that has caught up should vote.
const MAX_JOIN_TIME: Duration = Duration::from_secs(60);
/// The interval at which a count that grows is logged.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// The interval at which lost leases are logged.
const LOST_INTERVAL: Duration = Duration::from_secs(10);

/// An observation of a node.
#[derive(Clone, Debug)]
pub(crate) struct Observation<'a> {
    /// The time since the last observation.
    pub(crate) elapsed: Duration,
    pub(crate) node: NodeId,
    pub(crate) status: Status,
    pub(crate) members: &'a Members,
    /// The members whose part some group has not taken over yet.
    pub(crate) behind: &'a BTreeSet<NodeId>,
    /// A lease is valid.
    pub(crate) leased: bool,
    /// The clock gives readings.
    pub(crate) has_reading: bool,
    /// The messages refused since the start.
    pub(crate) refused: u64,
    /// The writes of this node's clients since the start whose outcome is unknown.
    pub(crate) uncertain: u64,
    /// The leaderships given up since the start because nothing was applied.
    pub(crate) given_up: u64,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Info(String),
    Warn(String),
}

/// The observations that matter later.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    time: Duration,
    led: Option<Led>,
    last_lost: Option<String>,
    /// The leases that ran out while this node led.
    leases_lost: u64,
    leases_logged: Logged,
    /// The change of the members that is half done, and since when.
    joint: Option<(Index, Duration)>,
    joint_is_logged: bool,
    lags: BTreeMap<NodeId, Lag>,
    /// Learners that are to vote, and members with a part that not all groups have taken over, and since when.
    joining: BTreeMap<NodeId, Duration>,
    refused: Logged,
    uncertain: Logged,
    given_up: u64,
}

/// A count that is logged at intervals.
#[derive(Debug, Default)]
struct Logged {
    count: u64,
    at: Option<Duration>,
}

impl Logged {
    /// Returns by how much the count has grown, if it is time to log that.
    fn grown(&mut self, count: u64, time: Duration, interval: Duration) -> Option<u64> {
        let grown = count.saturating_sub(self.count);
        if grown == 0 || self.at.is_some_and(|at| time.saturating_sub(at) < interval) {
            return None;
        }
        (self.count, self.at) = (count, Some(time));
        Some(grown)
    }
}

/// The leadership of this node, as last observed.
#[derive(Clone, Debug)]
struct Led {
    term: u64,
    unheard: Vec<NodeId>,
    /// It had a lease in this term.
    had_lease: bool,
    /// Since when it has none.
    without: Option<Duration>,
    is_logged: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    at: Duration,
    before: u64,
    now: u64,
}

/// Returns the voters that the leader has not heard within the last hold.
pub(crate) fn unheard(node: NodeId, members: &Members) -> Vec<NodeId> {
    let heard = |voter: &NodeId| *voter == node || members.progress.get(voter).is_some_and(|progress| progress.heard);
    let membership = &members.membership;
    let mut unheard: Vec<NodeId> =
        membership.voters.iter().chain(&membership.voters_outgoing).copied().filter(|voter| !heard(voter)).collect();
    unheard.sort_unstable();
    unheard.dedup();
    unheard
}

/// Returns true if a half of the configuration has no quorum without these voters.
pub(crate) fn lacks_quorum(members: &Members, unheard: &[NodeId]) -> bool {
    let membership = &members.membership;
    [&membership.voters, &membership.voters_outgoing].into_iter().filter(|half| !half.is_empty()).any(|half| {
        let up = half.iter().filter(|voter| !unheard.contains(voter)).count();
        up < half.len() / 2 + 1
    })
}

/// Returns voters as the subject of a sentence.
pub(crate) fn voters(numbers: &[NodeId]) -> String {
    let noun = if numbers.len() == 1 { "voter" } else { "voters" };
    format!("{noun} {}", Numbers::new(numbers.iter().copied()))
}

/// The time for which a group has had no leader, as far as this node knows.
#[derive(Debug, Default)]
pub(crate) struct Leaderless(Mutex<Option<Duration>>);

impl Leaderless {
    /// Takes an observation, and the time since the one before it.
    pub(crate) fn observe(&self, has_leader: bool, elapsed: Duration) {
        let mut time = self.0.lock();
        *time = (!has_leader).then(|| time.map_or(Duration::ZERO, |time| time + elapsed));
    }

    /// Returns the time, which is zero while there is a leader.
    pub(crate) fn time(&self) -> Duration {
        self.0.lock().unwrap_or_default()
    }
}

impl Health {
    /// Takes an observation, and returns what to log.
    pub(crate) fn observe(&self, seen: &Observation<'_>) -> Vec<Line> {
        let mut state = self.0.lock();
        state.time += seen.elapsed;
        let time = state.time;
        let mut lines = Vec::new();
        state.observe_lease(seen, &mut lines);
        state.observe_members(seen, &mut lines);
        if let Some(uncertain) = state.uncertain.grown(seen.uncertain, time, COUNT_INTERVAL) {
            lines.push(Line::Warn(format!(
                "the outcome of {uncertain} writes is unknown (-UNCERTAIN), {} since the start: their leader was lost \
                 before it answered",
                seen.uncertain
            )));
        }
        if let Some(refused) = state.refused.grown(seen.refused, time, COUNT_INTERVAL) {
            lines.push(Line::Warn(format!(
                "refused {refused} messages of peers, {} since the start (INFO protocol, messages_refused); a few are normal \
                 when members change; if the number grows, check that all nodes run the same release",
                seen.refused
            )));
        }
        lines
    }

    /// Returns the reason why this node lost its lease or its leadership last.
    pub(crate) fn last_lost(&self) -> Option<String> {
        self.0.lock().last_lost.clone()
    }

    /// Returns how long the present change of the members has been half done.
    pub(crate) fn joint_for(&self) -> Option<Duration> {
        let state = self.0.lock();
        state.joint.map(|(_, since)| state.time.saturating_sub(since))
    }

    /// Returns true if a change of the members has been half done for too long.
    pub(crate) fn joint_is_stuck(&self) -> bool {
        self.joint_for().is_some_and(|time| time >= MAX_JOINT_TIME)
    }

    /// Returns true if a learner has been about to vote, or a change of a member has not been made by all groups, for too
    /// long. A node that receives a large state may take longer.
    pub(crate) fn joins_slowly(&self, node: NodeId) -> bool {
        let state = self.0.lock();
        state.joining.get(&node).is_some_and(|since| state.time.saturating_sub(*since) >= MAX_JOIN_TIME)
    }

    /// Returns true if a member falls further behind.
    pub(crate) fn lag_grows(&self, node: NodeId) -> bool {
        self.0.lock().lags.get(&node).is_some_and(|lag| lag.now > lag.before + MAX_LAG)
    }
}

impl State {
    fn observe_lease(&mut self, seen: &Observation<'_>, lines: &mut Vec<Line>) {
        let Status { role, term, leader, .. } = seen.status;
        let leads = role == Role::Leader;
        if let Some(led) = self.led.take_if(|led| !leads || led.term != term) {
            let reason = match leader {
                _ if seen.given_up > self.given_up => {
                    "nothing was executed for three holds: its disk hangs, or its appends do not arrive".to_owned()
                }
                Some(leader) if leader != seen.node => format!("node {leader} leads in term {term}"),
                _ if term > led.term => format!("another node campaigns in term {term}"),
                _ if led.unheard.is_empty() => "it handed leadership over, or is no voter any more".to_owned(),
                _ => format!("{} did not answer within the hold", voters(&led.unheard)),
            };
            let line = format!("this node led in term {} and does not any more: {reason}", led.term);
            self.last_lost = Some(line.clone());
            let is_orderly = seen.status.stopped || (leader.is_some() && led.unheard.is_empty());
            lines.push(if is_orderly { Line::Info(line) } else { Line::Warn(line) });
        }
        self.given_up = seen.given_up;
        if !leads {
            return;
        }
        let unheard = unheard(seen.node, seen.members);
        let led = self.led.get_or_insert(Led {
            term,
            unheard: Vec::new(),
            had_lease: false,
            without: None,
            is_logged: false,
        });
        if seen.leased {
            if let Some(since) = led.without.take().filter(|_| led.is_logged) {
                let time = self.time.saturating_sub(since).as_millis();
                lines.push(Line::Info(format!("this leader's lease is valid again after about {time} ms")));
            }
            if !led.had_lease {
                lines.push(Line::Info(format!("this node leads in term {term} and may answer reads")));
            }
            (led.had_lease, led.is_logged) = (true, false);
        } else if led.had_lease {
            match led.without {
                // Its peers count as heard for a little longer than the lease lasts.
                None => led.without = Some(self.time),
                Some(_) if led.is_logged => {}
                Some(_) => {
                    let reason = if !seen.has_reading {
                        "its clock gives no reading".to_owned()
                    } else if unheard.is_empty() {
                        "it hands leadership over, or too few acknowledgements arrived in time".to_owned()
                    } else {
                        format!("{} did not answer in time", voters(&unheard))
                    };
                    let line = format!("this leader's lease has run out: {reason}");
                    self.last_lost = Some(format!("in term {term}: {line}"));
                    self.leases_lost += 1;
                    led.is_logged = true;
                    if let Some(times) = self.leases_logged.grown(self.leases_lost, self.time, LOST_INTERVAL) {
                        let often =
                            if times > 1 { format!(" ({times} times since this was logged)") } else { String::new() };
                        lines.push(Line::Warn(format!("{line}; reads wait for a quorum until it is renewed{often}")));
                    }
                }
            }
        }
        led.unheard = unheard;
    }

    fn observe_members(&mut self, seen: &Observation<'_>, lines: &mut Vec<Line>) {
        let membership = &seen.members.membership;
        if membership.voters_outgoing.is_empty() {
            (self.joint, self.joint_is_logged) = (None, false);
        } else {
            let (changed, since) = *self.joint.get_or_insert((membership.changed, self.time));
            if changed != membership.changed {
                self.joint = Some((membership.changed, self.time));
            } else if self.time.saturating_sub(since) >= MAX_JOINT_TIME && !self.joint_is_logged {
                self.joint_is_logged = true;
                lines.push(Line::Warn(
                    "a change of the members has been half done for ten seconds: it needs a quorum of the old voters and \
                     one of the new; `leasehold ctl status` says which are missing"
                        .to_owned(),
                ));
            }
        }
        let time = self.time;
        let is_to_vote = |node: &NodeId| seen.members.member(*node).aim != Aim::Learner;
        let joining: BTreeSet<NodeId> =
            membership.learners.iter().copied().filter(is_to_vote).chain(seen.behind.iter().copied()).collect();
        self.joining.retain(|node, _| joining.contains(node));
        for node in joining {
            self.joining.entry(node).or_insert(time);
        }
        self.lags.retain(|node, _| seen.members.progress.contains_key(node));
        for (node, progress) in &seen.members.progress {
            let now = seen.status.commit.saturating_sub(progress.stored);
            let lag = self.lags.entry(*node).or_insert(Lag { at: self.time, before: now, now });
            if self.time.saturating_sub(lag.at) >= LAG_INTERVAL {
                *lag = Lag { at: self.time, before: lag.now, now };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_node::members::Progress;

    const POLL: Duration = Duration::from_millis(100);

    fn members(heard: &[(NodeId, bool)]) -> Members {
        let mut members = Members::default();
        members.membership.voters = vec![1, 2, 3];
        members.progress = heard.iter().map(|(node, heard)| (*node, Progress { stored: 0, heard: *heard })).collect();
        members
    }

    fn leading(term: u64) -> Status {
        let mut status = Status::default();
        (status.role, status.term, status.leader) = (Role::Leader, term, Some(1));
        status
    }

    fn seen(status: Status, members: &Members, leased: bool) -> Observation<'_> {
        Observation {
            elapsed: POLL,
            node: 1,
            status,
            members,
            behind: const { &BTreeSet::new() },
            leased,
            has_reading: true,
            refused: 0,
            uncertain: 0,
            given_up: 0,
        }
    }

    #[test]
    fn a_lease_that_is_gained_or_lost_is_logged_once_with_the_voters_that_were_not_heard() {
        let (health, all, none) =
            (Health::default(), members(&[(2, true), (3, true)]), members(&[(2, false), (3, false)]));
        assert_eq!(health.observe(&seen(leading(2), &all, false)), [], "a new leader has none yet");
        let gained = Line::Info("this node leads in term 2 and may answer reads".to_owned());
        assert_eq!(health.observe(&seen(leading(2), &all, true)), [gained]);
        assert_eq!(health.observe(&seen(leading(2), &all, true)), [], "it is logged once");
        assert_eq!(health.observe(&seen(leading(2), &all, false)), []);
        let Line::Warn(line) = &health.observe(&seen(leading(2), &none, false))[0] else { panic!("a warning") };
        assert!(line.starts_with("this leader's lease has run out: voters 2, 3 did not answer in time"), "{line}");
        assert_eq!(health.observe(&seen(leading(2), &none, false)), []);
        let back = health.observe(&seen(leading(2), &all, true));
        assert!(matches!(&back[..], [Line::Info(line)] if line.contains("valid again after about 300 ms")), "{back:?}");
    }

    #[test]
    fn the_end_of_a_leadership_is_logged_with_its_reason() {
        let (all, none) = (members(&[(2, true), (3, true)]), members(&[(2, false), (3, false)]));
        let mut deposed = Status::default();
        (deposed.term, deposed.leader) = (3, Some(2));
        let mut alone = Status::default();
        alone.term = 2;
        for (before, after, reason) in [
            (&all, deposed, "node 2 leads in term 3"),
            (&none, alone, "voters 2, 3 did not answer within the hold"),
            (&all, alone, "it handed leadership over, or is no voter any more"),
        ] {
            let health = Health::default();
            health.observe(&seen(leading(2), before, true));
            let lines = health.observe(&seen(after, &Members::default(), false));
            let expected = format!("this node led in term 2 and does not any more: {reason}");
            let is_orderly = after.leader.is_some();
            let line = if is_orderly { Line::Info(expected.clone()) } else { Line::Warn(expected.clone()) };
            assert_eq!(lines, [line]);
            assert_eq!(health.last_lost(), Some(expected));
            assert_eq!(health.observe(&seen(after, &Members::default(), false)), []);
        }
    }

    #[test]
    fn the_time_without_a_leader_begins_with_the_first_observation_of_it() {
        let leaderless = Leaderless::default();
        (0..51).for_each(|_| leaderless.observe(false, POLL));
        assert_eq!(leaderless.time(), 50 * POLL);
        leaderless.observe(true, POLL);
        assert_eq!(leaderless.time(), Duration::ZERO);
    }

    #[test]
    fn refused_messages_are_logged_once_a_minute_with_their_number() {
        let (health, members) = (Health::default(), Members::default());
        let mut lines = Vec::new();
        for refused in 1..=1201 {
            let observation = Observation { refused, ..seen(Status::default(), &members, false) };
            lines.extend(health.observe(&observation));
        }
        let numbers: Vec<_> = lines.iter().map(|line| format!("{line:?}")).collect();
        assert_eq!(lines.len(), 3, "{numbers:?}");
        assert!(
            numbers[0].contains("refused 1 messages") && numbers[1].contains("refused 600 messages"),
            "{numbers:?}"
        );
    }

    #[test]
    fn a_change_that_stays_half_done_and_a_growing_lag_are_noticed() {
        let (health, mut members) = (Health::default(), members(&[(2, true), (3, true)]));
        members.membership.voters_outgoing = vec![1, 2];
        members.membership.learners = vec![4];
        let mut logged = 0;
        for poll in 0..150 {
            let mut status = leading(2);
            status.commit = poll * 100;
            logged += health.observe(&seen(status, &members, true)).len();
        }
        assert_eq!(logged, 2, "a new leader, and a change that is stuck");
        assert!(health.joint_is_stuck() && health.lag_grows(2) && !health.joins_slowly(4));
        members.membership.voters_outgoing.clear();
        health.observe(&seen(leading(2), &members, true));
        assert!(!health.joint_is_stuck());
        (0..500).for_each(|_| drop(health.observe(&seen(leading(2), &members, true))));
        assert!(health.joins_slowly(4) && !health.joins_slowly(2), "a learner without a note is to vote");
        members.membership.learners.clear();
        health.observe(&seen(leading(2), &members, true));
        assert!(!health.joins_slowly(4));
    }
}
