//! Local reads: GETs at a follower with a sublease, next to those of the leader and of followers that ask it for a read
//! index; GETs of three nodes at once; and the price that writes pay.

mod reads;
mod sample;
mod writes;

use crate::reads::of_local_reads;
use crate::report::Report;
use sample::Effort;
use std::time::Duration;

const NOTES: [&str; 4] = [
    "The peer follows the slash in a row's name. c1, c50, c51: the clients, which are tasks on one thread. P16: each \
     has 16 commands in flight, otherwise one. 5 % SET: five of a hundred commands are SETs. Clients of a follower \
     send these to it too, and it forwards them.",
    "leader: GETs at the leader by its lease, while no node reads locally. local: at a follower that reads locally. \
     read index: at one that does not, so that it asks the leader for an index, for all reads that wait; the leader \
     grants it by its lease, or with --reads quorum after a quorum round. No node forwards a read, so there is no such \
     row.",
    "nodes, client: the processor time of all three nodes, heartbeats included, and of all clients, for each command. \
     Frames are those between nodes; in an idle cluster these are heartbeats and their answers. Clients and nodes \
     share this machine's cores, so compare the processor time of three nodes and of one, rather than what they \
     answer a second.",
    "reader: a follower that reads locally. A write waits for each of them. If one is killed, writes wait until its \
     sublease ends, at most for a lease, which is just below a second here.",
];

pub(crate) fn run(quick: bool) -> Result<Report, String> {
    let effort = if quick {
        Effort { rounds: 1, lasts: Duration::from_millis(500), kill_lasts: Duration::from_secs(3) }
    } else {
        Effort { rounds: 7, lasts: Duration::from_secs(2), kill_lasts: Duration::from_secs(4) }
    };
    let (mut of_reads, mut of_writes) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        of_reads.push(reads::measure(effort, round)?);
        of_writes.push(writes::measure(effort, round)?);
    }
    let mut rows = reads::rows(&of_reads);
    rows.extend(writes::rows(&of_writes));
    let mut notes = NOTES.map(str::to_owned).to_vec();
    match of_local_reads(quick) {
        Ok(row) => rows.push(row),
        Err(reason) => notes.push(format!("Instructions were not counted: {reason}.")),
    }
    Ok(Report {
        title: format!("Reads at followers, medians of {} runs in alternating order", effort.rounds),
        ours: "measured",
        peer: "peer",
        rows,
        notes,
    })
}
