//! The instructions of a read and of an acknowledgement, counted by valgrind, which do not depend on the load of the
//! machine.
//!
//! This program runs itself under callgrind with some number of calls and with twice as many. The difference is the
//! cost of the calls alone.

use super::acks::{Waiting, acknowledge};
use crate::children::is_installed;
use crate::effort::leased;
use crate::report::Row;
use clap::ValueEnum;
use leasehold_core::Instant;
use leasehold_testing::cluster::Cluster;
use std::hint::black_box;
use std::process::Command;

/// An operation whose instructions can be counted.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Turns {
    /// A read on a given sample.
    Read,
    /// The same at a follower with a sublease, which has no lease.
    LocalRead,
    /// Creating a leader of three voters that waits for acknowledgements.
    Leader3,
    /// The same, and the acknowledgements of its round.
    Acks3,
    /// The same as `Leader3`, with five voters.
    Leader5,
    /// The same as `Acks3`, with five voters.
    Acks5,
    /// The same as `Leader3`, with seven voters.
    Leader7,
    /// The same as `Acks3`, with seven voters.
    Acks7,
}

impl Turns {
    /// Repeats it this many times.
    pub(crate) fn take(self, times: u32) -> Result<(), String> {
        let (voters, acked) = match self {
            Turns::Read => return reads(times),
            Turns::LocalRead => return local_reads(times),
            Turns::Leader3 => (3, false),
            Turns::Acks3 => (3, true),
            Turns::Leader5 => (5, false),
            Turns::Acks5 => (5, true),
            Turns::Leader7 => (7, false),
            Turns::Acks7 => (7, true),
        };
        let waiting = Waiting::of(voters)?;
        let mut holder = waiting.holder.clone();
        for _ in 0..times {
            holder.clone_from(black_box(&waiting.holder));
            if acked {
                acknowledge(black_box(&mut holder), voters, waiting.round, waiting.now, &waiting.cell);
            }
            black_box(&holder);
        }
        Ok(())
    }
}

fn reads(times: u32) -> Result<(), String> {
    // Not from the clock: valgrind hides the vDSO, and the system call would be counted.
    let now = Some(Instant::from_nanos(1_000_000_000, 1_000_000_000));
    let cell = leased(now);
    let mut sum = 0_u64;
    for _ in 0..times {
        let permit = cell.try_read(black_box(now)).ok_or("the lease lasts an hour")?;
        sum = sum.wrapping_add(permit.index ^ permit.term);
    }
    black_box(sum);
    Ok(())
}

/// Tries the lease first and then the sublease, as a node does.
fn local_reads(times: u32) -> Result<(), String> {
    let mut cluster = Cluster::founded(3);
    let leader = cluster.elect();
    let reader = if leader == 1 { 2 } else { 1 };
    cluster.set_local_reads(reader, true);
    cluster.run_until("it has a sublease", |cluster| cluster.local_permit(reader).is_some());
    let now = cluster.reading(reader);
    let (lease, sublease) = (&cluster.nodes[&reader].cell, cluster.replica(reader).reader_cell());
    let mut sum = 0_u64;
    for _ in 0..times {
        let now = black_box(now);
        let permit = lease.try_read(now).or_else(|| sublease.try_read(now)).ok_or("time stands still")?;
        sum = sum.wrapping_add(permit.index ^ permit.term);
    }
    black_box(sum);
    Ok(())
}

/// Returns the instructions of a read at a follower next to those of one at the leader.
pub(crate) fn of_local_reads(quick: bool) -> Result<Row, String> {
    require_valgrind()?;
    let times = times(quick);
    let local = each(Turns::LocalRead, times)?;
    let row = Row::alone("try_read on a given sample, local / leader", local, "instr.");
    Ok(Row { peer: Some(each(Turns::Read, times)?), ..row })
}

fn require_valgrind() -> Result<(), String> {
    if is_installed("valgrind") {
        return Ok(());
    }
    Err("valgrind is not installed; on Debian: apt-get install valgrind".to_owned())
}

fn times(quick: bool) -> u32 {
    if quick { 2_000 } else { 20_000 }
}

/// Returns the instructions of a read and of an acknowledgement.
pub(super) fn counted(quick: bool) -> Result<Vec<Row>, String> {
    require_valgrind()?;
    let times = times(quick);
    let mut rows = vec![Row::alone("try_read on a given sample", each(Turns::Read, times)?, "instr.")];
    for (voters, leader, acks) in
        [(3, Turns::Leader3, Turns::Acks3), (5, Turns::Leader5, Turns::Acks5), (7, Turns::Leader7, Turns::Acks7)]
    {
        let per_ack = (each(acks, times)? - each(leader, times)?) / f64::from(voters - 1);
        rows.push(Row::alone(format!("ack of a round, {voters} voters"), per_ack, "instr."));
    }
    Ok(rows)
}

/// Returns the instructions of one repetition.
fn each(turns: Turns, times: u32) -> Result<f64, String> {
    let (once, twice) = (total(turns, times)?, total(turns, 2 * times)?);
    Ok((twice - once) / f64::from(times))
}

/// Returns the instructions of this program with this many repetitions.
fn total(turns: Turns, times: u32) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let turns = turns.to_possible_value().ok_or("no turns of that name")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["turns", turns.get_name(), &times.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    // "==123== Collected : 4567"
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.filter(|_| output.status.success()).ok_or_else(|| format!("callgrind counted nothing: {text}"))
}
