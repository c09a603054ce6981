//! Ports that are still free when a node listens on them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// The first port to try. It is below the range of ephemeral ports: a listener on port 0, or an outgoing connection, of
/// another test would take a port between its choice and its use.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;
/// The distance between the first ports of two programs: more than a test needs.
const PORTS_APART: u32 = 101;

/// Returns a free address that no other test of this process receives.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        // Programs that are started one after the other have consecutive ids.
        let offset = (std::process::id().wrapping_mul(PORTS_APART) % u32::from(PORTS)) as u16;
        let port = FIRST_PORT + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Returns the port of such an address.
pub(crate) fn free_port() -> u16 {
    free_address().port()
}
