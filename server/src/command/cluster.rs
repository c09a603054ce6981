//! The commands of Redis Cluster.

use super::kinds::{Command, LocalCommand, SlotSearch};
use super::parse::{Parsed, integer, local};
use super::subcommands::ClusterCommand;
use super::table::{CLUSTER, Spec};
use crate::resp::Arguments;
use crate::slots::{SLOTS, slot_of};

const NO_CHANGES: &str = "ERR nodes and slots are not changed by this command; use `leasehold ctl`";
const NO_DETAILS: &str = "ERR this subcommand of CLUSTER is not supported; use CLUSTER NODES";

const ADMIN: &[&str] = &["admin", "stale"];
const CHANGE: &[&str] = &["admin", "stale", "no_async_loading"];
const READ: &[&str] = &["stale"];
const QUICK: &[&str] = &["loading", "stale", "fast"];

pub(super) static COMMANDS: &[Spec] = &[
    CLUSTER.spec("asking", 1, &["fast"], "Accepted without effect: slots do not move.", |_| {
        local(LocalCommand::Status("OK"))
    }),
    CLUSTER.container("cluster", &[], "Describes the nodes as those of a Redis Cluster."),
    CLUSTER.spec("readonly", 1, QUICK, "Lets this node answer reads even if another one leads.", |_| {
        local(LocalCommand::ReadHere(true))
    }),
    CLUSTER.spec("readwrite", 1, QUICK, "Takes READONLY back.", |_| local(LocalCommand::ReadHere(false))),
];

pub(super) static CLUSTER_COMMANDS: &[Spec] = &[
    CLUSTER.spec("cluster|countkeysinslot", 3, READ, "Returns the number of keys in a slot.", parse_count),
    CLUSTER.spec("cluster|getkeysinslot", 4, READ, "Returns keys in a slot.", parse_get),
    CLUSTER.spec("cluster|help", 2, &["loading", "stale"], "Lists the subcommands.", |_| {
        local(LocalCommand::Help("cluster"))
    }),
    CLUSTER.spec("cluster|info", 2, READ, "Returns whether a leader serves all slots.", |_| {
        describe(ClusterCommand::Info)
    }),
    CLUSTER.spec("cluster|keyslot", 3, READ, "Returns the slot of a key.", |a| {
        local(LocalCommand::Integer(slot_of(a.peek(2)).into()))
    }),
    CLUSTER.spec("cluster|myid", 2, READ, "Returns the name of this node.", |_| describe(ClusterCommand::MyId)),
    CLUSTER.spec("cluster|nodes", 2, READ, "Returns a line for each node.", |_| describe(ClusterCommand::Nodes)),
    CLUSTER.spec("cluster|shards", 2, READ, "Returns the nodes of each range of slots, as maps.", |_| {
        describe(ClusterCommand::Shards)
    }),
    CLUSTER.spec("cluster|slots", 2, READ, "Returns the nodes of each range of slots.", |_| {
        describe(ClusterCommand::Slots)
    }),
    CLUSTER.spec("cluster|addslots", -3, CHANGE, "Refused: slots do not move.", refuse),
    CLUSTER.spec("cluster|addslotsrange", -4, CHANGE, "Refused: slots do not move.", refuse),
    CLUSTER.spec("cluster|bumpepoch", 2, CHANGE, "Refused: use `leasehold ctl`.", refuse),
    CLUSTER.spec("cluster|count-failure-reports", 3, ADMIN, "Refused: use CLUSTER NODES.", no_details),
    CLUSTER.spec("cluster|delslots", -3, CHANGE, "Refused: slots do not move.", refuse),
    CLUSTER.spec("cluster|delslotsrange", -4, CHANGE, "Refused: slots do not move.", refuse),
    CLUSTER.spec("cluster|failover", -2, CHANGE, "Refused: use `leasehold ctl transfer`.", refuse),
    CLUSTER.spec("cluster|flushslots", 2, CHANGE, "Refused: slots do not move.", refuse),
    CLUSTER.spec("cluster|forget", 3, CHANGE, "Refused: use `leasehold ctl remove`.", refuse),
    CLUSTER.spec("cluster|links", 2, READ, "Refused: use CLUSTER NODES.", no_details),
    CLUSTER.spec("cluster|meet", -4, CHANGE, "Refused: use `leasehold ctl add`.", refuse),
    CLUSTER.spec("cluster|replicas", 3, ADMIN, "Refused: use CLUSTER NODES.", no_details),
    CLUSTER.spec("cluster|replicate", 3, CHANGE, "Refused: use `leasehold ctl`.", refuse),
    CLUSTER.spec("cluster|reset", -2, &["admin", "noscript", "stale"], "Refused: use `leasehold ctl`.", refuse),
    CLUSTER.spec("cluster|saveconfig", 2, CHANGE, "Refused: every change is on disk.", refuse),
    CLUSTER.spec("cluster|set-config-epoch", 3, CHANGE, "Refused: use `leasehold ctl`.", refuse),
    CLUSTER.spec("cluster|setslot", -4, CHANGE, "Refused: slots do not move.", refuse),
    CLUSTER.spec("cluster|slaves", 3, ADMIN, "Refused: use CLUSTER NODES.", no_details),
];

fn describe(command: ClusterCommand) -> Parsed {
    local(LocalCommand::Cluster(command))
}

fn refuse(_: &Arguments<'_>) -> Parsed {
    Err(NO_CHANGES.to_owned())
}

fn no_details(_: &Arguments<'_>) -> Parsed {
    Err(NO_DETAILS.to_owned())
}

fn slot(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|slot| *slot < SLOTS)
}

fn parse_count(arguments: &Arguments<'_>) -> Parsed {
    let slot = slot(integer(arguments.peek(2))?).ok_or_else(|| "ERR Invalid slot".to_owned())?;
    Ok(Command::SearchSlot(SlotSearch { slot, most: None }))
}

fn parse_get(arguments: &Arguments<'_>) -> Parsed {
    let (number, most) = (integer(arguments.peek(2))?, integer(arguments.peek(3))?);
    let most = usize::try_from(most).ok();
    let invalid = || "ERR Invalid slot or number of keys".to_owned();
    let (slot, most) = slot(number).zip(most).ok_or_else(invalid)?;
    Ok(Command::SearchSlot(SlotSearch { slot, most: Some(most) }))
}
