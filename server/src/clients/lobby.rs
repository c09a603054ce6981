//! The clients that have not logged in yet, or not completed the handshake of TLS. They are strangers, so they have few
//! places, and cannot take those of the others.

use crate::counters::Counter;
use crate::origin::origin;
use async_channel::{Receiver, Sender};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;

/// The least number of places, unless so few clients may be connected that it would be more than half of them.
const MIN_SEATS: usize = 16;

/// The strangers.
#[derive(Debug)]
pub(crate) struct Lobby {
    seats: usize,
    guests: Mutex<Guests>,
    /// Connections that were closed for newer ones.
    pub(crate) evicted: Counter,
}

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    all: Vec<Guest>,
}

#[derive(Debug)]
struct Guest {
    number: u64,
    origin: IpAddr,
    /// Dropping it closes the connection.
    _open: Sender<Infallible>,
}

/// A place in the lobby, which is free again when this is dropped.
pub(super) struct Seat<'a> {
    lobby: &'a Lobby,
    number: u64,
    open: Receiver<Infallible>,
}

impl Lobby {
    /// Creates a lobby with an eighth of the places for clients.
    pub(super) fn new(max_clients: usize) -> Lobby {
        let seats = (max_clients / 8).max(MIN_SEATS).min(max_clients.div_ceil(2));
        Lobby { seats, guests: Mutex::default(), evicted: Counter::default() }
    }

    /// Gives a stranger a place. If there is none, another one loses its place: any of those from the origins with the
    /// most, so that an origin with few is not displaced by one with many. It is chosen at random, because someone who
    /// connects often enough would displace every client in turn before it has logged in.
    pub(super) fn enter(&self, address: IpAddr) -> Seat<'_> {
        let mut guests = self.guests.lock();
        if guests.all.len() >= self.seats {
            let mut counts = HashMap::new();
            guests.all.iter().for_each(|guest| *counts.entry(guest.origin).or_insert(0_usize) += 1);
            let most = counts.values().max();
            let crowded = |guest: &Guest| counts.get(&guest.origin) == most;
            let candidates: Vec<_> = (0..guests.all.len()).filter(|at| crowded(&guests.all[*at])).collect();
            if let Some(victim) = fastrand::choice(candidates) {
                guests.all.swap_remove(victim);
                self.evicted.add(1);
            }
        }
        let (sender, open) = async_channel::bounded(1);
        let number = guests.next;
        guests.next += 1;
        guests.all.push(Guest { number, origin: origin(address), _open: sender });
        Seat { lobby: self, number, open }
    }
}

impl Seat<'_> {
    /// Waits until a newer connection takes the place.
    pub(super) async fn evicted(&self) {
        // Nothing is sent.
        let _ = self.open.recv().await;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.lobby.guests.lock().all.retain(|guest| guest.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_origin_with_few_is_not_displaced_by_one_with_many() {
        let lobby = Lobby::new(1000);
        let few: Vec<_> = (0..3).map(|_| lobby.enter(address("10.0.0.2"))).collect();
        let many: Vec<_> = (0..1000).map(|_| lobby.enter(address("10.0.0.1"))).collect();
        assert!(few.iter().all(|seat| !seat.open.is_closed()));
        assert_eq!(many.iter().filter(|seat| !seat.open.is_closed()).count(), 125 - 3);
        assert!(many[..900].iter().any(|seat| !seat.open.is_closed()), "the victims are not the oldest");
        assert!(!many[999].open.is_closed(), "the newest gets its turn");
        drop((few, many));
        assert!(lobby.guests.lock().all.is_empty());
    }

    #[test]
    fn strangers_have_at_most_half_of_the_places() {
        for (max_clients, seats) in [(1, 1), (4, 2), (20, 10), (100, 16), (10_000, 1250)] {
            assert_eq!(Lobby::new(max_clients).seats, seats);
        }
    }
}
