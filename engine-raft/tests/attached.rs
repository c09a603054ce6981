//! A lease for a `RawNode` loop, on clocks that the tests move.

use leasehold_core::{Config, Instant, LeaseCell, NodeId, Options as Timing, Read, Reading};
use leasehold_raft::{AttachedLease, Options, ReadOutcome, Stepped, Tag, Unsuitable};
use raft::eraftpb::{ConfState, Message, MessageType};
use raft::{RawNode, StateRole, storage::MemStorage};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const HOLD: Duration = Duration::from_secs(1);
const TICK: u64 = 50;

fn engine(id: NodeId, voters: &[NodeId], check_quorum: bool, pre_vote: bool) -> RawNode<MemStorage> {
    let storage = MemStorage::new_with_conf_state(ConfState::from((voters.to_vec(), vec![])));
    let config =
        raft::Config { id, election_tick: 20, heartbeat_tick: 2, check_quorum, pre_vote, ..Default::default() };
    RawNode::new(&config, storage, &slog::Logger::root(slog::Discard, slog::o!())).expect("a valid configuration")
}

fn options(id: NodeId) -> Options {
    let timing = Timing::new(HOLD, 1000).with_heartbeat(Duration::from_millis(100));
    Options::new(id, Config::new(timing).expect("the hold covers the lease"), id)
}

fn lease(id: NodeId, raw: &RawNode<MemStorage>) -> Result<AttachedLease, Unsuitable> {
    AttachedLease::new(options(id), raw, Duration::ZERO, Some(Instant::from_nanos(1, 1)), Arc::new(LeaseCell::new()))
}

struct Node {
    raw: RawNode<MemStorage>,
    lease: AttachedLease,
}

struct Packet {
    from: NodeId,
    to: NodeId,
    message: Option<Message>,
    tag: Tag,
}

struct Cluster {
    millis: u64,
    nodes: Vec<Node>,
    wire: VecDeque<Packet>,
    cut: Option<NodeId>,
}

impl Cluster {
    /// Starts three voters, and passes the holds of their starts.
    fn new() -> Cluster {
        let node = |id| {
            let raw = engine(id, &[1, 2, 3], true, true);
            Node { lease: lease(id, &raw).expect("a suitable engine"), raw }
        };
        Cluster { millis: 2000, nodes: (1..=3).map(node).collect(), wire: VecDeque::new(), cut: None }
    }

    fn now(&self) -> Reading {
        let nanos = self.millis * 1_000_000;
        Some(Instant::from_nanos(nanos, nanos))
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    /// Lets a node campaign, and everything that follows from it happen at once. Returns whether it campaigned.
    fn campaign(&mut self, id: NodeId) -> bool {
        let now = self.now();
        let Node { raw, lease } = self.node(id);
        let started = lease.campaign(now, raw);
        self.flush(id);
        self.deliver();
        started
    }

    fn leads(&mut self, id: NodeId) -> bool {
        self.node(id).raw.raft.state == StateRole::Leader
    }

    fn has_lease(&mut self, id: NodeId) -> bool {
        let now = self.now();
        self.node(id).lease.cell().try_read(now).is_some()
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / TICK {
            self.millis += TICK;
            let now = self.now();
            for id in 1..=3 {
                let Node { raw, lease } = self.node(id);
                lease.tick(now, raw);
                self.flush(id);
            }
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        while let Some(Packet { from, to, message, tag }) = self.wire.pop_front() {
            if self.cut != Some(from) && self.cut != Some(to) {
                let now = self.now();
                let Node { raw, lease } = self.node(to);
                assert!(!matches!(lease.step(now, raw, from, tag, message), Stepped::Seen(Err(_))));
                self.flush(to);
            }
        }
    }

    /// Does what the node's engine and its lease want done.
    fn flush(&mut self, id: NodeId) {
        let now = self.now();
        let mut packets = Vec::new();
        let Node { raw, lease } = self.node(id);
        while raw.has_ready() {
            let mut ready = raw.ready();
            let mut messages = ready.take_messages();
            if let Some(hard_state) = ready.hs().cloned() {
                raw.mut_store().wl().set_hardstate(hard_state);
            }
            raw.mut_store().wl().append(ready.entries()).expect("entries in order");
            lease.term_is_durable(raw.raft.term);
            messages.extend(ready.take_persisted_messages());
            messages.extend(raw.advance(ready).take_messages());
            raw.advance_apply();
            lease.follow(now, raw);
            for message in messages {
                let tag = lease.tag(&message);
                packets.push(Packet { from: id, to: message.to, message: Some(message), tag });
            }
        }
        let alone = lease.tags(raw).into_iter().map(|(to, tag)| Packet { from: id, to, message: None, tag });
        packets.extend(alone);
        self.wire.extend(packets);
    }
}

#[test]
fn an_engine_without_check_quorum_or_pre_vote_is_refused() {
    let of = |check_quorum, pre_vote| lease(1, &engine(1, &[1], check_quorum, pre_vote)).map(drop);
    assert_eq!(of(false, true), Err(Unsuitable::CheckQuorum));
    assert_eq!(of(true, false), Err(Unsuitable::PreVote));
    assert_eq!(of(true, true), Ok(()));
    let other = lease(2, &engine(1, &[1], true, true)).map(drop);
    assert_eq!(other, Err(Unsuitable::Id { options: 2, engine: 1 }));
}

#[test]
fn a_node_that_has_just_started_neither_campaigns_nor_votes_for_a_hold() {
    let mut cluster = Cluster::new();
    cluster.millis = 900;
    assert!(!cluster.campaign(1));
    // The first reading of the others starts their hold here.
    cluster.pass(100);
    cluster.millis = 2000;
    assert!(cluster.campaign(1));
    assert!(cluster.leads(1));
}

#[test]
fn a_leader_reads_by_its_lease_until_it_is_cut_off_and_no_other_leads_before_that() {
    let mut cluster = Cluster::new();
    assert!(cluster.campaign(1) && cluster.leads(1));
    cluster.pass(3000);
    assert!(cluster.has_lease(1));
    cluster.cut = Some(1);
    let (mut lost_at, mut led_at) = (None, None);
    for passed in 0..80 {
        cluster.pass(TICK);
        assert!(!(cluster.has_lease(1) && (cluster.leads(2) || cluster.leads(3))), "two could answer");
        if !cluster.has_lease(1) {
            lost_at = lost_at.or(Some(passed));
        }
        if cluster.leads(2) || cluster.leads(3) {
            led_at = led_at.or(Some(passed));
        }
    }
    assert!(lost_at < led_at && led_at.is_some(), "{lost_at:?} {led_at:?}");
    assert!(cluster.has_lease(2) || cluster.has_lease(3));
}

#[test]
fn held_nodes_withhold_requests_for_votes_from_their_engines() {
    let mut cluster = Cluster::new();
    assert!(cluster.campaign(1));
    cluster.pass(500);
    let mut request = Message::default();
    request.set_msg_type(MessageType::MsgRequestVote);
    (request.from, request.to, request.term, request.index, request.log_term) = (3, 2, 9, 9, 9);
    let now = cluster.now();
    let Node { raw, lease } = cluster.node(2);
    assert!(matches!(lease.step(now, raw, 3, Tag::default(), Some(request)), Stepped::Withheld));
    assert_eq!(raw.raft.term, 1, "the engine has not seen the term");
    assert!(!cluster.campaign(3) && !cluster.leads(3));
    assert!(cluster.has_lease(1));
}

#[test]
fn a_transfer_gives_the_lease_up_and_lifts_the_holds_that_it_rested_on() {
    let mut cluster = Cluster::new();
    assert!(cluster.campaign(1));
    cluster.pass(500);
    let now = cluster.now();
    let Node { raw, lease } = cluster.node(1);
    raw.transfer_leader(2);
    lease.follow(now, raw);
    assert_eq!(lease.cell().try_read(now), None, "before any message leaves");
    cluster.flush(1);
    cluster.deliver();
    assert!(cluster.leads(2), "although every node has acknowledged a round just now");
    cluster.pass(TICK * 3);
    assert!(cluster.has_lease(2) && !cluster.has_lease(1));
}

#[test]
fn a_read_without_a_lease_waits_for_a_round_and_fails_with_the_leadership() {
    let mut cluster = Cluster::new();
    assert!(cluster.campaign(1));
    while cluster.node(1).lease.poll_read().is_some() {}
    let now = cluster.now();
    let read = |cluster: &mut Cluster| cluster.node(1).lease.quorum_read(now).expect("it leads");
    let ticket = read(&mut cluster);
    cluster.flush(1);
    cluster.deliver();
    assert_eq!(cluster.node(1).lease.poll_read(), Some(ReadOutcome::Confirmed(ticket.round)));
    assert!(matches!(cluster.node(1).lease.read(now), Ok(Read::Lease(_))));
    cluster.cut = Some(1);
    let ticket = read(&mut cluster);
    cluster.pass(3000);
    assert!(matches!(cluster.node(1).lease.poll_read(), Some(ReadOutcome::Aborted(round)) if round >= ticket.round));
}
