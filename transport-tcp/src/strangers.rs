//! Limits for those that connect and are not known yet: how many handshakes are unfinished at once, and what failed ones
//! write to the log.

use async_channel::{Receiver, Sender};
use leasehold_core::NodeId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Connections whose handshake is not complete. For each further one, a random one of the address with the most is closed.
pub(crate) const MAX_HANDSHAKES: usize = 64;
/// Those of one address. For each further one, a random one of this address is closed, so that one machine cannot take all
/// places. The nodes of a large cluster on one machine open about as many when they start.
pub(crate) const MAX_HANDSHAKES_PER_ADDRESS: usize = 24;
/// The interval in which an address gets one line in the log.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The most lines in this interval. Failures of further addresses are counted together.
const MAX_LINES: usize = 64;

/// The unfinished handshakes, the oldest first.
#[derive(Default)]
pub(crate) struct Handshakes(Mutex<Unfinished>);

#[derive(Default)]
struct Unfinished {
    next: u64,
    slots: VecDeque<Slot>,
}

struct Slot {
    number: u64,
    source: IpAddr,
    /// Dropping it closes the connection.
    open: Sender<Infallible>,
}

/// A place among the unfinished handshakes.
pub(crate) struct Place {
    pub(crate) number: u64,
    /// Closes when a newer connection takes the place.
    pub(crate) evicted: Receiver<Infallible>,
}

impl Handshakes {
    /// Gives a new connection a place. If there are too many of its source, one of them loses its place. If there are too
    /// many in all, one of the source with the most does, so that a node with few is not displaced by strangers with many.
    /// It is chosen at random: someone who connects often enough would displace every other one in turn.
    pub(crate) fn enter(&self, address: IpAddr) -> Place {
        let source = source(address);
        let mut unfinished = self.0.lock();
        let slots = &mut unfinished.slots;
        let count = |source| slots.iter().filter(|slot| slot.source == source).count();
        let crowded = if count(source) >= MAX_HANDSHAKES_PER_ADDRESS {
            Some(source)
        } else if slots.len() >= MAX_HANDSHAKES {
            // Of several, the maximum is the last: the one with the oldest connection.
            slots.iter().rev().map(|slot| slot.source).max_by_key(|source| count(*source))
        } else {
            None
        };
        let candidates = (0..slots.len()).filter(|at| Some(slots[*at].source) == crowded).collect::<Vec<_>>();
        if let Some(victim) = fastrand::choice(candidates) {
            slots.remove(victim);
        }
        let (open, evicted) = async_channel::bounded(1);
        let number = unfinished.next;
        unfinished.next += 1;
        unfinished.slots.push_back(Slot { number, source, open });
        Place { number, evicted }
    }

    /// Frees the place of a connection that has shown who it is, which does not lose it any more while it holds the sender.
    pub(crate) fn admit(&self, number: u64) -> Option<Sender<Infallible>> {
        let slots = &mut self.0.lock().slots;
        let at = slots.iter().position(|slot| slot.number == number)?;
        slots.remove(at).map(|slot| slot.open)
    }

    /// Frees a place.
    pub(crate) fn leave(&self, number: u64) {
        self.0.lock().slots.retain(|slot| slot.number != number);
    }
}

/// Returns the part of an address that stands for one machine: its network, if a machine chooses from 2^64 addresses.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

/// The dialer of a failed handshake, as far as the log tells dialers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dialer {
    /// It gave no number of a peer.
    Stranger,
    /// It gave the number of a peer.
    Peer {
        /// The number.
        node: NodeId,
        /// Its folder was refused, which must not be lost among other failures.
        folder_refused: bool,
    },
}

/// Decides which failed handshakes get a line in the log: in each interval the first one of an address, and the first
/// that gives the number of a certain peer.
#[derive(Default)]
pub(crate) struct RefusalLog(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    /// The failures since the line of each.
    suppressed: BTreeMap<(IpAddr, Dialer), u64>,
    /// The failures of those that have no line.
    others: u64,
}

/// What to do about a failed handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Write a line.
    pub(crate) log: bool,
    /// Call [`RefusalLog::end_interval`] after [`LOG_INTERVAL`].
    pub(crate) begins: bool,
}

impl RefusalLog {
    /// Notes a failed handshake of an address.
    pub(crate) fn note(&self, address: IpAddr, dialer: Dialer) -> Decision {
        let mut lines = self.0.lock();
        let Lines { suppressed, others } = &mut *lines;
        let begins = suppressed.is_empty();
        let full = suppressed.len() >= MAX_LINES;
        match suppressed.get_mut(&(source(address), dialer)) {
            Some(count) => *count += 1,
            None if full => *others += 1,
            None => {
                suppressed.insert((source(address), dialer), 0);
                return Decision { log: true, begins };
            }
        }
        Decision { log: false, begins }
    }

    /// Ends the interval. Returns lines about the failures that got none.
    pub(crate) fn end_interval(&self) -> Vec<String> {
        let Lines { suppressed, others } = std::mem::take(&mut *self.0.lock());
        let seconds = LOG_INTERVAL.as_secs();
        let counted = suppressed.into_iter().filter(|(_, count)| *count > 0).map(|((address, dialer), count)| {
            let peer = match dialer {
                Dialer::Stranger => "unknown nodes".to_owned(),
                Dialer::Peer { node, .. } => format!("node {node}"),
            };
            format!("{peer} dialing from {address} failed {count} more handshakes within {seconds} s")
        });
        let others =
            (others > 0).then(|| format!("{others} handshakes from further addresses failed within {seconds} s"));
        counted.chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn is_open(place: &Place) -> bool {
        !place.evicted.is_closed()
    }

    fn open(places: &[Place]) -> usize {
        places.iter().filter(|place| is_open(place)).count()
    }

    #[test]
    fn a_new_connection_takes_the_place_of_another_one_of_its_address() {
        let handshakes = Handshakes::default();
        let other = handshakes.enter(address("10.0.0.2"));
        let places: Vec<_> =
            (0..10 * MAX_HANDSHAKES_PER_ADDRESS).map(|_| handshakes.enter(address("10.0.0.1"))).collect();
        assert!(is_open(&other), "another address keeps its place");
        assert!(places.last().is_some_and(is_open), "the newest gets its turn");
        assert_eq!(open(&places), MAX_HANDSHAKES_PER_ADDRESS);
        assert!(open(&places[..9 * MAX_HANDSHAKES_PER_ADDRESS]) > 0, "it is not always the oldest");
        // A place that was freed is free for the next one.
        handshakes.leave(places.iter().find(|place| is_open(place)).expect("one is open").number);
        let next = handshakes.enter(address("10.0.0.1"));
        assert_eq!(open(&places), MAX_HANDSHAKES_PER_ADDRESS - 1);
        let _mapped = handshakes.enter(address("::ffff:10.0.0.1"));
        assert_eq!(open(&places) + open(&[next]), MAX_HANDSHAKES_PER_ADDRESS - 1, "it is the same address");
    }

    #[test]
    fn a_connection_that_has_shown_who_it_is_does_not_lose_its_place() {
        let handshakes = Handshakes::default();
        let node = handshakes.enter(address("10.0.0.1"));
        let admitted = handshakes.admit(node.number);
        let _strangers: Vec<_> = (0..1000).map(|_| handshakes.enter(address("10.0.0.1"))).collect();
        assert!(is_open(&node));
        drop(admitted);
        assert!(!is_open(&node));
    }

    #[test]
    fn a_new_connection_takes_the_place_of_another_one_if_there_are_too_many() {
        let handshakes = Handshakes::default();
        let places: Vec<_> =
            (0..MAX_HANDSHAKES as u32 + 2).map(|number| handshakes.enter(IpAddr::V4(number.into()))).collect();
        assert_eq!(open(&places), MAX_HANDSHAKES);
    }

    #[test]
    fn a_node_with_few_connections_is_not_displaced_by_addresses_with_many() {
        let handshakes = Handshakes::default();
        let node: Vec<_> = (0..3).map(|_| handshakes.enter(address("10.0.0.9"))).collect();
        let strangers: Vec<_> =
            (0..1000_u32).map(|number| handshakes.enter(IpAddr::V4((number % 16).into()))).collect();
        assert!(node.iter().all(is_open));
        assert_eq!(strangers.iter().filter(|place| is_open(place)).count(), MAX_HANDSHAKES - 3);
        assert!(is_open(&strangers[999]), "the newest gets its turn");
    }

    #[test]
    fn the_addresses_of_one_network_of_version_6_are_one() {
        let handshakes = Handshakes::default();
        let places: Vec<_> = (1..=MAX_HANDSHAKES_PER_ADDRESS + 1)
            .map(|number| handshakes.enter(address(&format!("2001:db8::{number:x}"))))
            .collect();
        let _other = handshakes.enter(address("2001:db8:0:1::1"));
        assert_eq!(open(&places), MAX_HANDSHAKES_PER_ADDRESS);
    }

    #[test]
    fn an_address_gets_one_line_in_an_interval_and_a_count_at_its_end() {
        let log = RefusalLog::default();
        let (one, two) = (address("10.0.0.1"), address("10.0.0.2"));
        let (line, none) = (Decision { log: true, begins: false }, Decision { log: false, begins: false });
        assert_eq!(log.note(one, Dialer::Stranger), Decision { log: true, begins: true });
        assert_eq!(
            [log.note(one, Dialer::Stranger), log.note(one, Dialer::Stranger), log.note(two, Dialer::Stranger)],
            [none, none, line]
        );
        let peer = |folder_refused| Dialer::Peer { node: 3, folder_refused };
        assert_eq!(
            [log.note(two, peer(false)), log.note(two, peer(false)), log.note(two, peer(true))],
            [line, none, line]
        );
        assert_eq!(
            log.end_interval(),
            [
                "unknown nodes dialing from 10.0.0.1 failed 2 more handshakes within 60 s",
                "node 3 dialing from 10.0.0.2 failed 1 more handshakes within 60 s"
            ]
        );
        assert_eq!(log.note(one, Dialer::Stranger), Decision { log: true, begins: true });
        assert!(log.end_interval().is_empty(), "nothing was suppressed");
    }

    #[test]
    fn the_lines_of_many_addresses_are_bounded() {
        let log = RefusalLog::default();
        let logged =
            (0..10_000_u32).filter(|number| log.note(IpAddr::V4((*number).into()), Dialer::Stranger).log).count();
        assert_eq!(logged, MAX_LINES);
        assert_eq!(log.end_interval(), ["9936 handshakes from further addresses failed within 60 s"]);
    }
}
