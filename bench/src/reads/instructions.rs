//! How many instructions a read and an ack are, counted by valgrind: the same on a busy machine as on a quiet one.
//!
//! This program runs itself under callgrind, with so many calls of one thing and with twice as many; the difference is the
//! calls and nothing else.

use super::acks::{Waiting, acknowledge};
use super::effort::leased;
use crate::children::is_installed;
use crate::report::Row;
use clap::ValueEnum;
use leasehold_core::Instant;
use std::hint::black_box;
use std::process::Command;

/// What can be counted.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Turns {
    /// Reads on a given sample.
    Read,
    /// Making a leader that waits for acknowledgements, three voters.
    Leader3,
    /// The same, and acknowledging its round.
    Acks3,
    /// Five voters.
    Leader5,
    /// Five voters.
    Acks5,
    /// Seven voters.
    Leader7,
    /// Seven voters.
    Acks7,
}

impl Turns {
    /// Does it so many times.
    pub(crate) fn take(self, times: u32) -> Result<(), String> {
        let (voters, acked) = match self {
            Turns::Read => return reads(times),
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
    // Not from the clock: valgrind hides the vDSO, and a system call is not what is to be counted.
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

/// Instructions of a read and of an ack.
pub(super) fn counted(quick: bool) -> Result<Vec<Row>, String> {
    if !is_installed("valgrind") {
        return Err("valgrind is not installed; on Debian: apt-get install valgrind".to_owned());
    }
    let times = if quick { 2_000 } else { 20_000 };
    let mut rows = vec![Row::alone("try_read on a given sample", each(Turns::Read, times)?, "instr.")];
    for (voters, leader, acks) in
        [(3, Turns::Leader3, Turns::Acks3), (5, Turns::Leader5, Turns::Acks5), (7, Turns::Leader7, Turns::Acks7)]
    {
        let per_ack = (each(acks, times)? - each(leader, times)?) / f64::from(voters - 1);
        rows.push(Row::alone(format!("ack of a round, {voters} voters"), per_ack, "instr."));
    }
    Ok(rows)
}

/// Instructions of one turn.
fn each(turns: Turns, times: u32) -> Result<f64, String> {
    let (once, twice) = (total(turns, times)?, total(turns, 2 * times)?);
    Ok((twice - once) / f64::from(times))
}

/// Instructions of this program when it does nothing but so many turns.
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
