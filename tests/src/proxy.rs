//! The network between real processes. Every link passes through a proxy, which can slow, stall or cut it, or lose its
//! bytes.
//!
//! A node dials each peer several times and sends frames only on connections that it dialed. Therefore each direction
//! `from → to` has its own listener, whose address node `from` uses for `to`. A [`Passage`] determines the treatment of
//! bytes *from `from` to `to`* on every connection between the two, no matter which side dialed. A one-way fault
//! therefore does not affect the other direction, as in a real network.
//!
//! Two threads forward each direction of each connection: one reads chunks and computes when they are due, the other
//! writes them.

use crate::processes::{Processes, now};
use leasehold_testing::dice::Dice;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The maximum number of bytes per read.
const MAX_CHUNK_BYTES: usize = 16 << 10;
/// The maximum number of chunks in flight in one direction of one connection. Beyond that, TCP flow control stops the
/// sender.
const MAX_CHUNKS_IN_FLIGHT: usize = 64;
/// The time limit for a node to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The treatment of bytes in one direction between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    /// Bytes arrive at once.
    #[default]
    Open,
    /// Bytes arrive late, at the speed of the link.
    Slow(Pace),
    /// Bytes do not arrive, and connections stay open. Bytes fill the buffers until the sender blocks, and arrive when
    /// the link opens again. New connections hang in their handshake.
    Stalled,
    /// Bytes are lost. A connection that lost bytes is closed when the link opens again, because TCP never loses bytes
    /// within a connection.
    Lossy,
    /// Existing and new connections dialed in this direction are closed.
    Cut,
}

/// The speed of a slow link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The minimum delay of a chunk.
    pub delay: Duration,
    /// The maximum additional delay, drawn for each chunk. Chunks stay in order, as in TCP.
    pub jitter: Duration,
    /// The total bandwidth of all connections.
    pub bytes_per_second: u64,
}

/// The links of a cluster. Dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    doors: BTreeMap<(u64, u64), Door>,
}

/// The address at which `from` dials `to`.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    link: Arc<Link>,
}

impl Proxy {
    /// Opens a listener for every ordered pair of nodes. `nodes` holds their own addresses for peers; they need not be
    /// running.
    ///
    /// # Errors
    /// If the system runs out of sockets or threads.
    pub fn between(nodes: &BTreeMap<u64, SocketAddr>) -> io::Result<Proxy> {
        let pairs =
            nodes.keys().flat_map(|from| nodes.keys().map(move |to| (*from, *to))).filter(|(from, to)| from != to);
        let links: BTreeMap<(u64, u64), Arc<Link>> = pairs.map(|pair| (pair, Arc::default())).collect();
        let mut proxy = Proxy { doors: BTreeMap::new() };
        for (&(from, to), link) in &links {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            let way = Way { there: link.clone(), back: links[&(to, from)].clone(), target: nodes[&to] };
            let dice = Dice::new(from, to);
            proxy.doors.insert((from, to), Door { address, link: link.clone() });
            spawn(format!("proxy {from}>{to}"), move || way.accept(&listener, dice))?;
        }
        Ok(proxy)
    }

    /// Lets every link of a cluster that is not running yet pass through a proxy.
    ///
    /// # Errors
    /// If the system runs out of sockets or threads.
    pub fn through(cluster: &mut Processes) -> io::Result<Proxy> {
        let proxy = Proxy::between(&cluster.peer_addresses())?;
        for (id, recipe) in &mut cluster.recipes {
            let others = recipe.peers.iter_mut().filter(|(to, _)| *to != id);
            others.for_each(|(to, address)| *address = proxy.address(*id, *to).to_string());
            recipe.flags.push("--pin-peers".to_owned());
        }
        Ok(proxy)
    }

    /// Returns the address at which node `from` dials node `to`.
    pub fn address(&self, from: u64, to: u64) -> SocketAddr {
        self.doors[&(from, to)].address
    }

    /// Returns every ordered pair of nodes.
    pub fn pairs(&self) -> Vec<(u64, u64)> {
        self.doors.keys().copied().collect()
    }

    /// Sets the treatment of bytes from one node to another.
    pub fn set(&self, from: u64, to: u64, passage: Passage) {
        self.doors[&(from, to)].link.set(passage);
    }

    /// Opens every link.
    pub fn heal(&self) {
        self.doors.values().for_each(|door| door.link.set(Passage::Open));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for door in self.doors.values() {
            door.link.end();
            // Wakes the accepting thread, so that it ends.
            let _ = TcpStream::connect(door.address);
        }
    }
}

/// One direction between two nodes.
#[derive(Debug, Default)]
struct Link {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    passage: Passage,
    ended: bool,
    /// The time at which the last accepted byte leaves the link.
    busy_until: Option<Instant>,
    /// Connections dialed in this direction.
    connections: Vec<Weak<Connection>>,
    /// Connections that lost bytes in this direction. They are closed when it stops losing bytes.
    lossy: Vec<Arc<Connection>>,
}

/// Both ends of a connection through the proxy.
#[derive(Debug)]
struct Connection {
    dialer: TcpStream,
    acceptor: TcpStream,
}

impl Connection {
    fn end(&self) {
        // The other side may have closed it first.
        let _ = self.dialer.shutdown(Shutdown::Both);
        let _ = self.acceptor.shutdown(Shutdown::Both);
    }
}

/// The decision about a chunk that is due.
enum Verdict {
    Pass,
    Lose,
    End,
}

impl Link {
    fn set(&self, passage: Passage) {
        let mut state = self.state.lock();
        state.passage = passage;
        if passage != Passage::Lossy {
            state.lossy.drain(..).for_each(|connection| connection.end());
        }
        if passage == Passage::Cut {
            state.end_connections();
        }
        self.changed.notify_all();
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.end_connections();
        self.changed.notify_all();
    }

    /// Admits a new connection, unless the link is cut.
    fn admit(&self, connection: &Arc<Connection>) -> bool {
        let mut state = self.state.lock();
        state.connections.retain(|connection| connection.strong_count() > 0);
        let admitted = state.passage != Passage::Cut && !state.ended;
        if admitted {
            state.connections.push(Arc::downgrade(connection));
        }
        admitted
    }

    /// Returns the time at which a chunk of this length, read just now, is due.
    fn due(&self, length: usize, dice: &mut Dice) -> Instant {
        let now = now();
        let mut state = self.state.lock();
        let Passage::Slow(pace) = state.passage else { return now };
        let takes = Duration::from_nanos(length as u64 * 1_000_000_000 / pace.bytes_per_second.max(1));
        let sent = state.busy_until.map_or(now, |busy| busy.max(now)) + takes;
        state.busy_until = Some(sent);
        sent + pace.delay + pace.jitter.mul_f64(dice.fraction())
    }

    /// Waits until a chunk of this connection is due and the link forwards or loses it.
    fn wait(&self, due: Instant, connection: &Arc<Connection>) -> Verdict {
        let mut state = self.state.lock();
        loop {
            match state.passage {
                _ if state.ended => return Verdict::End,
                Passage::Lossy => {
                    if !state.lossy.iter().any(|lossy| Arc::ptr_eq(lossy, connection)) {
                        state.lossy.push(connection.clone());
                    }
                    return Verdict::Lose;
                }
                Passage::Stalled => self.changed.wait(&mut state),
                // Opening a slow link does not reorder bytes in flight.
                Passage::Open | Passage::Slow(_) | Passage::Cut => {
                    if now() >= due {
                        return Verdict::Pass;
                    }
                    self.changed.wait_until(&mut state, due);
                }
            }
        }
    }
}

impl State {
    fn end_connections(&mut self) {
        self.lossy.drain(..).for_each(|connection| connection.end());
        self.connections
            .drain(..)
            .filter_map(|connection| connection.upgrade())
            .for_each(|connection| connection.end());
    }
}

/// The state shared by the connections of one listener.
struct Way {
    there: Arc<Link>,
    back: Arc<Link>,
    target: SocketAddr,
}

impl Way {
    fn accept(&self, listener: &TcpListener, mut dice: Dice) {
        for dialer in listener.incoming() {
            if self.there.state.lock().ended {
                return;
            }
            // On an error the dialer sees a closed connection, and dials again.
            let _ = dialer.and_then(|dialer| self.connect(dialer, &mut dice));
        }
    }

    fn connect(&self, dialer: TcpStream, dice: &mut Dice) -> io::Result<()> {
        if self.there.state.lock().passage == Passage::Cut {
            return Ok(());
        }
        let acceptor = TcpStream::connect_timeout(&self.target, CONNECT_TIMEOUT)?;
        dialer.set_nodelay(true)?;
        acceptor.set_nodelay(true)?;
        let connection = Arc::new(Connection { dialer, acceptor });
        if !self.there.admit(&connection) {
            return Ok(());
        }
        let (dialer, acceptor) = (|c: &Connection| c.dialer.try_clone(), |c: &Connection| c.acceptor.try_clone());
        carry(&self.there, &connection, dialer(&connection)?, acceptor(&connection)?, dice.split())?;
        carry(&self.back, &connection, acceptor(&connection)?, dialer(&connection)?, dice.split())
    }
}

/// Forwards one direction of a connection, in two threads.
fn carry(
    link: &Arc<Link>,
    connection: &Arc<Connection>,
    from: TcpStream,
    to: TcpStream,
    mut dice: Dice,
) -> io::Result<()> {
    let (sender, receiver) = sync_channel(MAX_CHUNKS_IN_FLIGHT);
    let (reading, writing) = (link.clone(), link.clone());
    spawn("proxy reads".to_owned(), move || read(&reading, from, &sender, &mut dice))?;
    let connection = connection.clone();
    spawn("proxy writes".to_owned(), move || write(&writing, &receiver, &to, &connection))
}

fn read(link: &Link, mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, dice: &mut Dice) {
    let mut last = now();
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    // An error is treated as the end of the stream, which the writer forwards.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        last = last.max(link.due(length, dice));
        if sender.send((last, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn write(link: &Link, receiver: &Receiver<(Instant, Vec<u8>)>, mut to: &TcpStream, connection: &Arc<Connection>) {
    for (due, chunk) in receiver {
        match link.wait(due, connection) {
            Verdict::Pass if to.write_all(&chunk).is_ok() => {}
            Verdict::Pass | Verdict::End => return connection.end(),
            Verdict::Lose => {}
        }
    }
    // The end of the stream is delayed like bytes.
    match link.wait(now(), connection) {
        // The other side may have closed it first.
        Verdict::Pass => drop(to.shutdown(Shutdown::Write)),
        Verdict::Lose => {}
        Verdict::End => connection.end(),
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name).spawn(run).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::{PATIENCE, eventually};
    use std::io::ErrorKind;

    /// A connection that node 1 has dialed to node 2 through the proxy.
    struct Pair {
        proxy: Proxy,
        dialer: TcpStream,
        acceptor: TcpStream,
        listener: TcpListener,
    }

    fn pair() -> Pair {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [first, second] = &listeners;
        let nodes = [(1, first), (2, second)].map(|(id, listener)| (id, listener.local_addr().expect("an address")));
        let proxy = Proxy::between(&nodes.into()).expect("sockets and threads");
        let dialer = TcpStream::connect(proxy.address(1, 2)).expect("the proxy listens");
        let [_, listener] = listeners;
        let (acceptor, _) = listener.accept().expect("the proxy connects to the node");
        for stream in [&dialer, &acceptor] {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
        }
        Pair { proxy, dialer, acceptor, listener }
    }

    fn arrives(mut stream: &TcpStream, expected: &[u8]) {
        let mut found = vec![0; expected.len()];
        stream.read_exact(&mut found).expect("bytes arrive");
        assert_eq!(found, expected);
    }

    fn nothing_arrives(mut stream: &TcpStream) {
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout is set");
        let error = stream.read(&mut [0]).expect_err("nothing arrives");
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
    }

    #[test]
    fn stalling_one_direction_does_not_affect_the_other() {
        let mut pair = pair();
        pair.proxy.set(1, 2, Passage::Stalled);
        pair.dialer.write_all(b"held").expect("it is buffered");
        pair.acceptor.write_all(b"passes").expect("it is sent");
        arrives(&pair.dialer, b"passes");
        nothing_arrives(&pair.acceptor);
        pair.proxy.heal();
        arrives(&pair.acceptor, b"held");
    }

    #[test]
    fn stalling_a_direction_blocks_its_sender() {
        let mut pair = pair();
        pair.proxy.set(1, 2, Passage::Stalled);
        pair.dialer.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout is set");
        let mut sent = 0;
        while let Ok(length) = pair.dialer.write(&[7; MAX_CHUNK_BYTES]) {
            sent += length;
            assert!(sent < 1 << 30, "the sender never blocks");
        }
        pair.proxy.heal();
        pair.dialer.shutdown(Shutdown::Write).expect("the sending half is closed");
        let mut found = Vec::new();
        pair.acceptor.read_to_end(&mut found).expect("all bytes arrive, followed by the end");
        assert_eq!(found.len(), sent);
    }

    #[test]
    fn healing_a_lossy_direction_closes_its_connections() {
        let mut pair = pair();
        pair.proxy.set(1, 2, Passage::Lossy);
        pair.dialer.write_all(b"lost").expect("it is sent");
        pair.acceptor.write_all(b"passes").expect("it is sent");
        arrives(&pair.dialer, b"passes");
        // The link may lose it some time later.
        let is_lost = || !pair.proxy.doors[&(1, 2)].link.state.lock().lossy.is_empty();
        eventually(PATIENCE, || is_lost().then_some(())).expect("it is lost");
        nothing_arrives(&pair.acceptor);
        pair.proxy.heal();
        assert!(matches!(pair.acceptor.read(&mut [0]), Ok(0) | Err(_)), "the connection has ended");
    }

    #[test]
    fn cutting_a_direction_closes_its_connections_until_it_is_healed() {
        let mut pair = pair();
        pair.proxy.set(2, 1, Passage::Cut);
        pair.dialer.write_all(b"as before").expect("it is sent");
        arrives(&pair.acceptor, b"as before");
        pair.proxy.set(1, 2, Passage::Cut);
        assert!(matches!(pair.acceptor.read(&mut [0]), Ok(0) | Err(_)), "the connection has ended");
        let refused =
            TcpStream::connect(pair.proxy.address(1, 2)).expect("the connection is accepted before it is closed");
        refused.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
        assert!(matches!((&refused).read(&mut [0]), Ok(0) | Err(_)), "the connection has ended");
        pair.proxy.heal();
        let mut dialer = TcpStream::connect(pair.proxy.address(1, 2)).expect("the proxy listens");
        let (acceptor, _) = pair.listener.accept().expect("the proxy connects to the node");
        dialer.write_all(b"again").expect("it is sent");
        arrives(&acceptor, b"again");
    }

    #[test]
    fn slowing_a_direction_delays_bytes_and_keeps_their_order() {
        let mut pair = pair();
        let pace =
            Pace { delay: Duration::from_millis(50), jitter: Duration::from_millis(50), bytes_per_second: 1 << 20 };
        pair.proxy.set(1, 2, Passage::Slow(pace));
        let sent: Vec<u8> = (0..256 << 10).map(|at| (at % 251) as u8).collect();
        let started = now();
        pair.dialer.write_all(&sent).expect("it is buffered");
        arrives(&pair.acceptor, &sent);
        assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    }

    #[test]
    fn the_end_of_a_stream_closes_only_its_own_direction() {
        let mut pair = pair();
        pair.dialer.write_all(b"bye").expect("it is sent");
        pair.dialer.shutdown(Shutdown::Write).expect("the sending half is closed");
        arrives(&pair.acceptor, b"bye");
        assert_eq!(pair.acceptor.read(&mut [0]).expect("the end of the stream"), 0);
        pair.acceptor.write_all(b"so long").expect("the other half is still open");
        arrives(&pair.dialer, b"so long");
    }
}
