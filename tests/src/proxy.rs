//! The network between real processes. Every link passes through a proxy, which can slow, stall and cut it and lose its bytes.
//!
//! A node dials each peer several times and sends frames only on connections that it dialed, so a direction `from → to` is a
//! listener of its own: its address is the one that node `from` has for `to`. A [`Passage`] decides what happens to bytes *from
//! `from` to `to`*, on every connection between the two, no matter which side dialed. So a one-way fault does not affect the
//! other way, as in a real network.
//!
//! Two threads carry each direction of each connection: one reads and decides when each chunk is due, one writes it then.

use crate::processes::now;
use leasehold_testing::dice::Dice;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The most bytes read at a time.
const CHUNK: usize = 16 << 10;
/// The most chunks in flight in one direction of one connection. Beyond that, TCP stops the sender.
const IN_FLIGHT: usize = 64;
/// The time that a node may take to accept.
const PATIENCE: Duration = Duration::from_secs(5);

/// The treatment of bytes in one direction between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    /// They arrive at once.
    #[default]
    Open,
    /// They arrive late, at the speed of the link.
    Slow(Pace),
    /// They do not arrive, and connections stay open. Bytes fill the buffers until the sender can send no more, and arrive when
    /// the link opens again. New connections hang in their handshake.
    Stalled,
    /// They are lost. A connection that lost bytes is closed when the link opens again, because TCP loses nothing within a
    /// connection.
    Lossy,
    /// Connections dialed in this direction are closed, and new ones too.
    Cut,
}

/// The speed of a slow link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The least delay of a chunk.
    pub delay: Duration,
    /// The most additional delay, drawn for each chunk. Order is kept, as in TCP.
    pub jitter: Duration,
    /// The bandwidth of all connections together.
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
    /// Opens a listener for every ordered pair of nodes, which listen for their peers at these addresses. They need not run.
    ///
    /// # Errors
    /// If the system has no more sockets or threads.
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
            // Wakes the thread that accepts, so that it sees the end.
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
    /// Connections that lost bytes in this direction. They are closed when it stops losing.
    robbed: Vec<Arc<Connection>>,
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
            state.robbed.drain(..).for_each(|connection| connection.end());
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

    /// Returns when a chunk of this length that was just read is due.
    fn due(&self, length: usize, dice: &mut Dice) -> Instant {
        let now = now();
        let mut state = self.state.lock();
        let Passage::Slow(pace) = state.passage else { return now };
        let takes = Duration::from_nanos(length as u64 * 1_000_000_000 / pace.bytes_per_second.max(1));
        let sent = state.busy_until.map_or(now, |busy| busy.max(now)) + takes;
        state.busy_until = Some(sent);
        sent + pace.delay + pace.jitter.mul_f64(dice.fraction())
    }

    /// Waits until a chunk of this connection is due and the link carries or loses it.
    fn wait(&self, due: Instant, connection: &Arc<Connection>) -> Verdict {
        let mut state = self.state.lock();
        loop {
            match state.passage {
                _ if state.ended => return Verdict::End,
                Passage::Lossy => {
                    if !state.robbed.iter().any(|robbed| Arc::ptr_eq(robbed, connection)) {
                        state.robbed.push(connection.clone());
                    }
                    return Verdict::Lose;
                }
                Passage::Stalled => self.changed.wait(&mut state),
                // Opening a slow link does not reorder what is on it.
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
        self.robbed.drain(..).for_each(|connection| connection.end());
        self.connections
            .drain(..)
            .filter_map(|connection| connection.upgrade())
            .for_each(|connection| connection.end());
    }
}

/// The state that the connections of one listener share.
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
            // The dialer sees the connection closed, and dials again.
            let _ = dialer.and_then(|dialer| self.connect(dialer, &mut dice));
        }
    }

    fn connect(&self, dialer: TcpStream, dice: &mut Dice) -> io::Result<()> {
        if self.there.state.lock().passage == Passage::Cut {
            return Ok(());
        }
        let acceptor = TcpStream::connect_timeout(&self.target, PATIENCE)?;
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

/// Carries one direction of a connection, in threads of its own.
fn carry(
    link: &Arc<Link>,
    connection: &Arc<Connection>,
    from: TcpStream,
    to: TcpStream,
    mut dice: Dice,
) -> io::Result<()> {
    let (sender, receiver) = sync_channel(IN_FLIGHT);
    let (reading, writing) = (link.clone(), link.clone());
    spawn("proxy reads".to_owned(), move || read(&reading, from, &sender, &mut dice))?;
    let connection = connection.clone();
    spawn("proxy writes".to_owned(), move || write(&writing, &receiver, &to, &connection))
}

fn read(link: &Link, mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, dice: &mut Dice) {
    let mut last = now();
    let mut buffer = vec![0; CHUNK];
    // An error counts as the end of the stream, which the writer passes on.
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
    // The end of the stream travels as bytes do.
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
    use std::io::ErrorKind;

    /// Node 1 has dialed node 2 through the proxy.
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
        let (acceptor, _) = listener.accept().expect("the proxy dials on");
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
    fn a_stalled_direction_holds_what_is_sent_and_the_other_one_goes_on() {
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
    fn a_stalled_direction_backs_up_to_its_sender() {
        let mut pair = pair();
        pair.proxy.set(1, 2, Passage::Stalled);
        pair.dialer.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout is set");
        let mut sent = 0;
        while let Ok(length) = pair.dialer.write(&[7; CHUNK]) {
            sent += length;
            assert!(sent < 1 << 30, "a gibibyte is buffered");
        }
        pair.proxy.heal();
        pair.dialer.shutdown(Shutdown::Write).expect("its half ends");
        let mut found = Vec::new();
        pair.acceptor.read_to_end(&mut found).expect("all of it arrives, and then the end");
        assert_eq!(found.len(), sent);
    }

    #[test]
    fn a_lossy_direction_loses_what_is_sent_and_its_connection_ends_with_the_loss() {
        let mut pair = pair();
        pair.proxy.set(1, 2, Passage::Lossy);
        pair.dialer.write_all(b"lost").expect("it is sent");
        pair.acceptor.write_all(b"passes").expect("it is sent");
        arrives(&pair.dialer, b"passes");
        nothing_arrives(&pair.acceptor);
        pair.proxy.heal();
        assert!(matches!(pair.acceptor.read(&mut [0]), Ok(0) | Err(_)), "the connection has ended");
    }

    #[test]
    fn a_cut_direction_ends_its_connections_and_takes_new_ones_when_it_is_healed() {
        let mut pair = pair();
        pair.proxy.set(2, 1, Passage::Cut);
        pair.dialer.write_all(b"as before").expect("it is sent");
        arrives(&pair.acceptor, b"as before");
        pair.proxy.set(1, 2, Passage::Cut);
        assert!(matches!(pair.acceptor.read(&mut [0]), Ok(0) | Err(_)), "the connection has ended");
        let refused = TcpStream::connect(pair.proxy.address(1, 2)).expect("it is accepted, only to be closed");
        refused.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
        assert!(matches!((&refused).read(&mut [0]), Ok(0) | Err(_)), "the connection has ended");
        pair.proxy.heal();
        let mut dialer = TcpStream::connect(pair.proxy.address(1, 2)).expect("the proxy listens");
        let (acceptor, _) = pair.listener.accept().expect("the proxy dials on");
        dialer.write_all(b"again").expect("it is sent");
        arrives(&acceptor, b"again");
    }

    #[test]
    fn a_slow_direction_delays_and_throttles_and_keeps_the_order() {
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
    fn the_end_of_a_stream_passes_in_its_own_direction_only() {
        let mut pair = pair();
        pair.dialer.write_all(b"bye").expect("it is sent");
        pair.dialer.shutdown(Shutdown::Write).expect("its half ends");
        arrives(&pair.acceptor, b"bye");
        assert_eq!(pair.acceptor.read(&mut [0]).expect("the end is no error"), 0);
        pair.acceptor.write_all(b"so long").expect("this half goes on");
        arrives(&pair.dialer, b"so long");
    }
}
